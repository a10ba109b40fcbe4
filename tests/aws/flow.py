"""The whole flow of devices and operators on the stack that Terraform created.

Each chapter is a function; together they need every grant of every role, which `grants.py` verifies.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib
import secrets
import time
from urllib.parse import quote

from botocore.exceptions import ClientError

import signature
from account import Account
from operators import Operator, send

PRODUCT = "lamp"
PATIENCE_S = 20
# A running function uses for one second what it read of a product.
CATALOG_AGE_S = 1.1


class Checks:
    """Counts assertions. A failed one is printed at once, and the flow continues."""

    def __init__(self):
        self.made, self.failed = 0, []

    def equal(self, what, got, expected):
        self.made += 1
        if got != expected:
            self.failed.append(what)
            print(f"failed: {what}: expected {expected!r}, got {got!r}")

    def holds(self, what, is_true, detail=""):
        self.equal(f"{what} {detail}".strip(), bool(is_true), True)


@dataclasses.dataclass
class World:
    """Addresses and names of the stack."""

    checks: Checks
    account: Account
    outputs: dict
    endpoint: str
    api: str
    region: str
    operators: dict
    command_line: object
    folder: pathlib.Path
    tokens: dict = dataclasses.field(default_factory=dict)

    # Calls of operators.

    def operator(self, name, method, path, fields=None, status=200):
        """A signed call below /v1/products/lamp that must get this status."""
        answer = self.operators[name].call(method, f"/v1/products/{PRODUCT}{path}", fields)
        self.checks.equal(f"{name} {method} {path}: {answer.body[:200]}", answer.status, status)
        return answer.json

    def publish(self, version, image, **definition):
        """Creates a draft, uploads its bytes and activates it."""
        self.upload(self.draft(version, image, **definition), image)
        self.operator("approver", "POST", f"/updates/{quote(version, safe='')}/activate", {"reason": "tested"})

    def draft(self, version, image, **definition):
        file = {"name": "lamp.bin", "sha256": hashlib.sha256(image).hexdigest(), "size": len(image)}
        return self.operator("publisher", "POST", "/updates", {"version": version, "files": [file], **definition}, 201)

    def upload(self, draft, image, status=200):
        (upload,) = draft["uploads"]
        headers = {name: value for name, value in upload["headers"].items() if name != "content-length"}
        answer = send("PUT", upload["url"], image, headers)
        self.checks.equal(f"upload: {answer.body[:300]}", answer.status, status)

    def metrics(self, version):
        return self.operator("viewer", "GET", f"/updates/{version}/metrics")

    # Calls of devices.

    def token(self, device):
        if device not in self.tokens:
            self.tokens[device] = self.operator("approver", "PUT", f"/devices/{device}/token")["token"]
        return self.tokens[device]

    def device(self, path, fields, token, status=200):
        answer = send(
            "POST",
            self.api + path,
            json.dumps(fields).encode(),
            {"authorization": token, "content-type": "application/json"},
        )
        self.checks.equal(f"{path} {fields}: {answer.body[:200]}", answer.status, status)
        return answer.json

    def check_in(self, device, version, token=None, status=200, **attributes):
        fields = {"id": device, "product": PRODUCT, "version": version, **attributes}
        return self.device("/v1/check", fields, token or self.token(device), status)

    def report(self, device, version, status, **more):
        fields = {"id": device, "product": PRODUCT, "version": version, "status": status, **more}
        return self.device("/v1/report", fields, self.token(device))

    def eventually(self, what, question):
        """Waits until a condition is true: services deliver events with a delay."""
        end = time.monotonic() + PATIENCE_S
        while not (answer := question()) and time.monotonic() < end:
            time.sleep(0.2)
        self.checks.holds(what, answer)


def play(world):
    """Every chapter, in order."""
    for chapter in (
        an_update_is_published,
        devices_install_it,
        rollouts_are_steered,
        a_bad_update_stops_itself,
        a_limit_is_never_exceeded,
        an_ioto_agent_works,
        tokens_are_revoked_and_shared,
        the_fleet_is_looked_at,
        a_kaa_user_brings_a_definition,
        silence_counts_as_timed_out,
        what_changes_is_compiled,
        events_that_fail_are_kept,
        the_command_line_signs,
        the_logs_are_in_cloudwatch,
        no_more_than_two_catalogs_are_kept,
    ):
        started = time.monotonic()
        before = world.checks.made
        chapter(world)
        print(
            f"   {chapter.__name__.replace('_', ' ')}: {world.checks.made - before} assertions, {time.monotonic() - started:.1f} s"
        )


def an_update_is_published(world):
    checks, image = world.checks, secrets.token_bytes(100_000)
    draft = world.draft(
        "1.1.0",
        image,
        policy='region == "eu"',
        name="Warmer light",
        rollout={"limits": {"max_per_period": 100, "max_devices": 1000}},
    )
    checks.equal("a draft", draft["state"], "draft")
    checks.equal(
        "a file that is not there yet",
        world.operator("approver", "POST", "/updates/1.1.0/activate", {}, 409)["error"]["code"],
        "image_missing",
    )
    world.upload(draft, b"x" * len(image), status=400)
    world.upload(draft, image)
    again = world.draft(
        "1.1.0",
        image,
        policy='region == "eu"',
        name="Warmer light",
        rollout={"limits": {"max_per_period": 100, "max_devices": 1000}},
    )
    checks.equal("bytes that are there need no upload", again["uploads"], [])
    world.operator(
        "publisher", "PATCH", "/updates/1.1.0", {"rollout": {"limits": {"max_devices": 900}}, "reason": "careful"}
    )
    activated = world.operator("approver", "POST", "/updates/1.1.0/activate", {"reason": "tested"})
    checks.equal("activated", (activated["state"], activated["rollout"]["limits"]["max_devices"]), ("active", 900))
    world.image = image


def devices_install_it(world):
    checks = world.checks
    offer = world.check_in("lamp-1", "1.0.0", region="eu")
    checks.equal("offered", offer["version"], "1.1.0")
    checks.holds(
        "a presigned URL of one version of the object",
        "versionId=" in offer["url"] and "X-Amz-Signature=" in offer["url"],
    )
    got = send("GET", offer["url"]).body
    checks.equal("the download", (hashlib.sha256(got).hexdigest(), len(got)), (offer["checksum"], offer["size"]))
    part = send("GET", offer["url"], headers={"range": "bytes=10-19"})
    checks.equal("a part of it", (part.status, part.body), (206, world.image[10:20]))
    checks.equal("a tampered URL", send("GET", offer["url"] + "0").status, 403)
    checks.equal("the same offer again", world.check_in("lamp-1", "1.0.0", region="eu")["update"], offer["update"])
    checks.equal(
        "progress", world.report("lamp-1", "1.1.0", "DOWNLOAD_STEP", progress=40, message="half")["recorded"], True
    )
    checks.equal("success", world.report("lamp-1", "1.1.0", "INSTALL_SUCCESS")["recorded"], True)
    checks.equal(
        "once", world.report("lamp-1", "1.1.0", "INSTALL_SUCCESS"), {"recorded": False, "reason": "succeeded_before"}
    )
    # Some agents never report: the version of their next check-in is the proof.
    world.check_in("lamp-2", "1.0.0", region="eu")
    checks.equal("up to date", world.check_in("lamp-2", "1.1.0", region="eu")["reason"], "up_to_date")
    checks.equal("not for this region", world.check_in("lamp-3", "1.0.0", region="us")["reason"], "not_targeted")
    metrics = world.metrics("1.1.0")
    checks.equal("metrics", [metrics[name] for name in ("offered", "in_flight", "succeeded", "failed")], [2, 0, 2, 0])
    answer = world.device("/v1/check", {"id": "lamp-1", "product": PRODUCT, "version": "1.0.0"}, "d1.k1.wrong", 401)
    checks.equal("a wrong token", answer["error"]["code"], "unauthorized")


def rollouts_are_steered(world):
    """Each verb by a role that may use it, each version with a name that must be percent-encoded."""
    checks, version = world.checks, "1.2.0-rc.1+build.7"
    path = f"/updates/{quote(version, safe='')}"
    world.publish(version, b"candidate", policy='stage == "test"')
    for who, verb, state in (
        ("publisher", "pause", "paused"),
        ("approver", "resume", "active"),
        ("approver", "pause", "paused"),
        ("approver", "complete", "completed"),
        ("approver", "withdraw", "withdrawn"),
    ):
        checks.equal(verb, world.operator(who, "POST", f"{path}/{verb}", {"reason": verb})["state"], state)
    for who, version in (("publisher", "1.2.1"), ("approver", "1.2.2")):
        world.publish(version, version.encode(), policy='stage == "test"')
        checks.equal(
            "abort", world.operator(who, "POST", f"/updates/{version}/abort", {"reason": "bad"})["state"], "aborted"
        )
    world.publish("1.2.3", b"edited", policy='stage == "test"', rollout={"limits": {"max_per_period": 10}})
    edited = world.operator("publisher", "PATCH", "/updates/1.2.3", {"rollout": {"limits": {"max_per_period": 5}}})
    checks.equal("an edit of what is active", edited["rollout"]["limits"]["max_per_period"], 5)
    entries = world.operator("viewer", "GET", f"/audit?version={quote('1.2.0-rc.1+build.7', safe='')}")["entries"]
    checks.equal(
        "the audit log names who did it",
        {entry["who"] for entry in entries},
        {world.operators[name].arn for name in ("publisher", "approver")},
    )
    checks.equal(
        "and what",
        [entry["action"] for entry in entries],
        ["create", "activate", "pause", "resume", "pause", "complete", "withdraw"],
    )


def a_bad_update_stops_itself(world):
    checks = world.checks
    world.publish("1.3.0", b"fatal", policy='stage == "bad"')
    time.sleep(CATALOG_AGE_S)
    for number in range(3):
        device = f"bad-{number}"
        checks.equal("offered", world.check_in(device, "1.0.0", stage="bad").get("version"), "1.3.0")
        world.report(device, "1.3.0", "INSTALL_ERROR", message="flash is read-only")
    metrics = world.metrics("1.3.0")
    checks.equal(
        "stopped", (metrics["state"], metrics["failed"], metrics["health"]["verdict"]), ("aborted", 3, "abort")
    )
    checks.equal("for the next device", world.check_in("bad-9", "1.0.0", stage="bad").get("version"), None)
    entries = world.operator("viewer", "GET", "/audit?version=1.3.0")["entries"]
    checks.equal("by the health rule", entries[-1]["who"], "health rule")


def a_limit_is_never_exceeded(world):
    """Twelve devices at once for five places, with as many copies of the function as needed."""
    checks = world.checks
    world.publish("1.4.0", b"five", policy='stage == "rush"', rollout={"limits": {"max_devices": 5}})
    time.sleep(CATALOG_AGE_S)
    devices = [f"rush-{number}" for number in range(12)]
    for device in devices:
        world.token(device)
    with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
        answers = list(pool.map(lambda device: world.check_in(device, "1.0.0", stage="rush"), devices))
    checks.equal("offers", sum(answer.get("version") == "1.4.0" for answer in answers), 5)
    checks.equal("offered", world.metrics("1.4.0")["offered"], 5)
    why = world.operator("viewer", "GET", f"/devices/{devices[[a.get('version') for a in answers].index(None)]}/why")
    checks.equal("why not", why["considered"][0]["objection"]["code"], "full")


def an_ioto_agent_works(world):
    checks, agent = world.checks, {"id": "ioto-1", "product": PRODUCT}
    closed = world.device("/device/register", agent, "", 403)
    checks.equal("registration is closed", closed["error"]["code"], "registration_closed")
    settings = world.operator(
        "approver", "PATCH", "", {"registration": "open", "product_tokens": "accept", "reason": "first fleet"}
    )
    expected = {"registration": "open", "product_tokens": "accept", "version_attribute": "sw_version"}
    checks.equal("settings", settings, {"product": PRODUCT, **expected})
    checks.equal("settings are kept", world.operator("viewer", "GET", ""), settings)
    time.sleep(CATALOG_AGE_S)
    registered = world.device("/device/register", agent, "")
    checks.holds("the agent is told where it is", registered["api"].startswith("https://"), registered["api"])
    token = world.tokens["ioto-1"] = registered["token"]
    offer = world.device("/tok/provision/update", {**agent, "version": "1.0.0", "region": "eu"}, f"bearer {token}")
    checks.equal("exactly four fields", list(offer), ["url", "checksum", "version", "update"])
    checks.equal("its download", hashlib.sha256(send("GET", offer["url"]).body).hexdigest(), offer["checksum"])
    answer = world.device(
        "/tok/provision/updateReport", {"success": "true", "id": "ioto-1", "update": offer["update"]}, token
    )
    checks.equal("its report", answer, {})
    checks.equal("succeeded", world.metrics("1.1.0")["succeeded"], 3)


def tokens_are_revoked_and_shared(world):
    checks = world.checks
    shared = world.operator("approver", "PUT", "/token", {"reason": "factory"})["token"]
    checks.holds("a shared token is good", "reason" in world.check_in("lamp-4", "1.0.0", token=shared, region="us"))
    report = {"id": "lamp-4", "product": PRODUCT, "version": "1.1.0", "status": "DOWNLOAD"}
    checks.equal(
        "for reports too", world.device("/v1/report", report, shared), {"recorded": False, "reason": "no_claim"}
    )
    revoked = world.operator("approver", "DELETE", "/devices/lamp-2/token", {"reason": "stolen"})
    checks.equal("revoked", revoked, {"revoked": True})
    world.check_in("lamp-2", "1.1.0", region="eu", status=401)
    del world.tokens["lamp-2"]
    checks.holds("a new one", "reason" in world.check_in("lamp-2", "1.1.0", region="eu"))


def the_fleet_is_looked_at(world):
    checks = world.checks
    updates = world.operator("viewer", "GET", "/updates")["updates"]
    checks.equal(
        "updates, newest first",
        [u["version"] for u in updates][:2] + [updates[-1]["version"]],
        ["1.4.0", "1.3.0", "1.1.0"],
    )
    shown = world.operator("viewer", "GET", f"/updates/{quote('1.2.0-rc.1+build.7', safe='')}")
    checks.equal("an update by its encoded version", shown["state"], "withdrawn")
    versions = world.operator("viewer", "GET", "/versions")["versions"]
    checks.equal("versions", {row["version"] for row in versions}, {"1.0.0", "1.1.0"})
    devices = world.operator("viewer", "GET", "/devices?version=1.1.0")["devices"]
    checks.equal("devices on a version", devices, ["lamp-2"])
    device = world.operator("viewer", "GET", "/devices/lamp-1")
    checks.equal("a device's claim", [claim["state"] for claim in device["claims"]], ["succeeded"])
    for name in ("publisher", "approver"):
        checks.equal(f"{name} may look too", world.operator(name, "GET", "/updates")["updates"], updates)
    checks.equal(
        "unknown", world.operator("viewer", "GET", "/updates/9.9.9", status=404)["error"]["code"], "unknown_update"
    )
    checks.equal("no such route", send("GET", f"{world.api}/v1/nothing").status, 404)


def a_kaa_user_brings_a_definition(world):
    """A draft that is never activated, so that no device in the flow is offered it."""
    checks = world.checks
    software = f"/otao/api/v1/applications/{PRODUCT}/software"
    sent = {"version": "0.9.0", "specification": {"level": 1}, "upgradableFrom": ["0.8.0"], "rolloutStrategy": "suspended"}

    def call(name, method, path, fields=None, status=200):
        answer = world.operators[name].call(method, path, fields)
        checks.equal(f"{name} {method} {path}: {answer.body[:200]}", answer.status, status)
        return answer.json

    checks.equal("a draft", call("publisher", "POST", software, sent, 201)["state"], "draft")
    for name in ("viewer", "publisher", "approver"):
        checks.holds(f"{name} sees it", any(one["version"] == "0.9.0" for one in call(name, "GET", software)))
    shown = call("viewer", "GET", f"{software}/0.9.0")
    checks.equal("nothing changes", call("approver", "PUT", f"{software}/0.9.0", shown)["state"], "draft")
    call("approver", "DELETE", f"{software}/0.9.0")


def silence_counts_as_timed_out(world):
    """Makes a claim older: the shortest one lasts five minutes."""
    checks = world.checks
    world.publish("1.5.0", b"silent", policy='stage == "quiet"', rollout={"claim_ttl_s": 300, "limits": {"max_in_flight": 1}})
    time.sleep(CATALOG_AGE_S)
    checks.equal("offered", world.check_in("quiet-1", "1.0.0", stage="quiet").get("version"), "1.5.0")
    table, name = world.account.client("dynamodb"), world.outputs["table_name"]
    partition = {":pk": {"S": f"{PRODUCT}#device#quiet-1"}, ":claim": {"S": "claim#"}}
    (claim,) = table.query(
        TableName=name,
        KeyConditionExpression="pk = :pk AND begins_with(sk, :claim)",
        ExpressionAttributeValues=partition,
    )["Items"]
    past_ms = int(time.time() * 1000) - 1000
    _, _, rest = claim["index_sk"]["S"].partition("#")
    claim["expires_at"] = past(claim["expires_at"], past_ms)
    table.put_item(TableName=name, Item={**claim, "index_sk": {"S": f"{past_ms:013}#{rest}"}})
    checks.equal("the schedule fires", fire_sweep(world), "delivered")
    world.eventually("the sweep ends the claim", lambda: world.metrics("1.5.0")["timed_out"] == 1)
    world.eventually("and draws the series", lambda: world.metrics("1.1.0")["series"])


def past(time_value, at_ms):
    """A stored time, in its stored form."""
    ((kind, text),) = time_value.items()
    if kind == "N":
        return {kind: str(at_ms * 10 ** (len(text) - 13))}
    return {kind: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ms / 1000))}


def fire_sweep(world):
    schedules = world.account.client("scheduler").list_schedules()["Schedules"]
    (schedule,) = [s["Name"] for s in schedules]
    return send("POST", f"{world.endpoint}/standin/schedules/{schedule}").json["outcome"]


def what_changes_is_compiled(world):
    """Every change compiles a catalog: an operator's pause reaches devices without the sweep, and the sweep compiles its own changes."""
    checks = world.checks
    world.publish("1.6.0", b"held", policy='stage == "held"')
    time.sleep(CATALOG_AGE_S)
    checks.equal("offered", world.check_in("held-1", "1.0.0", stage="held").get("version"), "1.6.0")
    world.operator("publisher", "POST", "/updates/1.6.0/pause", {"reason": "wait"})
    time.sleep(CATALOG_AGE_S)
    # A device with a claim needs no shard: this answer comes from the new catalog.
    checks.equal("a second later", world.check_in("held-1", "1.0.0", stage="held").get("reason"), "paused")
    world.publish("1.6.1", b"last", policy='stage == "last"', rollout={"limits": {"max_devices": 1}})
    time.sleep(CATALOG_AGE_S)
    checks.equal("offered", world.check_in("last-1", "1.0.0", stage="last").get("version"), "1.6.1")
    world.report("last-1", "1.6.1", "INSTALL_SUCCESS")
    checks.holds("nothing is left to compile", is_compiled(world))
    changes = revision(world)
    checks.equal("the schedule fires", fire_sweep(world), "delivered")
    world.eventually("the sweep ends it", lambda: world.metrics("1.6.1")["state"] == "completed")
    world.eventually("and compiles that", lambda: revision(world) > changes and is_compiled(world))


