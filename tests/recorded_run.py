"""A recorded run of ten rounds with every kind of event, and copies of it that a test has tampered with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bcfl.errors import Corrupt, Unavailable
from bcfl.ledger.contract import Event
from bcfl.ledger.transcript import gather
from bcfl.ports import ContractCall
from bcfl.protocol import cid as cids
from bcfl.protocol.limits import TOP_LEVEL
from bcfl.protocol.transcript import Call, Transcript
from bcfl.protocol.types import Phase
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.auditor.verdict import Verdict
from bcfl.roles.background.claims import claim_calls
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot
from tests.local_federation import LAYOUT, LocalFederation

ROUNDS = 10
SILENT, SKIPPED, CLAIMED, VOID = 3, 5, 2, 7  # rounds in which something special happens
REJECTED, ABSENT, REPEATED = 4, 8, 10  # ABSENT: a miner does not vote; REPEATED: two leaders propose the same


@dataclass
class MemoryStore:
    """A store in memory whose bytes a test may change; like every store it checks them against the CID."""

    contents: dict[str, bytes]

    def put(self, data: bytes) -> str:
        return cids.compute(data)

    def get(self, cid: str, max_bytes: int) -> bytes:
        del max_bytes
        if cid not in self.contents:
            raise Unavailable(f"nobody holds {cid}", cid)
        if cids.compute(self.contents[cid]) != cid:
            raise Corrupt(f"not the bytes of {cid}", cid)
        return self.contents[cid]

    def has(self, cid: str) -> bool:
        return cid in self.contents


@dataclass(frozen=True)
class RecordedRun:
    """A finished run as an outsider sees it; its methods return tampered copies."""

    transcript: Transcript
    contents: Mapping[str, bytes]

    def audit(self) -> Verdict:
        archive = Archive(MemoryStore(dict(self.contents)), LAYOUT, self.transcript.terms)
        return Verdict(list(Audit(self.transcript, archive).verdicts()))

    def index(self, name: str, number: int | None, nth: int = 0) -> int:
        places = [
            place
            for place, event in enumerate(self.transcript.events)
            if event.name == name and number in (None, event.args.get("round"))
        ]
        return places[nth]

    def event(self, name: str, number: int | None, nth: int = 0) -> Event:
        event = self.transcript.events[self.index(name, number, nth)]
        assert isinstance(event, Event)
        return event

    def with_events(self, events: list[Any]) -> RecordedRun:
        return replace(self, transcript=replace(self.transcript, events=events))

    def with_args(self, name: str, number: int | None, nth: int = 0, **args: Any) -> RecordedRun:
        """Change arguments of one event; a function makes the new value from the old one."""
        events, place = list(self.transcript.events), self.index(name, number, nth)
        old = dict(events[place].args)
        new = {key: value(old[key]) if callable(value) else value for key, value in args.items()}
        assert any(old[key] != value for key, value in new.items())
        events[place] = replace(self.event(name, number, nth), args=old | new)
        return self.with_events(events)

    def delayed(self, name: str, number: int, nth: int = 0, seconds: int = 10_000) -> RecordedRun:
        events, place = list(self.transcript.events), self.index(name, number, nth)
        event = self.event(name, number, nth)
        events[place] = replace(event, timestamp=event.timestamp + seconds)
        return self.with_events(events)

    def without(self, name: str, number: int | None, nth: int = 0) -> RecordedRun:
        events = list(self.transcript.events)
        del events[self.index(name, number, nth)]
        return self.with_events(events)

    def with_wish(self, number: int) -> RecordedRun:
        """Add the event of a miner that wishes for another engine."""
        events, place = list(self.transcript.events), self.index("Voted", number, 0)
        args = {"round": number, "miner": events[place].args["miner"], "engine": 1}
        events.insert(place, replace(self.event("Voted", number), name="Wished", args=args))
        return self.with_events(events)

    def with_suspension(self, number: int) -> RecordedRun:
        """Add the event of a miner that is suspended when the votes of a round are counted."""
        events, place = list(self.transcript.events), self.index("Tallied", number)
        args = {
            "round": number,
            "miner": self.event("Voted", number).args["miner"],
            "until_round": number + 1,
        }
        events.insert(place, replace(self.event("Tallied", number), name="Suspended", args=args))
        return self.with_events(events)

    def with_departure(self, number: int, exit_round: int) -> RecordedRun:
        """Add the event of a miner that leaves at the beginning of a round."""
        events, place = list(self.transcript.events), self.index("RoundOpened", number)
        args = {"miner": self.event("MinerRegistered", None).args["miner"], "exit_round": exit_round}
        events.insert(place + 1, replace(self.event("RoundOpened", number), name="MinerLeft", args=args))
        return self.with_events(events)

    def with_duplicate(self, name: str, number: int, nth: int = 0) -> RecordedRun:
        events, place = list(self.transcript.events), self.index(name, number, nth)
        events.insert(place, events[place])
        return self.with_events(events)

    def with_call(self, number: int, change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> RecordedRun:
        """Change the calldata of a round's first call of `reveal` that opens something."""
        nth = next(i for i in range(9) if self.event("Revealed", number, i).args["claims"])
        name = self.event("Revealed", number, nth).transaction
        calls = list(self.transcript.calls[name])
        place = next(i for i, call in enumerate(calls) if call.args and call.args[4])
        calls[place] = Call("reveal", change(calls[place].args))
        transcript = replace(self.transcript, calls={**self.transcript.calls, name: tuple(calls)})
        return replace(self, transcript=transcript)

    def with_storage(self, **fields: Any) -> RecordedRun:
        storage_snapshot = replace(self.transcript.storage_snapshot, **fields)
        return replace(self, transcript=replace(self.transcript, storage_snapshot=storage_snapshot))

    def with_bytes(self, digest: bytes, data: bytes | None) -> RecordedRun:
        name = str(cids.Cid(cids.RAW, digest))
        contents = {key: value for key, value in self.contents.items() if key != name}
        assert len(contents) < len(self.contents)
        return replace(self, contents=contents if data is None else contents | {name: data})


