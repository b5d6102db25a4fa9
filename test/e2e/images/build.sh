#!/bin/sh
# Builds disk images for end-to-end tests.
#
#   test/e2e/images/build.sh tiny|debian OUT
#
# OUT is a raw whole-disk image that boots by BIOS and by UEFI (Secure Boot
# included): GPT with a BIOS boot partition, an EFI system partition and, last,
# the ext4 root partition labelled root. OUT.zst and OUT.sha256 go with it.
#
#   tiny    about 80 MiB: a kernel and test/e2e/tinyinit. No root needed.
#   debian  2 GiB: Debian 12 with cloud-init and sshd. Needs root, a minute.
#
# No loop device, mount or host support for the file systems is needed: all of
# them are written by tools that work on plain files. An existing OUT is kept
# when nothing it was made from has changed; set IMAGE_EPOCH to another value
# to take in newer Debian packages.
set -eu
umask 022
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

die() { echo "build.sh: $*" >&2; exit 1; }
note() { echo "build.sh: $*" >&2; }

[ $# -eq 2 ] || die "usage: build.sh tiny|debian OUT"
kind=$1
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../../.." && pwd)
mkdir -p "$(dirname "$2")"
dir=$(cd "$(dirname "$2")" && pwd)
out=$dir/$(basename "$2")
cache=$dir/cache
mkdir -p "$cache"
for tool in apt-get dpkg-deb sfdisk mke2fs mformat mcopy zstd sha256sum; do
	command -v "$tool" >/dev/null || die "cannot build: $tool is not installed"
done

# Beside OUT, so that publishing is a rename.
work=$(mktemp -d "$dir/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
. "$repo/deploy/ephemeral/packages.sh"

# fresh STAMP: exits when OUT is already what STAMP describes.
fresh() {
	if [ "$(cat "$out.stamp" 2>/dev/null)" = "$1" ] &&
		[ -s "$out" ] && [ -s "$out.zst" ] && [ -s "$out.sha256" ]; then
		note "$kind: up to date"
		exit 0
	fi
	rm -f "$out.stamp"
}

# grub_config LABEL TIMEOUT KERNEL INITRD: prints a grub.cfg.
grub_config() {
	cat <<END
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=$2
set default=0
search --no-floppy --label root --set=root
menuentry "$1" {
	linux $3 root=LABEL=root ro no_timer_check console=ttyS0,115200
	initrd $4
}
END
}

# Sector numbers. The BIOS boot partition starts where GRUB's first stage is
# told to look for the second.
bios_start=2048
esp_start=4096

# partition DISK SIZE_MIB ESP_MIB
partition() {
	truncate -s "$2M" "$1"
	root_start=$((esp_start + $3 * 2048))
	root_size=$(($2 * 2048 - root_start - 2048))
	sfdisk -q "$1" <<END
label: gpt
start=$bios_start, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios
start=$esp_start, size=$(($3 * 2048)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp
start=$root_start, size=$root_size, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
END
}

# le BYTES NUMBER: prints NUMBER as little-endian bytes.
le() {
	i=0 n=$2
	while [ $i -lt "$1" ]; do
		printf "\\$(printf %03o $((n % 256)))"
		n=$((n / 256)) i=$((i + 1))
	done
}

# patch FILE OFFSET: overwrites bytes of FILE by standard input.
patch() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# bios_grub DISK: what grub-bios-setup does, without needing a block device.
bios_grub() {
	mkdir -p "$work/grub"
	for p in grub-common grub-pc-bin libdevmapper1.02.1; do
		deb=$(fetch "$p" "$(candidate "$p")")
		dpkg-deb -x "$deb" "$work/grub"
	done
	g=$work/grub/usr/lib/grub/i386-pc
	# "(,gpt3)" is partition 3 of whatever disk the firmware booted.
	LD_LIBRARY_PATH=$work/grub/lib/x86_64-linux-gnu:$work/grub/usr/lib/x86_64-linux-gnu \
		"$work/grub/usr/bin/grub-mkimage" -d "$g" -O i386-pc -p '(,gpt3)/boot/grub' -o "$work/core.img" \
		biosdisk part_gpt ext2 serial terminal search search_label normal configfile linux echo test
	cp "$g/boot.img" "$work/boot.img"
	chmod u+w "$work/boot.img" "$work/core.img"
	le 8 $bios_start | patch "$work/boot.img" $((0x5c))
	printf '\220\220' | patch "$work/boot.img" $((0x66))
	size=$(wc -c <"$work/core.img")
	sectors=$(((size + 511) / 512))
	[ $sectors -le 2048 ] || die "cannot install GRUB: it is larger than its partition"
	le 8 $((bios_start + 1)) | patch "$work/core.img" $((0x1f4))
	le 2 $((sectors - 1)) | patch "$work/core.img" $((0x1fc))
	dd if="$work/boot.img" of="$1" bs=440 count=1 conv=notrunc status=none
	dd if="$work/core.img" of="$1" bs=512 seek=$bios_start conv=notrunc status=none
}

# efi_partition DISK MIB SHIM MOKMANAGER GRUB: the removable-media path, so that
# no firmware variable is needed. MOKMANAGER may be empty.
efi_partition() {
	esp=$1@@$((esp_start * 512))
	fat32=
	[ "$2" -lt 64 ] || fat32=-F
	# shellcheck disable=SC2086
	mformat -i "$esp" -T $(($2 * 2048)) -h 64 -s 32 $fat32 -v ESP ::
	mmd -i "$esp" ::EFI ::EFI/BOOT ::EFI/debian ::EFI/ubuntu
	mcopy -i "$esp" "$3" ::EFI/BOOT/BOOTX64.EFI
	[ -z "$4" ] || mcopy -i "$esp" "$4" ::EFI/BOOT/mmx64.efi
	mcopy -i "$esp" "$5" ::EFI/BOOT/grubx64.efi
	# The signed GRUB looks for its configuration in its distribution's folder.
	cat >"$work/esp.cfg" <<END
search --no-floppy --label root --set=root
set prefix=(\$root)/boot/grub
configfile (\$root)/boot/grub/grub.cfg
END
	mcopy -i "$esp" "$work/esp.cfg" ::EFI/debian/grub.cfg
	mcopy -i "$esp" "$work/esp.cfg" ::EFI/ubuntu/grub.cfg
}

# root_partition DISK TREE
root_partition() {
	mke2fs -q -F -t ext4 -L root -d "$2" -E "offset=$((root_start * 512)),root_owner=0:0" \
		"$1" $((root_size / 2))k
}

# publish DISK STAMP
publish() {
	zstd -q -3 -T2 -f "$1" -o "$work/out.zst"
	{
		echo "$(sha256sum <"$1" | cut -d' ' -f1)  $(basename "$out")"
		echo "$(sha256sum <"$work/out.zst" | cut -d' ' -f1)  $(basename "$out").zst"
	} >"$work/sums"
	mv -f "$1" "$out"
	mv -f "$work/out.zst" "$out.zst"
	mv -f "$work/sums" "$out.sha256"
	echo "$2" >"$out.stamp"
	note "$kind: $(du -k "$out" | cut -f1) KiB on disk, $(du -k "$out.zst" | cut -f1) KiB compressed"
}

tiny() {
	(cd "$repo" && GOFLAGS= CGO_ENABLED=0 GOOS=linux GOARCH=amd64 \
		go build -trimpath -buildvcs=false -ldflags="-s -w" -o "$work/tinyinit" ./test/e2e/tinyinit) ||
		die "cannot build tinyinit"
	. /etc/os-release
	case ${ID:-} in
	ubuntu) meta=linux-image-virtual ;;
	*) meta=linux-image-cloud-amd64 ;;
	esac
	# The kernel and an initrd that holds tinyinit come from the builder of the
	# ephemeral system, fed with another /init and another kernel.
	AGENT_BIN=$work/tinyinit KERNEL_META=$meta ZSTD_LEVEL=${ZSTD_LEVEL:-9} \
		"$repo/deploy/ephemeral/build.sh" "$cache/tiny"
	stamp=$({ cat "$here/build.sh"; cat "$cache/tiny/.stamp"; } | sha256sum | cut -d' ' -f1)
	fresh "$stamp"

	tree=$work/tree
	mkdir -p "$tree"
	(cd "$tree" && mkdir -p boot/grub etc/cloud/cloud.cfg.d etc/systemd/system etc/ssh etc/netplan \
		var/lib/cloud var/log root home dev proc sys run tmp)
	cp "$cache/tiny/vmlinuz" "$cache/tiny/initrd.zst" "$tree/boot/"
	grub_config Tiny 0 /boot/vmlinuz /boot/initrd.zst >"$tree/boot/grub/grub.cfg"
	cat >"$tree/etc/os-release" <<END
ID=tiny
NAME="Tiny test image"
PRETTY_NAME="Tiny test image"
VERSION_ID="1"
END
	echo "LABEL=root / ext4 defaults 0 1" >"$tree/etc/fstab"
	echo tiny >"$tree/etc/hostname"
	echo uninitialized >"$tree/etc/machine-id"
	echo "# Configuration is in cloud.cfg.d." >"$tree/etc/cloud/cloud.cfg"

	mkdir "$work/efi"
	for p in shim-signed grub-efi-amd64-signed; do
		deb=$(fetch "$p" "$(candidate "$p")")
		dpkg-deb -x "$deb" "$work/efi"
	done
	partition "$work/disk" 84 16
	root_partition "$work/disk" "$tree"
	shim=$(ls "$work"/efi/usr/lib/shim/shimx64.efi.signed* | head -n 1)
	efi_partition "$work/disk" 16 "$shim" "" "$work/efi/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
	bios_grub "$work/disk"
	publish "$work/disk" "$stamp"
}

debian() {
	[ "$(id -u)" = 0 ] || die "cannot build debian: it needs root"
	command -v mmdebstrap >/dev/null || die "cannot build debian: mmdebstrap is not installed"
	stamp=$({ cat "$here/build.sh"; echo "${IMAGE_EPOCH:-}"; } | sha256sum | cut -d' ' -f1)
	fresh "$stamp"

	tree=$work/tree
	mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
	# locales stays in: cloud-init depends on it.
	mmdebstrap --quiet --mode=root --variant=minbase \
		--aptopt='Acquire::Languages "none"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--include=systemd-sysv,dbus,udev,init,netplan.io,systemd-resolved,iproute2,netbase \
		--include=linux-image-cloud-amd64,grub-pc-bin,grub-efi-amd64-bin,grub-efi-amd64-signed,shim-signed,grub2-common \
		--include=cloud-init,cloud-guest-utils,cloud-initramfs-growroot,gdisk,e2fsprogs,dosfstools \
		--include=openssh-server,sudo,ca-certificates,python3-oauthlib \
		bookworm "$tree" \
		"deb $mirror/debian bookworm main" \
		"deb $mirror/debian bookworm-updates main" \
		"deb $mirror/debian-security bookworm-security main"

	cat >"$tree/etc/fstab" <<END
LABEL=root / ext4 errors=remount-ro 0 1
LABEL=ESP /boot/efi vfat umask=0077,nofail 0 1
END
	mkdir -p "$tree/boot/efi" "$tree/boot/grub"
	echo uninitialized >"$tree/etc/machine-id"
	echo debian >"$tree/etc/hostname"
	rm -f "$tree"/etc/ssh/ssh_host_* "$tree/etc/resolv.conf"
	ln -s ../run/systemd/resolve/stub-resolv.conf "$tree/etc/resolv.conf"
	# The translations are not in the image, so no other locale can be set up.
	echo "LANG=C.UTF-8" >"$tree/etc/default/locale"
	echo "locale: C.UTF-8" >"$tree/etc/cloud/cloud.cfg.d/10_locale.cfg"
	# The package narrows the list of data sources to the public clouds' and
	# its neighbours'; a machine takes whatever seed its installer left.
	rm -f "$tree/etc/cloud/cloud.cfg.d/90_dpkg.cfg"
	# Our own grub.cfg follows the symlinks that kernel packages maintain. The
	# defaults make a later update-grub produce the same command line.
	grub_config Debian 1 /vmlinuz /initrd.img >"$tree/boot/grub/grub.cfg"
	mkdir -p "$tree/etc/default/grub.d"
	cat >"$tree/etc/default/grub.d/50-serial.cfg" <<END
GRUB_CMDLINE_LINUX="no_timer_check console=ttyS0,115200"
GRUB_TERMINAL="serial console"
GRUB_TIMEOUT=1
END
	[ -e "$tree/vmlinuz" ] && [ -e "$tree/initrd.img" ] || die "cannot find the kernel in the image"

	partition "$work/disk" 2048 64
	root_partition "$work/disk" "$tree"
	efi_partition "$work/disk" 64 "$tree/usr/lib/shim/shimx64.efi.signed" \
		"$tree/usr/lib/shim/mmx64.efi.signed" \
		"$tree/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
	bios_grub "$work/disk"
	publish "$work/disk" "$stamp"
}

case $kind in
tiny | debian) "$kind" ;;
*) die "cannot build $kind: want tiny or debian" ;;
esac