def head(world):
    key = {"pk": {"S": PRODUCT}, "sk": {"S": "head"}}
    table = world.account.client("dynamodb")
    return table.get_item(TableName=world.outputs["table_name"], Key=key, ConsistentRead=True)["Item"]


def revision(world):
    return int(head(world)["revision"]["N"])


def is_compiled(world):
    """Whether the catalog that the head names exists and holds every change."""
    item = head(world)
    is_current = item["catalog_revision"] == item["revision"]
    return is_current and f"catalogs/{PRODUCT}/{item['catalog_name']['S']}" in catalogs(world)


def catalogs(world):
    listed = world.account.client("s3").list_objects_v2(Bucket=world.outputs["bucket_name"], Prefix="catalogs/")
    return [found["Key"] for found in listed.get("Contents", [])]


def no_more_than_two_catalogs_are_kept(world):
    """The published catalog and the one before it, which a function may still be about to read."""
    checks, kept = world.checks, catalogs(world)
    checks.holds("after dozens of changes", revision(world) >= 20 and 1 <= len(kept) <= 2, f"{revision(world)} {kept}")
    checks.holds("and the head names one of them", is_compiled(world))


def events_that_fail_are_kept(world):
    """A sweep that Lambda cannot run goes to the queue with the function's role; one that cannot start, with the schedule's role."""
    functions, checks = world.account.client("lambda"), world.checks
    sweep = world.outputs["functions"]["sweep"]
    functions.put_function_concurrency(FunctionName=sweep["name"], ReservedConcurrentExecutions=0)
    checks.equal("accepted", fire_sweep(world), "delivered")
    world.eventually("what failed is in the queue", lambda: dead_letters(world) == 1)
    functions.delete_function_concurrency(FunctionName=sweep["name"])
    alias = functions.get_alias(FunctionName=sweep["name"], Name=sweep["alias_arn"].rpartition(":")[2])
    functions.delete_alias(FunctionName=sweep["name"], Name=alias["Name"])
    checks.equal("nothing to start", fire_sweep(world), "dead letter")
    checks.equal("what could not be started is there too", dead_letters(world), 2)
    functions.create_alias(
        FunctionName=sweep["name"],
        Name=alias["Name"],
        FunctionVersion=alias["FunctionVersion"],
        Description=alias["Description"],
    )
    checks.equal("back to work", fire_sweep(world), "delivered")


