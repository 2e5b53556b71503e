"""Make the page of a round: phases with their transactions, updates, votes, leader, proposals, block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from bcfl.explorer.facts import PHASE_TONES, Cache, Statements, chain_time, summary_of
from bcfl.explorer.page import NotFound, Page, Params, cut
from bcfl.explorer.views.readings import readings, scale_of
from bcfl.federation.query import Query
from bcfl.federation.views.round import PHASES, PhaseView
from bcfl.federation.views.source import Transaction
from bcfl.federation.views.votes import VotesView

WIDE: Final = 1000  # units of a bar's width
LEAST: Final = 4
UPDATES: Final = 100  # on a page
STATED: Final = 100  # parties whose statements are shown
KEPT: Final = 128  # rounds that are kept made


class TransactionView(TypedDict):
    """A transaction of a round: its phase, and the events that it logged."""

    hash: bytes
    block: int
    timestamp: int
    gas: int
    phase: str
    events: list[str]


@dataclass(frozen=True)
class Bar:
    """A phase on the time line: where its bar stands and its transactions are, in thousandths."""

    phase: PhaseView
    start: int
    width: int
    ticks: tuple[tuple[int, str], ...]


def round_page(query: Query, cache: Cache, statements: Statements, number: int, params: Params) -> Page:
    """Return the page of a round, with a page of its updates; raises NotFound."""
    round_ = query.history.rounds.get(number)
    if round_ is None:
        raise NotFound(f"there is no round {number}")
    key = ("round", number)
    view = cache.get(key)
    if view is None:
        view = _view(query, number)
        if round_.closed is not None:
            made = [name for name in cache if isinstance(name, tuple) and name[0] == "round"]
            for name in made[: max(0, len(made) - KEPT)]:
                del cache[name]
            cache[key] = view
    votes: VotesView = view["votes_by_miner"]
    entries = summary_of(query, cache, statements)["rounds"]
    entry = next((item for item in entries if item["round"] == number), None)
    stated = [] if entry is None else entry["statements"][:STATED]
    rows, part = cut(votes["updates"], params, UPDATES)
    scale = scale_of(item["numbers"] for item in rows)
    extra = {
        "bars": _bars(view["phases"], view["transaction_list"], view["opened"]),
        "why": {item["position"]: readings(item["numbers"], scale) for item in rows},
        "part": part,
        "updates": rows,
        "submissions": view["submissions"][part.start : part.stop],
        "tones": PHASE_TONES,
        "metrics": [] if entry is None or entry["figure"] is None else list(entry["figure"]["metrics"]),
        "last": max(query.history.rounds),
        "time": chain_time(query),
    }
    return Page("round.html", f"Round {number}", {**view, "statements": stated}, "rounds", extra)


def _view(query: Query, number: int) -> dict[str, Any]:
    transactions = query.transactions(query.history.rounds[number])
    return {
        **query.round_view(number),
        "turns": query.leader_view(number),
        "votes_by_miner": query.votes_view(number),
        "transaction_list": [_transaction(item) for item in transactions],
    }


def _transaction(item: Transaction) -> TransactionView:
    phase = next((PHASES[name] for name in item.names if name in PHASES), "other")
    return {
        "hash": item.hash,
        "block": item.block,
        "timestamp": item.timestamp,
        "gas": item.gas,
        "phase": phase,
        "events": list(item.names),
    }


def _bars(phases: Sequence[PhaseView], transactions: Iterable[TransactionView], opened: int) -> list[Bar]:
    """Return the time line: a phase lasts from the end of the phase before to its last transaction."""
    end = max((phase["until"] for phase in phases), default=opened)
    span = max(end - opened, 1)

    def place(timestamp: int) -> int:
        return max(0, WIDE * (timestamp - opened) // span)

    bars, start = [], opened
    by_phase: dict[str, list[TransactionView]] = {}
    for item in transactions:
        by_phase.setdefault(item["phase"], []).append(item)
    for phase in phases:
        ticks = tuple(
            (place(item["timestamp"]), ", ".join(item["events"])) for item in by_phase[phase["phase"]]
        )
        left, right = place(min(start, phase["from"])), place(phase["until"])
        bars.append(Bar(phase, min(left, WIDE - LEAST), max(right - left, LEAST), ticks))
        start = max(start, phase["until"])
    return bars
