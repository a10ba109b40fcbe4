#!/usr/bin/env bash
# Counts the instructions of whole decisions, ours and with evalexpr's trees, and of having a catalog in memory. Unlike
# times, they are the same on a busy machine.
#
#   benches/instructions.sh [CASE UPDATES]...
#
# Each case runs under callgrind with two numbers of iterations; the difference, divided, is one piece of work without
# start-up and preparation. Valgrind does not offer the SHA instructions of recent processors, so each cohort costs more
# here than it does in the field.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "skipped: valgrind is not installed" >&2
    exit 0
fi

# The profile of the criterion benchmarks; cargo prints the path, so no target directory is assumed.
binary=$(cargo build --quiet --profile bench -p tidegate-benches --bin tidegate-benches --message-format json |
    sed -n 's/.*"executable":"\([^"]*tidegate-benches\)".*/\1/p')
# A cargo that failed has said why.
[ -n "$binary" ] || exit 1

instructions() { # case updates iterations
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# As few as the cost of one allows.
iterations() { # case updates
    case "$1 $2" in
    ours*) echo 10 210 ;;
    "theirs 10") echo 10 110 ;;
    load* | "theirs 100") echo 2 12 ;;
    "theirs 1000") echo 1 5 ;;
    *) echo 1 2 ;;
    esac
}

row() { # case updates
    local few many counted more
    read -r few many < <(iterations "$1" "$2")
    counted=$(instructions "$1" "$2" "$few")
    more=$(instructions "$1" "$2" "$many")
    printf '%-16s %7s %14s\n' "$1" "$2" "$(((more - counted) / (many - few)))"
}

if [ $# -eq 0 ]; then
    for updates in 10 100 1000 10000; do
        set -- "$@" ours "$updates" ours-up-to-date "$updates" theirs "$updates"
    done
    set -- "$@" load 1000 parse 1000 load 10000 parse 10000
fi
printf '%-16s %7s %14s\n' case updates instructions
while [ $# -ge 2 ]; do
    row "$1" "$2"
    shift 2
done
