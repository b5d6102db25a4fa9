# Fetching distribution packages without installing them. Sourced by the build
# scripts, which set cache (a directory for the .deb files), work (a private
# temporary directory), note and die.
# shellcheck shell=sh

# candidate PACKAGE: the version apt would install.
candidate() {
	apt-cache policy "$1" | sed -n 's/^  Candidate: //p'
}

# fetch PACKAGE VERSION: prints the path of the .deb, from the cache if it is
# there. The digest is checked against the signed archive index either way.
fetch() {
	want=$(apt-cache show "$1=$2" | sed -n 's/^SHA256: //p' | head -n 1)
	[ -n "$want" ] || die "cannot find $1 $2 in the package index: run apt-get update"
	deb=$cache/$want.deb
	if ! echo "$want  $deb" | sha256sum -c --status 2>/dev/null; then
		note "downloading $1 $2"
		mkdir -p "$work/dl"
		(cd "$work/dl" && rm -f ./*.deb &&
			apt-get -q -o APT::Sandbox::User=root download "$1=$2" >&2) || die "cannot download $1"
		mv "$work"/dl/*.deb "$deb"
		echo "$want  $deb" | sha256sum -c --status || die "cannot use $1: digest differs from the index"
	fi
	echo "$deb"
}