Tampering = Callable[[RecordedRun], RecordedRun]


def skip_first_leader(
    propose: Callable[[RoundSnapshot], str | None],
) -> Callable[[RoundSnapshot], str | None]:
    """Let the first leader of one round do nothing."""

    def propose_later(snapshot: RoundSnapshot) -> str | None:
        waits = snapshot.round == SKIPPED and not snapshot.due and not snapshot.current.skipped
        return None if waits else propose(snapshot)

    return propose_later


def attest_second_proposal(
    attest: Callable[[RoundSnapshot], str | None],
) -> Callable[[RoundSnapshot], str | None]:
    """Let nobody attest the first proposal of one round; the second leader proposes the same."""

    def attest_later(snapshot: RoundSnapshot) -> str | None:
        waits = snapshot.round == REPEATED and not snapshot.due and not snapshot.current.skipped
        return None if waits else attest(snapshot)

    return attest_later


def record_run(path: Path) -> RecordedRun:
    """Play ten rounds of which not all go well, some claims and a withdrawal."""
    local = LocalFederation(path, devices=5)
    for context in local.miner_parties:
        context.lead.propose = skip_first_leader(context.lead.propose)  # type: ignore[assignment, method-assign]
        context.lead.attest = attest_second_proposal(context.lead.attest)  # type: ignore[assignment, method-assign]
    for number in range(1, ROUNDS + 1):
        if number == SILENT:
            local.leave_in(Phase.UNVEIL, local.miner_parties[1])
        if number == ABSENT:
            local.leave_in(Phase.VOTE, local.miner_parties[2])
        if number == VOID:
            local.leave_in(Phase.VOTE, *local.miner_parties)
        if number == REJECTED:
            local.learners[2].optimum = -9 * local.learners[2].optimum
        local.play()
    for account in (local.device_accounts[0], local.miner_accounts[0]):
        calls = claim_calls(local.history, local.ledger.domain, account.address)
        local.ledger.send(account, calls)
    address = local.device_accounts[0].address
    local.ledger.send(local.owner, [ContractCall("withdraw", (address,))])
    return record(local)


def record(local: LocalFederation) -> RecordedRun:
    """Record what an outsider sees of a federation."""
    files = (local.path / "store").rglob("b*")
    contents = {file.name: file.read_bytes() for file in files if file.is_file()}
    return RecordedRun(gather(local.ledger.contract), contents)


def flip_bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def wei(amount: int) -> Callable[[int], int]:
    return lambda balance: balance + amount


def change_first(items: Any, change: Callable[[Any], Any]) -> Any:
    return (change(items[0]), *items[1:])


def first_reveal(recording: RecordedRun, number: int) -> Any:
    nth = next(i for i in range(9) if recording.event("Revealed", number, i).args["claims"])
    return nth, recording.event("Revealed", number, nth).args


def another_miner(recording: RecordedRun, miner: str) -> str:
    """Return a miner that is another one."""
    events = (event for event in recording.transcript.events if event.name == "MinerRegistered")
    return next(str(event.args["miner"]) for event in events if event.args["miner"] != miner)


def another_reason(words: tuple[int, ...]) -> tuple[int, ...]:
    """Give the first rejection in a vote another reason."""
    place = next(place for place in range(0, 256, 4) if words[0] >> place & 15 > TOP_LEVEL)
    reason = words[0] >> place & 15
    return (words[0] ^ (reason ^ (reason - 1 if reason > TOP_LEVEL + 1 else reason + 1)) << place,)


def one_rejected(words: tuple[int, ...]) -> tuple[int, ...]:
    """Reject the first update that a vote accepts."""
    place = next(place for place in range(0, 256, 4) if 0 < words[0] >> place & 15 <= TOP_LEVEL)
    return (words[0] & ~(15 << place) | 10 << place,)


def one_less(words: tuple[int, ...]) -> tuple[int, ...]:
    """Take the level of the first update that a tally accepts."""
    place = next(place for place in range(0, 256, 4) if words[0] >> place & 15)
    return (words[0] & ~(15 << place),)


def one_more(words: tuple[int, ...]) -> tuple[int, ...]:
    """Give the first update that a tally rejects a level."""
    place = next(place for place in range(0, 256, 4) if not words[0] >> place & 15)
    return (words[0] | 3 << place,)


def another_level(words: tuple[int, ...]) -> tuple[int, ...]:
    """Give the first update of a vote the lowest level."""
    return (words[0] & ~15 | 1,)
