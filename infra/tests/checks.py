"""Checks that Terraform does not make: documents, routes, shared numbers, and the rendered policies.

Only `lint` needs more than Python's own library.
"""

import json
import pathlib
import re
import sys

INFRA = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = INFRA.parent
ROOTS = [INFRA, INFRA / "modules/function", INFRA / "examples/minimal", INFRA / "examples/complete", INFRA / "bootstrap"]


def fail(problems):
    for problem in problems:
        print(f"FAILED: {problem}")
    sys.exit(1 if problems else 0)


def blocks(folder, kind):
    """The blocks of one kind in a folder, by name. `terraform fmt` fixes where a block begins and ends."""
    found = {}
    for file in sorted(folder.glob("*.tf")):
        pattern = rf'^{kind} "([^"]+)" \{{\n(.*?)^\}}'
        found.update(re.findall(pattern, file.read_text(), re.MULTILINE | re.DOTALL))
    return found


def field(body, name):
    match = re.search(rf"^  {name}\s*= (.+)$", body, re.MULTILINE)
    return match and match.group(1)


def text(body):
    return json.loads(field(body, "description") or '""')


def default(body):
    value = field(body, "default")
    return "required" if value is None else f"`{value}`"


def table(folder):
    """The tables of a root that its README must contain."""
    lines = ["| Variable | Default | |", "|---|---|---|"]
    lines += [f"| `{name}` | {default(body)} | {text(body)} |" for name, body in blocks(folder, "variable").items()]
    lines += ["", "| Output | |", "|---|---|"]
    lines += [f"| `{name}` | {text(body)} |" for name, body in blocks(folder, "output").items()]
    return "\n".join(lines)


def documents():
    problems, variables, outputs = [], 0, 0
    for folder in ROOTS:
        where = folder.relative_to(REPOSITORY)
        for name, body in blocks(folder, "variable").items():
            variables += 1
            problems += [f"{where}: variable {name} has no {part}" for part in ("description", "type") if not field(body, part)]
            # A bool that cannot be null needs no validation.
            if "  validation {" not in body and field(body, "type") != "bool":
                problems.append(f"{where}: variable {name} is not validated")
        for name, body in blocks(folder, "output").items():
            outputs += 1
            problems += [] if field(body, "description") else [f"{where}: output {name} has no description"]
        code = "".join(file.read_text() for file in folder.glob("*.tf"))
        if "required_version" not in code or "required_providers" not in code:
            problems.append(f"{where}: versions are not pinned")
        if folder in ROOTS[:2] and re.search(r"^provider ", code, re.MULTILINE):
            problems.append(f"{where}: a module must not configure its provider")
    if table(INFRA) not in (INFRA / "README.md").read_text():
        print(table(INFRA))
        problems.append("infra/README.md: its tables must be the ones above")
    print(f"{variables} variables with type, description and validation; {outputs} outputs with description; README in step")
    fail(problems)


def routes(file):
    """The HTTP API has the routes of routes.json, which a test in Rust keeps equal to the route table and openapi.yaml."""
    table = json.loads((INFRA / "routes.json").read_text())
    listed, made = {f"{route['method']} {route['path']}" for route in table}, set(json.loads(pathlib.Path(file).read_text()))
    problems = [f"routes.json has {route}, and the HTTP API does not" for route in sorted(listed - made)]
    problems += [f"the HTTP API has {route}, and routes.json does not" for route in sorted(made - listed)]
    print(f"{len(made & listed)} routes are in routes.json and in the HTTP API")
    fail(problems)


def constants():
    """Compares numbers that are in Rust and in Terraform."""
    images = (REPOSITORY / "crates/tidegate-store/src/images.rs").read_text()
    schema = (REPOSITORY / "crates/tidegate-store/src/schema.rs").read_text()
    terraform = "".join(file.read_text() for file in INFRA.glob("*.tf"))
    bucket = blocks(INFRA, 'resource "aws_s3_bucket"')["images"]
    rust = {name: re.search(rf"const {name}: \w+ = (\d+);", images) for name in ("URL_TTL_S", "UPLOAD_TTL_S")}
    hcl = {name: re.search(rf"^  {name}\s*= (\d+)$", terraform, re.MULTILINE) for name in ("oldest_download_s", "oldest_upload_s")}
    index = re.search(r'const INDEX: &str = "(\w+)";', schema)
    numbers = {name: match and int(match.group(1)) for name, match in (rust | hcl).items()}
    problems = []
    if None in numbers.values() or numbers["URL_TTL_S"] != numbers["oldest_download_s"] or numbers["UPLOAD_TTL_S"] != numbers["oldest_upload_s"]:
        problems.append(f"the bucket refuses signatures that the functions make, or takes older ones: {numbers}")
    if not index or f'name            = "{index.group(1)}"' not in terraform:
        problems.append("the table's index is not called as in crates/tidegate-store/src/schema.rs")
    if "prevent_destroy = true" not in bucket:
        problems.append("the image bucket can be destroyed by an apply")
    print(f"signatures are refused after {numbers['oldest_download_s']} s and {numbers['oldest_upload_s']} s, as the crates sign them; the bucket has prevent_destroy")
    fail(problems)


