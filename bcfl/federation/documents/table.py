"""Write a summary as a table of comma-separated values: a row for each round."""

from __future__ import annotations

import csv
import io
from typing import Final

from bcfl.federation.views.progress import RoundSummary
from bcfl.federation.views.summary import Summary
from bcfl.pages.texts import plain

PHASES: Final = ("commit", "reveal", "vote", "unveil", "tally", "elect", "propose", "attest", "finalize")
FIELDS: Final = (
    "round", "status", "reason", "engine", "leader", "opened", "closed", "submitted", "accepted", "rejected",
    "samples", "reward", "penalties", "transactions", "gas", "participants", "root", "block_hash", "hostile",
    "false_rejects", "false_accepts",
)  # fmt: skip
FORMULA: Final = "=+-@\t\r"  # what a text must not begin with, so that no spreadsheet takes it for a formula


def to_csv(view: Summary) -> str:
    """Return a summary's rounds as a table, text that others chose made harmless for spreadsheets."""
    metrics = list(
        dict.fromkeys(n for item in view["rounds"] if item["figure"] for n in item["figure"]["metrics"])
    )
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    heads = [*FIELDS, "stated_by", "stated_parties", "loss", *metrics]
    writer.writerow([safe(head) for head in [*heads, *(f"seconds_{phase}" for phase in PHASES)]])
    for item in view["rounds"]:
        writer.writerow([safe(cell) for cell in _row(item, metrics)])
    return stream.getvalue()


def safe(cell: object) -> object:
    """Return a cell as it may stand in a table: nothing hidden, no formula."""
    if not isinstance(cell, str):
        return cell
    text = plain(cell).replace("\n", " ")
    return f"'{text}" if text.startswith(tuple(FORMULA)) else text


def _row(item: RoundSummary, metrics: list[str]) -> list[object]:
    """Return the cells of a round; empty where nothing is known."""
    figure, values = item["figure"], dict[str, object](item)
    cells: list[object] = [values[name] for name in FIELDS]
    cells += [None, None, None] if figure is None else [figure["role"], figure["parties"], figure["loss"]]
    cells += [None if figure is None else figure["metrics"].get(name) for name in metrics]
    cells += [item["seconds"].get(phase) for phase in PHASES]
    return ["" if cell is None else cell for cell in cells]
