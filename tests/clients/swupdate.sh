#!/usr/bin/env bash
# Runs Debian's SWUpdate, without changes, in hawkBit mode against `tidegate dev`. It installs a signed update and reports
# it, cancels one, and fails one. Installs the needed packages if it may.
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/lib/dev.sh swupdate

needed=(swupdate cpio openssl curl)
missing=()
for program in "${needed[@]}"; do command -v "$program" >/dev/null || missing+=("$program"); done
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || skip "no ${missing[*]}, and they cannot be installed here"
    { apt-get install -y --no-install-recommends "${missing[@]}" ||
        { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; }; } >/dev/null 2>&1 ||
        skip "apt-get cannot install ${missing[*]}"
fi

until_true() { # seconds, what, command…
    wait_until "$1" "${@:3}" || fail "$2"
    echo "ok: $2"
}

start_dev "${PORT:-18570}"
metric() { tidegate --json updates show "$1" | tr -d ' \n' | grep -o "\"$2\":[0-9]*" | head -1 | cut -d: -f2; }
metric_is() { [ "$(metric "$1" "$2")" = "$3" ]; }

# Two signers: the device trusts the vendor, and not the stranger.
for signer in vendor stranger; do
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/$signer.key" -out "$work/$signer.pem" -days 2 \
        -subj "/CN=$signer" -addext extendedKeyUsage=emailProtection 2>/dev/null
done
package() { # version, signer: a .swu that writes its version into a file
    local folder=$work/package-$1
    mkdir "$folder"
    echo "$1" >"$folder/version.txt"
    cat >"$folder/sw-description" <<DESCRIPTION
software = {
    version = "$1";
    hardware-compatibility: [ "1.0" ];
    files: ({
        filename = "version.txt";
        path = "$work/device/version.txt";
        sha256 = "$(sha256sum "$folder/version.txt" | cut -d' ' -f1)";
        properties = { create-destination = "true"; };
    });
}
DESCRIPTION
    openssl cms -sign -binary -nosmimecap -outform DER -in "$folder/sw-description" -out "$folder/sw-description.sig" \
        -signer "$work/$2.pem" -inkey "$work/$2.key"
    (cd "$folder" && printf '%s\n' sw-description sw-description.sig version.txt | cpio --quiet -o -H crc) >"$work/lamp-$1.swu"
}
publish() { tidegate publish "$work/lamp-$1.swu" --version "$1" --activate "${@:2}" >/dev/null; }

# Writes the device's swupdate.cfg. docs/clients.md shows the same file.
mkdir "$work/device"
configure() { # version
    cat >"$work/swupdate.cfg" <<CONFIGURATION
globals : {
    public-key-file = "$work/vendor.pem";
    verbose = true;
};
suricatta : {
    url = "$api";
    tenant = "lamp";
    id = "lamp-1";
    targettoken = "$token";
    polldelay = 1;
};
identify : (
    { name = "sw_version"; value = "$1"; },
    { name = "hw_revision"; value = "1.0"; }
);
CONFIGURATION
}
device_starts() { # log, option…
    in_background "$work/swupdate-$1.log" \
        env TMPDIR="$work" swupdate -f "$work/swupdate.cfg" -H default:1.0 -u "${*:2}"
    device=$!
}
device_stops() { stop "$device"; }
token=$(tidegate token issue lamp-1)
says() { curl -sf -H "Authorization: TargetToken $token" "$api/lamp/controller/v1/lamp-1"; }
says_and() { says | grep -q "$1"; }
says_no() { ! says | grep -q "$1"; }

echo "== an update is installed, confirmed after the restart, and not offered again"
package 1.1.0 vendor
publish 1.1.0
configure 1.0.0
device_starts introduces
until_true 30 "the device has sent its attributes" says_and deploymentBase
device_stops
# A restart makes the device poll at once, and not after a minute.
device_starts installs
until_true 120 "1.1.0 is installed" grep -qx 1.1.0 "$work/device/version.txt"
device_stops
configure 1.1.0
# A real bootloader reports that the new system has started. Here the test does.
device_starts confirms "-c 2"
until_true 60 "1.1.0 is proved" metric_is 1.1.0 proved 1
until_true 30 "the device has no further offer" says_no deploymentBase
for counter in offered:1 in_flight:0 failed:0 lost:0; do
    metric_is 1.1.0 "${counter%:*}" "${counter#*:}" || fail "1.1.0 has ${counter%:*} $(metric 1.1.0 "${counter%:*}")"
done
echo "ok: counted once"
device_stops

echo "== an update is stopped before the device has it"
package 1.2.0 vendor
publish 1.2.0
until_true 30 "1.2.0 is offered" says_and deploymentBase
tidegate updates abort 1.2.0 --reason "found bad" >/dev/null
until_true 30 "the device is told to cancel" says_and cancelAction
configure 1.1.0
device_starts cancels
until_true 120 "the device has cancelled the update" metric_is 1.2.0 in_flight 0
metric_is 1.2.0 failed 0 || fail "a cancelled update counts as failed"
grep -qx 1.1.0 "$work/device/version.txt" || fail "a cancelled update was installed"
until_true 30 "the device gets no further cancelAction" says_no cancelAction
device_stops

echo "== an update that the device refuses counts as failed"
package 1.3.0 stranger
publish 1.3.0
configure 1.1.0
device_starts fails
until_true 150 "1.3.0 counts as failed" metric_is 1.3.0 failed 1

metric_is 1.3.0 proved 0 || fail "1.3.0 counts as proved"
grep -qx 1.1.0 "$work/device/version.txt" || fail "an update of a stranger was installed"
echo "swupdate: all checks passed"
