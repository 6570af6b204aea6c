#!/bin/sh
# Has a container engine running, and the programs that the lab needs around it. What is there already is left alone.
#
# MESH_BASE_IMAGE: a Debian image that can be pulled; then mmdebstrap is not needed.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

log=/var/log/meshnode-dockerd.log
wait_timeout=60
# Systemd in a container takes five, each Envoy some more, all of them from root's share: 128, the kernel's own, is 20 containers.
inotify=fs.inotify.max_user_instances
inotify_least=1024

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

# Another user is told by the lab itself, when it has more nodes than that is enough for.
raise_inotify() {
    if [ -n "${DOCKER_HOST:-}" ] || ! have sysctl || [ "$(id -u)" -ne 0 ]; then
        return
    fi
    found=$(sysctl -n "$inotify" 2>/dev/null) || return 0
    if [ "$found" -ge "$inotify_least" ]; then
        return
    fi
    if sysctl -qw "$inotify=$inotify_least" >/dev/null 2>&1; then
        say "$inotify was $found, which is little for many containers: it is $inotify_least until this machine starts again"
    else
        say "$inotify is $found, little for many containers, and can't be set here: run 'sysctl -w $inotify=$inotify_least' on the machine below"
    fi
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

raise_inotify
install_programs 'ssh-keygen openssh-client'
[ -n "${MESH_BASE_IMAGE:-}" ] || install_programs 'mmdebstrap mmdebstrap'
