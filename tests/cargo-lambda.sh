#!/usr/bin/env bash
# The README's cargo-lambda commands, run as they stand there: the functions under `cargo lambda
# watch`, against the local cloud of `tidegate dev`. Installs cargo-lambda from PyPI where it can.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: cargo-lambda: $1"
    # CI has Python and PyPI: there a skip would be a check that cannot fail.
    [ -z "${CI:-}" ] || exit 1
    exit 0
}

tools=target/cargo-lambda
if ! command -v cargo-lambda >/dev/null; then
    command -v python3 >/dev/null || skip "there is no python3 to install it with"
    [ -x "$tools/bin/cargo-lambda" ] || {
        python3 -m venv "$tools" && "$tools/bin/pip" install --quiet cargo-lambda==1.9.2
    } || skip "it cannot be installed from PyPI"
    PATH="$PWD/$tools/bin:$PATH"
fi

work=$(mktemp -d)
pids=()
stop() {
    for pid in "${pids[@]}"; do
        # cargo-lambda starts the functions as children of its own.
        pkill -TERM -P "$pid" 2>/dev/null || true
        kill "$pid" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

cargo build --quiet --bins
target/debug/tidegate dev --listen 127.0.0.1:18480 --data "$work/data" >"$work/dev.log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
    curl -sf http://127.0.0.1:18480/healthz >/dev/null && break
    sleep 0.1
done
tidegate() { target/debug/tidegate --api http://127.0.0.1:18480 --key-file "$work/data/operator.key" --product lamp "$@"; }
head -c 1000 /dev/zero >"$work/image.bin"
tidegate publish "$work/image.bin" --version 1.1.0 --activate >/dev/null

cargo lambda watch -A 127.0.0.1 -P 18490 --env-file "$work/data/lambda.env" --ignore-changes >"$work/watch.log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
    (exec 3<>/dev/tcp/127.0.0.1/18490) 2>/dev/null && break
    sleep 0.1
done

token=$(tidegate token issue lamp-1)
invoke() { # function, event, what the answer must hold
    sed "s/DEVICE-TOKEN/$token/" "events/$2" >"$work/event.json"
    answer=$(timeout 300 cargo lambda invoke "$1" -A 127.0.0.1 -P 18490 --data-file "$work/event.json") || {
        cat "$work/watch.log"
        exit 1
    }
    case "$answer" in
    *"$3"*) echo "ok: cargo lambda invoke $1 --data-file events/$2" ;;
    *) echo "failed: cargo lambda invoke $1 --data-file events/$2 answered $answer, without $3"; exit 1 ;;
    esac
}
invoke check check.json 'X-Amz-Signature'
invoke report report.json 'recorded'
invoke publish publish-list.json '1.1.0'
invoke sweep sweep.json 'expired'
