#!/bin/sh
# Turns a Debian base into a node: runs once, inside `docker build`.
set -eu

packages=$(sed 's/#.*//' "$(dirname "$0")/packages.txt" | xargs)

# A base made with mmdebstrap has every package already, and then this needs no network; a pulled one installs them here.
# shellcheck disable=SC2086
if ! dpkg-query --show --showformat='' $packages 2>/dev/null; then
    echo "Installing the node's packages into the given base image"
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $packages
    apt-get clean
    rm -rf /var/lib/apt/lists/*
fi

# Nothing starts that was not asked for: no consoles, no periodic jobs, no daemon that a package brought along.
rm -f /etc/systemd/system/*.wants/*
for unit in console-getty.service getty.target systemd-logind.service systemd-udevd.service systemd-firstboot.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer motd-news.timer; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
systemctl set-default multi-user.target >/dev/null
systemctl disable etcd.service ssh.service ssh.socket serf.service 2>/dev/null || true

# No two nodes share an identity: each makes its own when it first needs one.
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id
: > /etc/machine-id

# The journal of a node that lives for minutes needs no space to grow.
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nSystemMaxUse=64M\nRateLimitBurst=0\n' > /etc/systemd/journald.conf.d/meshnode.conf

id meshnode >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir /var/lib/meshnode --no-create-home --shell /usr/sbin/nologin meshnode
