#!/usr/bin/env bash
# Builds the packages, then builds one of them again in another folder, from a copy of the source. Both builds must give
# the same bytes. Also checks that the package of `check` contains no policy parser.
set -euo pipefail
cd "$(dirname "$0")/.."

infra/package.sh x86_64
# `publish` compiles policies, so it contains the parser. `check` must not contain it.
parser="evalexpr cannot read this policy"
grep -aqF "$parser" target/lambda/publish/bootstrap
! grep -aqF "$parser" target/lambda/check/bootstrap || { echo "failed: check contains the policy parser" >&2; exit 1; }
echo "ok: check contains no policy parser"

again=$(mktemp -d)/elsewhere
trap 'rm -rf "$(dirname "$again")"' EXIT
mkdir "$again"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$again"
# The second build uses the same tools.
mkdir "$again/target" && ln -s "$PWD/target/cargo-lambda" "$again/target/cargo-lambda"
"$again/infra/package.sh" x86_64 sweep
cmp target/lambda/sweep/bootstrap.zip "$again/target/lambda/sweep/bootstrap.zip"
echo "ok: two builds of sweep, in two folders, are the same bytes"
