"""The whole flow of devices and operators on the stack that Terraform created.

Each chapter is a function; together they need every grant of every role, which `grants.py` verifies.
"""

import concurrent.futures
import dataclasses
import datetime
import hashlib
import itertools
import json
import pathlib
import re
import secrets
import time
from urllib.parse import quote

from botocore.exceptions import ClientError

import signature
from account import Account
from operators import Operator, send

PRODUCT = "lamp"
PATIENCE_S = 20
# Seconds that a sweep of the stand-in takes, and how long its effect is waited for.
SWEEP_S, SWEPT_PATIENCE_S = 8, 60
# A stop is acknowledged when no function can use an older head any more.
STOP_LASTS_S = 2.5
# The service itself tries for 20 seconds, and then leaves the rest to the next call, to `count` and to the sweep.
STOP_PATIENCE_S = 60
MOST_READS = 3
# A running function uses for one second what it read of a product.
CATALOG_AGE_S = 1.1
# The number of the format of catalogs (crates/tidegate-core/src/snapshot.rs).
FORMAT = 6


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
    outage: tuple = (0, 0)  # when S3 was down
    busy: int = 0  # check-ins that were told to come again because of contention

    # Calls of operators.

    def operator(self, name, method, path, fields=None, status=200):
        """A signed call below /v1/products/lamp that must get this status. A read that says "try again later" is tried
        again: the stand-in is one process, and while it scans a table, others wait."""
        for _ in range(MOST_READS):
            answer = self.operators[name].call(method, f"/v1/products/{PRODUCT}{path}", fields)
            if method != "GET" or answer.status != 503:
                break
        self.checks.equal(f"{name} {method} {path}: {answer.body[:200]}", answer.status, status)
        return answer.json

    def steer(self, name, method, path, fields):
        """A call that concerns every shard. 202 says what is left, and the same call goes on. Returns the answer and the
        seconds that it took."""
        begun = time.monotonic()
        while True:
            answer = self.operators[name].call(method, f"/v1/products/{PRODUCT}{path}", fields)
            if answer.status != 202 or time.monotonic() - begun > STOP_PATIENCE_S:
                break
            says = {"/stop": {"paused", "left"}, "/resume-stopped": {"resumed", "left"}}
            says = says.get(path, {"state", "wanted", "shards_left"})
            self.checks.holds("202 says what is left", answer.json.keys() >= says, answer.json)
            time.sleep(0.2)
        self.checks.equal(f"{name} {method} {path}: {answer.body[:200]}", answer.status, 200)
        return answer.json, time.monotonic() - begun

    def stop(self, name, path, reason):
        """A stop, which is acknowledged only when no device gets an offer any more."""
        answer, seconds = self.steer(name, "POST", path, {"reason": reason})
        self.checks.holds(f"{path} is not acknowledged too early", seconds >= STOP_LASTS_S, seconds)
        return answer

    def publish(self, version, image, **definition):
        """Creates a draft, uploads its bytes and activates it."""
        self.upload(self.draft(version, image, **definition), image)
        self.steer("approver", "POST", f"/updates/{quote(version, safe='')}/activate", {"reason": "tested"})

    def draft(self, version, image, **definition):
        file = {"name": "lamp.bin", "sha256": hashlib.sha256(image).hexdigest(), "size": len(image)}
        return self.operator("publisher", "POST", "/updates", {"version": version, "files": [file], **definition}, 201)

    def upload(self, draft, image, status=200):
        (upload,) = draft["uploads"]
        headers = {name: value for name, value in upload["headers"].items() if name != "content-length"}
        answer = send("PUT", upload["url"], image, headers)
        self.checks.equal(f"upload: {answer.body[:300]}", answer.status, status)

    def metrics(self, version):
        """The numbers now: those of the stream as far as `count` has read it."""
        return self.operators["viewer"].call("GET", f"/v1/products/{PRODUCT}/updates/{version}/metrics").json

    def counted(self, version, **expected):
        """Waits until the metrics of an update are these, and returns them all."""
        end = time.monotonic() + PATIENCE_S
        while True:
            metrics = self.metrics(version)
            got = {name: metrics.get(name) for name in expected}
            # Offers are counted by the shards: they are there before the stream has anything.
            if (got == expected and metrics.get("as_of")) or time.monotonic() > end:
                break
            time.sleep(0.1)
        self.checks.equal(f"metrics of {version}", got, expected)
        self.checks.holds("and their time", metrics.get("as_of"), metrics)
        return metrics

    # Calls of devices.

    def token(self, device):
        if device not in self.tokens:
            self.tokens[device] = self.operator("approver", "PUT", f"/devices/{device}/token")["token"]
        return self.tokens[device]

    def device(self, path, fields, token, *statuses):
        """A call of a device that must get one of these statuses, or 200 if none is given."""
        answer = send(
            "POST",
            self.api + path,
            json.dumps(fields).encode(),
            {"authorization": token, "content-type": "application/json"},
        )
        statuses = statuses or (200,)
        self.checks.holds(f"{path} {fields}: {answer.body[:200]}", answer.status in statuses, answer.status)
        return answer.json

    def check_in(self, device, version, *statuses, token=None, **attributes):
        """The answer to a device that comes again if it is told that the service is busy."""
        fields = {"id": device, "product": PRODUCT, "version": version, **attributes}
        end = time.monotonic() + PATIENCE_S
        while True:
            answer = self.device("/v1/check", fields, token or self.token(device), *statuses)
            if answer.get("reason") != "busy" or time.monotonic() > end:
                return answer
            self.busy += 1
            self.checks.holds("a busy device comes again soon", 0 < answer["check_again_after_s"] <= 60, answer)
            time.sleep(0.05)

    def report(self, device, version, status, **more):
        fields = {"id": device, "product": PRODUCT, "version": version, "status": status, **more}
        return self.device("/v1/report", fields, self.token(device))

    def eventually(self, what, question, patience_s=PATIENCE_S):
        """Waits until a condition is true: services deliver events with a delay."""
        end = time.monotonic() + patience_s
        while not (answer := question()) and time.monotonic() < end:
            time.sleep(0.2)
        self.checks.holds(what, answer)


