#!/usr/bin/env bash
# Counts the instructions of one decision. Unlike times, they are the same on a busy machine.
#
# Each case runs under callgrind with two numbers of iterations; the difference, divided, is one
# decision without start-up and without building the catalog. Valgrind does not offer the SHA
# instructions of recent processors, so each cohort costs more here than it does in the field.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "skipped: valgrind is not installed"
    exit 0
fi

# The profile of the criterion benchmarks; cargo prints the path, so no target directory is assumed.
binary=$(cargo build --quiet --profile bench -p tidegate-core --example decision_instructions --message-format json |
    sed -n 's/.*"executable":"\([^"]*decision_instructions\)".*/\1/p')

instructions() { # case updates iterations
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

row() { # case updates few many
    local few many
    few=$(instructions "$1" "$2" "$3")
    many=$(instructions "$1" "$2" "$4")
    printf '%-18s %8s %16s\n' "$1" "$2" "$(((many - few) / ($4 - $3)))"
}

printf '%-18s %8s %16s\n' case updates instructions
for case in first_matches none_is_newer none_is_targeted none_is_in_phase; do
    row "$case" 10 10 110
    row "$case" 1000 2 12
    row "$case" 10000 1 3
done
row policy_compile 1 10 110
row policy_evaluate 1 10 110
