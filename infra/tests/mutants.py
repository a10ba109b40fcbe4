"""Breaks the stack in one place after another and fails if a check does not find it."""

import pathlib
import shutil
import subprocess
import sys
import time

INFRA = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = INFRA.parent

# Description, file, old text, new text, and the check that must fail.
MUTANTS = [
    ("report may write shards", "functions.tf", 'Update = { actions = ["UpdateItem"], keys = ["d#*"] }', 'Update = { actions = ["UpdateItem"], keys = ["d#*", "s#*"] }', "grants"),
    ("check may stop a product", "functions.tf", '["catalog_name_*", "catalog_revision_*", "pk", "sk"]', '["catalog_name_*", "catalog_revision_*", "pk", "sk", "stopped"]', "grants"),
    ("count may delete due pages", "functions.tf", 'Delete = { actions = ["DeleteItem"], keys = ["l#*"] }', 'Delete = { actions = ["DeleteItem"], keys = ["l#*", "u#*"] }', "grants"),
    ("a statement on the table is for every item", "functions.tf", '    Condition = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = access.keys } }\n', "    Condition = null\n", "grants"),
    ("count may not read the stream", "functions.tf", "concat(local.table_statements.count, [local.stream_statement])", "local.table_statements.count", "grants"),
    ("count's batches do not name their stream shard", "stream.tf", "tumbling_window_in_seconds = 900", "tumbling_window_in_seconds = 0", "stack"),
    ("a failed batch is given up", "stream.tf", "maximum_retry_attempts         = -1", "maximum_retry_attempts         = 100", "stack"),
    ("a failed batch is split", "stream.tf", "bisect_batch_on_function_error = false", "bisect_batch_on_function_error = true", "stack"),
    ("count begins with what comes after it", "stream.tf", '"TRIM_HORIZON"', '"LATEST"', "stack"),
    ("records are lost before an alarm", "alarms.tf", "20 * 3600 * 1000", "30 * 3600 * 1000", "stack"),
    ("check may read every image", "functions.tf", 'Action   = ["s3:GetObjectVersion"]', 'Action   = ["s3:GetObject", "s3:GetObjectVersion"]', "grants"),
    ("publish cannot see that an image is missing", "functions.tf", 'Action   = ["s3:ListBucket"]', 'Action   = ["s3:GetBucketLocation"]', "grants"),
    ("check may write catalogs", "functions.tf", 'Action   = ["s3:GetObject"]\n    Resource = [local.catalogs_arn]', 'Action   = ["s3:GetObject", "s3:PutObject"]\n    Resource = [local.catalogs_arn]', "grants"),
    ("compiling may write images", "functions.tf", 'Action   = ["s3:DeleteObject", "s3:PutObject"]\n    Resource = [local.catalogs_arn]', 'Action   = ["s3:DeleteObject", "s3:PutObject"]\n    Resource = [local.images_arn]', "grants"),
    ("publishers may activate", "operators.tf", '"POST/v1/products/*/updates",', '"POST/v1/products/*/updates", "POST/v1/products/*/updates/*/activate",', "grants"),
    ("functions may make log groups", "modules/function/main.tf", '["logs:CreateLogStream",', '["logs:CreateLogGroup", "logs:CreateLogStream",', "grants"),
    ("plain HTTP reaches the bucket", "images.tf", '"aws:SecureTransport" = "false"', '"aws:SecureTransport" = "true"', "grants"),
    ("the API's own address stays open", "api.tf", "disable_execute_api_endpoint = var.domain != null", "disable_execute_api_endpoint = false", "stack"),
    ("a sweep that stopped is no alarm", "alarms.tf", 'treat_missing_data = "breaching"', 'treat_missing_data = "notBreaching"', "stack"),
    ("the weekly schedule starts a sweep like the others", "schedule.tf", "jsonencode({ recount = true })", "jsonencode({ recount = false })", "stack"),
    ("check may scan", "functions.tf", "concat(local.table_statements.check, [local.ask_for_catalog_statement,", "concat(local.table_statements.check, [local.scan_statement, local.ask_for_catalog_statement,", "grants"),
    ("old versions of images expire", "images.tf", "    abort_incomplete_multipart_upload {", "    noncurrent_version_expiration {\n      noncurrent_days = 90\n    }\n\n    abort_incomplete_multipart_upload {", "stack"),
    ("images expire as catalogs do", "images.tf", 'prefix = "catalogs/"', 'prefix = "images/"', "stack"),
    ("the sweep does not know the bucket", "functions.tf", "environment          = local.store_environment\n      statements           = concat(local.table_statements.sweep", 'environment          = { for name, value in local.store_environment : name => value if name != "TIDEGATE_BUCKET" }\n      statements           = concat(local.table_statements.sweep', "stack"),
    ("an operator's route is open to all", "routes.json", '"path": "/v1/products/{product}/versions", "function": "publish", "authorization": "AWS_IAM"', '"path": "/v1/products/{product}/versions", "function": "publish", "authorization": "NONE"', "stack"),
    ("a route is not taken from the table", "api.tf", "for_each = local.routes", 'for_each = { for route, to in local.routes : route => to if !endswith(route, "/versions") }', "routes"),
    ("a route is in no table", "locals.tf", 'jsondecode(file("${path.module}/routes.json"))', 'concat(jsondecode(file("${path.module}/routes.json")), [{ method = "GET", path = "/v1/products/{product}/secrets", function = "publish", authorization = "AWS_IAM" }])', "routes"),
    ("a variable without description", "variables.tf", '  description = "Whether X-Ray samples the functions.', '  # description = "Whether X-Ray samples the functions.', "documents"),
    ("the README keeps an old default", "variables.tf", "default     = 500", "default     = 900", "documents"),
    ("the bucket refuses URLs too soon", "images.tf", "oldest_download_s = 900", "oldest_download_s = 300", "constants"),
    ("the bucket may be destroyed", "images.tf", "prevent_destroy = true", "prevent_destroy = false", "constants"),
    ("an action that does not exist", "functions.tf", 'actions = ["BatchGetItem",', 'actions = ["TransactGetItems", "BatchGetItem",', "lint"),
    ("the queue is not encrypted", "schedule.tf", "  sqs_managed_sse_enabled   = true\n", "  sqs_managed_sse_enabled   = false\n", "checkov"),
]