def play(world):
    """Every chapter, in order."""
    for chapter in (
        an_update_is_published,
        devices_install_it,
        rollouts_are_steered,
        no_version_is_used_up,
        a_bad_update_is_held,
        a_limit_is_never_exceeded,
        a_stop_holds_without_a_catalog,
        a_product_is_stopped,
        an_ioto_agent_works,
        tokens_are_revoked_and_shared,
        the_fleet_is_looked_at,
        a_kaa_user_brings_a_definition,
        a_silent_device_is_lost,
        a_large_image_is_verified,
        what_nobody_needs_is_removed,
        what_changes_is_compiled,
        who_waits_is_counted,
        events_that_fail_are_kept,
        the_command_line_signs,
        the_logs_are_in_cloudwatch,
        no_more_than_two_catalogs_are_kept,
        a_control_group_is_held_out,
        a_recount_finds_no_drift,
        the_counts_are_those_of_the_table,
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
    activated, _ = world.steer("approver", "POST", "/updates/1.1.0/activate", {"reason": "tested"})
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
    checks.equal("up to date", world.check_in("lamp-1", "1.1.0", region="eu")["reason"], "up_to_date")
    late = {"recorded": False, "reason": "not_under_way"}
    checks.equal("a proof stays", world.report("lamp-1", "1.1.0", "DOWNLOAD_ERROR"), late)
    # Some agents never report: the version of their next check-in is the proof.
    world.check_in("lamp-2", "1.0.0", region="eu")
    checks.equal("up to date", world.check_in("lamp-2", "1.1.0", region="eu")["reason"], "up_to_date")
    checks.equal("not for this region", world.check_in("lamp-3", "1.0.0", region="us")["reason"], "not_targeted")
    world.counted("1.1.0", offered=2, in_flight=0, proved=2, failed=0)
    # A proof is stronger than a failure: then the device leaves the list of failures.
    world.check_in("lamp-6", "1.0.0", region="eu")
    world.report("lamp-6", "1.1.0", "INSTALL_ERROR", message="no power")
    world.eventually("the list of failures has its message", lambda: failures(world, "1.1.0") == {"lamp-6": "no power"})
    world.counted("1.1.0", offered=3, in_flight=0, proved=2, failed=1)
    checks.equal("success after all", world.report("lamp-6", "1.1.0", "INSTALL_SUCCESS")["recorded"], True)
    world.check_in("lamp-6", "1.1.0", region="eu")
    world.eventually("the list is empty again", lambda: failures(world, "1.1.0") == {})
    world.counted("1.1.0", offered=3, in_flight=0, proved=3, failed=0)
    answer = world.device("/v1/check", {"id": "lamp-1", "product": PRODUCT, "version": "1.0.0"}, "d1.k1.wrong", 401)
    checks.equal("a wrong token", answer["error"]["code"], "unauthorized")


def failures(world, version):
    """The devices in the lists of failures of an update, with their messages."""
    begin = f"l#{PRODUCT}#{version}#failed#"
    return {item["sk"]["S"]: item["message"]["S"] for item in items(world) if item["pk"]["S"].startswith(begin)}


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
        if verb == "pause":
            answer = world.stop(who, f"{path}/{verb}", verb)
        else:
            answer, _ = world.steer(who, "POST", f"{path}/{verb}", {"reason": verb})
        checks.equal(verb, answer["state"], state)
    for who, version in (("publisher", "1.2.1"), ("approver", "1.2.2")):
        world.publish(version, version.encode(), policy='stage == "test"')
        checks.equal("abort", world.stop(who, f"/updates/{version}/abort", "bad")["state"], "aborted")
    world.publish("1.2.3", b"edited", policy='stage == "test"', rollout={"limits": {"max_per_period": 10}})
    edited, _ = world.steer("approver", "PATCH", "/updates/1.2.3/campaign", {"rollout": {"limits": {"max_per_period": 5}}})
    checks.equal("an edit of what is active", edited["rollout"]["limits"]["max_per_period"], 5)
    entries = world.operator("viewer", "GET", f"/audit?version={quote('1.2.0-rc.1+build.7', safe='')}")["items"]
    checks.equal(
        "the audit log names who did it",
        {entry["who"] for entry in entries},
        {world.operators[name].arn for name in ("publisher", "approver")},
    )
    checks.equal(
        "and what",
        [entry["action"] for entry in reversed(entries)],
        ["create", "activate", "pause", "resume", "pause", "complete", "withdraw"],
    )


def no_version_is_used_up(world):
    """A draft is deleted, devices are taken back from a bad version, and what was aborted is offered again."""
    checks, policy = world.checks, 'stage == "back"'
    world.draft("1.2.9", b"a slip", policy=policy)
    deleted = world.operator("publisher", "DELETE", "/updates/1.2.9", {"reason": "a slip"})
    checks.equal("a draft is deleted", deleted, {"deleted": "1.2.9", "state": "draft"})
    world.publish("1.2.4", b"good", policy=policy)
    world.publish("1.2.9", b"bad", policy=policy)
    time.sleep(CATALOG_AGE_S)
    checks.equal("offered", world.check_in("back-1", "1.0.0", stage="back").get("version"), "1.2.9")
    world.check_in("back-1", "1.2.9", stage="back")
    back, _ = world.steer("approver", "POST", "/updates/1.2.4/rollback", {"from": ["1.2.9"], "reason": "it is bad"})
    checks.equal("a way back", (back["state"], back["campaign"]), ("active", 2))
    checks.equal("of the bad one", world.operator("viewer", "GET", "/updates/1.2.9")["state"], "aborted")
    refused = world.operator("approver", "POST", "/updates/1.2.9/reopen", {"reason": "it was not"}, 409)
    checks.equal("no circle", refused["error"]["code"], "circle")
    time.sleep(CATALOG_AGE_S)
    checks.equal("taken back", world.check_in("back-1", "1.2.9", stage="back").get("version"), "1.2.4")
    world.check_in("back-1", "1.2.4", stage="back")
    world.counted("1.2.4", offered=1, in_flight=0, proved=1, failed=0)
    world.steer("approver", "POST", "/updates/1.2.4/complete", {"reason": "all are back"})
    again, _ = world.steer("approver", "POST", "/updates/1.2.9/reopen", {"reason": "it was not"})
    checks.equal("offered again", (again["state"], again["campaign"]), ("active", 2))
    time.sleep(CATALOG_AGE_S)
    checks.equal("another offer", world.check_in("back-1", "1.2.4", stage="back").get("version"), "1.2.9")
    world.counted("1.2.9", offered=1, in_flight=1, proved=0, failed=0)


def a_bad_update_is_held(world):
    checks = world.checks
    world.publish("1.3.0", b"fatal", policy='stage == "bad"')
    time.sleep(CATALOG_AGE_S)
    for number in range(3):
        device = f"bad-{number}"
        checks.equal("offered", world.check_in(device, "1.0.0", stage="bad").get("version"), "1.3.0")
        world.report(device, "1.3.0", "INSTALL_ERROR", message="flash is read-only")
    metrics = world.counted("1.3.0", failed=3)
    checks.equal("the verdict", metrics["health"]["verdict"], "hold")
    # `count` begins the hold and tries for two seconds; the sweep does what is left.
    swept_until(world, "it is held", lambda: world.metrics("1.3.0")["state"] == "held")
    checks.equal("for the next device", world.check_in("bad-9", "1.0.0", stage="bad").get("version"), None)
    entries = world.operator("viewer", "GET", "/audit?version=1.3.0")["items"]
    checks.equal("by the health rule", entries[0]["who"], "health rule")


def a_limit_is_never_exceeded(world):
    """Twelve devices at once for five places, with as many copies of the function as needed."""
    checks = world.checks
    world.publish("1.4.0", b"five", policy='stage == "rush"', rollout={"limits": {"max_devices": 5}})
    time.sleep(CATALOG_AGE_S)
    devices = [f"rush-{number}" for number in range(12)]
    for device in devices:
        world.token(device)

    def offered():
        """The devices that are offered the update now, all at once."""
        with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
            answers = pool.map(lambda device: world.check_in(device, "1.0.0", stage="rush"), devices)
            return {device for device, answer in zip(devices, answers) if answer.get("version") == "1.4.0"}

    # A device that found no room that a function knew of is told to come again.
    world.eventually("five places are taken", lambda: len(offered()) == 5)
    first = offered()
    checks.equal("and the same five keep them", (len(first), offered()), (5, first))
    world.counted("1.4.0", offered=5)
    why = world.operator("viewer", "GET", f"/devices/{min(set(devices) - first)}/why")
    checks.equal("why not", why["considered"][0]["objection"]["code"], "full")


def a_stop_holds_without_a_catalog(world):
    """S3 is down, so no catalog can be compiled: a stop works all the same, also for a device that holds a claim."""
    checks = world.checks
    world.publish("1.7.0", b"frozen", policy='stage == "frozen"')
    time.sleep(CATALOG_AGE_S)
    checks.holds("a URL", world.check_in("frozen-1", "1.0.0", stage="frozen").get("url"))
    begun = time.time()
    send("POST", f"{world.endpoint}/standin/outages/s3")
    try:
        checks.equal("paused", world.stop("publisher", "/updates/1.7.0/pause", "drill")["state"], "paused")
        devices = [f"frozen-{1 + number % 2}" for number in range(12)]
        for device in devices:
            world.token(device)
        with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
            # A copy of the function that starts now has no catalog, and answers 503.
            answers = list(pool.map(lambda device: world.check_in(device, "1.0.0", 200, 503, stage="frozen"), devices))
        checks.holds("a copy with a catalog answers", any("check_again_after_s" in answer for answer in answers), answers)
        given = [answer for answer in answers if "url" in answer or answer.get("version") == "1.7.0"]
        checks.equal("offers and URLs after the stop", given, [])
    finally:
        send("POST", f"{world.endpoint}/standin/outages/none")
        world.outage = (begun, time.time())
    swept_until(world, "the catalog follows", lambda: is_compiled(world))


def a_product_is_stopped(world):
    """One call, without a list of anything. Only an approver may end it."""
    checks = world.checks
    world.publish("1.7.1", b"halt", policy='stage == "halt"')
    for who in ("publisher", "approver"):
        world.eventually("a URL", lambda: world.check_in("halt-1", "1.0.0", stage="halt").get("url"))
        world.stop(who, "/stop", "drill")
        for device in ("halt-1", f"halt-{who}"):
            answer = world.check_in(device, "1.0.0", stage="halt")
            checks.holds("no offer and no URL after the stop", "url" not in answer and "version" not in answer, answer)
        world.steer("approver", "POST", "/resume-stopped", {"reason": "drill is over"})
    world.eventually("a URL again", lambda: world.check_in("halt-1", "1.0.0", stage="halt").get("url"))
    checks.equal("what was paused before stays so", world.metrics("1.7.0")["state"], "paused")


def an_ioto_agent_works(world):
    checks, agent = world.checks, {"id": "ioto-1", "product": PRODUCT}
    closed = world.device("/device/register", agent, "", 403)
    checks.equal("registration is closed", closed["error"]["code"], "registration_closed")
    settings = world.operator(
        "approver", "PATCH", "", {"registration": "open", "product_tokens": "accept", "reason": "first fleet"}
    )
    times = {"poll_s": 86400, "boot_grace_s": 3600, "apply_within_s": 691200, "watch_s": 864000}
    words = {"registration": "open", "product_tokens": "accept", "version_attribute": "sw_version", "proof": "check_in"}
    expected = {**words, "stopped": False, **times}
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
    world.device("/tok/provision/update", {**agent, "version": "1.1.0", "region": "eu"}, f"bearer {token}")
    world.counted("1.1.0", proved=4)


def tokens_are_revoked_and_shared(world):
    checks = world.checks
    shared = world.operator("approver", "PUT", "/token", {"reason": "factory"})["token"]
    checks.holds("a shared token is good", "reason" in world.check_in("lamp-4", "1.0.0", token=shared, region="us"))
    report = {"id": "lamp-4", "product": PRODUCT, "version": "1.1.0", "status": "DOWNLOAD"}
    checks.equal(
        "for reports too", world.device("/v1/report", report, shared), {"recorded": False, "reason": "no_claim"}
    )
    for operator in ("publisher", "approver"):
        retried = world.operator(operator, "POST", "/devices/lamp-2/retry", {"reason": "another cable"})
        checks.equal(f"nothing to retry for {operator}", retried, {"retried": []})
    devices_are_ordered(world)
    revoked = world.operator("approver", "DELETE", "/devices/lamp-2/token", {"reason": "stolen"})
    checks.equal("revoked", revoked, {"revoked": True, "was_known": True})
    world.check_in("lamp-2", "1.1.0", 401, region="eu")
    del world.tokens["lamp-2"]
    checks.holds("a new one", "reason" in world.check_in("lamp-2", "1.1.0", region="eu"))
    revoked = world.operator("approver", "DELETE", "/token", {"reason": "it was published"})
    checks.equal("the shared one is revoked", revoked, {"revoked": True, "was_known": True})
    time.sleep(CATALOG_AGE_S)
    world.check_in("lamp-4", "1.0.0", 401, token=shared, region="us")
    a_device_is_deleted(world)


def a_device_is_deleted(world):
    checks = world.checks
    checks.holds("a device", "reason" in world.check_in("sold-1", "1.0.0", region="us"))
    exported = world.operator("viewer", "GET", "/devices/sold-1/export")
    checks.equal("what is stored of it", exported["device"]["attributes"]["region"], "us")
    checks.equal("what was done with it", [entry["action"] for entry in exported["audit"]["items"]], ["issue token"])
    deleted = world.operator("approver", "DELETE", "/devices/sold-1", {"reason": "it was sold"})
    checks.equal("deleted", deleted, {"deleted": True})
    world.check_in("sold-1", "1.0.0", 401, region="us")
    gone = world.operator("viewer", "GET", "/devices/sold-1", status=404)
    checks.equal("it is gone", gone["error"]["code"], "unknown_device")


def devices_are_ordered(world):
    """What operators order for one device, and for many."""
    checks, because = world.checks, {"reason": "a test"}
    for verb, body in (("hold", because), ("pin", {"version": "1.1.0", **because}), ("release", because)):
        ordered = world.operator("approver", "POST", f"/devices/lamp-4/{verb}", body)
        checks.equal(f"{verb}", (ordered["on_hold"], ordered["pinned"]), {"hold": (True, None), "pin": (True, "1.1.0")}.get(verb, (False, None)))
    for who in ("publisher", "approver"):
        tagged = world.operator(who, "PUT", "/devices/lamp-4/tags/site", {"value": "berlin", **because})
        checks.equal(f"tagged by {who}", tagged["tags"], {"site": "berlin"})
        untagged = world.operator(who, "DELETE", "/devices/lamp-4/tags/site", because)
        checks.equal(f"untagged by {who}", untagged["tags"], {})
        again = world.operator(who, "POST", "/updates/1.1.0/retry", {"state": "failed", **because})
        checks.holds(f"many again for {who}", again["next"] is None, again)
    many = {"devices": ["lamp-4"], **because}
    one, none = {"changed": 1, "unchanged": [], "next": None}, {"changed": 0, "unchanged": ["lamp-4"], "next": None}
    phases = [{"percent": 0.01}, {"percent": 100, "advance": {"approval": True}}]
    draft = {"version": "1.6.9", "kind": "json", "payload": 1, "policy": "false", "rollout": {"phases": phases}}
    checks.equal("a draft with phases", world.operator("publisher", "POST", "/updates", draft, 201)["state"], "draft")
    world.steer("approver", "POST", "/updates/1.6.9/activate", because)
    begun, _ = world.steer("approver", "POST", "/updates/1.6.9/advance", {"phase": 2, **because})
    checks.equal("its second phase", begun["state"], "active")
    world.steer("approver", "POST", "/updates/1.6.9/withdraw", because)
    checks.equal("assigned", world.operator("approver", "PUT", "/updates/1.1.0/assigned", many), one)
    checks.equal("and taken back", world.operator("approver", "DELETE", "/updates/1.1.0/assigned", many), one)
    checks.equal("no witness", world.operator("approver", "POST", "/updates/1.1.0/void", many), none)
    checks.equal("nothing to forget", world.operator("approver", "POST", "/devices/lamp-4/forget", because), {"forgotten": []})
    page = world.operator("viewer", "GET", "/updates/1.1.0/devices?state=failed")
    checks.holds("devices with an outcome", page["next"] is None, page)
    checks.holds("and their reasons", world.operator("viewer", "GET", "/updates/1.1.0/reasons")["complete"], page)


def the_fleet_is_looked_at(world):
    checks = world.checks
    updates = world.operator("viewer", "GET", "/updates?limit=200")["items"]
    checks.equal(
        "updates, newest first",
        [u["version"] for u in updates][:2] + [updates[-1]["version"]],
        ["1.7.1", "1.7.0", "1.1.0"],
    )
    shown = world.operator("viewer", "GET", f"/updates/{quote('1.2.0-rc.1+build.7', safe='')}")
    checks.equal("an update by its encoded version", shown["state"], "withdrawn")
    world.eventually("versions", lambda: versions(world) == versions_in_the_table(world))
    devices = world.operator("viewer", "GET", "/devices?version=1.1.0")["items"]
    checks.equal("devices on a version", devices, ["ioto-1", "lamp-1", "lamp-2", "lamp-6"])
    device = world.operator("viewer", "GET", "/devices/lamp-1")
    checks.equal("a device's claim", [claim["state"] for claim in device["claims"]], ["proved"])
    for name in ("publisher", "approver"):
        checks.equal(f"{name} may look too", world.operator(name, "GET", "/updates?limit=200")["items"], updates)
    checks.equal(
        "unknown", world.operator("viewer", "GET", "/updates/9.9.9", status=404)["error"]["code"], "unknown_update"
    )
    checks.equal("no such route", send("GET", f"{world.api}/v1/nothing").status, 404)


def versions(world):
    """The counted devices on 1.1.0, and all. A version that no update has may be counted as another."""
    rows = world.operator("viewer", "GET", "/versions")["items"]
    return sum(row["devices"] for row in rows if row["version"] == "1.1.0"), sum(row["devices"] for row in rows)


def versions_in_the_table(world):
    devices = [item for item in items(world) if item["sk"]["S"] == "device" and "version" in item]
    return sum(item["version"]["S"] == "1.1.0" for item in devices), len(devices)


def items(world):
    """All items of the table."""
    pages = world.account.client("dynamodb").get_paginator("scan").paginate(TableName=world.outputs["table_name"])
    return [item for page in pages for item in page["Items"]]


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


def a_silent_device_is_lost(world):
    """Makes a device older: a daily one is due after 90 hours."""
    checks = world.checks
    world.publish("1.5.0", b"silent", policy='stage == "quiet"', rollout={"limits": {"max_in_flight": 1}})
    time.sleep(CATALOG_AGE_S)
    checks.equal("offered", world.check_in("quiet-1", "1.0.0", stage="quiet").get("version"), "1.5.0")
    world.counted("1.5.0", in_flight=1)
    world.eventually("a page for the time when it is due", lambda: pages(world, "1.5.0"))
    pages_grow_older(world, "1.5.0", SILENCE_S)

    def is_on_a_later_page():
        found = pages(world, "1.5.0")
        return found and all(int(name[:13]) > time.time() * 1000 for name in found)

    swept_until(world, "a device that is not due yet is on a later page", is_on_a_later_page)
    checks.equal("and it is not lost", world.metrics("1.5.0")["lost"], 0)
    device_grows_older(world, "quiet-1", SILENCE_S)
    pages_grow_older(world, "1.5.0", SILENCE_S)
    swept_until(world, "the device is lost", lambda: world.metrics("1.5.0").get("lost") == 1)
    checks.equal("its place is not free", world.check_in("quiet-2", "1.0.0", stage="quiet")["reason"], "too_many_in_flight")
    checks.equal("it is back", world.check_in("quiet-1", "1.0.0", stage="quiet").get("version"), "1.5.0")
    world.counted("1.5.0", in_flight=1, lost=0)
    world.eventually("and the sweep draws the series", lambda: world.metrics("1.1.0").get("series"))


# The 90 hours of a daily device, and one to spare.
SILENCE_S = 91 * 3600
# A day and an hour, in which nothing that was written changes any more.
DAY_S = 26 * 3600


def a_large_image_is_verified(world):
    """An image is uploaded in parts, with an interruption, and a function of its own reads it."""
    checks, image = world.checks, b"a large image " * 80_000
    draft = world.draft("1.8.0", image, policy='stage == "large"')
    checks.equal("it can be uploaded in one piece too", len(draft["uploads"]), 1)

    def upload():
        left = world.operator("publisher", "POST", "/updates/1.8.0/upload", {"name": "lamp.bin"})
        for part in left["parts"]:
            headers = {name: value for name, value in part["headers"].items() if name != "content-length"}
            bytes_of_it = image[part["offset"] : part["offset"] + part["size"]]
            answer = send("PUT", part["url"], bytes_of_it, headers)
            checks.equal(f"a part: {answer.body[:300]}", answer.status, 200)
        return left

    checks.equal("one part", [part["size"] for part in upload()["parts"]], [len(image)])
    done = upload()
    checks.equal("it is there", (done["parts"], done["stored"]), ([], len(image)))
    checks.equal("it is being verified", world.operator("viewer", "GET", "/updates/1.8.0")["verifying"], ["lamp.bin"])
    refused = world.operator("approver", "POST", "/updates/1.8.0/activate", {"reason": "tested"}, 409)
    checks.equal("not yet", refused["error"]["code"], "verifying")
    checks.equal("the schedule fires", fire(world, "verify"), "delivered")
    world.eventually("it is verified", lambda: "verifying" not in world.operator("viewer", "GET", "/updates/1.8.0"))
    world.steer("approver", "POST", "/updates/1.8.0/activate", {"reason": "tested"})
    world.eventually("offered", lambda: world.check_in("large-1", "1.0.0", stage="large").get("version") == "1.8.0")
    # An image that goes before it was read is missing, and nobody waits for it.
    image = b"an image that goes " * 80_000
    world.upload(world.draft("1.8.2", image, policy='stage == "large"'), image)
    refused = world.operator("approver", "POST", "/updates/1.8.2/activate", {"reason": "tested"}, 409)
    checks.equal("it is to be read", refused["error"]["code"], "verifying")
    key = f"images/{PRODUCT}/{hashlib.sha256(image).hexdigest()}"
    world.account.client("s3").delete_object(Bucket=world.outputs["bucket_name"], Key=key)
    checks.equal("the schedule fires again", fire(world, "verify"), "delivered")
    world.eventually("nobody waits for it", lambda: "verifying" not in world.operator("viewer", "GET", "/updates/1.8.2"))
    refused = world.operator("approver", "POST", "/updates/1.8.2/activate", {"reason": "tested"}, 409)
    checks.equal("it is missing", refused["error"]["code"], "image_missing")
    # Wrong bytes under the name of another image are found, and can be replaced.
    draft = world.draft("1.8.1", b"right", policy='stage == "large"')
    bucket, name = world.outputs["bucket_name"], hashlib.sha256(b"right").hexdigest()
    world.account.client("s3").put_object(Bucket=bucket, Key=f"images/{PRODUCT}/{name}", Body=b"wrong")
    refused = world.operator("approver", "POST", "/updates/1.8.1/activate", {"reason": "tested"}, 409)
    checks.equal("wrong bytes", refused["error"]["code"], "image_mismatch")
    world.upload(world.draft("1.8.1", b"right", policy='stage == "large"'), b"right")
    world.steer("approver", "POST", "/updates/1.8.1/activate", {"reason": "tested"})


def what_nobody_needs_is_removed(world):
    """A withdrawn update is deleted. The sweep removes what belongs to it, and makes one tally of several."""
    checks, table, name = world.checks, world.account.client("dynamodb"), world.outputs["table_name"]
    world.publish("1.8.5", b"unwanted", policy='stage == "gone"')
    time.sleep(CATALOG_AGE_S)
    checks.equal("offered", world.check_in("gone-1", "1.0.0", stage="gone").get("version"), "1.8.5")
    world.report("gone-1", "1.8.5", "INSTALL_ERROR", message="no")
    world.counted("1.8.5", offered=1, failed=1)
    swept_until(world, "it has a series", lambda: world.metrics("1.8.5").get("series"))
    world.steer("approver", "POST", "/updates/1.8.5/withdraw", {"reason": "it is bad"})
    refused = world.operator("publisher", "DELETE", "/updates/1.8.5", {"reason": "it is bad"}, 409)
    checks.equal("not in the first hour", refused["error"]["code"], "update_in_use")
    for item in items(world):
        if item["pk"]["S"] == f"p#{PRODUCT}" and item.get("version", {}).get("S") == "1.8.5":
            table.put_item(TableName=name, Item=older(item, 2 * 3600, time.time()))
        if item["pk"]["S"] == f"u#{PRODUCT}#1.8.5":
            table.delete_item(TableName=name, Key={"pk": item["pk"], "sk": item["sk"]})
    deleted = world.operator("publisher", "DELETE", "/updates/1.8.5", {"reason": "it is bad"})
    checks.equal("deleted", deleted, {"deleted": "1.8.5", "state": "withdrawn"})
    again = {"version": "1.8.5", "files": []}
    world.operator("publisher", "POST", "/updates", {**again, "kind": "json", "payload": 1}, 409)
    # A day later.
    def tidied():
        return not [item for item in items(world) if item["pk"]["S"][0] != "d" and "#1.8.5" in item["pk"]["S"]]

    for item in items(world):
        if item["pk"]["S"].startswith("t#"):
            table.put_item(TableName=name, Item={**item, "at": {"N": str(int(item["at"]["N"]) - DAY_S * 1000)}})
    table.update_item(TableName=name, Key=HEAD, UpdateExpression="REMOVE tidied")
    send("POST", f"{world.endpoint}/standin/objects/{DAY_S}")
    swept_until(world, "nothing of it is left", tidied)
    world.eventually("the tallies are one", lambda: any(item["sk"]["S"] == "~base" for item in items(world)))
    s3, bucket = world.account.client("s3"), world.outputs["bucket_name"]
    key = f"images/{PRODUCT}/{hashlib.sha256(b'unwanted').hexdigest()}"

    def versions_of_it():
        listed = s3.list_object_versions(Bucket=bucket, Prefix=key)
        return len(listed.get("Versions", [])), len(listed.get("DeleteMarkers", []))

    world.eventually("its image is hidden", lambda: versions_of_it() == (1, 1))
    send("POST", f"{world.endpoint}/standin/objects/{36 * 24 * 3600}")
    table.update_item(TableName=name, Key=HEAD, UpdateExpression="REMOVE tidied")
    swept_until(world, "and removed in the end", lambda: versions_of_it() == (0, 0))


def pages(world, version):
    """The names of the pages of an update's devices by the time when they are due: 13 digits of milliseconds, and a writer."""
    return sorted(item["sk"]["S"] for item in items(world) if item["pk"]["S"] == f"u#{PRODUCT}#{version}")


def pages_grow_older(world, version, by_s):
    """Moves the pages of an update back."""
    table, name = world.account.client("dynamodb"), world.outputs["table_name"]
    for item in items(world):
        if item["pk"]["S"] == f"u#{PRODUCT}#{version}":
            due_ms, _, writer = item["sk"]["S"].partition("#")
            earlier = f"{int(due_ms) - by_s * 1000:013}#{writer}"
            table.put_item(TableName=name, Item={**item, "sk": {"S": earlier}})
            table.delete_item(TableName=name, Key={"pk": item["pk"], "sk": item["sk"]})


def device_grows_older(world, device, by_s):
    """Moves the times of a device back."""
    table, name = world.account.client("dynamodb"), world.outputs["table_name"]
    key = {"pk": {"S": f"d#{PRODUCT}#{device}"}, "sk": {"S": "device"}}
    item = table.get_item(TableName=name, Key=key, ConsistentRead=True)["Item"]
    table.put_item(TableName=name, Item=older(item, by_s, time.time()))


def older(value, by_s, now_s):
    """An item with all its times moved back: numbers of seconds, milliseconds or nanoseconds of these days, and texts."""
    if isinstance(value, dict) and len(value) == 1 and not isinstance(next(iter(value.values())), (dict, list)):
        ((kind, text),) = value.items()
        for unit in (1, 1000, 10**9) if kind == "N" and str(text).isdigit() else ():
            if abs(int(text) - now_s * unit) < 86_400 * unit:
                return {kind: str(int(text) - by_s * unit)}
        if kind == "S" and re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+Z", text):
            at = datetime.datetime.fromisoformat(text) - datetime.timedelta(seconds=by_s)
            return {kind: at.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return value
    if isinstance(value, dict):
        return {name: older(one, by_s, now_s) for name, one in value.items()}
    return [older(one, by_s, now_s) for one in value] if isinstance(value, list) else value


def fire_sweep(world):
    return fire(world, "sweep")


def swept_until(world, what, question):
    """Fires the schedule of the sweep until a condition is true. A sweep that DynamoDB refuses something is followed by
    another one a minute later; here, by one that does not begin while the last one may still run. The stand-in is one
    process: sweeps at the same time would all wait for its scans."""

    def is_true_after_a_sweep():
        world.checks.equal("the schedule fires", fire_sweep(world), "delivered")
        end = time.monotonic() + SWEEP_S
        while not (answer := question()) and time.monotonic() < end:
            time.sleep(0.2)
        return answer

    world.eventually(what, is_true_after_a_sweep, SWEPT_PATIENCE_S)


def fire(world, what):
    """Starts what a schedule starts, and returns the outcome."""
    return send("POST", f"{world.endpoint}/standin/schedules/{schedule(world, what)}").json["outcome"]


def schedule(world, what):
    """The name of a schedule."""
    schedules = world.account.client("scheduler").list_schedules()["Schedules"]
    (name,) = [one["Name"] for one in schedules if one["Name"].endswith(f"-{what}")]
    return name


def what_changes_is_compiled(world):
    """Every change compiles a catalog: an operator's pause reaches devices without the sweep, and the sweep compiles its own changes."""
    checks = world.checks
    world.publish("1.6.0", b"held", policy='stage == "held"')
    time.sleep(CATALOG_AGE_S)
    checks.equal("offered", world.check_in("held-1", "1.0.0", stage="held").get("version"), "1.6.0")
    world.stop("publisher", "/updates/1.6.0/pause", "wait")
    # A device with a claim needs no shard: this answer comes from the head or from the new catalog.
    checks.equal("at once", world.check_in("held-1", "1.0.0", stage="held").get("reason"), "paused")
    world.publish("1.6.1", b"last", policy='stage == "last"', rollout={"limits": {"max_devices": 1}})
    # Conflicts may have left it to the sweep.
    swept_until(world, "it is compiled", lambda: is_compiled(world))
    time.sleep(CATALOG_AGE_S)
    checks.equal("offered", world.check_in("last-1", "1.0.0", stage="last").get("version"), "1.6.1")
    world.report("last-1", "1.6.1", "INSTALL_SUCCESS")
    world.check_in("last-1", "1.6.1", stage="last")
    checks.holds("nothing is left to compile", is_compiled(world))
    changes = revision(world)
    swept_until(world, "the sweep ends it", lambda: world.metrics("1.6.1")["state"] == "completed")
    world.eventually("and compiles that", lambda: revision(world) > changes and is_compiled(world))


HEAD = {"pk": {"S": f"p#{PRODUCT}"}, "sk": {"S": "head"}}


def head(world):
    table = world.account.client("dynamodb")
    return table.get_item(TableName=world.outputs["table_name"], Key=HEAD, ConsistentRead=True)["Item"]


def revision(world):
    return int(head(world)["revision"]["N"])


def is_compiled(world):
    """Whether the catalog that the head names exists and holds every change."""
    item = head(world)
    is_current = item[f"catalog_revision_{FORMAT}"] == item["revision"]
    return is_current and f"catalogs/{PRODUCT}/{item[f'catalog_name_{FORMAT}']['S']}" in catalogs(world)


def catalogs(world):
    listed = world.account.client("s3").list_objects_v2(Bucket=world.outputs["bucket_name"], Prefix="catalogs/")
    return [found["Key"] for found in listed.get("Contents", [])]


def who_waits_is_counted(world):
    """A function stores its counts with a check-in that writes the device, a minute after the first one that waited."""
    numbers = itertools.count()

    def waits():
        devices = [f"wait-{next(numbers)}" for _ in range(12)]
        for device in devices:
            world.token(device)
        with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
            list(pool.map(lambda device: world.check_in(device, "1.0.0", stage="rush"), devices))
        return world.metrics("1.4.0")["deferred"].get("full", 0) > 0

    world.eventually("devices that wait for a place", waits, patience_s=90)
    world.checks.equal("and none got one", world.metrics("1.4.0")["offered"], 5)


def no_more_than_two_catalogs_are_kept(world):
    """The published catalog and the one before it, which a function may still be about to read."""
    checks, kept = world.checks, catalogs(world)
    checks.holds("after dozens of changes", revision(world) >= 20 and 1 <= len(kept) <= 2, f"{revision(world)} {kept}")
    checks.holds("and the head names one of them", is_compiled(world))


def the_stream_is_read(world):
    world.eventually("the stream is read", lambda: send("GET", f"{world.endpoint}/standin/stream").json["waiting"] == 0)


def a_control_group_is_held_out(world):
    """A thousand devices that were known before: the last ones of the queue are served last, and read once a day."""
    checks, table, name = world.checks, world.account.client("dynamodb"), world.outputs["table_name"]
    now_ms = int(time.time() * 1000)
    for start in range(0, 1000, 25):
        puts = [{"PutRequest": {"Item": known_device(f"yard-{number}", now_ms)}} for number in range(start, start + 25)]
        left = table.batch_write_item(RequestItems={name: puts})["UnprocessedItems"]
        checks.equal("all are written", left, {})
    world.publish("1.9.0", b"yard", compatible_from=["=0.9.0"])
    update = {"pk": {"S": f"p#{PRODUCT}"}, "sk": {"S": "update#b1.b9.b0~"}}

    def shown():
        return world.operator("viewer", "GET", "/updates/1.9.0").get("control_group")

    def tomorrow():
        """The next sweep makes another snapshot."""
        world.account.client("s3").delete_object(Bucket=world.outputs["bucket_name"], Key="fleet/snapshot")
        table.update_item(TableName=name, Key=update, UpdateExpression="REMOVE audience")

    tomorrow()
    swept_until(world, "a control group is held out", shown)
    key = {"pk": {"S": f"c#{PRODUCT}#1.9.0"}, "sk": {"S": "members"}}
    members = table.get_item(TableName=name, Key=key)["Item"]["ids"]["L"]
    checks.equal("members", len(members), 200)
    time.sleep(CATALOG_AGE_S)
    answer = world.check_in(members[0]["S"], "0.9.0")
    checks.equal("the last of the queue", (answer.get("version"), answer.get("reason")), (None, "not_in_phase"))
    tomorrow()
    swept_until(world, "it is read", lambda: shown()["reading"])
    reading = shown()["reading"]
    checks.equal("all are well", (reading["members"], reading["overdue"]), (200, 0))


def known_device(device, now_ms):
    """The item of a device that checks in daily."""
    first_ms, seen_ms = now_ms - 3 * 86_400_000, now_ms - 3_600_000
    item = {"pk": {"S": f"d#{PRODUCT}#{device}"}, "sk": {"S": "device"}, "version": {"S": "0.9.0"}, "claims": {"M": {}}}
    return {**item, "rev": {"N": "1"}, "first": {"N": str(first_ms)}, "seen": {"N": str(seen_ms)}}


def a_recount_finds_no_drift(world):
    """The weekly schedule, and the same event again for the function's answer: Lambda gives none to a schedule."""
    checks, scheduler = world.checks, world.account.client("scheduler")
    the_stream_is_read(world)
    checks.equal("the schedule fires", fire(world, "recount"), "delivered")
    target = scheduler.get_schedule(Name=schedule(world, "recount"))["Target"]
    answer = world.account.client("lambda").invoke(FunctionName=target["Arn"], Payload=target["Input"])
    recount = json.loads(answer["Payload"].read())
    checks.holds("an answer", "FunctionError" not in answer, recount)
    devices = [item for item in items(world) if item["sk"]["S"] == "device" and "claims" in item]
    checks.holds("it reads every device", recount.get("devices") == len(devices) > 0, recount)
    checks.holds("and compares every rollout", recount.get("rollouts") and recount.get("moving") == [], recount)
    checks.equal("no count differs", recount.get("drift"), [])


def the_counts_are_those_of_the_table(world):
    """At the end of the stream each count is the sum over the devices, whatever came twice or was refused."""
    the_stream_is_read(world)
    world.checks.equal("devices on 1.1.0, and all", versions(world), versions_in_the_table(world))
    world.checks.equal("each change of a state has one event", changes(world, "o#"), changes(world, "x#"))
    text = ""
    for function in world.outputs["functions"].values():
        pages = world.account.client("logs").get_paginator("filter_log_events").paginate(logGroupName=function["log_group_name"])
        text += "".join(f"{event['message']}\n" for page in pages for event in page["events"])
    metrics = [json.loads(line) for line in text.splitlines() if '"_aws"' in line]
    for wrong in ("UnreadableRecords", "Drift", "SchemaAhead"):
        world.checks.equal(wrong, sum(metric.get(wrong, 0) for metric in metrics), 0)
    world.checks.holds("the sweep says how long it takes", any("SweepMs" in metric for metric in metrics))


def changes(world, kind):
    """The changes of updates' states that the items of a kind tell: events, or entries of the audit log."""
    told = [item for item in items(world) if f"{item['pk']['S']}#".startswith(f"{kind}{PRODUCT}#") and "to" in item]
    told = [[item.get(name, {}).get("S") for name in ("version", "subject", "from", "to")] for item in told]
    return sorted([version or subject, before or "", after] for version, subject, before, after in told if before != after)


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
        ("viewer", ["versions"], "1.1.0"),
        ("publisher", ["updates", "pause", "2.0.0+cli.1", "--reason", "wait"], "paused"),
        ("approver", ["updates", "resume", "2.0.0+cli.1", "--reason", "tested"], "active"),
        ("approver", ["updates", "complete", "2.0.0+cli.1", "--reason", "tested"], "completed"),
        ("viewer", ["watch", "2.0.0+cli.1"], "completed"),
        ("approver", ["updates", "withdraw", "2.0.0+cli.1", "--reason", "tested"], "withdrawn"),
        ("publisher", ["publish", str(image), "--version", "2.0.1", *policy], "draft"),
        ("approver", ["updates", "activate", "2.0.1", "--reason", "tested"], "active"),
        ("publisher", ["updates", "abort", "2.0.1", "--reason", "bad"], "aborted"),
        ("viewer", ["updates", "audit"], "abort"),
        ("publisher", ["stop", "--reason", "drill"], ""),
        ("approver", ["resume-stopped", "--reason", "drill is over"], ""),
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
        text += "".join(f"{event}\n" for event in events)
    metrics = [json.loads(line) for line in text.splitlines() if '"_aws"' in line]
    checks.holds("the stop is a metric", any("RolloutsHeld" in metric for metric in metrics))
    unread = [metric["_aws"]["Timestamp"] / 1000 for metric in metrics if "CatalogsUnreadable" in metric]
    begun, over = world.outage
    checks.equal("catalogs that could not be read, but for the outage", [at for at in unread if not begun <= at <= over], [])
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
        ("viewer", "POST", "/stop"),
        ("viewer", "PATCH", ""),
        ("viewer", "PUT", "/devices/lamp-1/token"),
        ("publisher", "POST", "/updates/1.1.0/activate"),
        ("publisher", "POST", "/updates/1.1.0/resume"),
        ("publisher", "POST", "/updates/1.1.0/withdraw"),
        ("publisher", "POST", "/updates/1.1.0/advance"),
        ("publisher", "POST", "/updates/1.1.0/void"),
        ("publisher", "PUT", "/updates/1.1.0/assigned"),
        ("publisher", "POST", "/devices/lamp-1/hold"),
        ("publisher", "POST", "/devices/lamp-1/pin"),
        ("publisher", "POST", "/devices/lamp-1/release"),
        ("publisher", "POST", "/devices/lamp-1/forget"),
        ("viewer", "PUT", "/devices/lamp-1/tags/site"),
        ("publisher", "POST", "/resume-stopped"),
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
    secret, key, stream = outputs["token_keys_secret_arn"], HEAD, world.account.client("dynamodbstreams").list_streams()
    image, index = (
        {"Bucket": bucket, "Key": f"images/{PRODUCT}/x"},
        # `on` is a reserved word.
        {
            "ExpressionAttributeNames": {"#on": "on"},
            "ExpressionAttributeValues": {":p": {"S": "x"}},
            "KeyConditionExpression": "#on = :p",
        },
    )
    stream = {"StreamArn": stream["Streams"][0]["StreamArn"]}
    # Whoever has it can make catalogs that `check` believes.
    catalog_key = secret.replace("token-keys", "catalog-key").rsplit("-", 1)[0]
    catalog = {"Bucket": bucket, "Key": catalogs(world)[0]}
    sweep = outputs["functions"]["sweep"]["alias_arn"]
    every = [
        ("dynamodb", "delete_table", {"TableName": table}),
        ("dynamodb", "get_item", {"TableName": f"{table}-other", "Key": key}),
        ("s3", "put_bucket_policy", {"Bucket": bucket, "Policy": "{}"}),
        ("s3", "put_object", {"Bucket": bucket, "Key": "truststore/device-ca.pem", "Body": b"x"}),
        ("secretsmanager", "put_secret_value", {"SecretId": secret, "SecretString": "k1:x"}),
        ("secretsmanager", "get_secret_value", {"SecretId": f"{secret}-other"}),
        ("iam", "list_roles", {}),
        ("lambda", "invoke", {"FunctionName": sweep}),
    ]
    of_one = {
        "check": [
            ("dynamodb", "query", {"TableName": table, "IndexName": "versions", **index}),
            ("s3", "put_object", image),
            ("s3", "put_object", catalog),
            ("s3", "delete_object", catalog),
            ("s3", "list_objects_v2", {"Bucket": bucket}),
            ("s3", "delete_object", image),
            ("sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"}),
            ("dynamodbstreams", "describe_stream", stream),
            # It may ask for a catalog, and change nothing else of a product.
            ("dynamodb", "update_item", {"TableName": table, "Key": key, "UpdateExpression": "REMOVE stopped"}),
        ],
        "report": [
            ("secretsmanager", "get_secret_value", {"SecretId": catalog_key}),
            ("s3", "get_object", image),
            ("s3", "delete_object", image),
            ("s3", "put_object", image),
            ("s3", "get_object", catalog),
            ("s3", "put_object", catalog),
            ("s3", "delete_object", catalog),
            ("dynamodbstreams", "describe_stream", stream),
            ("dynamodb", "query", {"TableName": table, "IndexName": "versions", **index}),
        ],
        "count": [
            ("secretsmanager", "get_secret_value", {"SecretId": catalog_key}),
            ("s3", "get_object", image),
            ("s3", "delete_object", image),
            ("s3", "put_object", catalog),
            ("s3", "delete_object", catalog),
            ("secretsmanager", "get_secret_value", {"SecretId": secret}),
            ("sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"}),
            ("dynamodb", "query", {"TableName": table, "IndexName": "versions", **index}),
        ],
        "publish": [
            ("dynamodbstreams", "describe_stream", stream),
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
            ("dynamodb", "query", {"TableName": table, "IndexName": "versions", **index}),
            ("dynamodbstreams", "describe_stream", stream),
        ],
        "verify": [
            ("secretsmanager", "get_secret_value", {"SecretId": secret}),
            ("secretsmanager", "get_secret_value", {"SecretId": catalog_key}),
            ("s3", "put_object", image),
            ("s3", "delete_object", image),
            ("s3", "get_object", catalog),
            ("s3", "put_object", catalog),
            ("sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"}),
            ("dynamodb", "query", {"TableName": table, "IndexName": "versions", **index}),
            ("dynamodbstreams", "describe_stream", stream),
        ],
    }
    for name in outputs["functions"]:
        of_one[name] += of_other_items(name, table)
        # The sweep scans the table, and nothing else.
        scanned = {"TableName": table, "IndexName": "versions"} if name == "sweep" else {"TableName": table}
        of_one[name].append(("dynamodb", "scan", scanned))
    for name, function in outputs["functions"].items():
        role = world.account.as_role(function["role_arn"])
        for service, operation, arguments in every + of_one[name]:
            checks.equal(
                f"{name} {service} {operation}",
                refusal(world.account.client(service, role), operation, arguments),
                "denied",
            )
        for operation, arguments in of_its_items(name, table):
            checks.equal(
                f"{name} may {operation} {arguments.get('Key', arguments.get('Item'))['pk']['S']}",
                refusal(world.account.client("dynamodb", role), operation, arguments),
                "ConditionalCheckFailedException",
            )


