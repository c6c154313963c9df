#!/bin/sh
# boot-check.sh: runs inside the machine that boot-test.sh boots.
exec >/result 2>&1
failed=0
ask() { # ask WHAT COMMAND
	if out=$(sh -c "$2" 2>&1); then echo "ok    $1"; else
		failed=1
		printf 'FAIL  %s: %s\n' "$1" "$out"
	fi
}
pid() { systemctl show vnetd -p MainPID --value; }

systemctl --version | head -1
ask "starts" "systemctl enable --now vnetd.socket vnetd-ro.socket vnetd-tap.socket vnetd.service"
ask "reports its networks in the status text" "systemctl show vnetd -p StatusText | grep -q '1 networks ready'"
ask "runs as its own user" "grep -q '^Uid:[[:space:]]*'$(id -u vnetd) /proc/$(pid)/status"
ask "has three capabilities" "grep -q 'CapEff:.*0000000000003400' /proc/$(pid)/status && grep -q 'CapBnd:.*0000000000003400' /proc/$(pid)/status"
ask "the admin group's socket" "stat -c %a:%G /run/vnetd/vnetd.sock | grep -qx 660:vnetd-admin"
ask "the tap broker socket is open to all users" "stat -c %a /run/vnetd/tap.sock | grep -qx 666"
ask "the default network" "vnetctl network list | grep -q 'default.*ready.*virbr0'"
ask "rules" "nft list table inet vnetd"
mkdir -p /srv/boot /root/boot
echo "it boots" >/srv/boot/hello
ask "serves boot files from /srv" "vnetctl network set default 'subnets[0].dhcp.boot.root=/srv/boot'"
ask "by HTTP" "bash -c 'exec 3<>/dev/tcp/192.168.122.1/80; printf \"GET /hello HTTP/1.0\r\n\r\n\" >&3; grep -q \"it boots\" <&3'"
ask "and not from /root" "vnetctl network set default 'subnets[0].dhcp.boot.root=/root/boot' 2>&1 | grep -q 'hides /root'"
usermod -aG vnetd-admin games
ask "the admin group may" "su games -s /bin/sh -c 'vnetctl network stop default && vnetctl network start default'"
ask "others may read" "su nobody -s /bin/sh -c 'vnetctl network list'"
ask "others may not change" "! su nobody -s /bin/sh -c 'vnetctl network stop default'"
vnetctl network set default 'access.users[0]=nobody'
# In a container no udev sets the mode of devices; these are the modes of udev's rules and of vnetd's.
chmod 0666 /dev/net/tun
ask "a named user gets a tap" "su nobody -s /bin/sh -c 'vnetctl run --network default -- test -c /proc/self/fd/3'"
ip link add eno1 type veth peer name lan1 && ip link set eno1 up
echo '{name: lan, mode: direct, direct: {uplinks: [eno1]}}' | vnetctl network create -f -
device=$(vnetctl port create lan --link lan0 --owner nobody | cut -d' ' -f2)
mknod -m 0660 "$device" c $(tr : ' ' </sys/class/macvtap/$(basename "$device")/dev) && chgrp vnetd "$device"
ask "and a macvtap" "su nobody -s /bin/sh -c 'vnetctl run --port lan0 -- test -c /proc/self/fd/3'"
vnetctl network delete --force lan
ask "macvtap is loaded, for the unit to allow it" "grep -qx macvtap /usr/lib/modules-load.d/vnetd.conf && systemctl show vnetd -p DeviceAllow | grep -q 'char-macvtap rw'"
ask "udev gives it to vnetd" "grep -q 'SUBSYSTEM==\"macvtap\", GROUP=\"vnetd\"' /usr/lib/udev/rules.d/*vnetd.rules"
ask "others get none" "! su daemon -s /bin/sh -c 'vnetctl run --network default -- true'"
if [ "$(systemctl --version | sed -n 's/^systemd \([0-9]*\).*/\1/p')" -ge 253 ]; then
	ask "reloads" "systemctl reload vnetd"
fi
index=$(cat /sys/class/net/virbr0/ifindex)
kill -9 "$(pid)"
sleep 2
ask "is restarted after SIGKILL" "systemctl show vnetd -p ActiveState,NRestarts | grep -q NRestarts=1 && vnetctl status"
ask "and the bridge stayed" "test $(cat /sys/class/net/virbr0/ifindex) = $index"
ask "restarts" "systemctl restart vnetd && vnetctl status"
ask "stops, and networks stay" "systemctl stop vnetd && ip link show virbr0"
ask "starts on demand (socket activation)" "vnetctl status"
[ $failed = 0 ] && echo "all well"
systemctl poweroff
