"""What was promised, and what was measured: the rows of BENCHMARKS.md's first table that `benches/run` can fill."""

import re


def row(target, measured, is_met):
    return f"| {target} | {measured} | {'✓' if is_met else 'not met'} |"


def decision(least, counted):
    """`least`: microseconds, `counted`: instructions, both by name and number of live updates."""
    for updates, most_us in ((1_000, 3), (10_000, 8)):
        taken = least["ours", updates]
        yield row(f"a whole decision, none of {updates:,} updates matches: ≤ {most_us} µs", f"{taken:.1f} µs", taken <= most_us)
    for updates, least_ratio in ((1_000, 250), (10_000, 2_000)):
        ratio = counted["evalexpr's trees", updates] / counted["ours", updates]
        target = f"… against evalexpr's trees, {updates:,} updates: ≥ {least_ratio:,} × fewer instructions"
        yield row(target, f"{ratio:,.0f} ×", ratio >= least_ratio)


def service(ratios):
    """`ratios`: processor time of gooseBit's polls by ours, by number of devices."""
    target = "check-ins per second and core, nothing to offer, against gooseBit in the same run: ≥ 20 ×"
    measured = ", ".join(f"{ratio:.0f} ×" for ratio in ratios)
    yield row(target, f"{measured} ({'100, 500 and 2,000 devices' if len(ratios) == 3 else 'fewest devices'})", min(ratios) >= 20)


def cold_start(table):
    """`table`: what tests/aws/cold_start.py prints; the first column is the check function."""
    cells = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in table.splitlines()}

    def number(beginning):
        text = next(cell for title, cell in cells.items() if title.startswith(beginning))
        return float(re.match(r"[\d.]+", text)[0])

    size, memory = number("binary"), number("memory")
    taken = number("init without") + number("from there")
    yield row("the check function's binary: ≤ 9 MB", f"{size:.1f} MB", size <= 9)
    yield row("… processor time to its first answer, the first call over TLS included: ≤ 12 ms", f"{taken:.1f} ms", taken <= 12)
    yield row("… memory after 1,000 requests: ≤ 24 MB", f"{memory:.1f} MB", memory <= 24)


def replace(text, rows):
    """Each row in the place of the one for the same target."""
    lines = text.splitlines(keepends=True)
    for new in rows:
        target = new.split("|")[1]
        places = [number for number, line in enumerate(lines) if line.startswith("|") and line.split("|")[1] == target]
        if len(places) != 1:
            raise SystemExit(f"failed: BENCHMARKS.md has {len(places)} rows for the target{target}")
        lines[places[0]] = new + "\n"
    return "".join(lines)
