#!/usr/bin/env bash
# Debian's SWUpdate against the local cloud: it finds a signed image, is redirected to it, installs it,
# and reports. Takes two minutes, most of which SWUpdate waits to poll. Needs: swupdate, openssl, cpio.
#
# TIDEGATE  the command; target/debug/tidegate where it is not set
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tidegate=${TIDEGATE:-$root/target/debug/tidegate}
work=$(mktemp -d)
listen=127.0.0.1:$((20000 + $$ % 20000))
export TIDEGATE_API=http://$listen TIDEGATE_PRODUCT=lamp
pids=()

finish() {
    status=$?
    [ $status = 0 ] || tail -n 40 "$work"/*.log
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
    exit $status
}
trap finish EXIT

wait_for() {
    local what=$1 seconds=$2
    shift 2
    for _ in $(seq "$seconds"); do
        if "$@" >/dev/null 2>&1; then
            echo "ok: $what"
            return
        fi
        sleep 1
    done
    echo "FAILED: $what, in $seconds s"
    return 1
}

# An image as its builder makes it: a description, its signature, and one file.
cd "$work"
head -c 200000 /dev/urandom >rootfs.bin
cat >sw-description <<DESCRIPTION
software = {
    version = "2.0.0";
    hardware-compatibility = [ "1.0" ];
    files: ({ filename = "rootfs.bin"; path = "$work/installed.bin"; sha256 = "$(sha256sum rootfs.bin | cut -d' ' -f1)"; });
};
DESCRIPTION
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out certificate.pem -days 2 -subj /CN=builder \
    -addext extendedKeyUsage=emailProtection -addext keyUsage=digitalSignature 2>/dev/null
openssl cms -sign -in sw-description -out sw-description.sig -signer certificate.pem -inkey key.pem -outform DER -nosmimecap -binary
printf 'sw-description\nsw-description.sig\nrootfs.bin\n' | cpio -o -H crc --quiet >lamp-2.0.0.swu

"$tidegate" dev --listen "$listen" --data "$work/cloud" >"$work/cloud.log" 2>&1 &
pids+=($!)
wait_for "the local cloud is up" 30 curl -fs "$TIDEGATE_API/healthz"
export TIDEGATE_OPERATOR_KEY
TIDEGATE_OPERATOR_KEY=$(cat "$work/cloud/operator.key")
"$tidegate" publish --version 2.0.0 lamp-2.0.0.swu --activate --reason "first fleet" >/dev/null
token=$("$tidegate" token issue lamp-1)

cat >swupdate.cfg <<CONFIG
globals: { public-key-file = "$work/certificate.pem"; };
suricatta: {
    tenant = "lamp";
    id = "lamp-1";
    url = "$TIDEGATE_API";
    targettoken = "$token";
};
identify: ( { name = "sw_version"; value = "1.0.0"; }, { name = "hw_revision"; value = "1.0"; } );
CONFIG

counts() {
    "$tidegate" --version >/dev/null
    curl -fs -H "Authorization: Bearer $TIDEGATE_OPERATOR_KEY" "$TIDEGATE_API/v1/products/lamp/updates/2.0.0/metrics" |
        python3 -c 'import json, sys; m = json.load(sys.stdin); print(*(m[n] for n in ("offered", "in_flight", "succeeded", "failed", "timed_out")))'
}
counts_are() { [ "$(counts)" = "$1" ]; }
version_is() {
    curl -fs -H "Authorization: Bearer $TIDEGATE_OPERATOR_KEY" "$TIDEGATE_API/v1/products/lamp/devices/lamp-1" |
        grep -q "\"version\":\"$1\""
}

swupdate -v -H lamp:1.0 -f swupdate.cfg -u "" >"$work/swupdate.log" 2>&1 &
client=$!
pids+=("$client")
wait_for "SWUpdate says what it runs" 30 version_is 1.0.0
wait_for "it polls again, and holds the one slot" 90 counts_are "1 1 0 0 0"
wait_for "it installs the very bytes" 60 cmp rootfs.bin installed.bin
wait_for "it says so on the way" 30 grep -q '"status":"INSTALL_STEP"\|All Chunks Installed' "$work/swupdate.log" "$work/cloud.log"
kill "$client"
wait "$client" 2>/dev/null || true

# The new image starts, and has passed its own tests.
sed -i 's/value = "1.0.0"/value = "2.0.0"/' swupdate.cfg
swupdate -v -H lamp:1.0 -f swupdate.cfg -u "-c 2" >"$work/restarted.log" 2>&1 &
pids+=($!)
wait_for "after its restart it reports the success, counted once" 60 counts_are "1 0 1 0 0"
wait_for "its version is the update's" 30 version_is 2.0.0
