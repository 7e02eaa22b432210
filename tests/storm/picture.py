"""Curves as an SVG: who came and who had a token, and what ACS answered, by time."""

from html import escape

WIDTH, HEIGHT = 920, 620
LEFT, RIGHT, TOP = 64, 24, 36
PANEL, GAP = 230, 58
COLOURS = {"budget": "#0a7d33", "none": "#c2410c", "sdk": "#1d4ed8", "sdk-broker": "#7c3aed"}
GREY = "#8a8f98"
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.faint{fill:#57606a}"
    "path{fill:none;stroke-width:2}.grid{stroke:#d0d7de;stroke-width:1}"
)


def ticks(most):
    """Round numbers up to `most`, about five of them."""
    step = 1
    while most / step > 6:
        step *= 2.5 if str(step)[0] == "2" else 2
    return [int(step * index) for index in range(int(most / step) + 1)]


class Panel:
    """A plot with its axes."""

    def __init__(self, top, title, seconds, most):
        self.top, self.seconds, self.most = top, seconds, most
        self.parts = [f'<text class="title" x="{LEFT}" y="{top - 12}">{escape(title)}</text>']
        for value in ticks(most):
            y = self.y(value)
            self.parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            self.parts.append(f'<text class="faint" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>')
        for value in ticks(seconds / 60):
            x = self.x(value * 60)
            self.parts.append(f'<text class="faint" x="{x:.1f}" y="{top + PANEL + 18}" text-anchor="middle">{value} min</text>')

    def x(self, seconds):
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds

    def y(self, value):
        return self.top + PANEL * (1 - value / self.most)

    def curve(self, step, values, colour, dashed=False):
        points = " ".join(f"{self.x(step * index):.1f},{self.y(value):.1f}" for index, value in enumerate(values))
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<path d="M{points.replace(" ", "L")}" stroke="{colour}"{dashes}/>')


def draw(curves, names):
    seconds = max(one["step"] * (len(one["served"]) - 1) for one in curves.values())
    came = max(one["came"][-1] for one in curves.values())
    refused = max(one["acs_refused"][-1] for one in curves.values()) or 1
    users = Panel(TOP, "Users who have a token", seconds, came)
    users.curve(curves["budget"]["step"], curves["budget"]["came"] + [came] * 999, GREY, dashed=True)
    acs = Panel(TOP + PANEL + GAP, "Requests that ACS has refused with 429", seconds, refused)
    for name, one in curves.items():
        end = int(seconds / one["step"]) + 1
        for panel, values in ((users, one["served"]), (acs, one["acs_refused"])):
            panel.curve(one["step"], (values + [values[-1]] * end)[:end], COLOURS[name])
    legend, at = [], LEFT
    for name in curves:
        legend.append(f'<path d="M{at} {HEIGHT - 22}h22" stroke="{COLOURS[name]}"/>')
        legend.append(f'<text x="{at + 28}" y="{HEIGHT - 18}">{escape(names[name])}</text>')
        at += 46 + 6.6 * len(names[name])
    parts = users.parts + acs.parts + legend
    clip = f'<clipPath id="plot"><rect x="0" y="0" width="{WIDTH - RIGHT + 1}" height="{HEIGHT}"/></clipPath>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n<style>{STYLE}</style>\n{clip}\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n<g clip-path="url(#plot)">\n' + "\n".join(parts) + "\n</g>\n</svg>\n"
    )