def run(*command, stdin=None):
    return subprocess.run(command, cwd=COPY, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode == 0


def terraform_test(name, *arguments):
    return run("terraform", "test", f"-filter=tests/{name}.tftest.hcl", *arguments)


def rendered(check, file):
    """Runs a check over the plans of the grants, also if a test of the grants fails."""
    (COPY.parent / file).unlink(missing_ok=True)
    with open(COPY.parent / "plans.jsonl", "w") as out:
        subprocess.run(["terraform", "test", "-json", "-verbose", "-filter=tests/grants.tftest.hcl"], cwd=COPY, stdout=out)
    with open(COPY.parent / "plans.jsonl") as plans:
        run(sys.executable, "tests/checks.py", "plans", str(COPY.parent), stdin=plans)
    if not (COPY.parent / file).exists():
        sys.exit(f"FAILED: the plan did not show {file}")
    return run(str(VENV / "python"), "tests/checks.py", check, str(COPY.parent / file))


CHECKS = {
    "grants": lambda: terraform_test("grants"),
    "stack": lambda: terraform_test("stack"),
    "routes": lambda: rendered("routes", "routes.json"),
    "lint": lambda: rendered("lint", "policies.json"),
    "documents": lambda: run(sys.executable, "tests/checks.py", "documents"),
    "constants": lambda: run(sys.executable, "tests/checks.py", "constants"),
    "checkov": lambda: run(str(VENV / "checkov"), "--directory", ".", "--config-file", ".checkov.yaml"),
}

WORK = pathlib.Path(sys.argv[1])
COPY = WORK / "infra"
VENV = REPOSITORY / "target/infra-venv/bin"


def fresh():
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.copytree(INFRA, COPY, ignore=shutil.ignore_patterns(".terraform"))
    for shared in ("crates/tidegate-store/src/images.rs", "crates/tidegate-store/src/schema.rs"):
        (WORK / shared).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / shared, WORK / shared)


fresh()
if not run("terraform", "init", "-backend=false", "-lockfile=readonly"):
    sys.exit("FAILED: the copy cannot be initialised")
wanted, survivors = sys.argv[2:] or list(CHECKS), []
for check in wanted:
    if not CHECKS[check]():
        sys.exit(f"FAILED: {check} fails on the stack as it is, so it shows nothing")
print(f"as it is, the stack passes {', '.join(wanted)}", flush=True)
for what, file, old, new, check in MUTANTS:
    if check not in wanted:
        continue
    begun = time.monotonic()
    source = (INFRA / file).read_text()
    if source.count(old) < 1:
        sys.exit(f"FAILED: {file} has no {old!r} any more; the mutant '{what}' must be written anew")
    (COPY / file).write_text(source.replace(old, new, 1))
    is_noticed = not CHECKS[check]()
    (COPY / file).write_text(source)
    print(f"{'noticed ' if is_noticed else 'SURVIVED'} by {check:9} {time.monotonic() - begun:3.0f} s  {what}", flush=True)
    survivors += [] if is_noticed else [what]
print(f"{len(survivors)} mutants survived")
sys.exit(1 if survivors else 0)
