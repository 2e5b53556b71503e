"""Say what parties state of a model, and whose word it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcfl.cli.output.printing import Column, Row, metric_text, plural, print_table

if TYPE_CHECKING:
    from bcfl.federation.statements import StatementsView


def stated_text(view: StatementsView) -> str | None:
    """Return the figure of statements in words, and whose it is; None where nobody states any."""
    from bcfl.federation.documents.words import figure_words, whose

    figure = view["figure"]
    return None if figure is None else f"{figure_words(figure)}: {whose(figure)}"


def stated_fields(view: StatementsView) -> list[tuple[str, object]]:
    """Return the figure of statements, and how many miners could not be asked, as fields."""
    fields: list[tuple[str, object]] = []
    text, missing = stated_text(view), view["unreachable"]
    if text is not None:
        fields.append(("stated", text))
    if missing:
        reasons = "; ".join(dict.fromkeys(item["reason"] for item in missing))
        fields.append(("not asked", f"{plural(len(missing), 'miner')} for statements: {reasons}"[:300]))
    return fields


def print_statements(view: StatementsView) -> None:
    """Print who states what of a model, if anybody does."""
    figure = view["figure"]
    if figure is None:
        return
    names = list(dict.fromkeys(name for item in view["statements"] for name in item["metrics"]))
    columns = [Column("party"), Column("role"), Column("samples", True), Column("loss", True)]
    rows: list[Row] = [
        (
            item["party"],
            item["role"],
            item["samples"],
            metric_text("loss", item["loss"]),
            *(metric_text(name, item["metrics"].get(name)) for name in names),
            item["cid"],
        )
        for item in view["statements"]
    ]
    columns += [*(Column(name, True) for name in names), Column("statement", spare=True)]
    print_table(columns, rows, "Stated of the model, each by its own data")
