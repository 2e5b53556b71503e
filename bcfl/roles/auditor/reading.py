"""The logs as a row of cases, one for each round, with what stood when it opened (all steps)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bcfl.protocol.events import take_in
from bcfl.protocol.rounds import History, Recorded, Round
from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import Block, Engine
from bcfl.roles.auditor.balances import Books
from bcfl.roles.auditor.verdict import GENESIS, Finding

# What reading logs that contradict one another can raise.
CONTRADICTION = (LookupError, StopIteration, ValueError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True)
class Seat:
    """A miner as it took part in a round."""

    index: int
    weight: int
    novice: bool


@dataclass
class Case:
    """Everything about one round that is to be checked."""

    number: int
    seats: dict[str, Seat] = field(default_factory=dict)
    devices: frozenset[int] = frozenset()  # that may take part
    seed: bytes = bytes(32)  # when the round opened
    head: Block | None = None  # whose model the round starts from
    pool: int = 0  # wei, before the round's reward is set aside
    round: Round | None = None
    events: list[Recorded] = field(default_factory=list)
    claims: list[Recorded] = field(default_factory=list)  # of this round's shares, whenever they were made
    findings: list[Finding] = field(default_factory=list)  # from the reading itself

    @property
    def electors(self) -> dict[str, Seat]:
        """The miners that may vote."""
        members = () if self.round is None else self.round.committee
        if self.round is None or self.round.engine is not Engine.COMMITTEE:
            return self.seats
        return {account: seat for account, seat in self.seats.items() if account in members}

    @property
    def status(self) -> str:
        """`genesis`, or how the round ended."""
        return "genesis" if self.round is None else self.round.status

    def named(self, *names: str) -> Iterator[Recorded]:
        """The events of these names, in order."""
        return (event for event in self.events if event.name in names)

    def when(self, *names: str) -> list[int]:
        """The timestamps of the events of these names."""
        return [event.timestamp for event in self.named(*names)]


@dataclass
class Record:
    """All cases, and what the logs come to at their end."""

    history: History
    books: Books
    cases: dict[int, Case] = field(default_factory=dict)
    complete: bool = True  # no log contradicted what came before it


def read(transcript: Transcript) -> Record:
    """Go through the logs once; where one contradicts those before it, the reading ends there."""
    record = Record(
        History(transcript.terms.min_stake), Books(transcript.terms, transcript.domain, transcript.endowment)
    )
    case = record.cases[GENESIS] = Case(GENESIS)
    claims: list[Recorded] = []
    for event in transcript.events:
        try:
            if event.name == "RoundOpened":
                _follows(event, case)
                take_in(record.history, [event])
                case = record.cases[event.args["round"]] = _opened(record.history)
            elif event.name == "Claimed":
                claims.append(event)
                take_in(record.history, [event])
            else:
                _belongs(event, case)
                case.events.append(event)
                if event.name == "Finalized":
                    case.pool = record.books.pool
            case.findings += record.books.take(event, case.number, record.history)
            if event.name not in ("RoundOpened", "Claimed"):
                take_in(record.history, [event])
        except CONTRADICTION as error:
            said = f"the log contradicts those before it ({type(error).__name__}: {error})"
            case.findings.append(Finding(case.number, f"logs.{event.name}", said))
            record.complete = False
            break
    for event in claims:
        if (found := record.cases.get(event.args["round"])) is not None:
            found.claims.append(event)
        else:
            case.findings.append(Finding(case.number, "claims", "a claim of a round that there is not"))
    return record


def _follows(event: Recorded, case: Case) -> None:
    """A round opens after the one before it has ended, and only then."""
    if event.args["round"] != case.number + 1:
        raise ValueError(f"round {event.args['round']} after round {case.number}")
    if case.round is not None and case.round.status == "running":
        raise ValueError(f"round {case.number} has not ended")


def _belongs(event: Recorded, case: Case) -> None:
    """What happens in a round is of the round that is open."""
    if event.args.get("round", case.number) != case.number:
        raise ValueError(f"it is of round {event.args['round']}, and round {case.number} is open")
    if case.round is not None and case.round.status != "running" and "round" in event.args:
        raise ValueError(f"round {case.number} has ended")


def _opened(history: History) -> Case:
    """A case with what the contract counts when it opens a round."""
    current = history.current
    assert current is not None
    return Case(
        number=current.number,
        seats={member.account: Seat(member.index, member.weight, member.novice) for member in history.seats},
        devices=frozenset(history.present),
        seed=history.seed,
        head=history.head,
        round=current,
    )
