#!/bin/sh
# Installs the Debian packages that the tests ("test") or the benchmark ("bench") need, if
# one of their commands or files is missing.
set -eu

# A test needs the program of systemd-resolved. The package is unpacked and not
# installed, because it would replace the host's resolv.conf.
resolved=/var/cache/vnetd-test/systemd-resolved
unpack_resolved() {
	if [ -x /lib/systemd/systemd-resolved ]; then
		install -D /lib/systemd/systemd-resolved "$resolved"
		return
	fi
	echo "deps: unpacking systemd-resolved to $resolved"
	dir=$(mktemp -d)
	# Without this, apt warns that its own user cannot write there.
	(cd "$dir" &&
		apt-get download -qq -o APT::Sandbox::User=root systemd-resolved &&
		dpkg-deb -x systemd-resolved_*.deb . &&
		install -D "$(find . -name systemd-resolved -type f -perm -u+x | head -n 1)" "$resolved")
	rm -rf "$dir"
	[ -x "$resolved" ]
}

# Listings of our rules are loaded with nft of Debian sid, too. It and its libraries are
# unpacked and not installed. If the mirror lacks them, a file records that, and the tests skip.
sid=/var/cache/vnetd-test/nft-sid
unpack_sid_nft() {
	echo "deps: unpacking nft of Debian sid to $sid"
	dir=$(mktemp -d)
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/root" "$sid/lib"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main" >"$dir/list"
	if (
		cd "$dir"
		set -- -qq -o APT::Sandbox::User=root -o Dir::Etc::sourcelist="$dir/list" -o Dir::Etc::sourceparts=/dev/null \
			-o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache" -o Acquire::Languages=none
		apt-get "$@" update &&
			apt-get "$@" download nftables libnftables1 libnftnl11 libmnl0 libjansson4 libgmp10 libxtables12 libedit2 libbsd0 libmd0 libtinfo6 libc6 &&
			for deb in *.deb; do dpkg-deb -x "$deb" root || exit 1; done &&
			cp -L root/usr/lib/*/*.so* root/usr/sbin/nft "$sid/lib"
	) >/dev/null 2>&1; then
		printf '#!/bin/sh\nd=%s\nexec "$d"/ld-linux*.so* --library-path "$d" "$d/nft" "$@"\n' "$sid/lib" >"$sid/nft"
		chmod +x "$sid/nft"
	fi
	rm -rf "$dir"
	rm -f "$sid/absent"
	if ! "$sid/nft" --version >/dev/null 2>&1; then
		rm -f "$sid/nft"
		touch "$sid/absent"
		echo "deps: no nft of Debian sid: its tests will be skipped" >&2
	fi
}

want=
after=:
need() { # need PACKAGE COMMAND
	command -v "$2" >/dev/null 2>&1 || [ -x "/usr/sbin/$2" ] || [ -x "/sbin/$2" ] || [ -e "$2" ] || want="$want $1"
}

need iproute2 ip
need nftables nft
need dnsmasq-base dnsmasq
case "${1:-test}" in
test)
	need udhcpc udhcpc
	need isc-dhcp-client dhclient
	need isc-dhcp-relay dhcrelay
	need dhcpcd-base dhcpcd
	need systemd /lib/systemd/systemd-networkd
	need dbus-daemon dbus-daemon
	need tcpdump tcpdump
	need ndisc6 rdisc6
	need bind9-dnsutils dig
	need bind9 named
	need bind9-utils dnssec-signzone
	need knot-dnsutils kdig
	need ldnsutils drill
	need unbound unbound
	need iputils-ping ping
	need curl curl
	need kea-admin perfdhcp
	need dnsperf dnsperf
	need iperf3 iperf3
	need tmux tmux
	need graphviz dot
	need prometheus promtool
	need util-linux unshare
	need qemu-system-x86 qemu-system-x86_64
	need ovmf /usr/share/ovmf/OVMF.fd
	need ipxe /usr/lib/ipxe/ipxe.efi
	need ipxe-qemu /usr/lib/ipxe/qemu/pxe-virtio.rom
	need atftp atftp
	need tftp-hpa tftp
	need busybox-static busybox
	need cpio cpio
	need xz-utils xz
	need kmod modinfo
	need dpkg dpkg-deb
	# One test is skipped without it, so it is unpacked only where that is easy.
	[ -x "$resolved" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 || after=unpack_resolved
	[ -x "$sid/nft" ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 || unpack_sid_nft
	;;
bench)
	need dnsperf dnsperf
	need kea-dhcp4-server kea-dhcp4
	need kea-admin perfdhcp
	need unbound unbound
	;;
esac
[ -n "$want" ] || [ $after != : ] || exit 0

if [ "$(id -u)" != 0 ]; then
	echo "deps: missing:$want; install them, or run this as root" >&2
	exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
	echo "deps: missing:$want; install the equivalent packages" >&2
	exit 1
fi
[ -z "$want" ] || echo "deps: installing$want"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Packages that are installed for a test must not start services on this host.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
	trap 'rm -f $policy' EXIT
fi
# shellcheck disable=SC2086
[ -z "$want" ] || apt-get install -y -qq --no-install-recommends $want
$after || echo "deps: no $resolved: its test will be skipped" >&2
