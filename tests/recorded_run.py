"""A run of ten rounds in which everything happens, as an audit sees it, and as a test may bend it."""

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
from bcfl.protocol.transcript import Call
from bcfl.protocol.transcript import Transcript as Told
from bcfl.protocol.types import Phase
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.auditor.verdict import Verdict
from bcfl.roles.background.claims import claim_calls
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot
from tests.local_federation import LAYOUT, LocalFederation

ROUNDS = 10
SILENT, SKIPPED, CLAIMED, VOID = 3, 5, 2, 7  # rounds in which something special happens
REJECTED = 4


@dataclass
class Held:
    """A store in memory whose bytes a test can bend; like every store it says when they are not the CID's."""

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
    """A finished run as an outsider sees it; the tests bend copies of it."""

    transcript: Told
    contents: Mapping[str, bytes]

    def audit(self) -> Verdict:
        archive = Archive(Held(dict(self.contents)), LAYOUT, self.transcript.terms)
        return Verdict(list(Audit(self.transcript, archive).verdicts()))

    def index(self, name: str, number: int | None, nth: int = 0) -> int:
        found = [
            place
            for place, event in enumerate(self.transcript.events)
            if event.name == name and number in (None, event.args.get("round"))
        ]
        return found[nth]

    def event(self, name: str, number: int | None, nth: int = 0) -> Event:
        found = self.transcript.events[self.index(name, number, nth)]
        assert isinstance(found, Event)
        return found

    def with_events(self, events: list[Any]) -> RecordedRun:
        return replace(self, transcript=replace(self.transcript, events=events))

    def bent(self, name: str, number: int | None, nth: int = 0, **args: Any) -> RecordedRun:
        """One argument of one log is another; a function makes it from the right one."""
        events, place = list(self.transcript.events), self.index(name, number, nth)
        old = dict(events[place].args)
        new = {key: value(old[key]) if callable(value) else value for key, value in args.items()}
        assert any(old[key] != value for key, value in new.items())
        events[place] = replace(self.event(name, number, nth), args=old | new)
        return self.with_events(events)

    def late(self, name: str, number: int, nth: int = 0, seconds: int = 10_000) -> RecordedRun:
        events, place = list(self.transcript.events), self.index(name, number, nth)
        event = self.event(name, number, nth)
        events[place] = replace(event, timestamp=event.timestamp + seconds)
        return self.with_events(events)

    def without(self, name: str, number: int | None, nth: int = 0) -> RecordedRun:
        events = list(self.transcript.events)
        del events[self.index(name, number, nth)]
        return self.with_events(events)

    def wishing(self, number: int) -> RecordedRun:
        """A miner is said to wish for another engine."""
        events, place = list(self.transcript.events), self.index("Voted", number, 0)
        said = {"round": number, "miner": events[place].args["miner"], "engine": 1}
        events.insert(place, replace(self.event("Voted", number), name="Wished", args=said))
        return self.with_events(events)

    def twice(self, name: str, number: int, nth: int = 0) -> RecordedRun:
        events, place = list(self.transcript.events), self.index(name, number, nth)
        events.insert(place, events[place])
        return self.with_events(events)

    def called(self, number: int, bend: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> RecordedRun:
        """The calldata of a round's first call of `reveal` that opens something is another."""
        nth = next(i for i in range(9) if self.event("Revealed", number, i).args["claims"])
        name = self.event("Revealed", number, nth).transaction
        calls = list(self.transcript.calls[name])
        place = next(i for i, call in enumerate(calls) if call.args and call.args[4])
        calls[place] = Call("reveal", bend(calls[place].args))
        changed = {**self.transcript.calls, name: tuple(calls)}
        return replace(self, transcript=replace(self.transcript, calls=changed))

    def storage_snapshot(self, **fields: Any) -> RecordedRun:
        changed = replace(self.transcript.storage_snapshot, **fields)
        return replace(self, transcript=replace(self.transcript, storage_snapshot=changed))

    def stored(self, digest: bytes, data: bytes | None) -> RecordedRun:
        name = str(cids.Cid(cids.RAW, digest))
        contents = {key: value for key, value in self.contents.items() if key != name}
        assert len(contents) < len(self.contents)
        return replace(self, contents=contents if data is None else contents | {name: data})


def hesitant(propose: Callable[[RoundSnapshot], str | None]) -> Callable[[RoundSnapshot], str | None]:
    """The first leader of one round does nothing."""

    def asked(snapshot: RoundSnapshot) -> str | None:
        waits = snapshot.round == SKIPPED and not snapshot.due and not snapshot.current.skipped
        return None if waits else propose(snapshot)

    return asked


def play(path: Path) -> RecordedRun:
    """Ten rounds of which not all go well, some claims and a withdrawal."""
    local = LocalFederation(path, devices=5)
    for context in local.offices:
        context.lead.propose = hesitant(context.lead.propose)  # type: ignore[method-assign]
    for number in range(1, ROUNDS + 1):
        if number == SILENT:
            local.gone_in(Phase.UNVEIL, local.offices[1])
        if number == VOID:
            local.gone_in(Phase.VOTE, *local.offices)
        if number == REJECTED:
            local.learners[2].optimum = -9 * local.learners[2].optimum
        local.play()
    for account in (local.device_accounts[0], local.miner_accounts[0]):
        steps = claim_calls(local.history, local.ledger.domain, account.address)
        local.ledger.send(account, steps)
    address = local.device_accounts[0].address
    local.ledger.send(local.owner, [ContractCall("withdraw", (address,))])
    return recording_of(local)


def recording_of(local: LocalFederation) -> RecordedRun:
    """What an outsider sees of a village."""
    files = (local.path / "store").rglob("b*")
    contents = {file.name: file.read_bytes() for file in files if file.is_file()}
    return RecordedRun(gather(local.federation.contract), contents)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def first(items: Any, change: Callable[[Any], Any]) -> Any:
    return (change(items[0]), *items[1:])


def update_of(recording: RecordedRun, number: int) -> Any:
    nth = next(i for i in range(9) if recording.event("Revealed", number, i).args["claims"])
    return nth, recording.event("Revealed", number, nth).args


def seat_of(recording: RecordedRun, miner: str) -> int:
    joined = [event.args["miner"] for event in recording.transcript.events if event.name == "MinerRegistered"]
    return joined.index(miner)
