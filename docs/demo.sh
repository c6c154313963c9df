#!/bin/sh
# The README's tour, in its own network namespaces: a host with an uplink to a simulated
# internet, and a guest. The network of this machine is not changed, and the namespaces
# have no names: they are removed with this script.
set -eu
bin=$(cd "$(dirname "$0")/../bin" && pwd)
if [ "${1:-}" != inside ]; then
	exec unshare --net --mount --pid --fork --kill-child "$0" inside
fi
mount -t proc proc /proc
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
export VNETD_RUNTIME_DIR="$dir/run" PATH="$bin:/usr/sbin:/sbin:$PATH"

# The internet and the guest are namespaces, each kept open by a sleeping process.
hold() {
	unshare --net sleep 600 &
	held=$!
	until [ "$(readlink /proc/$held/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
}
hold
internet=$held
hold
guest=$held
in_guest() { nsenter -t "$guest" -n "$@"; }
ip link set lo up
ip link add up0 type veth peer name eth0 netns "$internet"
ip addr add 203.0.113.2/24 dev up0
ip link set up0 up
nsenter -t "$internet" -n sh -c 'ip link set lo up; ip addr add 203.0.113.1/24 dev eth0; ip link set eth0 up'
until ip route add default via 203.0.113.1 2>/dev/null; do sleep 0.05; done

show() {
	printf '$ %s\n' "$*"
	"$@" 2>&1
	echo
}
printf 'defaultNetwork: true\nresolvConf: %s/resolv.conf\n' "$dir" >"$dir/vnetd.yaml"
echo "nameserver 203.0.113.1" >"$dir/resolv.conf"
vnetd --config "$dir/vnetd.yaml" --state-dir "$dir/state" --runtime-dir "$dir/run" 2>"$dir/log" &
until vnetctl status >/dev/null 2>&1; do sleep 0.05; done

show vnetctl network list

# A guest is an interface on the bridge, such as QEMU's tap.
ip link add vnet0 type veth peer name eth0 netns "$guest"
ip link set vnet0 master virbr0 up
nsenter -t "$guest" -n ip link set lo up
nsenter -t "$guest" -n ip link set eth0 address 52:54:00:12:34:56 up
printf '#!/bin/sh\n[ "$1" != bound ] || { ip addr add $ip/$mask dev $interface; ip route add default via $router; }\n' >"$dir/script"
chmod +x "$dir/script"
in_guest udhcpc -i eth0 -q -n -s "$dir/script" -x hostname:web >/dev/null 2>&1
show vnetctl lease list
show vnetctl lease wait web
:
show in_guest ping -c 1 203.0.113.1 | sed 's/in_guest //'
cat >"$dir/lab.yaml" <<'YAML'
name: lab
mode: nat
subnet:
  - address: 10.20.0.1/24
    dhcp:
      ranges: [{start: 10.20.0.100, end: 10.20.1.200}]
YAML
cd "$dir"
show cat lab.yaml
show vnetctl network create -f lab.yaml || true
sed -i 's/subnet:/subnets:/' lab.yaml
show vnetctl network create -f lab.yaml || true
sed -i 's/10.20.1.200/10.20.0.200/' lab.yaml
show vnetctl network create -f lab.yaml
show vnetctl network set lab dns.domain=lab.test
show vnetctl network show lab
show vnetctl status
show vnetctl network delete lab
