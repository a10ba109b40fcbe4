#!/usr/bin/env bash
# Exosite's client library from PyPI, unmodified, against `tidegate dev`: activates, polls, acknowledges, downloads,
# says every status. Each outcome counts once. Installs what it needs, and stops by itself.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
    echo "skipped: murano-client: $1"
    # CI has Python and PyPI: there a skip would be a check that cannot fail.
    [ -z "${CI:-}" ] || exit 1
    exit 0
}
venv=target/murano-client
command -v python3 >/dev/null || skip "there is no python3"
[ -x "$venv/bin/gdc" ] || {
    # It asks for pkg_resources, which later setuptools do not have.
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet murano-client==21.12.22 'setuptools<81'
} || skip "it cannot be installed from PyPI"

[ -n "${TIDEGATE_BIN:-}" ] || cargo build --quiet --bin tidegate
bin=${TIDEGATE_BIN:-$PWD/target/debug/tidegate}
work=$(mktemp -d)
"$bin" dev --listen 127.0.0.1:18580 --data "$work/data" >"$work/dev.log" 2>&1 &
dev=$!
trap 'kill $dev; wait $dev 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
    curl -sf http://127.0.0.1:18580/healthz >/dev/null && break
    sleep 0.1
done
tidegate() { "$bin" --api http://127.0.0.1:18580 --key-file "$work/data/operator.key" --product lamp "$@"; }
head -c 100000 /dev/urandom >"$work/lamp.bin"
publish() { tidegate publish "$work/lamp.bin" --activate --version "$@" >/dev/null; }
device() { # step, device, token
    "$venv/bin/python" -W ignore tests/clients/murano.py "$1" http://lamp.localhost:18580 "$2" "$3" "$work/lamp.bin" |
        tee "$work/said" || { tail -n 20 "$work/dev.log"; exit 1; }
    token=$(sed -n 's/^token: //p' "$work/said")
}
counts() { # version, offered in_flight succeeded failed
    local got
    got=$(tidegate --json updates show "$1" | python3 -c 'import json, sys
metrics = json.load(sys.stdin)["metrics"]
print(*(metrics[name] for name in "offered in_flight succeeded failed".split()))')
    [ "$got" = "$2" ] || { echo "failed: $1 counts $got, not $2"; exit 1; }
    echo "ok: $1 counts each once: $2"
}

publish 1.1.0
tidegate settings --registration open >/dev/null
device walk dev1 ""
counts 1.1.0 "1 0 1 0"
publish 1.2.0
device fail dev1 "$token"
counts 1.2.0 "1 0 0 1"
tidegate updates withdraw 1.2.0 --reason "to look at 1.3.0 alone" >/dev/null
publish 1.3.0
device back-out dev1 "$token"
counts 1.3.0 "1 0 0 1"
counts 1.1.0 "1 0 1 0"
echo "murano-client: all checks passed"