def policies_of(plan):
    for change in plan["resource_changes"]:
        after = change["change"].get("after") or {}
        for name in ("policy", "assume_role_policy"):
            # An overridden resource has random letters in the place of a missing policy.
            if str(after.get(name, "")).startswith("{"):
                yield f"{change['address']} {name}", after[name]


def plans(folder=None):
    """Reads the output of `terraform test -json` and stores the policies and routes of its plans."""
    policies, sizes, made, summary = {}, {}, None, {}
    for line in sys.stdin:
        message = json.loads(line)
        run = message.get("@testrun")
        if message["type"] == "test_plan":
            plan = message["test_plan"]
            created = [change for change in plan["resource_changes"] if change["change"]["actions"] == ["create"]]
            sizes[run] = len(created)
            routes_now = [change["change"]["after"]["route_key"] for change in created if change["type"] == "aws_apigatewayv2_route"]
            made = made or routes_now
            for where, policy in policies_of(plan):
                policies.setdefault(policy, f"{where} in {run}")
        elif message["type"] == "test_run" and message["test_run"].get("progress") == "complete":
            if message["test_run"]["status"] != "pass":
                print(f"FAILED: {message['test_run']['path']}: {run}")
        elif message["type"] == "diagnostic":
            diagnostic = message["diagnostic"]
            print(f"FAILED: {run or ''}: {diagnostic['summary']}: {diagnostic.get('detail', '')}")
        elif message["type"] == "test_summary":
            summary = message["test_summary"]
    if folder:
        work = pathlib.Path(folder)
        (work / "policies.json").write_text(json.dumps({where: policy for policy, where in policies.items()}))
        (work / "routes.json").write_text(json.dumps(made))
    if summary.get("status") != "pass" or not summary.get("passed"):
        print("FAILED: terraform test")
        sys.exit(1)
    print(f"{summary['passed']} runs passed")
    if folder:
        print(f"{min(sizes.values())} resources in the default plan, {max(sizes.values())} with a CDN; {len(policies)} different policies rendered")
    else:
        source = "".join(file.read_text() for file in (INFRA / "tests").glob("*.tftest.hcl"))
        assertions, refusals = len(re.findall(r"^  assert \{", source, re.MULTILINE)), source.count("expect_failures")
        print(f"{assertions} assertions and {refusals} refusals in all files")


# AWS's own policy for reading a stream gives this action on the stream, and Lambda takes it ("IAM policy to allow an AWS
# Lambda function to access DynamoDB stream records"). The reference lists no resource for it, so the linter asks for *.
LINT_EXCEPTIONS = [("RESOURCE_MISMATCH", "dynamodb:ListStreams")]


def lint(file):
    from parliament import analyze_policy_string

    problems, policies = [], json.loads(pathlib.Path(file).read_text())
    for where, policy in sorted(policies.items()):
        document = json.loads(policy)
        # A trust policy does not name its own role, but the linter requires a resource.
        for statement in document["Statement"] if "assume_role_policy" in where else []:
            statement["Resource"] = "arn:aws:iam::123456789012:role/itself"
        for finding in analyze_policy_string(json.dumps(document), where).findings:
            if any(issue == finding.issue and action in str(finding.detail) for issue, action in LINT_EXCEPTIONS):
                continue
            problems.append(f"{where}: {finding.issue}: {finding.detail} {finding.location}")
    print(f"{len(policies)} policies, {len(problems)} findings")
    fail(problems)


if __name__ == "__main__":
    {"documents": documents, "routes": routes, "constants": constants, "plans": plans, "lint": lint}[sys.argv[1]](*sys.argv[2:])
