"""Put what miners found of an update into words and a small bar: one reading for each rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bcfl.federation.views.votes import FindingView
from bcfl.roles.miner.findings import Finding

WIDE: Final = 1000  # units of a bar; its line stands in the middle
MIDDLE: Final = WIDE // 2
Numbers = Mapping[str, list[FindingView]]  # by miner


@dataclass(frozen=True)
class Reading:
    """What miners found by one rule: in words, miner by miner, and as a bar where there is one to draw.

    The line in the middle of the bar is the bound, or of what an update adds, nothing.
    """

    text: str
    details: str
    miners: int
    start: int | None
    width: int
    fails: bool


def readings(numbers: Numbers, scale: float) -> list[Reading]:
    """Return what was found of one update; `scale` is the largest contribution that is drawn."""
    groups: dict[tuple[str, bool], list[tuple[str, FindingView]]] = {}
    for miner, findings in numbers.items():
        for finding in findings:
            groups.setdefault((finding["rule"], finding["reason"] != "accepted"), []).append((miner, finding))
    return [_reading(rule, fails, items, scale) for (rule, fails), items in groups.items()]


def scale_of(updates: Iterable[Numbers]) -> float:
    """Return the largest contribution among updates, with its error."""
    return max(
        (
            abs(finding["score"] or 0.0) + (finding["error"] or 0.0)
            for numbers in updates
            for findings in numbers.values()
            for finding in findings
            if finding["error"] is not None
        ),
        default=0.0,
    )


def _reading(rule: str, fails: bool, items: list[tuple[str, FindingView]], scale: float) -> Reading:
    scores = [finding["score"] for _, finding in items if finding["score"] is not None]
    first = items[0][1]
    text = rule
    if scores:
        text += f" {_span(scores)}"
    if len(items) == 1 and first["error"] is not None:
        text += f" ± {first['error']:.2g}"
    gains = [finding["gain"] for _, finding in items if finding["gain"] is not None]
    text += f", gain {_span(gains)}" if gains else ""
    text += "" if first["least"] is None else f", at least {first['least']:.3g}"
    text += "" if first["most"] is None else f", at most {first['most']:.3g}"
    details = "\n".join(f"{miner}: {Finding(position=0, device=0, **each).text}" for miner, each in items)
    start, width = _bar(first, scores, scale)
    return Reading(text, details, len(items), start, width, fails)


def _span(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _bar(finding: FindingView, scores: list[float], scale: float) -> tuple[int | None, int]:
    """Return where a bar starts and how wide it is; no start where there is nothing to draw."""
    bound = finding["most"] if finding["most"] is not None else finding["least"]
    if not scores:
        return None, 0
    middle = sum(scores) / len(scores)
    if finding["error"] is not None and scale > 0:
        length = max(-MIDDLE, min(MIDDLE, round(MIDDLE * middle / scale)))
        return (MIDDLE, length) if length >= 0 else (MIDDLE + length, -length)
    if bound and middle / bound >= 0:
        return 0, min(WIDE, round(MIDDLE * middle / bound))
    return None, 0
