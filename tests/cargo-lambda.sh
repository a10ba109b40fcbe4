#!/usr/bin/env bash
# Runs the README's cargo-lambda commands: the functions under `cargo lambda watch`, against the local cloud of
# `tidegate dev`. Installs cargo-lambda from PyPI if it can.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/lib/dev.sh cargo-lambda

tools=target/cargo-lambda
if ! command -v cargo-lambda >/dev/null; then
    pip_install "$tools" cargo-lambda cargo-lambda==1.9.2
    PATH="$PWD/$tools/bin:$PATH"
fi

cargo build --quiet --bins
start_dev 18480
head -c 1000 /dev/zero >"$work/image.bin"
tidegate publish "$work/image.bin" --version 1.1.0 --activate >/dev/null

in_background "$work/watch.log" \
    cargo lambda watch -A 127.0.0.1 -P 18490 --env-file "$data/lambda.env" --ignore-changes
wait_until 10 bash -c 'exec 3<>/dev/tcp/127.0.0.1/18490' || fail "cargo lambda watch did not start"

token=$(tidegate token issue lamp-1)
invoke() { # function, event, what the answer must hold
    sed "s/DEVICE-TOKEN/$token/" "events/$2" >"$work/event.json"
    answer=$(timeout 300 cargo lambda invoke "$1" -A 127.0.0.1 -P 18490 --data-file "$work/event.json") ||
        fail "cargo lambda invoke $1 --data-file events/$2"
    case "$answer" in
    *"$3"*) echo "ok: cargo lambda invoke $1 --data-file events/$2" ;;
    *) fail "cargo lambda invoke $1 --data-file events/$2 answered $answer, without $3" ;;
    esac
}
invoke check check.json 'X-Amz-Signature'
invoke report report.json 'recorded'
invoke publish publish-list.json '1.1.0'
invoke count count.json 'state'
invoke sweep sweep.json 'lost'
invoke verify verify.json 'read'
