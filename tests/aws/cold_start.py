"""What a cold start costs: init time, processor time, and memory, against a Runtime API on loopback.

    python cold_start.py BINARY [--event FILE] [--runs N] [--label TEXT] [NAME=VALUE ...]

Init is from the spawn to the first GET /invocation/next. Prints one line of a table, to compare release profiles:
label, size, init (least and median), processor time until then, resident memory after init and after one event.
Nothing of this needs AWS; an event whose answer needs the store measures its failure as well as its success.
"""

import argparse
import pathlib
import statistics
import subprocess
import time

from runtime_api import Copy

# No function may take longer; a binary that never asks for work would hang the measurement.
MOST_S = 30
HEADER = "| binary | MB | init ms, least | init ms, median | CPU ms | RSS MB, init | RSS MB, event |"


def resident_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def processor_ms(pid):
    """Processor time of all threads so far. getrusage knows only processes that have ended, and this one lives on."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def measure(binary, environment, event):
    """One start: init and processor milliseconds, megabytes after init and after the event."""
    started = time.perf_counter()
    copy = Copy(binary, environment, "arn:aws:lambda:eu-west-1:123456789012:function:measured", subprocess.DEVNULL)
    try:
        if not copy.is_waiting.wait(MOST_S):
            raise SystemExit(f"{binary} did not ask for its first invocation within {MOST_S} s")
        init_ms = (time.perf_counter() - started) * 1000
        cpu_ms, after_init = processor_ms(copy.process.pid), resident_mb(copy.process.pid)
        after_event = 0.0
        if event:
            copy.invoke(event, MOST_S)
            after_event = resident_mb(copy.process.pid) if copy.is_alive else 0.0
        return init_ms, cpu_ms, after_init, after_event
    finally:
        copy.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("variables", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--event", type=pathlib.Path, help="a JSON file, such as events/check.json")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--label")
    parser.add_argument("--header", action="store_true", help="the table's head first")
    arguments = parser.parse_intermixed_args()
    environment = {
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
        # Nobody listens there: what needs the store fails at once, the same way each time.
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
        **dict(variable.split("=", 1) for variable in arguments.variables),
    }
    event = arguments.event.read_bytes() if arguments.event else None
    runs = [measure(str(arguments.binary.resolve()), environment, event) for _ in range(arguments.runs)]
    init, cpu, after_init, after_event = zip(*runs)
    if arguments.header:
        print(f"{HEADER}\n|{'---|' * (HEADER.count('|') - 1)}")
    size_mb = arguments.binary.stat().st_size / 1e6
    row = (f"{size_mb:.1f}", f"{min(init):.1f}", f"{statistics.median(init):.1f}", f"{statistics.median(cpu):.1f}")
    row += (f"{statistics.median(after_init):.1f}", f"{statistics.median(after_event):.1f}" if event else "")
    print(f"| {arguments.label or arguments.binary.name} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
