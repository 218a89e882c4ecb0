#!/bin/bash
# Runs every fuzz target for FOR seconds (default 60), two at a time, from the kept corpus. A finding
# fails the run; its input stays in fuzz/artifacts/TARGET. ONLY="apply frame" runs some of them, BUILD=1
# only builds.
#
# Built without a sanitizer: all code here is safe Rust (unsafe is forbidden in our crates), so what
# could be found are panics, overflows, endless loops and memory, which libFuzzer sees without one;
# the address sanitizer doubles the time of the build.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${FOR:-60}
targets=${ONLY:-$(cd corpus && ls)}
# cargo fuzz needs flags that a stable compiler keeps for itself.
RUSTC_BOOTSTRAP=1 ${CARGO:-cargo} fuzz build --sanitizer none --fuzz-dir . door
[ -z "${BUILD:-}" ] || exit 0
door=$(echo target/*/release/door)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

one() { # target
    mkdir -p "$work/$1" "artifacts/$1"
    local status=0
    HOLDFAST_TARGET=$1 "$door" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 \
        -max_len=65536 -artifact_prefix="artifacts/$1/" -print_final_stats=1 \
        "$work/$1" "corpus/$1" > "$work/$1.log" 2>&1 || status=$?
    local count
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$1.log")
    if [ "$status" = 0 ]; then
        echo "fuzz $1: ${count:-?} inputs, nothing found"
    else
        echo "fuzz $1: FOUND SOMETHING after ${count:-?} inputs; the input is in fuzz/artifacts/$1:"
        grep -aE 'panicked at|ERROR|SUMMARY' -A2 "$work/$1.log" | head -20
        return 1
    fi
    # KEEP=1 takes into the kept corpus, of what adds coverage and is short, forty from short to long.
    if [ -n "${KEEP:-}" ]; then
        mkdir -p "$work/min/$1"
        HOLDFAST_TARGET=$1 "$door" -merge=1 -max_len=1500 "$work/min/$1" "corpus/$1" "$work/$1" \
            > /dev/null 2>&1
        local found
        found=$(ls -Sr "$work/min/$1")
        echo "$found" | awk -v all="$(echo "$found" | wc -l)" 'NR % (int(all / 40) + 1) == 0' |
            while read -r file; do cp "$work/min/$1/$file" "corpus/$1/"; done
    fi
}
export -f one
export seconds door work KEEP=${KEEP:-}
echo "$targets" | tr ' ' '\n' | xargs -P 2 -I{} bash -c 'one {}'