def dead_letters(world):
    url = world.outputs["dead_letter_queue_url"]
    attributes = world.account.client("sqs").get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(attributes["Attributes"]["ApproximateNumberOfMessages"])


def the_command_line_signs(world):
    """Every operator command, with the profile of a role that may use it."""
    checks, tidegate = world.checks, world.command_line
    if not tidegate.understands_profiles():
        checks.holds("tidegate has --profile and --region", False)
        return
    image = world.folder / "image.bin"
    image.write_bytes(secrets.token_bytes(1000))
    device = world.folder / "device.json"
    device.write_text(json.dumps({"id": "cli-1", "product": PRODUCT, "version": "1.0.0", "stage": "cli"}))
    policy = ["--policy", 'stage == "cli"']
    for profile, arguments, expected in (
        ("publisher", ["publish", str(image), "--version", "2.0.0+cli.1", *policy], "draft"),
        ("approver", ["updates", "activate", "2.0.0+cli.1", "--reason", "tested"], "active"),
        ("viewer", ["updates", "list"], "2.0.0"),
        ("viewer", ["updates", "show", "2.0.0+cli.1"], "active"),
        ("publisher", ["updates", "edit", "2.0.0+cli.1", "--max-devices", "7", "--reason", "tested"], "7"),
        ("approver", ["token", "issue", "cli-1"], "d1."),
        ("approver", ["check", str(device), "--download", str(world.folder)], "2.0.0"),
        ("viewer", ["why", "cli-1"], "2.0.0"),
        ("viewer", ["devices", "cli-1"], "cli-1"),
        ("viewer", ["devices", "--version", "1.0.0"], "cli-1"),
        ("viewer", ["versions"], "1.0.0"),
        ("publisher", ["updates", "pause", "2.0.0+cli.1", "--reason", "wait"], "paused"),
        ("approver", ["updates", "resume", "2.0.0+cli.1", "--reason", "tested"], "active"),
        ("approver", ["updates", "complete", "2.0.0+cli.1", "--reason", "tested"], "completed"),
        ("viewer", ["watch", "2.0.0+cli.1"], "completed"),
        ("approver", ["updates", "withdraw", "2.0.0+cli.1", "--reason", "tested"], "withdrawn"),
        ("publisher", ["publish", str(image), "--version", "2.0.1", *policy], "draft"),
        ("approver", ["updates", "activate", "2.0.1", "--reason", "tested"], "active"),
        ("publisher", ["updates", "abort", "2.0.1", "--reason", "bad"], "aborted"),
        ("viewer", ["updates", "audit"], "abort"),
        ("approver", ["token", "product"], "p1."),
        ("approver", ["settings", "--registration", "closed"], "closed"),
        ("viewer", ["settings"], "closed"),
        ("approver", ["token", "revoke", "cli-1"], ""),
    ):
        code, text = tidegate.run(profile, "--product", PRODUCT, *arguments)
        checks.holds(
            f"tidegate {' '.join(arguments)} as {profile}",
            code == 0 and expected in text,
            f"({code}) {text[-300:] if code else ''}".strip(),
        )


