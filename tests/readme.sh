#!/usr/bin/env bash
# Runs the README's shell blocks without changes against its own `tidegate dev`.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/lib/dev.sh README
needs curl sha256sum
readme=$PWD/README.md
start_dev 18580
cd "$work"

block() { # the first block of that kind
    awk -v kind="\`\`\`$1" '$0 == kind { on = 1; next } on && /^```$/ { exit } on' "$readme" | sed 's/127.0.0.1:8080/127.0.0.1:18580/'
}
must() { # what the output must hold
    grep -q -- "$2" "$1" || { cat "$1"; fail "the README's block printed no $2"; }
}

block sh >walk.sh
bash -euo pipefail walk.sh >walk.out 2>&1 || { cat walk.out; exit 1; }
must walk.out '"state":"draft"'
must walk.out '"state":"active"'
must walk.out 'a tampered URL: 403'
must walk.out '"recorded":true'
must walk.out '"proved":1'
must walk.out '"reason":"first try"'
[ "$(sha256sum <image.bin)" = "$(sha256sum <got.bin)" ] || fail "the download differs"
echo "ok: README: publish your first update"

block 'sh client' >device.sh
printf '{"id":"lamp-2","product":"lamp","version":"1.0.0","region":"eu","memory":"512"}' >device.json
printf '#!/bin/sh\ntest -s "$1"\n' >install.sh
chmod +x install.sh
token=$(tidegate token issue lamp-2)
sh device.sh "$api" "$token" device.json >client.out 2>&1 || { cat client.out; exit 1; }
must client.out 'update.bin: OK'
must client.out '"recorded":true'
sed -i 's/1\.0\.0/1.1.0/' device.json
sh device.sh "$api" "$token" device.json >client.out 2>&1
must client.out 'nothing: up_to_date'
echo "ok: README: a client in ten lines of shell"
