#!/bin/sh
# Makes .venv with everything that the lab, the tests and the linters need; done in no time when nothing changed.
#
# PYTHON chooses the interpreter (3.11 to 3.13). The environment is keyed by a digest of pyproject.toml.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if have "$candidate" && "$candidate" -c "$supported" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python 3.11 to 3.13 here: install one (Debian: apt-get install python3), or name it with PYTHON=/path/to/python3.11"
}

digest=$(sha256sum pyproject.toml | cut -c1-16)
if [ -x .venv/bin/python ] && [ "$(cat .venv/.digest 2>/dev/null)" = "$digest" ]; then
    exit 0
fi

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c "$supported" 2>/dev/null; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        say "$python can't make environments yet"
        apt_install "$(basename "$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')")-venv"
    fi
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv || die "$python could not make .venv: its own words are above"
fi

say "installing meshnode with its lab and its tests into .venv (about a minute the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[lab,dev,etcd,vault,sdk]' ||
    die "pip could not install: check the network and pip's index (pip config list), and run this again"
printf '%s\n' "$digest" > .venv/.digest
say "the environment is ready"