def the_logs_are_in_cloudwatch(world):
    """Each function writes its log with its own role; the metric of the stop is in it, and no secret."""
    checks, logs = world.checks, world.account.client("logs")
    text = ""
    for name, function in world.outputs["functions"].items():
        events = []
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=function["log_group_name"]):
            events += [event["message"] for event in page["events"]]
        checks.holds(f"{name} has a log", events)
        text += "\n".join(events)
    metrics = [json.loads(line) for line in text.splitlines() if '"_aws"' in line]
    checks.holds("the stop is a metric", any("RolloutsStopped" in metric for metric in metrics))
    checks.holds("every catalog could be read", not any("CatalogsUnreadable" in metric for metric in metrics))
    key = world.account.client("secretsmanager").get_secret_value(SecretId=world.outputs["token_keys_secret_arn"])[
        "SecretString"
    ]
    for secret in (key.partition(":")[2], *world.tokens.values(), "X-Amz-Signature"):
        checks.holds("no secret is in a log", secret not in text)


# ---------------------------------------------------------------- requests that must be refused


def probe(world):
    """Requests that nobody may make. Only here are requests denied."""
    the_operators_routes_are_closed(world)
    the_roles_can_do_no_more(world)
    the_bucket_takes_no_old_or_plain_request(world)
    a_catalog_that_is_gone_is_made_again(world)


