#!/bin/sh
# Builds the ephemeral system: what a machine boots from the network while it is
# enlisted, commissioned, installed or erased.
#
#   deploy/ephemeral/build.sh OUTDIR
#
# OUTDIR gets vmlinuz, initrd.zst, undionly.kpxe, snponly.efi and manifest.json.
# The kernel is the distribution's own, unmodified, so its security updates are
# ours; the only other code in the initrd is the agent, a static Go binary.
# Neither root nor installed packages are needed beyond dpkg, kmod, cpio, zstd.
#
# Environment:
#   AGENT_BIN    use this static binary as /init instead of building the agent
#   ZSTD_LEVEL   1..19, default 19 (3 is much quicker, for development)
#   KERNEL_META  package whose dependency names the kernel package
set -eu
umask 022
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

die() { echo "build.sh: $*" >&2; exit 1; }
note() { echo "build.sh: $*" >&2; }

[ $# -eq 1 ] || die "usage: build.sh OUTDIR"
for tool in apt-get apt-cache dpkg-deb depmod modprobe cpio zstd sha256sum; do
	command -v "$tool" >/dev/null || die "cannot build: $tool is not installed"
done
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mkdir -p "$1/cache"
out=$(cd "$1" && pwd)
cache=$out/cache
level=${ZSTD_LEVEL:-19}

work=$(mktemp -d "${TMPDIR:-/tmp}/ephemeral.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# --- /init -----------------------------------------------------------------

if [ -n "${AGENT_BIN:-}" ]; then
	[ -x "$AGENT_BIN" ] || die "cannot use AGENT_BIN=$AGENT_BIN: not an executable file"
	cp "$AGENT_BIN" "$work/init"
else
	note "building the agent"
	# No VCS stamp: a commit that does not touch the agent must not change the
	# image. GOFLAGS is cleared so that -race or -tags cannot slip in.
	(cd "$root" && GOFLAGS= CGO_ENABLED=0 GOOS=linux GOARCH=amd64 \
		go build -trimpath -buildvcs=false -ldflags="-s -w" \
		-o "$work/init" ./cmd/metalward-agent) || die "cannot build the agent"
fi

# --- packages --------------------------------------------------------------

. "$here/packages.sh"

. /etc/os-release
case ${ID:-} in
ubuntu) meta=${KERNEL_META:-linux-image-generic} ;;
*) meta=${KERNEL_META:-linux-image-amd64} ;;
esac
kpkg=$(apt-cache depends --important "$meta" |
	sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
[ -n "$kpkg" ] || die "cannot tell which kernel $meta means: run apt-get update"
kver=$(candidate "$kpkg")
# Ubuntu keeps the modules in packages of their own.
kpkgs=$kpkg
case ${ID:-} in
ubuntu) for part in modules modules-extra; do
	extra=linux-$part-${kpkg#linux-image-}
	[ -z "$(candidate "$extra")" ] || kpkgs="$kpkgs $extra"
done ;;
esac
ipxever=$(candidate ipxe)

# --- anything to do? -------------------------------------------------------

stamp=$({
	sha256sum <"$work/init"
	cat "$here/build.sh" "$here/packages.sh" | sha256sum
	echo "$kpkgs $kver ipxe $ipxever zstd $level"
} | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ] &&
	[ -s "$out/vmlinuz" ] && [ -s "$out/initrd.zst" ] && [ -s "$out/manifest.json" ] &&
	[ -s "$out/undionly.kpxe" ] && [ -s "$out/snponly.efi" ]; then
	note "up to date"
	exit 0
fi
rm -f "$out/.stamp"

# --- kernel and modules ----------------------------------------------------

mkdir "$work/kernel" "$work/tree" "$work/ipxe"
for p in $kpkgs; do
	deb=$(fetch "$p" "$kver")
	dpkg-deb -x "$deb" "$work/kernel"
done
# dpkg-deb keeps a merged-/usr layout where the package has one.
moddir=$work/kernel/lib/modules
[ -d "$moddir" ] || moddir=$work/kernel/usr/lib/modules
release=$(ls "$moddir" | head -n 1)
[ -n "$release" ] || die "cannot find modules in $kpkg"
base=${moddir%/lib/modules}
depmod -b "$base" "$release"

# What a server needs to be seen, reached and written to. Network cards whose
# firmware is a separate non-free file still appear in the inventory. A driver
# that this kernel has built in, or lacks, is skipped.
modules="
virtio_pci virtio_net virtio_blk virtio_scsi virtio_rng virtio_console
e1000 e1000e igb igc ixgbe i40e ice bnxt_en mlx4_en mlx5_core tg3 r8169 vmxnet3
nvme ahci ata_piix ata_generic megaraid_sas mpt3sas hpsa smartpqi aacraid
sd_mod sr_mod uas usb_storage xhci_pci ehci_pci usbhid hid_generic
ipmi_msghandler ipmi_si ipmi_devintf ipmi_ssif
ext4 crc32c_generic crc32c_intel xfs vfat nls_cp437 nls_iso8859_1 nls_ascii nls_utf8 efivarfs
tpm_tis tpm_crb"

dest=$work/tree/lib/modules/$release
mkdir -p "$dest"
for m in $modules; do
	# -D prints what would be inserted, dependencies first; built-in modules
	# print "builtin", unknown ones fail.
	modprobe -d "$base" -S "$release" -D "$m" 2>/dev/null || echo "$m" >>"$work/missing"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u >"$work/list"
[ ! -s "$work/missing" ] || note "not in this kernel:" $(cat "$work/missing")
[ -s "$work/list" ] || die "cannot select modules: modprobe listed none"
while read -r file; do
	rel=${file#*/lib/modules/"$release"/}
	mkdir -p "$dest/$(dirname "$rel")"
	cp "$moddir/$release/$rel" "$dest/$rel"
	# Uncompressed modules keep the loader in the agent simple, and the initrd
	# is compressed as a whole anyway.
	case $rel in
	*.ko.xz) xz -d "$dest/$rel" ;;
	*.ko.zst) zstd -q -d --rm "$dest/$rel" ;;
	*.ko.gz) gzip -d "$dest/$rel" ;;
	esac
