"""python -m bench.picture: draw the scaling of a load from its table in docs/performance.md.

The table is the one place where the numbers are kept; the picture follows it, and a test holds the two together.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
PICTURE = DOCS / "pictures" / "load_scaling.svg"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 320, 64, 46, 34
COLOURS = ("#0b6e4f", "#8a5a00")

Series = list[tuple[str, float]]


def measured(text: str) -> dict[str, Series]:
    """Seconds by rows for each contender, from the table that starts with ``| rows |``."""
    table = text[text.index("| rows |") :].split("\n\n")[0].splitlines()
    names = [name.strip(" `") for name in table[0].strip("|").split("|")][1:3]
    found: dict[str, Series] = {name: [] for name in names}
    for row in table[2:]:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        for name, cell in zip(names, cells[1:3], strict=True):
            found[name].append((cells[0], float(re.split(r"[^0-9.]", cell)[0])))
    return found


def drawn(series: dict[str, Series]) -> str:
    """The picture: a pair of bars for each size, seconds upwards."""
    most = max(seconds for points in series.values() for _, seconds in points)
    sizes = [rows for rows, _ in next(iter(series.values()))]
    step = (WIDTH - LEFT - 20) / len(sizes)
    bar = step / (len(series) + 0.7)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12" role="img">',
        "<title>Seconds to load, by rows</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for place, name in enumerate(series):
        x = LEFT + place * 220
        parts.append(f'<rect x="{x}" y="10" width="12" height="12" fill="{COLOURS[place]}"/>')
        parts.append(f'<text x="{x + 18}" y="21" fill="#222222">{escape(name)}</text>')
    for group, rows in enumerate(sizes):
        left = LEFT + group * step
        for place, points in enumerate(series.values()):
            seconds = points[group][1]
            parts += _bar(left + place * bar, bar, seconds, seconds / most * (HEIGHT - BOTTOM - TOP - 24), place)
        parts.append(_label(left + bar, HEIGHT - 22, f"{rows} rows"))
    parts.append("</svg>\n")
    return "\n".join(parts)


def _bar(x: float, width: float, seconds: float, tall: float, place: int) -> list[str]:
    y = HEIGHT - BOTTOM - tall
    size = f'x="{x:.1f}" y="{y:.1f}" width="{width * 0.9:.1f}" height="{tall:.1f}"'
    return [f'<rect {size} fill="{COLOURS[place]}"/>', _label(x + width * 0.45, y - 5, f"{seconds:.1f} s")]


def _label(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="#222222">{text}</text>'


def main() -> None:
    """Draw it."""
    PICTURE.write_text(drawn(measured((DOCS / "performance.md").read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
