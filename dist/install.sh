#!/bin/sh
# install.sh DESTDIR PREFIX: implements `make install`. With an empty DESTDIR it also
# creates the user and the groups, and reloads systemd.
set -eu
dest=$1 prefix=$2
units=/lib/systemd/system

install -D -m 0755 bin/vnetd "$dest$prefix/sbin/vnetd"
install -D -m 0755 bin/vnetctl "$dest$prefix/bin/vnetctl"
install -D -m 0755 bin/vnet-bridge-helper "$dest$prefix/libexec/vnet-bridge-helper"
for unit in vnetd.service vnetd.socket vnetd-ro.socket vnetd-tap.socket; do
	install -d "$dest$units"
	sed "s|^ExecStart=/usr/sbin/|ExecStart=$prefix/sbin/|" "dist/systemd/$unit" >"$dest$units/$unit"
	chmod 0644 "$dest$units/$unit"
done
install -D -m 0644 dist/systemd/vnetd.sysusers "$dest/usr/lib/sysusers.d/vnetd.conf"
install -D -m 0644 dist/systemd/vnetd.tmpfiles "$dest/usr/lib/tmpfiles.d/vnetd.conf"
install -D -m 0644 dist/systemd/vnetd.modules "$dest/usr/lib/modules-load.d/vnetd.conf"
install -D -m 0644 dist/systemd/vnetd.rules "$dest/usr/lib/udev/rules.d/60-vnetd.rules"
[ -e "$dest/etc/vnetd/vnetd.yaml" ] || install -D -m 0644 dist/vnetd.yaml "$dest/etc/vnetd/vnetd.yaml"

share=$dest$prefix/share
install -d "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
bin/vnetctl completion bash >"$share/bash-completion/completions/vnetctl"
bin/vnetctl completion zsh >"$share/zsh/site-functions/_vnetctl"
bin/vnetctl completion fish >"$share/fish/vendor_completions.d/vnetctl.fish"

[ -z "$dest" ] || exit 0
if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers /usr/lib/sysusers.d/vnetd.conf
else
	getent group vnetd-admin >/dev/null || groupadd --system vnetd-admin
	getent passwd vnetd >/dev/null || useradd --system --user-group --home-dir /var/lib/vnetd --no-create-home --shell /usr/sbin/nologin vnetd
fi
if [ -d /run/systemd/system ]; then
	systemd-tmpfiles --create /usr/lib/tmpfiles.d/vnetd.conf
	# Left by "make run"; systemd-tmpfiles does not change the owner of files of root in a
	# directory of another user.
	[ ! -f /run/vnetd/members.json ] || chown -h vnetd:vnetd /run/vnetd/members.json
	systemctl daemon-reload
	modprobe -a tun macvtap || true
	udevadm control --reload || true
fi
echo "Installed. Start vnetd now and at boot:"
echo "  systemctl enable --now vnetd"
echo "It declares the network \"default\" when it first starts. To let a user change networks:"
echo "  usermod -aG vnetd-admin USER"
