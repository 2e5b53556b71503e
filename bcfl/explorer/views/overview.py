"""Make the first page: how the training goes, what it costs, who leads and who is awaited; and the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bcfl.explorer.facts import PHASE_TONES, Cache, Statements, chain_time, summary_of, waiting
from bcfl.explorer.page import Page, Params, cut
from bcfl.federation.query import Query
from bcfl.federation.views.progress import RoundSummary
from bcfl.federation.views.summary import Summary
from bcfl.pages.charts import Cells, Curves, Series, Unit
from bcfl.pages.texts import PERCENT, short

LATEST: Final = 8  # rounds in the table of the first page
LEADERS: Final = 6
HREF: Final = "/rounds/{}"


def overview(query: Query, cache: Cache, statements: Statements) -> Page:
    """Return the first page."""
    view = summary_of(query, cache, statements)
    now = waiting(query)
    rounds = view["rounds"]
    leaders = sorted(view["miners"], key=lambda item: (-item["led"], item["index"]))[:LEADERS]
    extra = {
        "charts": [chart for chart in (_learning(view), _gas(rounds), _seconds(rounds)) if chart is not None],
        "map": _map(view),
        "latest": rounds[-LATEST:][::-1],
        "leaders": leaders,
        "final": _final(rounds),
        "now": now,
        "time": chain_time(query),
    }
    return Page("overview.html", "Overview", {**view, "now": now}, "overview", extra)


def rounds_page(query: Query, cache: Cache, statements: Statements, params: Params) -> Page:
    """Return the list of the rounds, the latest first."""
    view = summary_of(query, cache, statements)
    rows, part = cut(view["rounds"][::-1], params)
    content = {"rounds": rows, **part.json, "left_out": view["totals"]["left_out_rounds"]}
    return Page(
        "rounds.html", "Rounds", content, "rounds", {"part": part, "metric": view["totals"]["metric"]}
    )


def _final(rounds: Sequence[RoundSummary]) -> RoundSummary | None:
    """Return the last round of which somebody says how good its model is."""
    return next((item for item in reversed(rounds) if item["figure"] is not None), None)


def _learning(view: Summary) -> Curves | None:
    """Return metric and loss by round; None where nobody states any."""
    rounds, metric = view["rounds"], view["totals"]["metric"]
    figures = [item["figure"] for item in rounds]
    if not any(figures):
        return None
    series: list[Series] = []
    if metric is not None:
        unit: Unit = "percent" if metric in PERCENT else ""
        series.append(Series(metric, [figure and figure["metrics"].get(metric) for figure in figures], unit))
    series.append(Series("loss", [figure and figure["loss"] for figure in figures], "", 1))
    title = f"{metric.capitalize()} and loss" if metric else "Loss"
    return Curves(title, [item["round"] for item in rounds], series, href=HREF)


def _gas(rounds: Sequence[RoundSummary]) -> Curves:
    return Curves(
        "Gas by round",
        [item["round"] for item in rounds],
        [Series("gas", [item["gas"] for item in rounds], "gas", 2)],
        form="bars",
        href=HREF,
    )


def _seconds(rounds: Sequence[RoundSummary]) -> Curves:
    """Return how long the phases took; those that never took any time are left out."""
    names = [name for name in PHASE_TONES if any(item["seconds"].get(name) for item in rounds)]
    series = [
        Series(name, [item["seconds"].get(name, 0) for item in rounds], "seconds", PHASE_TONES[name])
        for name in names
    ]
    x = [item["round"] for item in rounds]
    return Curves("Time by phase", x, series or [Series("none", [0] * len(x), "seconds")], "stack", href=HREF)


def _map(view: Summary) -> Cells:
    devices: Sequence[Any] = view["devices"]
    return Cells(
        "Every device in every round",
        [f"{item['index']}  {short(item['device'])}" for item in devices],
        [item["round"] for item in view["rounds"]],
        [item["codes"] for item in devices],
        row_hrefs=[f"/devices/{item['index']}" for item in devices],
        column_href=HREF,
    )
