"""Write a summary as a page that stands alone: one file, no network, readable without its script too.

Its style and script are inside, and a policy names them by their digests, so that nothing else runs in it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from bcfl.federation.documents.words import figure_words, last_figure, story, title, whose
from bcfl.federation.views.progress import RoundSummary
from bcfl.federation.views.summary import Summary
from bcfl.federation.views.votematrix import VoteMatrix
from bcfl.pages.charts import Cells, Curves, Series, Unit
from bcfl.pages.environment import render, script, style
from bcfl.pages.texts import PERCENT, short

TEMPLATES: Final = Path(__file__).with_name("templates")
PHASES: Final = ("commit", "reveal", "vote", "unveil", "tally", "elect", "propose", "attest", "finalize")
REASONS: Final = ("unavailable", "malformed", "time", "duplicate", "quality", "outlier")
MOST_CELLS: Final = 6_000  # verdicts in tables of votes; what is more stands as lines of letters
MOST_STATEMENTS: Final = 2_000  # in all rounds together, the latest rounds first
MOST_DEVICES: Final = 500  # in the table of devices
MOST_METRICS: Final = 6  # curves
LOCAL_STYLE: Final = Path(__file__).with_name("templates") / "report.css"


@dataclass(frozen=True)
class RoundPart:
    """A round as the page unfolds it: its votes as a table or as lines, and who states what."""

    summary: RoundSummary
    matrix: VoteMatrix | None
    as_table: bool
    shows_statements: bool


def to_html(view: Summary, made: str) -> str:
    """Return a summary as a page; `made` says with what it was made, and when."""
    css, code = style() + Markup(LOCAL_STYLE.read_text(encoding="utf-8")), script()
    last = last_figure(view)
    return render(
        TEMPLATES,
        "report.html",
        view=view,
        title=title(view),
        story=story(view),
        made=made,
        policy=f"default-src 'none'; img-src data:; style-src {digest(css)}; script-src {digest(code)}; "
        "base-uri 'none'; form-action 'none'",
        css=css,
        code_text=code,
        last=None if last is None else {"round": last[0]["round"], "figure": last[1]},
        last_words=None if last is None else figure_words(last[1]),
        whose=None if last is None else whose(last[1]),
        curves=_curves(view),
        heat_map=_heat_map(view),
        rounds=_parts(view),
        devices=view["devices"][:MOST_DEVICES],
    )


def digest(text: str) -> str:
    """Return how a policy names an inline style or script."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _curves(view: Summary) -> list[Curves]:
    """Return what is drawn over the rounds."""
    rounds = view["rounds"]
    numbers = [item["round"] for item in rounds]
    curves = _metric_curves(rounds, numbers)
    judged = [item["accepted"] for item in rounds]
    series = [Series("accepted", judged, "count", "level-3")]
    for reason in REASONS:
        counts = [item["reasons"].get(reason, 0) for item in rounds]
        if any(counts):
            series.append(Series(reason, counts, "count", reason))
    curves.append(Curves("Updates", numbers, series, form="stack"))
    if any(item["gas"] is not None for item in rounds):
        gas = [item["gas"] for item in rounds]
        curves.append(Curves("Gas", numbers, [Series("gas", gas, "gas", 2)], form="bars"))
    phases = [phase for phase in PHASES if any(phase in item["seconds"] for item in rounds)]
    spans = [
        Series(phase, [item["seconds"].get(phase, 0) for item in rounds], "seconds", place)
        for place, phase in enumerate(phases)
    ]
    curves.append(Curves("Time by phase", numbers, spans, form="stack"))
    return curves


def _metric_curves(rounds: Sequence[RoundSummary], numbers: list[int]) -> list[Curves]:
    """Return a chart of the shares among the metrics, and one of each other metric and the loss."""
    figures = [item["figure"] for item in rounds]
    names = list(dict.fromkeys(name for figure in figures if figure for name in figure["metrics"]))
    values: dict[str, Sequence[Any]] = {
        name: [None if figure is None else figure["metrics"].get(name) for figure in figures]
        for name in names[:MOST_METRICS]
    }
    values["loss"] = [None if figure is None else figure["loss"] for figure in figures]
    units: dict[str, Unit] = {name: "percent" if name in PERCENT else "" for name in values}
    return [
        Curves(name[:1].upper() + name[1:], numbers, [Series(name, line, units[name], place)])
        for place, (name, line) in enumerate(values.items())
        if any(value is not None for value in line)
    ]


def _heat_map(view: Summary) -> Cells:
    """Return devices by rounds."""
    names = [f"{item['index']} {short(item['device'])}" for item in view["devices"]]
    columns = [item["round"] for item in view["rounds"]]
    return Cells("Verdicts on every device", names, columns, [item["codes"] for item in view["devices"]])


def _parts(view: Summary) -> list[RoundPart]:
    """Return the rounds, the latest first; what is too much for the page is left out of the earlier ones."""
    matrices = {matrix["round"]: matrix for matrix in view["votes"]}
    parts, cells, statements = list[RoundPart](), 0, 0
    for item in reversed(view["rounds"]):
        matrix = matrices.get(item["round"])
        cells += 0 if matrix is None else len(matrix["tally"]) * (1 + len(matrix["miners"]))
        statements += len(item["statements"])
        parts.append(RoundPart(item, matrix, cells <= MOST_CELLS, statements <= MOST_STATEMENTS))
    return parts
