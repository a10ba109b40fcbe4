"""Measures polls without an offer: `tidegate dev` and gooseBit, both over hawkBit's DDI, with the same client.

The main result is the server's processor time for one poll. The client runs on the same machine, so polls per second are
less meaningful. The servers take turns, so that other load on the machine affects both.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).parent.parent
GOOSEBIT = "goosebit==0.2.12"
VENV = ROOT / "target/goosebit"
TENANT, VERSION = "lamp", "2.0.0"
CONNECTIONS = 16
START_S = 60
TICKS_S = os.sysconf("SC_CLK_TCK")


class Refused(Exception):
    """The server answered an error."""


class Connection:
    """An HTTP connection that stays open."""

    def __init__(self, port):
        self._port, self._reader, self._writer = port, None, None

    async def ask(self, method, path, headers=(), body=None):
        """Sends a request and returns the JSON of the answer."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        sent = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{self._port}", "accept: application/hal+json", *headers]
        lines += [] if body is None else ["content-type: application/json", f"content-length: {len(sent)}"]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + sent)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line.split(":")[1] for line in head.split("\r\n") if line.startswith("content-length:"))
        answer = await self._reader.readexactly(int(length))
        if not head.startswith("http/1.1 2"):
            raise Refused(f"{method} {path} answered {head.splitlines()[0]}: {answer[:300]!r}")
        return json.loads(answer or b"null")

    def close(self):
        if self._writer is not None:
            self._writer.close()


