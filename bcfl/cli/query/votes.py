"""`bcfl votes`: each miner's verdict on each update of a round, and the numbers that it had for it.

The verdicts are on chain. The numbers are each miner's own and in its journal: in a run's folder for all of
its miners, elsewhere for those whose journals --journal names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bcfl.cli.options import JournalsOption, JsonOption, RoundArgument
from bcfl.cli.output.printing import Column, Row, print_folded, print_table, show, terminal_width
from bcfl.cli.output.terminal import say
from bcfl.cli.query.target import QueryTarget
from bcfl.protocol.limits import USUAL_LEVEL

if TYPE_CHECKING:
    from bcfl.federation.views.votes import FindingView, VotesView

WIDTH_BUT_MINERS = 30  # of the matrix, with shortened addresses
WIDTH_OF_MINER = 13
LEGEND = (
    ": 1 to 4 accepted at that level, u unavailable, m malformed, t time, d duplicate, q quality, o outlier"
)


def votes(
    target: QueryTarget,
    number: RoundArgument = None,
    journal: JournalsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every miner's verdict on every update of round N (else the last), and the numbers behind it."""
    with target.open() as query:
        view = query.votes_view(number, journal)
    show(view, as_json, _print_votes)


def _print_votes(view: VotesView) -> None:
    if not view["updates"]:
        say(f"round {view['round']} ({view['status']}) has no updates")
        return
    miners = {vote["miner"]: f"m{place}" for place, vote in enumerate(view["miners"])}
    if miners:
        rows: list[Row] = [(miners[vote["miner"]], vote["miner"], vote["weight"]) for vote in view["miners"]]
        print_table([Column("miner"), Column("address"), Column("weight", True)], rows)
    for miner in view["silent"]:
        say(f"never unveiled: {miner}")
    letters = 1 if terminal_width() < WIDTH_BUT_MINERS + WIDTH_OF_MINER * len(miners) else None
    columns = [Column("#", True), Column("device"), Column("tally"), *map(Column, miners.values())]
    rows = [
        (
            u["position"],
            u["device"],
            _judgement(u["verdict"], u["level"], None),
            *(_judgement(u["verdicts"][miner], u["levels"][miner], letters) for miner in miners),
        )
        for u in view["updates"]
    ]
    title = f"Verdicts of round {view['round']} ({view['status']})"
    print_table(columns, rows, title + LEGEND * (letters == 1))
    _print_numbers(view, miners)


def _judgement(verdict: str | None, level: int | None, letters: int | None) -> str | None:
    """Return the level of what is accepted, else the reason, shortened to a letter where there is no room."""
    if not level or verdict is None:
        return verdict if verdict is None else verdict[:letters]
    return f"level {level}" if letters is None else str(level)


def _print_numbers(view: VotesView, miners: dict[str, str]) -> None:
    """Print the scores behind each rejection and each level but the usual one, miner by miner."""
    rows: list[Row] = [
        (update["position"], names, _judgement(finding["reason"], finding["level"], None), text)
        for update in view["updates"]
        for finding, text, names in _grouped(update["numbers"], miners)
        if finding["level"] != USUAL_LEVEL
    ]
    if rows:
        print_table([Column("#", True), Column("miner"), Column("reason"), Column("found")], rows, "Why")
    if view["unexplained"]:
        names = ", ".join(miners[miner] for miner in view["unexplained"])
        text = f"no numbers from {names}: they are in the miner's own journal, name its folder with --journal"
        print_folded(text, 0)


def _grouped(
    numbers: dict[str, list[FindingView]], miners: dict[str, str]
) -> list[tuple[FindingView, str, str]]:
    """Return findings on one update in words, those of several miners that are the same as one."""
    from bcfl.roles.miner.findings import Finding

    groups: dict[str, tuple[FindingView, list[str]]] = {}
    for miner, findings in numbers.items():
        for finding in findings:
            text = Finding(position=0, device=0, **finding).text
            groups.setdefault(text, (finding, []))[1].append(miners[miner])
    return [(finding, text, " ".join(names)) for text, (finding, names) in groups.items()]
