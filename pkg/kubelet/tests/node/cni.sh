#!/bin/sh
# A pod network of the smallest kind: a veth pair and a route per pod.
set -e
exec 2>>"${0%/*}/log"
set -x
enter() { nsenter --net="$CNI_NETNS" "$@"; }
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}' ;;
ADD)
    if [ "${0##*/}" = loopback ]; then
        enter ip link set lo up
        echo '{"cniVersion":"0.4.0","interfaces":[{"name":"lo","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"version":"4","interface":0,"address":"127.0.0.1/8"}]}'
        exit 0
    fi
    counter="${0%/*}/counter"
    exec 9>"$counter.lock"
    flock 9
    number=$(($(cat "$counter" 2>/dev/null || echo 1) + 1))
    echo "$number" >"$counter"
    flock -u 9
    ip link add "v$number" type veth peer name eth0 netns "$CNI_NETNS"
    ip addr add 10.88.0.1/32 dev "v$number"
    ip link set "v$number" up
    ip route add "10.88.0.$number/32" dev "v$number"
    enter ip addr add "10.88.0.$number/32" dev eth0
    enter ip link set eth0 up
    enter ip route add 10.88.0.1/32 dev eth0
    echo '{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"version":"4","interface":0,"address":"10.88.0.'"$number"'/32"}]}'
    ;;
esac
