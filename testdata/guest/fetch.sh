#!/bin/sh
# fetch.sh DIRECTORY
#
# Fetches Debian's kernel for virtual machines without installing it, and puts
# into DIRECTORY what a guest needs of it: vmlinuz, and the modules of a
# virtio network card, which the file modules lists. It needs apt and its lists, and writes nowhere else.
# DIRECTORY must not exist; it appears when all is there.
set -eu

target=$1
modules=$(cd "$(dirname "$0")" && pwd)/modules
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# linux-image-cloud-amd64 is a name for the newest; it depends on the real one.
newest() {
	apt-cache depends "linux-image-cloud-$(dpkg --print-architecture)" 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\).*/\1/p' | head -n 1
}
package=$(newest)
if [ -z "$package" ]; then
	apt-get update >&2
	package=$(newest)
fi
if [ -z "$package" ]; then
	echo "fetch.sh: apt knows no linux-image-cloud-$(dpkg --print-architecture)" >&2
	exit 1
fi

# The lists may name a version that the mirror has replaced since.
cd "$work"
apt-get download "$package" >&2 || { apt-get update >&2 && apt-get download "$package" >&2; }
mkdir root out
dpkg-deb -x "$package"_*.deb root
cp root/boot/vmlinuz-* out/vmlinuz
basename root/boot/vmlinuz-* | sed 's/^vmlinuz-//' > out/version

while read -r module; do
	found=$(find root -name "$module.ko*" | head -n 1)
	case $found in
	'') echo "fetch.sh: $module is not in $package: built in?" >&2 ;;
	*.xz) xz -dc "$found" > "out/$module.ko" ;;
	*.zst) zstd -qdc "$found" > "out/$module.ko" ;;
	*) cp "$found" out/ ;;
	esac
done < "$modules"
mv out "$target"
