"""The picture of `make bench-rollout`: for each harm, when each rule rolls back; a logarithmic scale of seconds."""

from dataclasses import dataclass
from math import inf, log10

import numpy as np

_LEFT, _WIDTH, _ROW, _TOP, _LAST = 170, 640, 60, 84, 10_000
_COLOURS = ("#1b7f5c", "#c2571a", "#8a4fbf", "#7a7a7a", "#e39a6b", "#b79be0")
_TICKS = (1, 3, 10, 30, 100, 300, 1000, 3000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """When the rollouts of one scenario were rolled back by one rule."""

    scenario: str
    rule: str
    seconds: list[int | None]


def _x(seconds: float) -> float:
    return _LEFT + _WIDTH * log10(max(1.0, min(seconds, _LAST))) / log10(_LAST)


def picture(lines: list[Line]) -> str:
    """An SVG document."""
    scenarios, rules = list(dict.fromkeys(line.scenario for line in lines)), list(dict.fromkeys(line.rule for line in lines))
    height = _TOP + _ROW * len(scenarios) + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 50} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_LEFT + _WIDTH + 50}" height="{height}" fill="white"/>',
    ]
    for place, rule in enumerate(rules):
        x = 20 + (place % 2) * 400
        y = 18 + (place // 2) * 20
        parts.append(f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{_COLOURS[place]}"/><text x="{x + 12}" y="{y}">{rule}</text>')
    for tick in _TICKS:
        parts.append(f'<line x1="{_x(tick):.1f}" y1="{_TOP - 8}" x2="{_x(tick):.1f}" y2="{height - 38}" stroke="#ddd"/>')
        parts.append(f'<text x="{_x(tick):.1f}" y="{height - 22}" text-anchor="middle" fill="#555">{tick}</text>')
    parts.append(f'<text x="{_LEFT + _WIDTH / 2}" y="{height - 6}" text-anchor="middle" fill="#555">seconds until it is rolled back</text>')
    parts.append(f'<text x="{_x(_LAST):.1f}" y="{height - 22}" text-anchor="middle" fill="#555">never</text>')
    for row, name in enumerate(scenarios):
        y = _TOP + _ROW * row + _ROW / 2
        parts.append(f'<text x="{_LEFT - 14}" y="{y + 4}" text-anchor="end">{name.replace("-", "&#8722;")}</text>')
        for line in (line for line in lines if line.scenario == name):
            place = rules.index(line.rule)
            parts += _bar(line, y + 8 * (place - 2.5), _COLOURS[place])
    return "\n".join([*parts, "</svg>", ""])


def _bar(line: Line, y: float, colour: str) -> list[str]:
    """From the 5th to the 95th percentile, and the median."""
    known = np.array([inf if second is None else float(second) for second in line.seconds])
    first, middle, last = (float(np.quantile(known, part, method="higher")) for part in (0.05, 0.5, 0.95))
    bar = f'<line x1="{_x(first):.1f}" y1="{y}" x2="{_x(last):.1f}" y2="{y}" stroke="{colour}" stroke-width="3" opacity="0.45"/>'
    return [bar, f'<circle cx="{_x(middle):.1f}" cy="{y}" r="4.5" fill="{colour}"/>']
