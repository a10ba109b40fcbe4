#!/usr/bin/env bash
# Lints the API description, openapi.yaml, with redocly's command.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v npx >/dev/null; then
    echo "skipped: redocly's lint: npx is not installed"
    exit 0
fi
if ! npx --yes @redocly/cli@2 --version >/dev/null 2>&1; then
    echo "skipped: redocly's lint: npx cannot fetch @redocly/cli"
    exit 0
fi
REDOCLY_TELEMETRY=off npx --yes @redocly/cli@2 lint openapi.yaml