def the_operators_routes_are_closed(world):
    checks, everyone = world.checks, world.operators
    # (who, method, path)
    for name, method, path in (
        ("viewer", "POST", "/updates/1.1.0/activate"),
        ("viewer", "POST", "/updates/1.1.0/pause"),
        ("viewer", "POST", "/updates"),
        ("viewer", "PATCH", ""),
        ("viewer", "PUT", "/devices/lamp-1/token"),
        ("publisher", "POST", "/updates/1.1.0/activate"),
        ("publisher", "POST", "/updates/1.1.0/resume"),
        ("publisher", "POST", "/updates/1.1.0/withdraw"),
        ("publisher", "PUT", "/token"),
        ("publisher", "PATCH", ""),
        ("approver", "POST", "/updates"),
    ):
        answer = everyone[name].call(method, f"/v1/products/{PRODUCT}{path}", {})
        checks.equal(f"{name} {method} {path}", (answer.status, answer.json), (403, {"message": "Forbidden"}))
    path, viewer = f"/v1/products/{PRODUCT}/updates", everyone["viewer"]
    checks.equal("nobody signed", send("GET", world.api + path).status, 403)
    checks.equal(
        "a bearer key of the local cloud",
        send("GET", world.api + path, headers={"authorization": "Bearer x"}).status,
        403,
    )
    forged = Operator((viewer.key[0], "x" * 40, None), world.api, world.region)
    checks.equal("a wrong secret", forged.call("GET", path).status, 403)
    stranger = Operator(("AKIA000000000STRANGE", "x" * 40, None), world.api, world.region)
    checks.equal("an unknown key", stranger.call("GET", path).status, 403)
    elsewhere = Operator(viewer.key, world.api, "us-east-2" if world.region != "us-east-2" else "us-east-1")
    checks.equal("a signature for another region", elsewhere.call("GET", path).status, 403)
    checks.equal("a signature for another service", viewer.call("GET", path, service="lambda").status, 403)
    for name, function in world.outputs["functions"].items():
        role = Operator(world.account.as_role(function["role_arn"]), world.api, world.region)
        checks.equal(f"the role of {name}", role.call("GET", path).status, 403)
    if world.command_line.understands_profiles():
        code, text = world.command_line.run("viewer", "--product", PRODUCT, "updates", "activate", "1.1.0", "--reason", "curious")
        checks.equal(f"tidegate updates activate as viewer: {text}", code, 1)


