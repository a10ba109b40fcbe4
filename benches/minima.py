#!/usr/bin/env python3
"""The fastest sample of every benchmark that criterion has run, in microseconds.

On a shared machine minima repeat to a few percent, means do not.
"""

import json
import pathlib

ROOT = pathlib.Path(__file__).parent.parent / "target" / "criterion"


def minima(since=0.0):
    """By criterion's full id, of the benchmarks that ran after `since`."""
    found = {}
    for sample in sorted(ROOT.glob("**/new/sample.json")):
        if sample.stat().st_mtime < since:
            continue
        measured = json.loads(sample.read_text())
        fastest = min(time / count for time, count in zip(measured["times"], measured["iters"]))
        found[json.loads((sample.parent / "benchmark.json").read_text())["full_id"]] = fastest / 1000
    return found


if __name__ == "__main__":
    for name, microseconds in minima().items():
        print(f"{microseconds:12.2f}  {name}")
