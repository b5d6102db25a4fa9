#!/usr/bin/env bash
# Installs what a target needs when it may (root on Debian or Ubuntu), else names it.
# usage: deploy/deps.sh run|test|e2e
set -eu

declare -A packages=(
  [run]="zstd cpio kmod"
  [test]="postgresql openssl gcc libc6-dev openipmi iproute2 curl chromium haproxy slapd sudo swtpm python3-macaroonbakery testssl.sh nftables iptables apache2-bin distro-info-data openscap-scanner ansible-core bind9-utils"
  [e2e]="qemu-system-x86 qemu-utils ovmf seabios ipxe-qemu iproute2 ipmitool openipmi openssh-client tcpdump dnsmasq-base zstd cpio kmod mtools dosfstools fdisk e2fsprogs mmdebstrap arch-test"
)
# A program of each package that is not there under the package's own name.
declare -A program=(
  [postgresql]=initdb [libc6-dev]=/usr/include/stdio.h [qemu-system-x86]=qemu-system-x86_64 [qemu-utils]=qemu-img [ovmf]=/usr/share/OVMF/OVMF_CODE_4M.fd [seabios]=/usr/share/seabios/bios.bin
  [ipxe-qemu]=/usr/lib/ipxe/qemu/efi-virtio.rom [iproute2]=ip [openipmi]=ipmi_sim [openssh-client]=ssh [dnsmasq-base]=dnsmasq [kmod]=depmod [dosfstools]=mkfs.vfat
  [fdisk]=sfdisk [e2fsprogs]=mke2fs [mtools]=mcopy [systemd-journal-remote]=/lib/systemd/systemd-journal-remote [openssh-server]=/usr/sbin/sshd [apache2-bin]=/usr/sbin/apache2 [testssl.sh]=testssl [distro-info-data]=/usr/share/distro-info/debian.csv [openscap-scanner]=oscap [bind9-utils]=named-checkconf [chrony]=chronyd [rsyslog]=rsyslogd [bind9]=named [bind9-dnsutils]=dig [ansible-core]=ansible-playbook [nftables]=nft [firewalld]=firewall-cmd [postgresql-15-pgaudit]=/usr/lib/postgresql/15/lib/pgaudit.so [python3-macaroonbakery]=/usr/lib/python3/dist-packages/macaroonbakery
)
PATH="$PATH:/usr/sbin:/sbin:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')"

have() {
  local what=${program[$1]:-$1}
  [[ $what == /* ]] && [[ -e $what ]] || command -v "$what" >/dev/null 2>&1
}

# Boot files come from the archive itself, whose lists a fresh system may not have.
if [ "$1" != test ] && command -v apt-cache >/dev/null 2>&1 && ! apt-cache show ipxe >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ]; then apt-get update -qq; else echo "Package lists are missing: run sudo apt-get update" >&2; exit 1; fi
fi

# Its name has PostgreSQL's version: where there is another one, the tests that use it say so and are skipped.
if [ "$1" = test ] && command -v apt-cache >/dev/null 2>&1 && apt-cache show postgresql-15-pgaudit >/dev/null 2>&1; then
  packages[test]+=" postgresql-15-pgaudit"
fi

# Where systemd would start them they would filter this host's own packets, and let nobody in: tests that use them are skipped there.
if [ "$1" = test ] && [ ! -d /run/systemd/system ]; then
  packages[test]+=" systemd-journal-remote ufw firewalld openssh-server nginx nmap chrony squid bind9 bind9-dnsutils rsyslog"
fi

missing=()
for p in ${packages[$1]}; do
  have "$p" || missing+=("$p")
done
if ! command -v go >/dev/null 2>&1; then
  echo "Go 1.26 or later is missing: see https://go.dev/doc/install" >&2
  exit 1
fi
# Debian 12's testssl.sh gives no grade; that of its backports does. Without it the test demands the grade's parts one by one.
graded() {
  local d from options
  [ "$(id -u)" = 0 ] && grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release && dpkg --compare-versions "$(dpkg-query -Wf '${Version}' testssl.sh)" lt 3.2 || return 0
  from=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' | sed -n 1p)
  d=$(mktemp -d)
  mkdir -p "$d/lists/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from bookworm-backports main" >"$d/sources"
  options="-qq -o Dir::Etc::SourceList=$d/sources -o Dir::Etc::SourceParts=- -o Dir::State::Lists=$d/lists -o APT::Sandbox::User=root"
  # shellcheck disable=SC2086
  (cd "$d" && apt-get $options update && apt-get $options download testssl.sh && dpkg -i ./testssl.sh_*.deb) >/dev/null 2>&1 ||
    echo "testssl.sh of the backports cannot be had: no grade, its parts alone"
  rm -rf "$d"
}

if [ ${#missing[@]} -eq 0 ]; then
  if [ "$1" = test ]; then graded; fi
  exit 0
fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # Tests start their own servers: the packages of slapd, firewalld, nginx, chrony, Squid, BIND and rsyslog would start one for the host.
  if [[ " ${missing[*]} " =~ " "(slapd|firewalld|nginx|chrony|squid|bind9|rsyslog)" " ]] && [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=420 "${missing[@]}" >/dev/null
  if [ "$1" = test ]; then graded; fi
  exit 0
fi
echo "Missing packages: ${missing[*]}" >&2
echo "Install them with: sudo apt-get install --no-install-recommends ${missing[*]}" >&2
# Tests skip what they cannot do and say so; the others cannot go on.
[ "$1" = test ]
