#!/bin/sh
# What encryption costs on your own lab: the twin in clear (inventories/plaintext) and the lab are measured in turns, and reported
# side by side. Both have to be up.   scripts/overhead.sh LAB ROUNDS [arguments of ansible-playbook]
set -eu
cd "$(dirname "$0")/.."
lab=$1
rounds=$2
shift 2
out=artifacts/$lab/overhead
rm -rf "$out"
mkdir -p "$out"

play() {
    inventory=$1
    file=$2
    shift 2
    ansible-playbook -i "inventories/$inventory" playbooks/overhead.yml -e "mesh_overhead_file=$PWD/$file" "$@"
}

round=1
while [ "$round" -le "$rounds" ]; do
    play plaintext "$out/clear-$round.json" "$@"
    play "$lab" "$out/sealed-$round.json" "$@"
    round=$((round + 1))
done

set --
for file in "$out"/clear-*.json "$out"/sealed-*.json; do
    set -- "$@" -samples "$file"
done
python -m meshnode overhead "$@" \
    -base 'API over the network, encrypted=API over the network, in clear' \
    -base 'a read through server RPC, encrypted=a read through server RPC, in clear' \
    -html "$out/report.html" -markdown "$out/report.md" -json-file "$out/samples.json"
echo
echo "The page with plots: $out/report.html"
