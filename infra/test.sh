#!/usr/bin/env bash
# All checks of infra/ that need no AWS account. `infra/test.sh mutants` shows that each check can fail.
#
# TIDEGATE_PROVIDER_MIRROR    folder with registry.terraform.io/hashicorp/aws, if the script does not find it
# TIDEGATE_REQUIRE_TERRAFORM  1: fail if Terraform is not installed
set -euo pipefail
infra=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(dirname "$infra")/target/infra
venv=$(dirname "$infra")/target/infra-venv
checks="$infra/tests/checks.py"
started=$SECONDS

if ! command -v terraform >/dev/null; then
    echo "skipped: terraform is not installed; nothing of infra/ was checked"
    [ "${TIDEGATE_REQUIRE_TERRAFORM:-}" != 1 ]
    exit
fi

# A folder that holds the provider. Without one, Terraform downloads it from its registry.
mirror() {
    if [ -n "${TIDEGATE_PROVIDER_MIRROR:-}" ]; then
        echo "$TIDEGATE_PROVIDER_MIRROR"
        return
    fi
    local roots=() root found
    for root in "${TF_PLUGIN_CACHE_DIR:-}" "${HOME:-}/.terraform.d" /opt /usr/local /usr/share /usr/lib /var/lib; do
        [ -n "$root" ] && [ -d "$root" ] && roots+=("$root")
    done
    found=$(find "${roots[@]}" -maxdepth 6 -type d -path '*/registry.terraform.io/hashicorp/aws' -print -quit 2>/dev/null || true)
    [ -z "$found" ] || dirname "$(dirname "$(dirname "$found")")"
}

# Terraform must not see an account or an endpoint of the caller. Any call to AWS fails at once, on a port
# where nothing listens.
unset TF_LOG TF_WORKSPACE TF_CLI_ARGS TF_CLI_ARGS_init TF_CLI_ARGS_plan TF_CLI_ARGS_test
unset AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_CA_BUNDLE
while read -r variable; do unset "$variable"; done < <(compgen -e | grep '^TF_VAR_' || true)
export AWS_ENDPOINT_URL=http://127.0.0.1:9 AWS_EC2_METADATA_DISABLED=true AWS_MAX_ATTEMPTS=1 AWS_REGION=eu-west-1
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_INPUT=0 TF_CLI_CONFIG_FILE="$work/terraform.rc"
mkdir -p "$work"
from=$(mirror)
if [ -n "$from" ]; then
    cat >"$TF_CLI_CONFIG_FILE" <<RC
provider_installation {
  filesystem_mirror {
    path = "$from"
  }
}
RC
else
    : >"$TF_CLI_CONFIG_FILE"
fi

init() {
    terraform -chdir="$1" init -backend=false -lockfile=readonly -no-color >"$work/init.log" 2>&1 || {
        cat "$work/init.log"
        return 1
    }
}

step() {
    local name=$1 begun=$SECONDS
    shift
    echo "== $name"
    "$@"
    echo "-- $name: $((SECONDS - begun)) s"
}

formatted() {
    terraform fmt -check -diff -recursive "$infra"
}

valid() {
    local root
    for root in . examples/minimal examples/complete bootstrap; do
        export TF_DATA_DIR="$work/data/$root"
        init "$infra/$root"
        terraform -chdir="$infra/$root" validate -no-color >"$work/validate.log" 2>&1 || {
            cat "$work/validate.log"
            return 1
        }
        cmp "$infra/.terraform.lock.hcl" "$infra/$root/.terraform.lock.hcl"
        echo "valid, and locked to the same provider: $root"
    done
    export TF_DATA_DIR="$work/data/."
}

tested() {
    # -verbose only for the grants: each plan contains the whole schema of the provider.
    terraform -chdir="$infra" test -json -verbose -filter=tests/grants.tftest.hcl | python3 "$checks" plans "$work"
    terraform -chdir="$infra" test -json -filter=tests/stack.tftest.hcl -filter=tests/refusals.tftest.hcl | python3 "$checks" plans
}

# Tools from PyPI in a separate environment: checkov pins old versions.
tools() {
    if ! "$venv/bin/python" -c 'import checkov, parliament' 2>/dev/null; then
        rm -rf "$venv"
        python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --requirement "$infra/tests/requirements.txt"
    fi >"$work/pip.log" 2>&1
}

linted() {
    "$venv/bin/python" "$checks" lint "$work/policies.json"
}

scanned() {
    "$venv/bin/checkov" --directory "$infra" --config-file "$infra/.checkov.yaml" >"$work/checkov.log" 2>"$work/checkov.err" || {
        cat "$work/checkov.log" "$work/checkov.err"
        return 1
    }
    grep '^Passed checks' "$work/checkov.log"
    echo "skipped, each for the reason beside it in infra/.checkov.yaml: $(grep -c '^  - CKV' "$infra/.checkov.yaml") kinds of check"
}

if [ "${1:-}" = mutants ]; then
    export TF_DATA_DIR="$work/data/mutant"
    shift
    exec python3 "$infra/tests/mutants.py" "$work/mutant" "$@"
fi

step "format" formatted
step "init and validate" valid
step "variables, outputs and README" python3 "$checks" documents
step "terraform test" tested
step "routes of routes.json" python3 "$checks" routes "$work/routes.json"
step "numbers shared with the crates" python3 "$checks" constants
if tools; then
    step "IAM linter (parliament)" linted
    step "checkov" scanned
else
    echo "skipped: IAM linter and checkov: they cannot be installed from PyPI"
    passed="all other checks"
fi
echo "infra: ${passed:-all checks} passed in $((SECONDS - started)) s"
