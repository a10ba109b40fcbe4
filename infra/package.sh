#!/usr/bin/env bash
# Builds the six functions for Lambda and zips them to target/lambda/<function>/bootstrap.zip, where
# Terraform reads them. The same source gives the same bytes.
#
#   infra/package.sh [arm64|x86_64] [FUNCTION…]
#
# Installs cargo-lambda and zig from PyPI into target/, if they are not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

architecture=${1:-arm64}
functions=("${@:2}")
[ ${#functions[@]} -gt 0 ] || functions=(check report count publish sweep verify)
case $architecture in
arm64) target=aarch64-unknown-linux-gnu ;;
x86_64) target=x86_64-unknown-linux-gnu ;;
*) echo "the architecture must be arm64 or x86_64, not \`$architecture\`" >&2; exit 2 ;;
esac

tools=$PWD/target/cargo-lambda
if [ ! -x "$tools/bin/cargo-lambda" ] || ! "$tools/bin/python" -m ziglang version >/dev/null 2>&1; then
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet cargo-lambda==1.9.2 ziglang==0.15.2
fi
PATH="$tools/bin:$PATH"
rustup target list --installed 2>/dev/null | grep -qx "$target" || rustup target add "$target"

# No path of this machine may be in the result.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="--remap-path-prefix=$PWD=/tidegate --remap-path-prefix=$cargo_home=/cargo"
out=${TIDEGATE_PACKAGE_DIR:-target/lambda}
cargo lambda build --release --locked --target "$target" --lambda-dir "$out" \
    "${functions[@]/#/--bin=}"

# `zip` would store the time of the build.
python3 - "$out" "${functions[@]}" <<'PYTHON'
import hashlib, pathlib, sys, zipfile

for function in sys.argv[2:]:
    folder = pathlib.Path(sys.argv[1], function)
    binary = folder.joinpath("bootstrap").read_bytes()
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o100755 << 16
    entry.create_system = 3
    with zipfile.ZipFile(folder / "bootstrap.zip", "w") as package:
        package.writestr(entry, binary, zipfile.ZIP_DEFLATED, compresslevel=9)
    packed = folder.joinpath("bootstrap.zip").read_bytes()
    print(f"{function:8} {len(binary):>10,} bytes  zipped {len(packed):>9,}  sha256 {hashlib.sha256(packed).hexdigest()}")
PYTHON