done <"$work/list"
# modules.builtin lets depmod resolve what is compiled in without warnings.
cp "$moddir/$release/modules.builtin" "$dest/" 2>/dev/null || true
depmod -b "$work/tree" "$release" 2>"$work/depmod.err" || { cat "$work/depmod.err" >&2; die "cannot run depmod"; }
find "$dest" -maxdepth 1 -type f ! -name modules.dep ! -name modules.alias -delete

# --- initrd ----------------------------------------------------------------

cp "$work/init" "$work/tree/init"
chmod 0755 "$work/tree/init"
# Mount points. /etc stays empty of trust: the agent gets its pins from the
# kernel command line, never from the image.
(cd "$work/tree" && mkdir -p dev proc sys run tmp etc)
chmod -R go-w,a+rX "$work/tree"
find "$work/tree" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
(cd "$work/tree" && find . -print | sort |
	cpio --quiet -o -H newc -R +0:+0 --reproducible >"$work/initrd.cpio")
zstd -q "-$level" -T2 -f "$work/initrd.cpio" -o "$work/initrd.zst"
cp "$work/kernel/boot/vmlinuz-$release" "$work/vmlinuz"

# --- boot loaders ----------------------------------------------------------

dpkg-deb -x "$(fetch ipxe "$ipxever")" "$work/ipxe"
for f in undionly.kpxe snponly.efi; do
	# Some releases ship these as symlinks.
	[ -e "$work/ipxe/usr/lib/ipxe/$f" ] || die "cannot find $f in the ipxe package"
	cp -L "$work/ipxe/usr/lib/ipxe/$f" "$work/$f"
done

# --- publish ---------------------------------------------------------------

sum() { sha256sum <"$work/$1" | cut -d' ' -f1; }
cat >"$work/manifest.json" <<END
{
  "kernel_package": "$kpkg=$kver",
  "kernel_release": "$release",
  "sha256": {
    "vmlinuz": "$(sum vmlinuz)",
    "initrd.zst": "$(sum initrd.zst)",
    "undionly.kpxe": "$(sum undionly.kpxe)",
    "snponly.efi": "$(sum snponly.efi)"
  }
}
END
for f in vmlinuz initrd.zst undionly.kpxe snponly.efi manifest.json; do
	chmod 0644 "$work/$f"
	# Rename within OUTDIR, so that a reader never sees half a file.
	cp "$work/$f" "$out/.$f.new"
	mv -f "$out/.$f.new" "$out/$f"
done
echo "$stamp" >"$out/.stamp"
note "$(wc -l <"$work/list") modules, kernel $release, initrd $(du -k "$out/initrd.zst" | cut -f1) KiB"
