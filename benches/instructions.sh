#!/usr/bin/env bash
# Counts the instructions of whole decisions, ours and with evalexpr's trees, and of having a catalog in memory. Unlike
# times, they are the same on a busy machine.
#
#   benches/instructions.sh [--json]
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

instructions() { # case updates iterations
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

row() { # case updates few many
    local few many
    few=$(instructions "$1" "$2" "$3")
    many=$(instructions "$1" "$2" "$4")
    printf '%-16s %7s %14s\n' "$1" "$2" "$(((many - few) / ($4 - $3)))"
}

printf '%-16s %7s %14s\n' case updates instructions
for updates in 10 100 1000 10000; do
    row ours "$updates" 10 210
    row ours-up-to-date "$updates" 10 210
done
row theirs 10 10 110
row theirs 100 2 12
row theirs 1000 1 5
row theirs 10000 1 2
for updates in 1000 10000; do
    row load "$updates" 2 12
    row parse "$updates" 1 2
done
