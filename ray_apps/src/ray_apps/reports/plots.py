"""Plots as inline SVG, made of elements: text in them is escaped when they are written out. Colours are classes of the page's style."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element, SubElement

WIDTH, LABELS, FIGURES, ROW = 640, 190, 150, 24
_LONGEST_LABEL = 27
_PAD = 10

Scale = Callable[[float], float]
"""A value's place across the plot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row: a value, with its interval where it has one. `role` is its colour."""

    label: str
    value: float
    role: str
    low: float | None = None
    high: float | None = None
    figures: str = ""


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two others, at most `most`, the same distance apart: 1, 2 or 5 times a power of ten.

    >>> ticks(0.0, 0.23)
    [0.0, 0.05, 0.1, 0.15, 0.2]
    """
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    step = 10.0 ** math.floor(math.log10(span / most))
    step = next(step * factor for factor in (1, 2, 5, 10, 20) if span / (step * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)][: most + 1]


def text(parent: Element, words: str, x: float, y: float, **more: str) -> None:
    """Words at a place."""
    SubElement(parent, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", **more}).text = words


def canvas(title: str, height: float, width: float = WIDTH) -> Element:
    """An empty plot; the title is what a screen reader says."""
    svg = Element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": title})
    SubElement(svg, "title").text = title
    return svg


def rows(title: str, bars: Sequence[Bar], *, zero: bool = False) -> Element:
    """A dot with its 95 % interval for each row; bars from 0 where there is no interval.

    Args:
        title: What is shown.
        bars: One for each row.
        zero: Draw 0 as a line of its own: the values are differences.
    """
    svg = canvas(title, len(bars) * ROW + 30)
    ends = [end for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None and math.isfinite(end)]
    whole = [*ends, 0.0] if zero or any(bar.low is None for bar in bars) else ends
    low, high = (min(whole), max(whole)) if whole else (0.0, 1.0)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 0.5
    low, high = (low if low == 0 and not zero else low - margin), high + margin

    def x(value: float) -> float:
        return LABELS + (min(max(value, low), high) - low) / (high - low) * (WIDTH - LABELS - FIGURES)

    _axis(svg, ticks(low, high), x, len(bars) * ROW)
    if zero:
        SubElement(svg, "line", {"x1": f"{x(0):.1f}", "x2": f"{x(0):.1f}", "y1": "0", "y2": f"{len(bars) * ROW}", "class": "zero"})
    for number, bar in enumerate(bars):
        _row(svg, bar, number * ROW + ROW / 2, x)
    return svg


def _axis(svg: Element, marks: Sequence[float], x: Scale, bottom: float) -> None:
    for mark in marks:
        place = f"{x(mark):.1f}"
        SubElement(svg, "line", {"x1": place, "x2": place, "y1": "2", "y2": f"{bottom:g}", "class": "grid"})
        text(svg, f"{mark:g}", x(mark), bottom + 16, **{"text-anchor": "middle", "class": "tick"})


def _row(svg: Element, bar: Bar, y: float, x: Scale) -> None:
    group = SubElement(svg, "g", {"class": bar.role})
    SubElement(group, "title").text = f"{bar.label}: {bar.figures}"
    short = bar.label if len(bar.label) <= _LONGEST_LABEL else bar.label[: _LONGEST_LABEL - 1] + "…"
    text(svg, short, LABELS - _PAD, y + 4, **{"text-anchor": "end"})
    text(svg, bar.figures, WIDTH, y + 4, **{"text-anchor": "end", "class": "figures"})
    if not math.isfinite(bar.value):
        return
    if bar.low is None or bar.high is None:
        left, right = sorted((x(0), x(bar.value)))
        size = {"x": f"{left:.1f}", "y": f"{y - 7:.1f}", "width": f"{max(right - left, 1):.1f}", "height": "14", "rx": "3"}
        SubElement(group, "rect", {**size, "class": "mark"})
        return
    ends = {"x1": f"{x(bar.low):.1f}", "x2": f"{x(bar.high):.1f}", "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
    SubElement(group, "line", {**ends, "class": "whisker"})
    SubElement(group, "circle", {"cx": f"{x(bar.value):.1f}", "cy": f"{y:.1f}", "r": "5", "class": "mark"})


def lines(title: str, steps: Sequence[int], series: Mapping[str, Sequence[float]]) -> Element:
    """Values by step, one line and colour for each series; the scale begins at 0."""
    height, bottom, left, right = 230.0, 196.0, 44.0, 16.0
    svg = canvas(title, height)
    most = max((value for values in series.values() for value in values if math.isfinite(value)), default=0.0) * 1.05 or 1.0
    first, last = steps[0], max(steps[-1], steps[0] + 1)

    def at(step: float, value: float) -> tuple[float, float]:
        return left + (step - first) / (last - first) * (WIDTH - left - right), bottom - value / most * (bottom - 26)

    for mark in ticks(0.0, most):
        y = at(first, mark)[1]
        SubElement(svg, "line", {"x1": f"{left:g}", "x2": f"{WIDTH}", "y1": f"{y:.1f}", "y2": f"{y:.1f}", "class": "grid"})
        text(svg, f"{mark:g}", left - 6, y + 4, **{"text-anchor": "end", "class": "tick"})
    for step in dict.fromkeys(round(mark) for mark in ticks(first, last, 8) if first <= round(mark) <= last):
        text(svg, f"{step}", at(step, 0)[0], bottom + 18, **{"text-anchor": "middle", "class": "tick"})
    for place, (name, values) in enumerate(series.items()):
        group = SubElement(svg, "g", {"class": f"series{place}"})
        SubElement(group, "rect", {"x": f"{left + place * 190:g}", "y": "2", "width": "12", "height": "12", "rx": "3", "class": "mark"})
        text(svg, name, left + place * 190 + 18, 12)
        points = [(step, value, at(step, value)) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
        for (*_, (x1, y1)), (*_, (x2, y2)) in pairwise(points):
            ends = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
            SubElement(group, "line", {**ends, "class": "whisker"})
        for step, value, (x, y) in points:
            dot = SubElement(group, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "4", "class": "mark"})
            SubElement(dot, "title").text = f"{name}, step {step}: {value:.3f}"
    return svg


def columns(title: str, names: Sequence[str], series: Mapping[str, Sequence[float]]) -> Element:
    """Columns side by side, one group for each name and one colour for each series; values from 0 on, shown as percent."""
    height, bottom, left = 190.0, 160.0, 44.0
    svg = canvas(title, height + 14)
    most = max((value for values in series.values() for value in values), default=0.0) or 1.0
    for mark in ticks(0.0, most * 1.05):
        y = bottom - mark / (most * 1.05) * (bottom - 26)
        SubElement(svg, "line", {"x1": f"{left:g}", "x2": f"{WIDTH}", "y1": f"{y:.1f}", "y2": f"{y:.1f}", "class": "grid"})
        text(svg, f"{mark * 100:g} %", left - 6, y + 4, **{"text-anchor": "end", "class": "tick"})
    slot = (WIDTH - left) / max(len(names), 1)
    each = (slot - 8) / max(len(series), 1)
    for place, (name, values) in enumerate(series.items()):
        group = SubElement(svg, "g", {"class": f"series{place}"})
        SubElement(group, "rect", {"x": f"{left + place * 190:g}", "y": "2", "width": "12", "height": "12", "rx": "3", "class": "mark"})
        text(svg, name, left + place * 190 + 18, 12)
        for number, value in enumerate(values):
            tall = value / (most * 1.05) * (bottom - 26)
            at = {"x": f"{left + number * slot + 4 + place * each:.1f}", "y": f"{bottom - tall:.1f}"}
            bar = SubElement(group, "rect", {**at, "width": f"{each - 2:.1f}", "height": f"{tall:.1f}", "rx": "2", "class": "mark"})
            SubElement(bar, "title").text = f"{name}, {names[number]}: {value:.1%}"
    for number, name in enumerate(names):
        text(svg, name, left + (number + 0.5) * slot, bottom + 16, **{"text-anchor": "middle", "class": "tick"})
    return svg
