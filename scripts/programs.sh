#!/bin/sh
# Installs the foreign programs that the tests have on the other end. What is there already is left alone.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

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
