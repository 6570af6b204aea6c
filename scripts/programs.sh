#!/bin/sh
# Installs the foreign programs that the tests have on the other end; with the argument bench those that the benchmarks
# stand beside. What is there already is left alone.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

if [ "${1:-}" = bench ]; then
    install_programs '
haproxy haproxy
nginx nginx
wrk wrk
'
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || apt_install libnginx-mod-stream
    exit
fi

install_programs '
chromium chromium
curl curl
dig bind9-dnsutils
etcd etcd-server
etcdctl etcd-client
faketime faketime
ip iproute2
nc netcat-openbsd
openssl openssl
serf serf
socat socat
ssh openssh-client
tcpdump tcpdump
tshark tshark
'

# The driver of the browser's tests is linked to it, and Chromium's package doesn't bring it.
/sbin/ldconfig -p | grep -q 'libatomic\.so\.1' || apt_install libatomic1
