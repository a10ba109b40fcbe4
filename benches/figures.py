"""What was promised, and what was measured: the rows of docs/BENCHMARKS.md's first table that `benches/run` can fill."""

import re


def row(target, measured, is_met):
    return f"| {target} | {measured} | {'✓' if is_met else 'not met'} |"


def decision(least, counted):
    """`least`: microseconds, `counted`: instructions, both by name and number of live updates."""
    for updates, most_us in ((1_000, 2.5), (10_000, 6), (100_000, 150)):
        taken = least["ours", updates]
        yield row(f"a whole decision, none of {updates:,} updates matches: ≤ {most_us} µs", f"{taken:.1f} µs", taken <= most_us)
    for updates, least_ratio in ((1_000, 300), (10_000, 1_500)):
        ratio = counted["evalexpr's trees", updates] / counted["ours", updates]
        target = f"… {updates:,} updates, against evalexpr's trees: ≥ {least_ratio:,} × fewer instructions"
        yield row(target, f"{ratio:,.0f} ×", ratio >= least_ratio)
    loading, parsing = least["load a snapshot", 10_000], least["parse JSON and policies", 10_000]
    yield row("a snapshot of 10,000 updates: ≤ 2 ms", f"{loading / 1000:.2f} ms", loading <= 2000)
    ratio = parsing / loading
    yield row("… against JSON and parsing: ≥ 40 × faster", f"{ratio:,.0f} ×", ratio >= 40)


def service(ratios):
    """`ratios`: processor time of gooseBit's polls by ours, by number of devices."""
    target = "check-ins per second and core, nothing to offer, against gooseBit in the same run: ≥ 20 ×"
    measured = ", ".join(f"{ratio:.0f} ×" for ratio in ratios)
    yield row(target, f"{measured} ({'100, 500 and 2,000 devices' if len(ratios) == 3 else 'fewest devices'})", min(ratios) >= 20)


def cold_start(table):
    """`table`: what tests/aws/cold_start.py prints; check is the first column, the echo the second, the SDK's defaults
    the third."""
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in table.splitlines()]

    def cell(beginning, after="", column=0):
        start = next(place for place, cells in enumerate(rows) if cells[0].startswith(after))
        return next(cells for cells in rows[start:] if cells[0].startswith(beginning))[column + 1]

    def numbers(*arguments, **named):
        return float(re.match(r"[\d.,]+", cell(*arguments, **named))[0].replace(",", ""))

    init_ms, init = numbers("init without"), numbers("… times the echo's")
    yield row("init: ≤ 3 ms of processor time, ≤ 8 × a bare echo's instructions", f"{init_ms:.1f} ms, {init:.1f} ×", init_ms <= 3 and init <= 8)
    first, peers = numbers("… and with the first"), numbers("… and with the first", column=2)
    yield row(
        "the first check-in after init: ≤ 5 M instructions, ≥ 80 × fewer than a build with the SDK's defaults",
        f"{first:.2f} M, {peers / first:.0f} ×",
        first <= 5 and peers / first >= 80,
    )
    share = numbers("… first request to answer")
    yield row("… under a 128 MB function's share of a processor: ≤ 50 ms", f"{share:.0f} ms", share <= 50)
    warm, counted = numbers("a warm request"), numbers("… instructions", after="a warm request")
    yield row("a warm check-in with one read: ≤ 200 µs of processor time, ≤ 900,000 instructions", f"{warm:.0f} µs, {counted:,.0f}", warm <= 200 and counted <= 900_000)
    size, deflated = numbers("binary"), float(re.search(r"\(([\d.]+)\)", cell("binary"))[1])
    yield row("the check function's binary: ≤ 8 MB, ≤ 4 MB zipped", f"{size:.1f} MB, {deflated:.1f} MB", size <= 8 and deflated <= 4)


def replace(text, rows):
    """Each row in the place of the one for the same target."""
    lines = text.splitlines(keepends=True)
    for new in rows:
        target = new.split("|")[1]
        places = [number for number, line in enumerate(lines) if line.startswith("|") and line.split("|")[1] == target]
        if len(places) != 1:
            raise SystemExit(f"failed: docs/BENCHMARKS.md has {len(places)} rows for the target{target}")
        lines[places[0]] = new + "\n"
    return "".join(lines)
