"""Cost of a cold start, beside a function that only echoes and one with the AWS SDK's defaults: one table.

    cargo build --release -p tidegate-check
    cargo build --release --manifest-path benches/peers/Cargo.toml --target-dir target/peers
    python3 tests/aws/cold_start.py [--runs N] [NAME=BINARY ...]

Each binary is started against a Runtime API on loopback, first with a store that nobody listens at, then with one that
speaks TLS. Processor time is the least of the runs, from schedstat and of all
threads; instructions are callgrind's, differences of runs that end one step later; the quota is Lambda's for 128 MB,
1,447 us in each 20 ms. What this machine cannot measure says `skipped` and why. Needs openssl; nothing needs AWS.
"""

import argparse
import base64
import hashlib
import hmac
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import zlib

from cold_store import CATALOG_KEY, DEVICE, PRODUCT, Store
from runtime_api import Copy

ROOT = pathlib.Path(__file__).parents[2]
# Timeout of a function: a binary that never asks for work would hang the measurement.
MOST_S = 120
# Enough calls that the read of the catalog's head, once a second, has no effect on the mean.
WARM_CALLS, WARM_BATCHES, WARM_CALLS_COUNTED = 100, 10, 40
QUOTA_US, PERIOD_US = 1447, 20_000
SYSTEM_ROOTS = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
AMAZON_ROOTS = ROOT / "crates/tidegate-store/amazon-roots.pem"
SECRET = b"0123456789abcdef0123456789abcdef"
NOBODY = "http://127.0.0.1:9"

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "_HANDLER": "bootstrap",
    "AWS_LAMBDA_FUNCTION_NAME": "measured",
    "AWS_LAMBDA_FUNCTION_VERSION": "1",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/measured",
    "AWS_LAMBDA_LOG_STREAM_NAME": "measured",
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "measured",
    "AWS_SECRET_ACCESS_KEY": "measured",
    "AWS_MAX_ATTEMPTS": "1",
    "TIDEGATE_TABLE": "t",
    "TIDEGATE_BUCKET": "b",
    "TIDEGATE_TOKEN_KEYS": "k1:" + base64.urlsafe_b64encode(SECRET).decode().rstrip("="),
    "TIDEGATE_CATALOG_KEY": base64.urlsafe_b64encode(CATALOG_KEY).decode().rstrip("="),
}


class Refused(Exception):
    """The answer cannot be measured."""


class Measured:
    """A binary, and its variables for the store and the trusted roots."""

    def __init__(self, name, binary, store, roots, event):
        self.name, self.binary, self._event = name, binary, event
        # The product reads the first variable, the SDK's defaults the second. Each trusts its usual roots and one more.
        trust = {"AWS_CA_BUNDLE": str(roots["amazon"]), "SSL_CERT_FILE": str(roots["system"])}
        self._environments = {
            "deployed": {**ENVIRONMENT, "AWS_ENDPOINT_URL": NOBODY},
            # Compared with `online`: a file of roots is read in another way than the machine's roots.
            "offline": {**ENVIRONMENT, "AWS_ENDPOINT_URL": NOBODY, **trust},
            "online": {**ENVIRONMENT, "AWS_ENDPOINT_URL": store.url, **trust},
        }

    def start(self, where, command=()):
        copy = Copy(
            [*command, str(self.binary)],
            self._environments[where],
            "arn:aws:lambda:eu-west-1:123456789012:function:measured",
            subprocess.DEVNULL,
        )
        if not copy.is_waiting.wait(MOST_S):
            copy.stop()
            raise SystemExit(f"{self.binary} did not ask for its first invocation within {MOST_S} s")
        return copy

    def invoke(self, copy):
        is_error, answer = copy.invoke(self._event, MOST_S)
        if is_error or (b'"statusCode":200' not in answer.replace(b" ", b"")):
            raise Refused(f"{self.name} answered {answer[:300]!r}")