def the_roles_can_do_no_more(world):
    checks, outputs = world.checks, world.outputs
    table, bucket, queue = outputs["table_name"], outputs["bucket_name"], outputs["dead_letter_queue_url"]
    secret, key = outputs["token_keys_secret_arn"], {"pk": {"S": PRODUCT}, "sk": {"S": "head"}}
    image, index = (
        {"Bucket": bucket, "Key": f"images/{PRODUCT}/x"},
        {"ExpressionAttributeValues": {":p": {"S": "x"}}, "KeyConditionExpression": "index_pk = :p"},
    )
    catalog = {"Bucket": bucket, "Key": catalogs(world)[0]}
    sweep = outputs["functions"]["sweep"]["alias_arn"]
    every = [
        ("dynamodb", "delete_item", {"TableName": table, "Key": key}),
        ("dynamodb", "scan", {"TableName": table}),
        ("dynamodb", "delete_table", {"TableName": table}),
        ("dynamodb", "transact_write_items", {"TransactItems": [{"Delete": {"TableName": table, "Key": key}}]}),
        ("dynamodb", "get_item", {"TableName": f"{table}-other", "Key": key}),
        ("s3", "delete_object", image),
        ("s3", "put_bucket_policy", {"Bucket": bucket, "Policy": "{}"}),
        ("s3", "put_object", {"Bucket": bucket, "Key": "truststore/device-ca.pem", "Body": b"x"}),
        ("secretsmanager", "put_secret_value", {"SecretId": secret, "SecretString": "k1:x"}),
        ("secretsmanager", "get_secret_value", {"SecretId": f"{secret}-other"}),
        ("iam", "list_roles", {}),
        ("lambda", "invoke", {"FunctionName": sweep}),
    ]
    of_one = {
        "check": [
            ("dynamodb", "query", {"TableName": table, "IndexName": "listing", **index}),
            ("s3", "put_object", image),
            ("s3", "put_object", catalog),
            ("s3", "delete_object", catalog),
            ("s3", "list_objects_v2", {"Bucket": bucket}),
            ("sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"}),
        ],
        "report": [
            ("s3", "get_object", image),
            ("s3", "put_object", image),
            ("s3", "get_object", catalog),
            ("dynamodb", "query", {"TableName": table, "IndexName": "listing", **index}),
        ],
        "publish": [
            ("s3", "delete_object", {**image, "VersionId": "x"}),
            ("s3", "delete_object", {**catalog, "VersionId": "x"}),
            ("sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"}),
        ],
        "sweep": [
            ("secretsmanager", "get_secret_value", {"SecretId": secret}),
            ("s3", "get_object", image),
            ("s3", "put_object", image),
            ("s3", "get_object", catalog),
            ("sqs", "receive_message", {"QueueUrl": queue}),
        ],
    }
    for name, function in outputs["functions"].items():
        role = world.account.as_role(function["role_arn"])
        for service, operation, arguments in every + of_one[name]:
            checks.equal(
                f"{name} {service} {operation}",
                refusal(world.account.client(service, role), operation, arguments),
                "denied",
            )


