#!/usr/bin/env python3
"""Prints the fastest sample of every criterion benchmark in microseconds.

On a shared machine minima are reproducible to a few percent. Means are not.
"""

import json
import pathlib

ROOT = pathlib.Path(__file__).parent.parent / "target" / "criterion"


def minima(since=0.0):
    """Returns the fastest sample of each benchmark that ran after `since`, by criterion's full id."""
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
