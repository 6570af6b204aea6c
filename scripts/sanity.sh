#!/bin/sh
# Runs `ansible-test sanity` over the collection: all tests that need no container and no other program.
#
#   scripts/sanity.sh                        the tests below
#   scripts/sanity.sh --test validate-modules   others, or options of ansible-test
#
# ansible-test wants a tree that ends in ansible_collections/meshnode/lab, as its own Git repository, and fetches pip from
# ci-files.testing.ansible.com. So a copy of what Git has is tested, with pip from the package index in a home of its own.
set -eu
cd "$(dirname "$0")/.."
. scripts/say.sh

tests='action-plugin-docs ansible-doc compile empty-init import line-endings no-assert no-get-exception no-illegal-filenames
no-smart-quotes pep8 replace-urlopen runtime-metadata shebang symlinks use-argspec-type-path use-compat-six validate-modules yamllint'
pip_version=24.2 # what ansible-test asks for

bin=$PWD/.venv/bin
[ -x "$bin/ansible-test" ] || die "$bin/ansible-test is not there: run 'make env'"
have git || die "git is not installed: install it (Debian: apt-get install git)"

home=$PWD/.cache/sanity
mkdir -p "$home/.ansible/test/cache"
wheel=$home/pip-$pip_version-py3-none-any.whl
if [ ! -f "$wheel" ]; then
    say "fetching pip $pip_version, which ansible-test makes its environments with"
    "$bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$home" "pip==$pip_version" ||
        die "pip $pip_version could not be fetched: check the network and pip's index (pip config list)"
fi
cat >"$home/.ansible/test/cache/get_pip_$(printf %s "$pip_version" | tr . _).py" <<EOF
import os, subprocess, sys
os.environ.pop("GET_PIP", None)
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "$wheel/pip", "install", "--quiet", "--no-cache-dir", *words]))
EOF

# The same path on each run: the environments that ansible-test makes are kept in it by what they hold.
tree=$home/ansible_collections/meshnode/lab
rm -rf "$tree"
mkdir -p "$tree"
git ls-files --cached --others --exclude-standard -- \
    meta plugins playbooks roles galaxy.yml README.md CHANGELOG.md LICENSE |
    while read -r file; do [ ! -e "$file" ] || cp --parents --no-dereference "$file" "$tree"; done
git -C "$tree" init --quiet
echo /tests/output/ >"$tree/.gitignore"

[ "$#" -gt 0 ] || for name in $tests; do set -- "$@" --test "$name"; done
say "ansible-test sanity over $(find "$tree" -type f -not -path '*/.git/*' | wc -l) files"
cd "$tree"
HOME=$home PATH=$bin:$PATH exec "$bin/ansible-test" sanity --venv --python "$("$bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" "$@"
