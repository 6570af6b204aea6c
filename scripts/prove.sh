#!/bin/sh
# Evidence for a lab: captures its twin in clear, then the lab, with the same canary, and keeps both in one bundle. Both have to be up. The twin is
# inventories/LAB-plaintext where there is one, else inventories/plaintext.   scripts/prove.sh LAB [arguments of ansible-playbook]
set -eu
cd "$(dirname "$0")/.."
lab=$1
shift
word=canary$(od -A n -N 8 -t x1 /dev/urandom | tr -d ' \n')

play() {
    inventory=$1
    shift
    ansible-playbook -i "inventories/$inventory" playbooks/prove.yml -e "mesh_capture_canary=$word" "$@"
}

twin=plaintext
if [ -d "inventories/${lab}-plaintext" ]; then
    twin=${lab}-plaintext
fi
play "$twin" "$@"
play "$lab" -e "mesh_prove_control=$PWD/artifacts/$twin" "$@"
