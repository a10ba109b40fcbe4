#!/usr/bin/env bash
# End-to-end test without an AWS account: the Terraform stack, the real functions and the real command line on a
# local AWS stand-in, under IAM. Needs terraform, its AWS provider in some folder, Python 3.11 and PyPI.
#   TIDEGATE_PROVIDER_MIRROR  the folder above registry.terraform.io, if the script does not find it
#   TIDEGATE_BIN              the command line, in the place of target/debug/tidegate
#   TIDEGATE_BUILT            set: the binaries are built already
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v terraform >/dev/null || { echo "skipped: aws: terraform is not installed"; exit 0; }
skip() {
    echo "skipped: aws: $1"
    # CI has Python and PyPI: a skip there would be a check that cannot fail.
    [ -z "${CI:-}" ] || exit 1
    exit 0
}
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || skip "there is no python3 of 3.11 or later"

venv=target/aws-venv
wanted=$(sha256sum tests/aws/requirements.txt)
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
    { [ -x "$venv/bin/pip" ] || python3 -m venv "$venv"; } &&
        timeout 600 "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/aws/requirements.txt ||
        skip "its Python packages cannot be installed from PyPI"
    echo "$wanted" >"$venv/installed"
fi
[ -n "${TIDEGATE_BUILT:-}" ] || cargo build --quiet --bins
export PYTHONDONTWRITEBYTECODE=1
timeout 300 "$venv/bin/python" -m unittest discover --start-directory tests/aws
timeout 900 "$venv/bin/python" tests/aws/prove.py "$@"
