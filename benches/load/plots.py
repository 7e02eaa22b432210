"""Draws the bars of docs/performance.md from what run.py wrote: plots.py RESULTS.json FOLDER."""

import json
import pathlib
import statistics
import sys
from html import escape

# Colours that can be told apart on white and on black, by everybody (Okabe and Ito).
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"]
NAMES = {"bare": "bare axum", "node": "Node.js service", "broker": "broker"}
LEFT, WIDTH, BAR, GAP = 190, 560, 20, 14


def bars(title, unit, rows):
    """Bars of medians, with a line from the least to the most. `rows`: label, series, values."""
    series = list(dict.fromkeys(name for _, name, _ in rows))
    most = max(max(values) for _, _, values in rows)
    parts, y, before = [], 44, None
    for label, name, values in rows:
        if label != before:
            y += GAP
            parts.append(f'<text x="{LEFT - 12}" y="{y + BAR - 6}" text-anchor="end">{escape(label)}</text>')
            before = label
        scale = WIDTH / most
        middle, least, highest = statistics.median(values) * scale, min(values) * scale, max(values) * scale
        colour = COLOURS[series.index(name) % len(COLOURS)]
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{middle:.1f}" height="{BAR - 4}" fill="{colour}"/>')
        line = y + BAR / 2 - 2
        parts.append(f'<line x1="{LEFT + least:.1f}" y1="{line}" x2="{LEFT + highest:.1f}" y2="{line}" stroke="currentColor"/>')
        figure = f"{statistics.median(values):,.0f}" if most > 100 else f"{statistics.median(values):.1f}"
        parts.append(f'<text x="{LEFT + max(middle, highest) + 6:.1f}" y="{y + BAR - 6}">{figure} {escape(NAMES.get(name, name))}</text>')
        y += BAR
    size = f'width="{LEFT + WIDTH + 210}" height="{y + 16}" viewBox="0 0 {LEFT + WIDTH + 210} {y + 16}"'
    style = "text { font: 13px sans-serif; fill: currentColor } svg { color: #333 } @media (prefers-color-scheme: dark) { svg { color: #ddd } }"
    heading = f'<text x="12" y="24" style="font-weight: bold">{escape(title)}, {escape(unit)}</text>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title><style>{style}</style>{heading}{"".join(parts)}</svg>\n'


def main():
    results = json.loads(pathlib.Path(sys.argv[1]).read_text())["runs"]
    folder = pathlib.Path(sys.argv[2])
    shown = ["hot", "new token", "bad signature", "garbage"]
    for file, title, unit, field in (
        ("performance-cpu.svg", "CPU of a request", "µs (the line: least to most of the rounds)", "cpu"),
        ("performance-rate.svg", "Requests a second", "on two cores that the load generator shares", "rate"),
    ):
        rows = [
            (case, service, [run[field] for run in runs])
            for case in shown
            if case in results
            for service, runs in results[case].items()
        ]
        (folder / file).write_text(bars(title, unit, rows))


main()
