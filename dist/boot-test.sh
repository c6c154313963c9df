#!/bin/sh
# boot-test.sh [SUITE...]: boots a real systemd of each Debian release (trixie and
# bookworm) with vnetd installed, and runs boot-check.sh in it. Needs root, debootstrap
# and systemd-nspawn; the machine has its own network, and is removed at the end.
set -eu
cd "$(dirname "$0")/.."
cache=/var/cache/vnetd-test/boot
need() { command -v "$1" >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2" >/dev/null; }; }
need debootstrap debootstrap
need systemd-nspawn systemd-container

boot() { # boot SUITE: the answers, on standard output
	base=$cache/$1 root=$(mktemp -d "$cache/$1.XXXXXX")
	trap 'rm -rf "$root"' EXIT
	[ -e "$base/etc/debian_version" ] || debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,nftables "$1" "$base" >/dev/null
	cp -a "$base/." "$root"
	make -s install DESTDIR="$root" >/dev/null
	chroot "$root" systemd-sysusers 2>/dev/null
	install -m 0755 dist/boot-check.sh "$root/check.sh"
	printf '[Unit]\nAfter=multi-user.target\n[Service]\nType=oneshot\nExecStart=/check.sh\n' >"$root/etc/systemd/system/check.service"
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	ln -s ../check.service "$root/etc/systemd/system/multi-user.target.wants/"
	timeout 120 systemd-nspawn -q -b --register=no --keep-unit --private-network -D "$root" </dev/null >"$root/console" 2>&1 || true
	[ -s "$root/result" ] || cat "$root/console"
	cat "$root/result" 2>/dev/null || true
	rm -rf "$root"
	trap - EXIT
}

mkdir -p "$cache"
failed=0
for suite in ${*:-trixie bookworm}; do
	out=$(boot "$suite")
	echo "== $suite"
	echo "$out"
	case "$out" in *"all well"*) ;; *) failed=1 ;; esac
done
exit $failed
