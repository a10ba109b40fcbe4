#!/usr/bin/env bash
# The same source gives the same package, wherever it is built: builds the packages, then one of them
# again in another folder, from a copy of the source. And the package of `check` has no parser in it.
set -euo pipefail
cd "$(dirname "$0")/.."

infra/package.sh x86_64
# Whoever publishes compiles policies; whoever decides does not.
parser="evalexpr cannot read this policy"
grep -aqF "$parser" target/lambda/publish/bootstrap
! grep -aqF "$parser" target/lambda/check/bootstrap || { echo "check parses policies" >&2; exit 1; }
echo "ok: check parses no policy"

again=$(mktemp -d)/elsewhere
trap 'rm -rf "$(dirname "$again")"' EXIT
mkdir "$again"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$again"
# The tools are the same; only the place is another.
mkdir "$again/target" && ln -s "$PWD/target/cargo-lambda" "$again/target/cargo-lambda"
"$again/infra/package.sh" x86_64 sweep
cmp target/lambda/sweep/bootstrap.zip "$again/target/lambda/sweep/bootstrap.zip"
echo "ok: two builds of sweep, in two folders, are the same bytes"
