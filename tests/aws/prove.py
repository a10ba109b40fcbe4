"""End-to-end test without an account: apply, an empty second plan, the whole flow under IAM, no unused grant, nothing left.

python prove.py [--infra FOLDER] [--scratch FOLDER]
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import certificates
import domain
import flow
import grants
import stack
from account import Account
from operators import CommandLine, Operator, send

ROOT = pathlib.Path(__file__).resolve().parents[2]
REGION = "eu-west-1"
NAME = "tidegate"
# The test deletes everything at the end; production must not.
VARIABLES = {
    "name": NAME,
    "architecture": stack.architecture(),
    "table_deletion_protection": False,
    "secret_recovery_days": 0,
}
# What goes wrong in the flow: the chance that a transaction holds an item, and that a batch of the stream comes again.
# The environment can set others, for example TIDEGATE_STANDIN_CONFLICTS=0.5.
TROUBLE = {"conflicts": "0.2", "repeats": "0.2", "seed": "1"}


# Transactions on devices, shards and tallies.
ALONE = ("d#* s#*", "d#* x#*", "d#* d#* x#*")


def trouble(option):
    return os.environ.get(f"TIDEGATE_STANDIN_{option.upper()}", TROUBLE[option])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--infra", type=pathlib.Path, default=ROOT / "infra", help="another stack, to see the proof fail"
    )
    parser.add_argument("--scratch", type=pathlib.Path, default=ROOT / "target/aws")
    arguments = parser.parse_args()
    infra, scratch = arguments.infra, arguments.scratch
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        mirror = stack.provider_mirror()
        if mirror is None:
            raise stack.Skipped(
                "no folder registry.terraform.io/hashicorp/aws has the provider; TIDEGATE_PROVIDER_MIRROR can name the folder above it"
            )
        folder = stack.packages(ROOT, scratch)
    except stack.Skipped as reason:
        print(f"skipped: aws: {reason}")
        # CI with terraform has the provider: a skip there would be a check that cannot fail.
        return 1 if os.environ.get("CI") else 0
    except stack.Failed as failed:
        print(f"failed: {failed}")
        return 1
    standin, addresses = start(scratch / "functions")
    try:
        variables = {**VARIABLES, "package_dir": str(folder)}
        built = stack.Stack.copied(infra, scratch / "stack", addresses["endpoint"], REGION, mirror, variables)
        return prove(built, variables, addresses, scratch)
    except stack.Failed as failed:
        print(f"failed: {failed}")
        return 1
    finally:
        standin.stdin.close()  # it ends by itself, with its functions
        try:
            standin.wait(timeout=20)
        except subprocess.TimeoutExpired:
            standin.kill()


def start(folder):
    """The stand-in and its addresses."""
    folder.mkdir(parents=True)
    with open(folder / "standin.log", "w") as log:
        command = [sys.executable, str(pathlib.Path(__file__).with_name("standin.py")), str(folder), "--region", REGION]
        command += [part for option in TROUBLE for part in (f"--{option}", trouble(option))]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    return process, json.loads(process.stdout.readline())


def prove(built, variables, addresses, scratch):
    checks, account = flow.Checks(), Account(addresses["endpoint"], REGION)
    print(f"== apply, in {built.folder}")
    outputs = built.apply()
    resources = built.resources()
    plan = built.plan()
    checks.equal(f"the second plan is empty {plan[:4000]}".strip(), bool(plan), False)

    operators, entities = {}, {}
    for name, policy in outputs["operator_policies"].items():
        key, arn = account.add_user(name, policy["arn"])
        operators[name], entities[arn] = Operator(key, addresses["gateway"], REGION, arn), policy["json"]
    binary = os.environ.get("TIDEGATE_BIN", str(ROOT / "target/debug/tidegate"))
    command_line = CommandLine(
        binary, scratch / "operator", addresses["gateway"], REGION, {name: who.key for name, who in operators.items()}
    )
    world = flow.World(
        checks,
        account,
        outputs,
        addresses["endpoint"],
        addresses["gateway"],
        REGION,
        operators,
        command_line,
        scratch / "operator",
    )

    print("== the flow")
    decisions(addresses)  # what came before is not the flow's
    try:
        flow.play(world)
    finally:
        # Also after a failed flow: the denied requests show the reason.
        made = decisions(addresses)
        streamed, refused = (send("GET", f"{addresses['endpoint']}/standin/{noun}").json for noun in ("stream", "refusals"))
        denied = [decision for decision in made if not decision["allowed"]]
        for decision in denied:
            print(f"   denied: {decision['principal']} {decision['action']} {decision['resource']}")
    for function in outputs["functions"].values():
        entities[function["role_arn"]] = function["policy"]
    (scratch / "decisions.json").write_text(json.dumps(made, indent=1))
    checks.equal("no request of the flow is denied", len(denied), 0)
    wanted = [grant for entity, policy in entities.items() for grant in grants.granted(entity, policy)]
    wanted += schedule_grants(account) + permissions(account)
    unused = grants.unused(wanted, made)
    for grant in unused:
        print(f"   unused: {grants.text(grant)}")
    checks.equal("no grant is unused", len(unused), 0)
    # A grant is the only transaction on a device and a shard. Folding is the only one on tallies. An operator's change of a
    # device comes with its audit entry.
    kinds = send("GET", f"{addresses['endpoint']}/standin/transactions").json
    odd = [one for one in kinds if set(one.split()) & {"d#*", "s#*", "t#*"} and one not in ALONE and set(one.split()) != {"t#*"}]
    checks.equal("other transactions on devices, shards and tallies", odd, [])
    checks.holds("items were held by transactions", refused["conflicts"] or float(trouble("conflicts")) == 0, refused)
    checks.holds("batches came again", streamed["repeated"] or float(trouble("repeats")) == 0, streamed)

    print("== what must be refused")
    before = checks.made
    flow.probe(world)
    probes = decisions(addresses)
    print(f"   {checks.made - before} assertions")

    print("== the same with a custom domain and certificates of devices")
    before, authority = checks.made, certificates.Authority("devices")
    chosen = domain.variables(account, authority)
    built.set({**variables, **chosen})
    built.apply("domain")
    domain.probe(world, authority)
    print(f"   {checks.made - before} assertions")

    print("== destroy")
    for name, policy in outputs["operator_policies"].items():
        account.remove_user(name, policy["arn"])
    account.empty(outputs["bucket_name"])
    built.destroy()
    domain.forget(account, chosen)
    checks.equal("destroy leaves nothing", account.leftovers(), [])

    seconds = built.seconds
    count = lambda which, allowed: sum(d["count"] for d in which if d["allowed"] == allowed)  # noqa: E731
    for name, value in (
        ("resources", len(resources)),
        ("init / apply", f"{seconds['init']:.0f} s / {seconds['apply']:.0f} s"),
        ("apply with a domain", f"{seconds['domain']:.0f} s"),
        ("second plan", f"{seconds['plan']:.0f} s, {'changes' if plan else 'empty'}"),
        ("destroy", f"{seconds['destroy']:.0f} s"),
        ("assertions", f"{checks.made}, {len(checks.failed)} failed"),
        ("decisions in the flow", f"{count(made, True)} allowed, {count(made, False)} denied"),
        ("decisions in the probes", f"{count(probes, True)} allowed, {count(probes, False)} denied"),
        ("grants", f"{len(wanted)}, {len(unused)} unused"),
        ("refused by DynamoDB", f"{refused['conflicts']} conflicts, {refused['throttles']} throttles"),
        ("batches of the stream", f"{streamed['batches']}, {streamed['repeated']} again, {streamed['failed']} failed"),
        ("check-ins told `busy`", world.busy),
    ):
        print(f"| {name:<24} | {value!s:<40} |")
    return 1 if checks.failed else 0


def decisions(addresses):
    return send("GET", f"{addresses['endpoint']}/standin/decisions").json


def schedule_grants(account):
    """Permissions of the roles of the schedules."""
    scheduler, iam = account.client("scheduler"), account.client("iam")
    found = []
    for schedule in scheduler.list_schedules()["Schedules"]:
        role = scheduler.get_schedule(Name=schedule["Name"], GroupName=schedule["GroupName"])["Target"]["RoleArn"]
        name = role.rpartition("/")[2]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            found += grants.granted(role, json.dumps(document))
    return found


def permissions(account):
    """Permissions in the functions' own policies: who may invoke them."""
    functions = account.client("lambda")
    found = []
    for function in functions.list_functions()["Functions"]:
        try:
            policy = json.loads(functions.get_policy(FunctionName=function["FunctionName"])["Policy"])
        except functions.exceptions.ResourceNotFoundException:
            continue
        found += [(f"service:{s['Principal']['Service']}", (s["Action"],), s["Resource"], ()) for s in policy["Statement"]]
    return found


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"{'ok' if code == 0 else 'failed'}: {time.monotonic() - started:.0f} s")
    sys.exit(code)
