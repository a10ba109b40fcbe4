#!/usr/bin/env bash
# Runs Exosite's client library from PyPI, without changes, against `tidegate dev`. It activates, polls, acknowledges,
# downloads and sends every status. Each outcome must count once. Installs the needed packages.
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/lib/dev.sh murano-client

venv=target/murano-client
# The library needs pkg_resources, which later versions of setuptools do not have.
pip_install "$venv" gdc murano-client==21.12.22 'setuptools<81'
start_dev 18580
# Each version has an image of its own: with the same bytes a device would have it already.
publish() {
    head -c 100000 /dev/urandom >"$work/lamp.bin"
    tidegate publish "$work/lamp.bin" --activate --version "$@" >/dev/null
}
device() { # step, device, token
    "$venv/bin/python" -W ignore tests/clients/murano.py "$1" http://lamp.localhost:18580 "$2" "$3" "$work/lamp.bin" |
        tee "$work/said" || fail "$1"
    token=$(sed -n 's/^token: //p' "$work/said")
}
shown() { # version: offered in_flight proved failed
    tidegate --json updates show "$1" | python3 -c 'import json, sys
metrics = json.load(sys.stdin)["metrics"]
print(*(metrics[name] for name in "offered in_flight proved failed".split()))'
}
shows() { [ "$(shown "$1")" = "$2" ]; }
counts() { # version, offered in_flight proved failed
    # The counters follow the devices a moment later.
    wait_until 10 shows "$1" "$2" || fail "$1 counts $(shown "$1"), not $2"
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
