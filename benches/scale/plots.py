"""Line charts as SVG, without a library: they stand beside the text and must read the same everywhere."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 400, 70, 40, 44, 52
# Told apart by their dashes too, for readers who do not see colours, or print.
STYLES = [("#0b5fa5", ""), ("#b3401a", "9 4"), ("#2f7d32", "3 3"), ("#6a3d9a", "12 3 3 3")]
FONT = 'font-family="system-ui, sans-serif" font-size="13"'


class Axis:
    """From values to pixels. With `log`, a decade is as long as another."""

    def __init__(self, low, high, start, end, log=False):
        self.low, self.high, self.start, self.end, self.log = low, high, start, end, log

    def at(self, value):
        scale = math.log10 if self.log else float
        low = scale(self.low)
        return self.start + (scale(max(value, self.low)) - low) / (scale(self.high) - low) * (self.end - self.start)


def chart(title, x, y, lines, marks=()):
    """`x` and `y`: (name, low, high, log, [(value, words)]). `lines`: (name, [(x, y)]). `marks`: level lines, (name, y)."""
    across, up = Axis(*x[1:3], LEFT, WIDTH - RIGHT, x[3]), Axis(*y[1:3], HEIGHT - BOTTOM, TOP, y[3])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" {FONT} font-weight="600" fill="#1b1b1b">{escape(title)}</text>',
    ]
    for value, words in x[4]:
        parts.append(f'<line x1="{across.at(value):.1f}" x2="{across.at(value):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>')
        parts.append(_text(across.at(value), HEIGHT - BOTTOM + 18, words, "middle"))
    for value, words in y[4]:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up.at(value):.1f}" y2="{up.at(value):.1f}" stroke="#e4e4e4"/>')
        parts.append(_text(LEFT - 8, up.at(value) + 4, words, "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x[0], "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text transform="translate(18 {middle}) rotate(-90)" text-anchor="middle" {FONT} fill="#444444">{escape(y[0])}</text>')
    for name, value in marks:
        if not y[1] <= value <= y[2]:
            continue
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up.at(value):.1f}" y2="{up.at(value):.1f}" stroke="#777777" stroke-width="1.5" stroke-dasharray="2 4"/>')
        parts.append(_text(WIDTH - RIGHT - 4, up.at(value) - 5, name, "end"))
    for (name, points), (colour, dash) in zip(lines, STYLES):
        path = " ".join(f"{across.at(a):.1f},{up.at(b):.1f}" for a, b in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
    for row, ((name, _), (colour, dash)) in enumerate(zip(lines, STYLES)):
        height = TOP + 14 + row * 18
        parts.append(f'<line x1="{LEFT + 12}" x2="{LEFT + 44}" y1="{height}" y2="{height}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        parts.append(_text(LEFT + 52, height + 4, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


def _text(x, y, words, anchor):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} fill="#444444">{escape(words)}</text>'
