#!/bin/sh
# Has a container engine running, and the programs that the lab needs around it. What is there already is left alone.
#
# MESH_BASE_IMAGE: a Debian image that can be pulled; then mmdebstrap is not needed.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

log=/var/log/meshnode-dockerd.log
wait_timeout=60

running() {
    docker info >/dev/null 2>&1
}

install_engine() {
    have dockerd || apt_install docker.io
    have docker || apt_install docker-cli # a package of its own since Debian 13
    have iptables || apt_install iptables # the engine's networks are made with it
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        say "starting the engine with systemd"
        systemctl start docker || true
    else
        # A machine without an init that mounts it has no cgroup tree yet.
        if ! mountpoint -q /sys/fs/cgroup; then
            have cgroupfs-mount || apt_install cgroupfs-mount
            cgroupfs-mount
        fi
        say "starting the engine with its init script"
        if ! service docker start >/dev/null 2>&1 || ! wait_for_engine 10; then
            say "starting dockerd itself; its log is $log"
            setsid dockerd >"$log" 2>&1 </dev/null &
        fi
    fi
}

wait_for_engine() {
    waited=0
    until running; do
        [ "$waited" -lt "$1" ] || return 1
        sleep 1
        waited=$((waited + 1))
    done
}

if ! running; then
    if [ -n "${DOCKER_HOST:-}" ]; then
        die "the engine at DOCKER_HOST=$DOCKER_HOST does not answer: start it, or unset DOCKER_HOST"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if have dockerd && [ -S /run/docker.sock ]; then
            die "this user may not use the engine: run 'sudo usermod -aG docker $(id -un)' and log in again, or run this as root"
        fi
        die "no container engine answers and this is not root: run 'sudo scripts/engine.sh', and this again"
    fi
    install_engine
    running || start_engine
    if ! wait_for_engine "$wait_timeout"; then
        for file in "$log" /var/log/docker.log; do
            [ ! -s "$file" ] || tail -n 15 "$file" >&2
        done
        die "the engine did not start within $wait_timeout s: its last lines are above, or in 'journalctl -u docker'"
    fi
    say "the engine runs: $(docker version --format '{{.Server.Version}}')"
fi

install_programs 'ssh-keygen openssh-client'
[ -n "${MESH_BASE_IMAGE:-}" ] || install_programs 'mmdebstrap mmdebstrap'
