# shellcheck shell=bash
# Sourced by tests that need a local cloud: `. tests/lib/dev.sh NAME`, in the root of the repository.
# Starts `tidegate dev`, stops every program that the test started, and has the functions to skip and to fail.

test_name=$1
work=$(mktemp -d) # removed at the end
data=$work/.tidegate
started=()

skip() { # reason
    echo "skipped: $test_name: $1"
    # CI has every needed tool. There a skip would be a check that cannot fail.
    [ -z "${CI:-}" ] || exit 1
    exit 0
}

fail() { # reason
    echo "failed: $test_name: $1" >&2
    tail -n 30 "$work"/*.log >&2 || true
    exit 1
}

needs() { # program…
    local program
    for program in "$@"; do command -v "$program" >/dev/null || skip "there is no $program"; done
}

pip_install() { # folder of the environment, program that it must have, package…
    command -v python3 >/dev/null || skip "there is no python3 to install it with"
    [ -x "$1/bin/$2" ] || { python3 -m venv "$1" && "$1/bin/pip" install --quiet "${@:3}"; } ||
        skip "it cannot be installed from PyPI"
}

in_background() { # log, command…: runs until the test ends
    "${@:2}" >"$1" 2>&1 &
    started+=($!)
}

stop() { # process: with its children
    pkill -TERM -P "$1" 2>/dev/null || true
    kill "$1" 2>/dev/null || true
    # SWUpdate sometimes waits for a child that has ended.
    wait_until 10 bash -c "! kill -0 $1" || { pkill -KILL -P "$1"; kill -KILL "$1"; } 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

stop_started() {
    local process
    for process in "${started[@]}"; do stop "$process"; done
    rm -rf "$work"
}
trap stop_started EXIT

wait_until() { # seconds, command…: fails if the command does not succeed in time
    local end=$((SECONDS + $1))
    until "${@:2}" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}

start_dev() { # port
    needs curl
    [ -n "${TIDEGATE_BIN:-}" ] || cargo build --quiet --bin tidegate
    bin=${TIDEGATE_BIN:-$PWD/target/debug/tidegate}
    api=http://127.0.0.1:$1
    in_background "$work/dev.log" "$bin" dev --listen "127.0.0.1:$1" --data "$data"
    wait_until 30 curl -sf "$api/healthz" || fail "tidegate dev did not start"
}

tidegate() { # command…: as the operator of the product lamp
    "$bin" --api "$api" --key-file "$data/operator.key" --product lamp "$@"
}
