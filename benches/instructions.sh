#!/usr/bin/env bash
# Counts the instructions of whole decisions, by Tidegate and by evalexpr's trees, and of loading a catalog. Unlike times,
# instruction counts do not change on a busy machine.
#
#   benches/instructions.sh [CASE UPDATES]...
#
# Each case runs twice under callgrind, with different numbers of iterations. The difference of the counts divided by the
# difference of the iterations is the count of one iteration, without start-up and preparation. Valgrind does not support
# the SHA instructions of recent processors. So a cohort costs more here than on a real processor.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
    echo "skipped: valgrind is not installed" >&2
    exit 0
fi

# The profile of the criterion benchmarks; cargo prints the path, so no target directory is assumed.
binary=$(cargo build --quiet --profile bench -p tidegate-benches --bin tidegate-benches --message-format json |
    sed -n 's/.*"executable":"\([^"]*tidegate-benches\)".*/\1/p')
# cargo has already printed the error.
[ -n "$binary" ] || exit 1

instructions() { # case updates iterations
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$@" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# Two numbers of iterations: fewer for cases that take long. The preparation differs by some 100,000 instructions from run
# to run, because maps have random seeds. Divided by 2,000 iterations that is nothing.
iterations() { # case updates
    case "$1 $2" in
    ours*) echo 10 2010 ;;
    "theirs 10") echo 10 110 ;;
    load*) echo 2 102 ;;
    "theirs 100") echo 2 12 ;;
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
