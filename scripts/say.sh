# Sourced by the other scripts: one voice, so that a reader sees what is done, by which step, and what to do when it fails.
# shellcheck shell=sh

say() {
    printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# apt_install PACKAGE...: from Debian, as root; on another system or as another user, one sentence that says what to run.
apt_install() {
    have apt-get || die "this system has no apt-get: install by hand: $*"
    [ "$(id -u)" -eq 0 ] || die "not root: run 'sudo apt-get install --no-install-recommends $*', and this again"
    if [ -z "${apt_is_fresh:-}" ]; then
        say "asking Debian for its package lists"
        apt-get update -qq || die "apt-get update failed: check the network and /etc/apt, and run this again"
        apt_is_fresh=yes
    fi
    say "installing from Debian: $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >/dev/null ||
        die "apt-get could not install $*: its own words are above"
}

# install_programs TABLE: lines of a program and the Debian package that has it; what is there already is left alone.
install_programs() {
    missing=$(printf '%s\n' "$1" | while read -r program package; do
        [ -z "$program" ] || have "$program" || printf '%s ' "$package"
    done)
    # shellcheck disable=SC2086
    [ -z "$missing" ] || apt_install $missing
}
