"""Write a sweep as a page that stands alone, and as a table: means and deviations over the seeds."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from bcfl.federation.documents.page import LOCAL_STYLE, TEMPLATES, digest
from bcfl.federation.documents.table import safe
from bcfl.federation.sweeps import CellView, SpreadView, SweepView
from bcfl.pages.charts import Curves, Series, Unit
from bcfl.pages.environment import render, script, style
from bcfl.pages.texts import PERCENT, metric_text

MOST_CURVES: Final = 8  # cells that are drawn: there are as many colours
SHARES: Final = PERCENT | {"rejected", "attack_success"}
LEAST_WHOLE, MOST_WHOLE = 1e3, 1e15  # between them a figure has no decimals
LEFT, WIDTH, ROW, TOP = 260, 900, 26, 26  # of the plot of deviations


@dataclass(frozen=True)
class Mark:
    """A cell's place in a plot of deviations: mean, and a bar of one deviation to both sides."""

    label: str
    text: str
    y: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Deviations:
    """A plot of one figure over all cells, in the units of its drawing."""

    name: str
    height: int
    marks: list[Mark]
    ticks: list[tuple[float, str]]


def to_html(view: SweepView, made: str) -> str:
    """Return a sweep as a page; `made` says with what it was made, and when."""
    css, code = style() + Markup(LOCAL_STYLE.read_text(encoding="utf-8")), script()
    return render(
        TEMPLATES,
        "sweep.html",
        view=view,
        made=made,
        policy=f"default-src 'none'; img-src data:; style-src {digest(css)}; script-src {digest(code)}; "
        "base-uri 'none'; form-action 'none'",
        css=css,
        code_text=code,
        curves=_curves(view),
        plots=[plot for name in view["figures"] if (plot := _deviations(view, name)) is not None],
        spread=spread_text,
        label=label,
        plot_left=LEFT,
        plot_width=WIDTH,
    )


def to_csv(view: SweepView) -> str:
    """Return a sweep as a table: a row for each cell, mean, deviation and number of seeds of each figure."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [head for name in view["figures"] for head in (name, f"{name} deviation", f"{name} seeds")]
    writer.writerow(map(safe, [*view["varied"], "trials", "failed", *heads]))
    for cell in view["cells"]:
        row: list[object] = [*cell["values"].values(), cell["trials"], cell["failed"]]
        for name in view["figures"]:
            item = cell["figures"].get(name)
            row += ["", "", 0] if item is None else [item["mean"], item["deviation"], item["count"]]
        writer.writerow(["" if value is None else safe(value) for value in row])
    return stream.getvalue()


def label(cell: CellView) -> str:
    """Return what a cell is called: its values, but the seed."""
    return ", ".join(f"{name} {value}" for name, value in cell["values"].items()) or "all runs"


def spread_text(name: str, item: SpreadView | None) -> str:
    """Return mean and deviation in words."""
    if item is None:
        return "–"
    mean, deviation = item["mean"], item["deviation"]
    if name in SHARES:
        return f"{mean:.2%}" + ("" if deviation is None else f" ± {100 * deviation:.2f}")
    if LEAST_WHOLE <= abs(mean) < MOST_WHOLE:
        return f"{mean:,.0f}" + ("" if deviation is None else f" ± {deviation:,.0f}")
    return metric_text("", mean) + ("" if deviation is None else f" ± {deviation:.2g}")


def _curves(view: SweepView) -> list[Curves]:
    """Return metrics and loss over the rounds, the mean of each of the first cells."""
    cells = view["cells"][:MOST_CURVES]
    curves = list[Curves]()
    for name in dict.fromkeys(name for cell in cells for name in cell["curves"]):
        lines = [cell["curves"].get(name, []) for cell in cells]
        rounds = max(map(len, lines), default=0)
        unit: Unit = "percent" if name in PERCENT else ""
        series = [
            Series(label(cell), [None if p is None else p["mean"] for p in line], unit, place)
            for place, (cell, line) in enumerate(zip(cells, lines, strict=True))
            if len(line) == rounds
        ]
        if rounds and any(value is not None for item in series for value in item.values):
            curves.append(Curves(f"{name[:1].upper()}{name[1:]}", list(range(1, rounds + 1)), series))
    return curves


def _deviations(view: SweepView, name: str) -> Deviations | None:
    """Return the plot of a figure; None where no cell has it, or it is the same everywhere."""
    pairs = [(cell, item) for cell in view["cells"] if (item := cell["figures"].get(name)) is not None]
    ends = [end for _, item in pairs for end in _ends(item)]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    if low == high:
        return None
    room = WIDTH - LEFT - 20

    def place(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * room, 1)

    marks = [
        Mark(label(cell), spread_text(name, item), TOP + ROW * number + ROW // 2, *map(place, _ends(item)))
        for number, (cell, item) in enumerate(pairs)
    ]
    steps = [low + (high - low) * part / 4 for part in range(5)]
    ticks = [(place(value), _tick(name, value)) for value in steps]
    return Deviations(name, TOP + ROW * len(pairs) + 8, marks, ticks)


def _tick(name: str, value: float) -> str:
    if name in SHARES:
        return f"{value:.1%}"
    return f"{value:,.0f}" if LEAST_WHOLE <= abs(value) < MOST_WHOLE else metric_text("", value)


def _ends(item: SpreadView) -> tuple[float, float, float]:
    """Return the mean, and one deviation below and above it."""
    mean, deviation = item["mean"], item["deviation"] or 0.0
    return mean, mean - deviation, mean + deviation
