"""Draws lines over logarithmic axes as SVG. The image has its own background, for light and dark pages."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 76, 176, 62, 58
COLOURS = ["#b3261e", "#1458b8", "#2e7d32"]


def duration(microseconds):
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1)):
        if microseconds >= size:
            return f"{microseconds / size:g} {unit}"
    return f"{microseconds:g} µs"


def decades(values):
    """Returns the exponents of the powers of ten below and above all values."""
    return math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))


def log_log(title, subtitle, lines):
    """Returns the chart. `lines` are pairs of a name and points (number of live updates, microseconds)."""
    points = [point for _, line in lines for point in line]
    (x_from, x_to), (y_from, y_to) = (decades([point[axis] for point in points]) for axis in (0, 1))
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(value):
        return round(LEFT + across * (math.log10(value) - x_from) / (x_to - x_from), 1)

    def y(value):
        return round(TOP + down * (y_to - math.log10(value)) / (y_to - y_from), 1)

    def text(at_x, at_y, said, anchor="middle", more=""):
        return f'<text x="{at_x}" y="{at_y}" text-anchor="{anchor}" {more}>{escape(said)}</text>'

    def rule(from_x, from_y, to_x, to_y, colour):
        return f'<line x1="{from_x}" y1="{from_y}" x2="{to_x}" y2="{to_y}" stroke="{colour}"/>'

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 26, title, "start", 'font-size="16" font-weight="bold"'),
        text(LEFT, 46, subtitle, "start", 'font-size="12" fill="#555"'),
    ]
    bottom, right = TOP + down, LEFT + across
    for exponent in range(x_from, x_to + 1):
        at = x(10**exponent)
        drawn += [rule(at, TOP, at, bottom, "#ddd"), rule(at, bottom, at, bottom + 5, "#222")]
        drawn.append(text(at, bottom + 20, f"{10**exponent:,}"))
    for exponent in range(y_from, y_to + 1):
        at = y(10.0**exponent)
        drawn += [rule(LEFT, at, right, at, "#ddd"), rule(LEFT - 5, at, LEFT, at, "#222")]
        drawn.append(text(LEFT - 9, at + 4, duration(10.0**exponent), "end"))
    for exponent in range(x_from, x_to):
        for step in range(2, 10):
            at = x(step * 10**exponent)
            drawn.append(rule(at, bottom, at, bottom + 3, "#222"))
    for exponent in range(y_from, y_to):
        for step in range(2, 10):
            at = y(step * 10.0**exponent)
            drawn.append(rule(LEFT - 3, at, LEFT, at, "#222"))
    drawn += [rule(LEFT, TOP, LEFT, bottom, "#222"), rule(LEFT, bottom, right, bottom, "#222")]
    drawn.append(text(LEFT + across / 2, HEIGHT - 14, "live updates of the product"))
    drawn.append(text(0, 0, "one decision", more=f'transform="translate(18 {TOP + down / 2}) rotate(-90)"'))
    labels = {}
    # Place the labels from the lowest line up, each at least one line of text above the previous one.
    for name, line in sorted(lines, key=lambda named: -y(named[1][-1][1])):
        at_x, at_y = x(line[-1][0]), y(line[-1][1]) + 4
        below = [other_y for other_x, other_y in labels.values() if other_x == at_x]
        labels[name] = at_x, min([at_y, *(other_y - 16 for other_y in below)])
    for colour, (name, line) in zip(COLOURS, lines):
        path = " ".join(f"{x(updates)},{y(cost)}" for updates, cost in line)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        drawn += [f'<circle cx="{x(updates)}" cy="{y(cost)}" r="3.5" fill="{colour}"/>' for updates, cost in line]
        at_x, at_y = labels[name]
        drawn.append(text(at_x + 9, at_y, name, "start", f'fill="{colour}" font-weight="bold"'))
    return "\n".join([*drawn, "</svg>", ""])
