# Starts tcpdump and waits until it listens, or stops it and says what it missed. The arguments are environment
# variables MESH_CAPTURE_*. Every failure is one sentence on standard error.
set -eu

file=$MESH_CAPTURE_FILE
# Not beside the capture: where that fills the disk, the last words have to find room.
state=/run/mesh-capture-$(printf %s "$file" | cksum | cut -d ' ' -f 1)
log=$state.log
pid_file=$state.pid

fail() {
    echo "$1" >&2
    exit 1
}

running() {
    [ -s "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null
}

# Signals go to timeout, which passes them on to tcpdump and ends when it has ended.
end() {
    running || return 0
    kill -INT "$(cat "$pid_file")" 2>/dev/null || return 0
    for _ in $(seq 100); do
        running || return 0
        sleep 0.05
    done
    kill -KILL "$(cat "$pid_file")" 2>/dev/null || true
}

last_words() {
    grep -v '^tcpdump: listening on\|^$' "$log" 2>/dev/null | tail -n 1
}

# tcpdump goes on when the disk is full and says nothing, so what it counted is compared with what is there.
frames() {
    counted=$(tcpdump --count -r "$file" 2>/dev/null | sed -n 's/^\([0-9][0-9]*\) packet.*/\1/p')
    [ -n "$counted" ] || counted=$(tcpdump -n -q -t -r "$file" 2>/dev/null | wc -l)
    echo "$counted"
}

start() {
    command -v tcpdump >/dev/null || fail "tcpdump is not installed here: apt install tcpdump"
    [ "$(id -u)" = 0 ] || fail "capturing needs root here: become root, or capture where you are"
    [ "$MESH_CAPTURE_INTERFACE" = any ] || [ -e "/sys/class/net/$MESH_CAPTURE_INTERFACE" ] ||
        fail "there is no interface $MESH_CAPTURE_INTERFACE here, only: $(ls /sys/class/net | paste -s -d ' ')"
    end
    mkdir -p "$(dirname "$file")"
    rm -f "$file" "$log" "$pid_file"
    (
        ulimit -c 0 -f $((MESH_CAPTURE_MAX_MIB * 1024))
        exec setsid timeout --signal=INT "$MESH_CAPTURE_LIMIT" tcpdump -n -U -Z root -B 8192 -s 262144 \
            -i "$MESH_CAPTURE_INTERFACE" -w "$file" "$MESH_CAPTURE_FILTER"
    ) </dev/null >/dev/null 2>"$log" &
    echo $! >"$pid_file"
    for _ in $(seq 200); do
        running || fail "tcpdump does not start here: $(last_words)"
        [ -s "$file" ] && grep -q 'listening on' "$log" && exit 0
        sleep 0.05
    done
    end
    fail "tcpdump does not listen within 10 s here: $(last_words)"
}

stop() {
    running || fail "tcpdump ended before its time here: $(last_words). Is the capture over $MESH_CAPTURE_MAX_MIB MiB?"
    # What the kernel still holds reaches tcpdump within a second.
    sleep 1.1
    end
    captured=$(sed -n 's/^\([0-9][0-9]*\) packets\{0,1\} captured.*/\1/p' "$log")
    [ -n "$captured" ] || fail "tcpdump did not end well here: $(last_words). Is the disk full?"
    kept=$(frames)
    [ "$kept" = "$captured" ] || fail "tcpdump captured $captured packets here and the file holds $kept: is the disk full?"
    dropped=$(sed -n 's/^\([0-9][0-9]*\) packets\{0,1\} dropped by kernel.*/\1/p' "$log")
    [ "${dropped:-0}" = 0 ] || fail "the kernel dropped $dropped packets here, which nobody has seen: capture fewer ports"
    rm -f "$pid_file" "$log"
    echo "$captured packets"
}

case $MESH_CAPTURE_STEP in
start) start ;;
stop) stop ;;
abandon) end ;;
esac
