"""Whole decisions and catalog loading, by Tidegate and by evalexpr: times from criterion, counts from callgrind."""

import pathlib
import re
import subprocess
import time

import minima

ROOT = pathlib.Path(__file__).parent.parent
# Cases of benches/instructions.sh, with their names in benches/benches/decision.rs.
NAMES = {
    "ours": "ours",
    "ours-up-to-date": "ours, up to date",
    "theirs": "evalexpr's trees",
    "load": "load a snapshot",
    "parse": "parse JSON and policies",
}
# The cases of --quick take a tenth of the time.
QUICK = [word for size in ("10", "100", "1000") for case in ("ours", "ours-up-to-date", "theirs") for word in (case, size)]
QUICK += ["load", "1000", "parse", "1000"]


def output(*command):
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def timed():
    """Returns the minimum microseconds by name and number of updates, and the sizes of snapshots in bytes."""
    began = time.time()
    said = output("cargo", "bench", "--quiet", "-p", "tidegate-benches", "--bench", "decision")
    least = {}
    for full_name, microseconds in minima.minima(began).items():
        _, name, updates = full_name.split("/")
        least[name, int(updates)] = microseconds
    return least, {int(n): int(size) for n, size in re.findall(r"a snapshot of (\d+) updates has (\d+) bytes", said)}


def counted(quick):
    """Returns the instructions by name and number of updates."""
    rows = [line.split() for line in output("benches/instructions.sh", *(QUICK if quick else [])).splitlines()[1:]]
    return {(NAMES[case], int(updates)): int(instructions) for case, updates, instructions in rows}
