"""The replay of a transcript: a case for each round, with what held when the round opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bcfl.protocol.event import LogEvent
from bcfl.protocol.events import take_in
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import Block
from bcfl.roles.auditor.balances import Balances
from bcfl.roles.auditor.verdict import GENESIS, Finding

# What the replay of events that contradict one another can raise.
CONTRADICTION = (LookupError, StopIteration, ValueError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Seat:
    """A miner as it took part in a round."""

    index: int
    weight: int


@dataclass
class Case:
    """Everything about one round that an audit checks."""

    number: int
    seats: dict[str, Seat] = field(default_factory=dict)
    devices: frozenset[int] = frozenset()  # that may take part
    opening: LogEvent | None = None
    head: Block | None = None  # whose model the round starts from
    pool: int = 0  # wei, before the round's reward is set aside
    round: Round | None = None
    events: list[LogEvent] = field(default_factory=list)
    claims: list[LogEvent] = field(default_factory=list)  # of this round's shares, whenever they were made
    findings: list[Finding] = field(default_factory=list)  # of the replay itself

    @property
    def electors(self) -> dict[str, Seat]:
        """The miners that may vote."""
        if self.round is None or not self.round.electorate.is_committee:
            return self.seats
        return {account: seat for account, seat in self.seats.items() if account in self.round.committee}

    @property
    def status(self) -> str:
        """`genesis`, or how the round ended."""
        return "genesis" if self.round is None else self.round.status

    def events_named(self, *names: str) -> Iterator[LogEvent]:
        """Yield the events of these names, in order."""
        return (event for event in self.events if event.name in names)

    def timestamps(self, *names: str) -> list[int]:
        """Return the timestamps of the events of these names, in seconds."""
        return [event.timestamp for event in self.events_named(*names)]


@dataclass
class Replay:
    """All cases, and what the events come to at their end."""

    history: History
    balances: Balances
    cases: dict[int, Case] = field(default_factory=dict)
    complete: bool = True  # no event contradicted those before it


def replay_transcript(transcript: Transcript) -> Replay:
    """Replay the events once, up to the first that contradicts those before it."""
    terms = transcript.terms
    balances = Balances(terms, transcript.domain, transcript.endowment)
    replay = Replay(History.under(terms), balances)
    case = replay.cases[GENESIS] = Case(GENESIS)
    claims: list[LogEvent] = []
    for event in transcript.events:
        try:
            if event.name == "Claimed":
                claims.append(event)
            case = _apply(event, case, replay)
        except CONTRADICTION as error:
            text = f"the log contradicts those before it ({type(error).__name__}: {error})"
            case.findings.append(Finding(case.number, f"logs.{event.name}", text))
            replay.complete = False
            break
    for event in claims:
        if event.args["round"] in replay.cases:
            replay.cases[event.args["round"]].claims.append(event)
        else:
            case.findings.append(Finding(case.number, "claims", "a claim of a round that there is not"))
    return replay


def _apply(event: LogEvent, case: Case, replay: Replay) -> Case:
    """Add an event to the replay and return the case that is open after it."""
    if event.name == "RoundOpened":
        _check_order(event, case)
        take_in(replay.history, [event])
        case = replay.cases[event.args["round"]] = _open_case(replay.history, event)
        return case
    if event.name != "Claimed":
        _check_round(event, case)
        case.events.append(event)
    if event.name == "Finalized":
        case.pool = replay.balances.pool
    case.findings += replay.balances.apply(event, case.number, replay.history)
    take_in(replay.history, [event])
    return case


def _check_order(event: LogEvent, case: Case) -> None:
    """Raise ValueError unless a round opens after the previous one has ended."""
    if event.args["round"] != case.number + 1:
        raise ValueError(f"round {event.args['round']} after round {case.number}")
    if case.round is not None and case.round.status == "running":
        raise ValueError(f"round {case.number} has not ended")


def _check_round(event: LogEvent, case: Case) -> None:
    """Raise ValueError unless an event is of the round that is open."""
    if event.args.get("round", case.number) != case.number:
        raise ValueError(f"it is of round {event.args['round']}, and round {case.number} is open")
    if case.round is not None and case.round.status != "running" and "round" in event.args:
        raise ValueError(f"round {case.number} has ended")


def _open_case(history: History, opening: LogEvent) -> Case:
    """Return a case with what the contract counts when it opens a round."""
    round_ = history.current
    assert round_ is not None
    return Case(
        number=round_.number,
        seats={member.account: Seat(member.index, member.weight) for member in history.seats},
        devices=frozenset(history.present),
        opening=opening,
        head=history.head,
        round=round_,
    )
