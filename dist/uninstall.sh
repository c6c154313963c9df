#!/bin/sh
# uninstall.sh DESTDIR PREFIX: removes the files of install.sh. Active networks,
# definitions, leases and /etc/vnetd are kept.
set -eu
dest=$1 prefix=$2

if [ -z "$dest" ] && [ -d /run/systemd/system ]; then
	systemctl disable --now vnetd.service vnetd.socket vnetd-ro.socket vnetd-tap.socket || true
fi
rm -f "$dest$prefix/sbin/vnetd" "$dest$prefix/bin/vnetctl" \
	"$dest/lib/systemd/system/vnetd.service" "$dest/lib/systemd/system/vnetd.socket" \
	"$dest/lib/systemd/system/vnetd-ro.socket" "$dest/usr/lib/sysusers.d/vnetd.conf" \
	"$dest/lib/systemd/system/vnetd-tap.socket" "$dest/usr/lib/modules-load.d/vnetd.conf" \
	"$dest/usr/lib/udev/rules.d/60-vnetd.rules" "$dest$prefix/libexec/vnet-bridge-helper" \
	"$dest/usr/lib/tmpfiles.d/vnetd.conf" \
	"$dest$prefix/share/bash-completion/completions/vnetctl" \
	"$dest$prefix/share/zsh/site-functions/_vnetctl" \
	"$dest$prefix/share/fish/vendor_completions.d/vnetctl.fish"
[ -n "$dest" ] || [ ! -d /run/systemd/system ] || systemctl daemon-reload
echo "Removed. Kept: /var/lib/vnetd (definitions and leases), /etc/vnetd, and the active networks."