# The kinds of items that a function may write: update, put and delete. Not read from Terraform: that would agree with itself.
WRITES = {
    "check": ("d q s", "", ""),
    "report": ("d", "", ""),
    "count": ("p s t", "l u x", "l"),
    "publish": ("# d p s", "#verify d p x", "p"),
    "sweep": ("d p s", "c r t u x", "c l q r s t u"),
    "verify": ("#verify", "v", "#verify"),
}
# The kinds that a function may not even read. The sweep may scan, for the recount and the fleet snapshot.
UNREAD = {
    "check": "#verify c l q r t u v x",
    "report": "# #verify c l q r s t u v x",
    "count": "# #verify c d l q r s u v x",
    "publish": "# c",
    "sweep": "#verify q v x",
    "verify": "# c d l p q r s t u v x",
}
KINDS = "# #verify c d l p q r s t u v x"


def partition(kind):
    """A partition key of a kind of items."""
    return {"#": "#products", "#verify": "#verify"}.get(kind, f"{kind}#none#none")


def of_other_items(name, table):
    """Requests for items of the kinds that are none of a function's business, alone and in a transaction."""
    kinds, denied = {kind: partition(kind) for kind in KINDS.split()}, []
    updates, puts, deletes = (kinds_of.split() for kinds_of in WRITES[name])
    for kind, pk in kinds.items():
        key = {"pk": {"S": pk}, "sk": {"S": "none"}}
        of_item, put = {"TableName": table, "Key": key}, {"TableName": table, "Item": key}
        query = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": pk}}}
        if kind not in updates:
            alone = {**of_item, "UpdateExpression": "SET x = :x", "ExpressionAttributeValues": {":x": {"N": "1"}}}
            denied += [("dynamodb", "update_item", alone), ("dynamodb", "transact_write_items", {"TransactItems": [{"Update": alone}]})]
        if kind not in puts:
            denied += [("dynamodb", "put_item", put), ("dynamodb", "transact_write_items", {"TransactItems": [{"Put": put}]})]
        if kind not in deletes:
            denied += [("dynamodb", "delete_item", of_item), ("dynamodb", "transact_write_items", {"TransactItems": [{"Delete": of_item}]})]
        if kind in UNREAD[name].split():
            denied += [("dynamodb", "get_item", of_item), ("dynamodb", "query", {"TableName": table, **query})]
    return denied


