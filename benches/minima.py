#!/usr/bin/env python3
"""The fastest sample of every benchmark that criterion has run, in microseconds.

On a shared machine minima repeat to a few percent, means do not.
"""

import json
import pathlib

root = pathlib.Path(__file__).parent.parent / "target" / "criterion"
for sample in sorted(root.glob("**/new/sample.json")):
    measured = json.loads(sample.read_text())
    fastest = min(time / count for time, count in zip(measured["times"], measured["iters"]))
    name = json.loads((sample.parent / "benchmark.json").read_text())["full_id"]
    print(f"{fastest / 1000:12.2f}  {name}")
