"""The geometry of the charts: numbers into the paths that the templates draw as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def bars(counts: Sequence[float], width: float, height: float, highest: float) -> str:
    """The path of one bar for each count, side by side; a count that is not nothing has a bar that can be seen."""
    step = width / max(1, len(counts))
    drawn: list[str] = []
    for place, count in enumerate(counts):
        tall = max(1.0, height * count / highest) if count and highest else 0.0
        if tall:
            left, top = f"{place * step:.1f}".rstrip("0").rstrip("."), f"{height - tall:.1f}"
            drawn.append(f"M{left} {height:g}V{top}h{max(0.5, step - 0.8):.1f}V{height:g}z")
    return "".join(drawn)


def steps(points: Sequence[tuple[float, float]], width: float, height: float) -> str:
    """The path of a line that holds each value until the next; places from 0 to 1, values from 0 to 1."""
    if not points:
        return ""
    drawn = [f"M{points[0][0] * width:.1f} {(1 - points[0][1]) * height:.1f}"]
    for place, value in points[1:]:
        drawn.append(f"H{place * width:.1f}V{(1 - value) * height:.1f}")
    return "".join(drawn) + f"H{width:g}"


def round_up(highest: float) -> float:
    """The next 1, 2 or 5 times a power of ten: the top of a scale."""
    if highest <= 1:
        return 1
    power = 10 ** math.floor(math.log10(highest))
    return next(size * power for size in (1, 2, 5, 10) if size * power >= highest)


FUNCTIONS: dict[str, Callable[..., object]] = {"bars": bars, "steps": steps, "round_up": round_up}
"""What the templates call."""