def refusal(client, operation, arguments):
    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return "denied" if code in ("AccessDenied", "AccessDeniedException", "403") else code
    return "allowed"


def the_bucket_takes_no_old_or_plain_request(world):
    checks, offer = world.checks, world.check_in("lamp-5", "1.0.0", region="eu")
    checks.equal("over TLS", send("GET", offer["url"]).status, 200)
    checks.equal("without TLS", send("GET", offer["url"], headers={"x-standin-plain-http": "1"}).status, 403)
    role = world.account.as_role(world.outputs["functions"]["check"]["role_arn"])
    path, _, query = offer["url"].removeprefix(world.endpoint).partition("?")
    version = next(pair for pair in query.split("&") if pair.startswith("versionId="))
    checks.equal("signed a minute ago", send("GET", presigned(world, role, path, version, age_s=60)).status, 200)
    checks.equal(
        "signed for hours, sixteen minutes ago",
        send("GET", presigned(world, role, path, version, age_s=960)).status,
        403,
    )
    checks.equal("without a version", send("GET", presigned(world, role, path, "x-id=GetObject", age_s=0)).status, 403)


def presigned(world, key, path, extra, age_s):
    """A URL that is valid for six hours, signed with stolen credentials of a function."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - age_s))
    scope = f"{key[0]}/{stamp[:8]}/{world.region}/s3/aws4_request"
    fields = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": scope,
        "X-Amz-Date": stamp,
        "X-Amz-Expires": "21600",
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Security-Token": key[2],
    }
    query = "&".join([extra, *(f"{name}={quote(value, safe='-_.~')}" for name, value in fields.items())])
    headers = {"host": world.endpoint.partition("//")[2]}
    signed = signature.read(f"{query}&X-Amz-Signature=", headers)
    return f"{world.endpoint}{path}?{query}&X-Amz-Signature={signature.signature(signed, key[1], 'GET', path, query, headers, b'')}"


def a_catalog_that_is_gone_is_made_again(world):
    """The state after a restore of the table: the head names an object that does not exist."""
    checks, table = world.checks, world.account.client("dynamodb")
    before = world.check_in("lamp-3", "1.0.0", region="us")
    table.update_item(
        TableName=world.outputs["table_name"],
        Key={"pk": {"S": PRODUCT}, "sk": {"S": "head"}},
        UpdateExpression="SET catalog_name = :gone",
        ExpressionAttributeValues={":gone": {"S": "1-0000000000000000"}},
    )
    time.sleep(CATALOG_AGE_S)
    checks.equal("the last good one stays in force", world.check_in("lamp-3", "1.0.0", region="us"), before)
    checks.holds("the sweep is asked for another", not is_compiled(world))
    checks.equal("the schedule fires", fire_sweep(world), "delivered")
    world.eventually("the sweep makes it", lambda: is_compiled(world))
    group, logs = world.outputs["functions"]["check"]["log_group_name"], world.account.client("logs")
    world.eventually(
        "and an alarm is raised",
        lambda: any(
            "CatalogsUnreadable" in event["message"]
            for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
            for event in page["events"]
        ),
    )