def memory_mb(copy):
    for line in pathlib.Path(f"/proc/{copy.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor_ms(copy):
    """Processor time of all threads so far. getrusage counts only ended processes, and this one still runs."""
    tasks = pathlib.Path(f"/proc/{copy.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def size(measured):
    binary = measured.binary.read_bytes()
    return {"size": len(binary) / 1e6, "deflated": len(zlib.compress(binary, 9)) / 1e6}


def processor(measured, runs):
    """Minimum of processor time of each step, and memory."""
    init, offline, first, warm, resident = [], [], [], [], []
    for _ in range(runs):
        for where, spent in (("deployed", init), ("offline", offline)):
            copy = measured.start(where)
            spent.append(processor_ms(copy))
            copy.stop()
        copy = measured.start("online")
        measured.invoke(copy)
        first.append(processor_ms(copy))
        copy.stop()
    copy = measured.start("online")
    for _ in range(WARM_BATCHES):
        before = processor_ms(copy)
        for _ in range(WARM_CALLS):
            measured.invoke(copy)
        warm.append((processor_ms(copy) - before) / WARM_CALLS)
        resident.append(memory_mb(copy))
    copy.stop()
    return {
        "init_ms": min(init),
        "first_ms": min(first) - min(offline),
        "warm_us": min(warm) * 1000,
        "resident_mb": max(resident),
    }


def instructions(measured, folder):
    """Instructions of init alone, of init with a store, of the first answer, and of a warm call."""
    if not shutil.which("valgrind"):
        return {"skipped": "there is no valgrind"}

    def counted(where, calls=0, attempts=5):
        out = pathlib.Path(folder, "callgrind.out")
        copy = measured.start(where, ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"])
        try:
            for _ in range(calls):
                measured.invoke(copy)
        except Refused:
            # Under valgrind and load, the SDK's random numbers alone can take longer than its connect timeout.
            copy.stop()
            if attempts == 1:
                raise
            return counted(where, calls, attempts - 1)
        copy.process.send_signal(signal.SIGTERM)
        copy.process.wait(MOST_S)
        copy.stop()
        return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)[1])

    offline, connected = counted("offline"), counted("online")
    first, warm = counted("online", 1), counted("online", 1 + WARM_CALLS_COUNTED)
    return {
        "init": counted("deployed"),
        "connected": connected - offline,
        "first": first - offline,
        "warm": (warm - first) / WARM_CALLS_COUNTED,
    }


class Quota:
    """A cgroup (version 1 or 2) with the processor share that Lambda gives to 128 MB."""

    def __enter__(self):
        v1, v2 = pathlib.Path("/sys/fs/cgroup/cpu"), pathlib.Path("/sys/fs/cgroup")
        name = f"cold-start-{os.getpid()}"
        self.folder = (v1 if v1.is_dir() else v2) / name
        self.folder.mkdir()
        if v1.is_dir():
            (self.folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (self.folder / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
        else:
            (self.folder / "cpu.max").write_text(f"{QUOTA_US} {PERIOD_US}")
        # The binary replaces the shell, so the shell's cost is not measured.
        self.command = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs")]
        return self

    def __exit__(self, *_):
        for _ in range(50):
            try:
                return self.folder.rmdir()
            except OSError:  # its last process is not gone yet
                time.sleep(0.1)


def throttled(measured, runs):
    """Milliseconds until the function asks for work, and from its first request to the answer."""
    init, first = [], []
    try:
        with Quota() as quota:
            for _ in range(runs):
                started = time.perf_counter()
                copy = measured.start("online", quota.command)
                waiting = time.perf_counter()
                measured.invoke(copy)
                first.append((time.perf_counter() - waiting) * 1000)
                init.append((waiting - started) * 1000)
                copy.stop()
    except OSError as error:
        return {"skipped": f"no cgroup of our own: {error.strerror}"}
    return {"init": statistics.median(init), "first": statistics.median(first)}


def token():
    """A device token as the service makes it."""
    mac = hmac.new(SECRET, digestmod=hashlib.sha256)
    for part in ("tidegate device token", PRODUCT, DEVICE, "0"):
        mac.update(part.encode() + b"\0")
    return "d1.k1." + base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")


def catalog(updates, folder):
    """A catalog as the service compiles it. None of its updates is for the device."""
    file = pathlib.Path(folder, "catalog")
    command = ["cargo", "run", "--quiet", "--profile", "bench", "-p", "tidegate-benches", "--", "snapshot"]
    subprocess.run([*command, str(updates), str(file)], check=True, cwd=ROOT)
    return file.read_bytes()


def bundles(store, folder):
    files = {}
    for name, roots in (("amazon", AMAZON_ROOTS), ("system", SYSTEM_ROOTS)):
        files[name] = pathlib.Path(folder, f"{name}.pem")
        files[name].write_text(store.root.read_text() + (roots.read_text() if roots.exists() else ""))
    return files


def table(columns):
    def row(title, form):
        return f"| {title} | {' | '.join(cell(form, column) for column in columns)} |"

    def cell(form, column):
        try:
            return form(column)
        except KeyError:
            return f"skipped: {column['counted'].get('skipped') or column['throttled'].get('skipped')}"

    million = lambda count: f"{max(count, 0) / 1e6:.2f} M"
    least = next((column for column in columns if column["name"] == "echo"), columns[0])
    yield row("", lambda c: c["name"])
    yield f"|{'---|' * (len(columns) + 1)}"
    yield row("binary, MB (deflated)", lambda c: f"{c['size']['size']:.1f} ({c['size']['deflated']:.1f})")
    yield row("init without a connection: processor time", lambda c: f"{c['processor']['init_ms']:.1f} ms")
    yield row("… instructions", lambda c: million(c["counted"]["init"]))
    yield row("… times the echo's", lambda c: f"{c['counted']['init'] / least['counted']['init']:.1f}")
    yield row("from there to the first answer, with DNS and TLS: processor time", lambda c: f"{c['processor']['first_ms']:.1f} ms")
    yield row("… instructions", lambda c: million(c["counted"]["first"]))
    yield row("… times the first column's", lambda c: f"{c['counted']['first'] / columns[0]['counted']['first']:.1f}")
    yield row("… of these during init", lambda c: million(c["counted"]["connected"]))
    yield row("… and with the first request", lambda c: million(c["counted"]["first"] - c["counted"]["connected"]))
    yield row("a warm request: processor time", lambda c: f"{c['processor']['warm_us']:.0f} µs")
    yield row("… instructions", lambda c: f"{c['counted']['warm']:,.0f}")
    yield row("memory after 1,000 requests", lambda c: f"{c['processor']['resident_mb']:.1f} MB")
    yield row("128 MB's share of a processor: init with TLS", lambda c: f"{c['throttled']['init']:.0f} ms")
    yield row("… first request to answer", lambda c: f"{c['throttled']['first']:.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", nargs="*", metavar="NAME=BINARY", help="default: check, echo and sdk-defaults")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--updates", type=int, default=10, help="how many are live")
    arguments = parser.parse_args()
    release, peers = ROOT / "target/release", ROOT / "target/peers/release"
    defaults = [f"check={release}/check", f"echo={peers}/echo", f"SDK defaults={peers}/sdk-defaults"]
    event = (ROOT / "events/check.json").read_text().replace("DEVICE-TOKEN", token()).encode()
    columns = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, catalog(arguments.updates, folder))
        roots = bundles(store, folder)
        for name, binary in (text.split("=", 1) for text in arguments.binaries or defaults):
            measured = Measured(name, pathlib.Path(binary).resolve(), store, roots, event)
            store.calls.clear()
            column = {"name": name, "size": size(measured), "processor": processor(measured, arguments.runs)}
            calls = ", ".join(f"{operation} {count}" for operation, count in store.calls.most_common())
            column |= {"counted": instructions(measured, folder), "throttled": throttled(measured, arguments.runs)}
            columns.append(column)
            print(f"<!-- {name}: {calls or 'no calls'} -->")
    print("\n".join(table(columns)))


if __name__ == "__main__":
    main()