class Server:
    """A server process, its child processes, and the requests of devices to it."""

    def __init__(self, name, command, port, folder, environment=()):
        self.name, self.port, self.tokens = name, port, {}
        self._log = pathlib.Path(folder, f"{port}.log")
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **dict(environment)}, stdout=subprocess.DEVNULL, stderr=log
            )

    def wait_until_up(self, path):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}"):
                return
            time.sleep(0.2)
        raise SystemExit(f"{self.name} did not start: {self._log.read_text()[-2000:]}")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def _stats(self):
        """Returns the fields after the name in /proc/<pid>/stat, for the process and all its descendants."""
        stats = {}
        for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                stats[int(file.parent.name)] = file.read_text().rpartition(")")[2].split()
        ours = {self.process.pid}
        while more := {pid for pid, stat in stats.items() if int(stat[1]) in ours} - ours:
            ours |= more
        return [stats[pid] for pid in ours]

    def processor_s(self):
        return sum(int(stat[11]) + int(stat[12]) for stat in self._stats()) / TICKS_S

    def memory_mb(self):
        return sum(int(stat[21]) for stat in self._stats()) * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def ask(self, connection, device, method="GET", rest="", body=None):
        token = self.tokens.get(device)
        headers = [f"authorization: TargetToken {token}"] if token else []
        return await connection.ask(method, f"/{TENANT}/controller/v1/{device}{rest}", headers, body)

    async def each(self, devices, act):
        """Calls `act` for each device, over all connections."""
        waiting = iter(devices)

        async def one():
            connection = Connection(self.port)
            for device in waiting:
                await act(connection, device)
            connection.close()

        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))

    async def introduce(self, devices):
        """Sends the version of every device, so that later polls have nothing to send and nothing to offer."""

        async def act(connection, device):
            await self.ask(connection, device)
            await self.ask(connection, device, "PUT", "/configData", {"mode": "merge", "data": {"sw_version": VERSION}})
            if links := (await self.ask(connection, device)).get("_links"):
                raise Refused(f"{self.name} has an offer for a device with version {VERSION}: {links}")

        # gooseBit fails if several first devices arrive at once: each of them creates the same row.
        await self.each(devices[:1], act)
        await self.each(devices[1:], act)

    async def round(self, devices, seconds):
        """Polls for `seconds`, one device after the other on each connection, and returns the measurements."""
        latencies, end = [], time.perf_counter() + seconds

        def polling():
            while True:
                for device in devices:
                    if time.perf_counter() >= end:
                        return
                    yield device

        async def act(connection, device):
            sent = time.perf_counter()
            answer = await self.ask(connection, device)
            latencies.append(time.perf_counter() - sent)
            assert not answer.get("_links"), answer

        began, spent = time.perf_counter(), self.processor_s()
        await self.each(polling(), act)
        took, spent = time.perf_counter() - began, self.processor_s() - spent
        latencies.sort()
        return {
            "processor_us": spent / len(latencies) * 1e6,
            "polls_per_s": len(latencies) / took,
            "p50_ms": latencies[len(latencies) // 2] * 1000,
            "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
            "memory_mb": self.memory_mb(),
        }


def build():
    """Builds the command and returns its path."""
    if binary := os.environ.get("TIDEGATE_BIN"):
        return binary
    command = ["cargo", "build", "--quiet", "--profile", "bench", "--bin", "tidegate", "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(found for said in messages if (found := said.get("executable")) and found.endswith("/tidegate"))


def tidegate(folder, port):
    binary = build()
    data, image = pathlib.Path(folder, "data"), pathlib.Path(folder, "image.bin")
    server = Server("tidegate dev", [binary, "dev", "--listen", f"127.0.0.1:{port}", "--data", str(data)], port, folder)
    server.wait_until_up("/healthz")
    image.write_bytes(os.urandom(100_000))
    common = [binary, "--api", f"http://127.0.0.1:{port}", "--key-file", str(data / "operator.key"), "--product", TENANT]
    publish = ["publish", str(image), "--version", VERSION, "--activate"]
    subprocess.run([*common, *publish], check=True, stdout=subprocess.DEVNULL)
    key = (data / "operator.key").read_text().strip()

    async def issue(connection, device):
        path = f"/v1/products/{TENANT}/devices/{device}/token"
        server.tokens[device] = (await connection.ask("PUT", path, [f"authorization: Bearer {key}"]))["token"]

    server.prepare = lambda devices: server.each(devices, issue)
    return server


def goosebit(folder, port):
    """Starts gooseBit with its default settings: without tokens and without rollouts. Returns None if it cannot be installed."""
    if not (VENV / "bin/uvicorn").exists():
        installed = (
            subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode == 0
            and subprocess.run([VENV / "bin/pip", "install", "--quiet", GOOSEBIT]).returncode == 0
        )
        if not installed:
            return None
    [package] = VENV.glob("lib/python3*/site-packages/goosebit")
    # `aerich upgrade`, which gooseBit's README names, reads this file.
    pathlib.Path(folder, "pyproject.toml").write_text(
        f'[tool.aerich]\ntortoise_orm = "goosebit.db.config.TORTOISE_CONF"\nlocation = "{package}/db/migrations"\n'
    )
    database = pathlib.Path(folder, "goosebit.sqlite3")
    environment = {
        "GOOSEBIT_DB_URI": f"sqlite:///{database}",
        "GOOSEBIT_ARTIFACTS_DIR": str(pathlib.Path(folder, "artifacts")),
        "GOOSEBIT_TENANT": TENANT,
    }
    migrate = [VENV / "bin/aerich", "upgrade"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(migrate, cwd=folder, env={**os.environ, **environment}, check=True, **quiet)
    command = [str(VENV / "bin/uvicorn"), "goosebit:app", "--host", "127.0.0.1", "--port", str(port)]
    server = Server("gooseBit", command, port, folder, environment)
    server.wait_until_up("/login")
    server.prepare = None
    return server


def measure(device_counts, rounds, seconds):
    """Returns the round with the least processor time, by server and number of devices."""

    async def all_rounds(servers):
        best = {}
        for count in device_counts:
            devices = [f"lamp-{number}" for number in range(count)]
            for server in servers:
                if server.prepare:
                    await server.prepare(devices)
                await server.introduce(devices)
            for _ in range(rounds):
                for server in servers:
                    got, key = await server.round(devices, seconds), (server.name, count)
                    best[key] = min(got, best.get(key, got), key=lambda round: round["processor_us"])
        return best

    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        servers = []
        for number, start in enumerate((tidegate, goosebit)):
            own = pathlib.Path(folder, start.__name__)
            own.mkdir()
            if server := start(own, 18610 + 10 * number):
                running.callback(server.stop)
                servers.append(server)
        return asyncio.run(all_rounds(servers))