def of_its_items(name, table):
    """A write of each kind that a function may make. Each is allowed, and fails on its condition, so it changes nothing."""
    allowed = []
    for operation, kinds in zip(("update_item", "put_item", "delete_item"), WRITES[name]):
        for kind in kinds.split():
            key = {"pk": {"S": partition(kind)}, "sk": {"S": "none"}}
            of_item = {"Item": key} if operation == "put_item" else {"Key": key}
            if operation == "update_item":
                of_item |= {"UpdateExpression": "SET x = :x", "ExpressionAttributeValues": {":x": {"N": "1"}}}
            allowed.append((operation, {"TableName": table, "ConditionExpression": "attribute_exists(pk)", **of_item}))
    return allowed


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
        Key=HEAD,
        UpdateExpression=f"SET catalog_name_{FORMAT} = :gone",
        ExpressionAttributeValues={":gone": {"S": "1-0000000000000000"}},
    )
    time.sleep(CATALOG_AGE_S)
    checks.equal("the last good one stays in force", world.check_in("lamp-3", "1.0.0", region="us"), before)
    checks.holds("the sweep is asked for another", not is_compiled(world))
    swept_until(world, "the sweep makes it", lambda: is_compiled(world))
    group, logs = world.outputs["functions"]["check"]["log_group_name"], world.account.client("logs")
    world.eventually(
        "and an alarm is raised",
        lambda: any(
            "CatalogsUnreadable" in event["message"]
            for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
            for event in page["events"]
        ),
    )
