"""An audit passes what happened, and names the round and the field of every single thing that did not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import Corrupt, Unavailable
from bcfl.ledger.contract import Event
from bcfl.ledger.testimony import gather
from bcfl.ports import Step
from bcfl.protocol import cid as cids
from bcfl.protocol.testimony import Call
from bcfl.protocol.testimony import Testimony as Told
from bcfl.protocol.types import Engine, Mode, Phase
from bcfl.roles.archive import Archive
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.auditor.verdict import Verdict
from bcfl.roles.claims import claim_steps
from bcfl.roles.moment import Moment
from tests.village import LAYOUT, TERMS, Village

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
class Scene:
    """A finished run as an outsider sees it; the tests bend copies of it."""

    testimony: Told
    contents: Mapping[str, bytes]

    def audit(self) -> Verdict:
        archive = Archive(Held(dict(self.contents)), LAYOUT, self.testimony.terms)
        return Verdict(list(Audit(self.testimony, archive).verdicts()))

    def index(self, name: str, number: int | None, nth: int = 0) -> int:
        found = [
            place
            for place, event in enumerate(self.testimony.events)
            if event.name == name and number in (None, event.args.get("round"))
        ]
        return found[nth]

    def event(self, name: str, number: int | None, nth: int = 0) -> Event:
        found = self.testimony.events[self.index(name, number, nth)]
        assert isinstance(found, Event)
        return found

    def with_events(self, events: list[Any]) -> Scene:
        return replace(self, testimony=replace(self.testimony, events=events))

    def bent(self, name: str, number: int | None, nth: int = 0, **args: Any) -> Scene:
        """One argument of one log is another; a function makes it from the right one."""
        events, place = list(self.testimony.events), self.index(name, number, nth)
        old = dict(events[place].args)
        new = {key: value(old[key]) if callable(value) else value for key, value in args.items()}
        assert any(old[key] != value for key, value in new.items())
        events[place] = replace(self.event(name, number, nth), args=old | new)
        return self.with_events(events)

    def late(self, name: str, number: int, nth: int = 0, seconds: int = 10_000) -> Scene:
        events, place = list(self.testimony.events), self.index(name, number, nth)
        event = self.event(name, number, nth)
        events[place] = replace(event, timestamp=event.timestamp + seconds)
        return self.with_events(events)

    def without(self, name: str, number: int | None, nth: int = 0) -> Scene:
        events = list(self.testimony.events)
        del events[self.index(name, number, nth)]
        return self.with_events(events)

    def wishing(self, number: int) -> Scene:
        """A miner is said to wish for another engine."""
        events, place = list(self.testimony.events), self.index("Voted", number, 0)
        said = {"round": number, "miner": events[place].args["miner"], "engine": 1}
        events.insert(place, replace(self.event("Voted", number), name="Wished", args=said))
        return self.with_events(events)

    def twice(self, name: str, number: int, nth: int = 0) -> Scene:
        events, place = list(self.testimony.events), self.index(name, number, nth)
        events.insert(place, events[place])
        return self.with_events(events)

    def called(self, number: int, bend: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Scene:
        """The calldata of a round's first call of `reveal` that opens something is another."""
        nth = next(i for i in range(9) if self.event("Revealed", number, i).args["claims"])
        name = self.event("Revealed", number, nth).transaction
        calls = list(self.testimony.calls[name])
        place = next(i for i, call in enumerate(calls) if call.args and call.args[4])
        calls[place] = Call("reveal", bend(calls[place].args))
        changed = {**self.testimony.calls, name: tuple(calls)}
        return replace(self, testimony=replace(self.testimony, calls=changed))

    def standing(self, **fields: Any) -> Scene:
        changed = replace(self.testimony.standing, **fields)
        return replace(self, testimony=replace(self.testimony, standing=changed))

    def stored(self, digest: bytes, data: bytes | None) -> Scene:
        name = str(cids.Cid(cids.RAW, digest))
        contents = {key: value for key, value in self.contents.items() if key != name}
        assert len(contents) < len(self.contents)
        return replace(self, contents=contents if data is None else contents | {name: data})


def hesitant(propose: Callable[[Moment], str | None]) -> Callable[[Moment], str | None]:
    """The first leader of one round does nothing."""

    def asked(moment: Moment) -> str | None:
        waits = moment.round == SKIPPED and not moment.due and not moment.current.skipped
        return None if waits else propose(moment)

    return asked


def play(path: Path) -> Scene:
    """Ten rounds of which not all go well, some claims and a withdrawal."""
    village = Village(path, devices=5)
    for office in village.offices:
        office.lead.propose = hesitant(office.lead.propose)  # type: ignore[method-assign]
    for number in range(1, ROUNDS + 1):
        if number == SILENT:
            village.gone_in(Phase.UNVEIL, village.offices[1])
        if number == VOID:
            village.gone_in(Phase.VOTE, *village.offices)
        if number == REJECTED:
            village.learners[2].optimum = -9 * village.learners[2].optimum
        village.play()
    for account in (village.device_accounts[0], village.miner_accounts[0]):
        steps = claim_steps(village.history, village.ledger.domain, account.address)
        village.ledger.send(account, steps)
    address = village.device_accounts[0].address
    village.ledger.send(village.owner, [Step("withdraw", (address,))])
    return scene_of(village)


def scene_of(village: Village) -> Scene:
    """What an outsider sees of a village."""
    files = (village.path / "store").rglob("b*")
    contents = {file.name: file.read_bytes() for file in files if file.is_file()}
    return Scene(gather(village.federation.contract), contents)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return play(tmp_path_factory.mktemp("audited"))


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def first(items: Any, change: Callable[[Any], Any]) -> Any:
    return (change(items[0]), *items[1:])


def update_of(scene: Scene, number: int) -> Any:
    nth = next(i for i in range(9) if scene.event("Revealed", number, i).args["claims"])
    return nth, scene.event("Revealed", number, nth).args


def seat_of(scene: Scene, miner: str) -> int:
    joined = [event.args["miner"] for event in scene.testimony.events if event.name == "MinerRegistered"]
    return joined.index(miner)


def test_default_behavior(scene: Scene) -> None:
    verdict = scene.audit()
    assert verdict.passed, verdict.first
    assert [found.round for found in verdict.rounds] == list(range(ROUNDS + 2))
    assert verdict.rounds[VOID].status == "void"
    assert scene.event("Penalized", SILENT) is not None
    assert scene.event("Skipped", SKIPPED) is not None
    assert not any(found.lazy for found in verdict.rounds)


Bend = Callable[[Scene], Scene]


def wei(amount: int) -> Callable[[int], int]:
    return lambda before: before + amount


TAMPERINGS: dict[str, tuple[Bend, int, str | tuple[str, ...]]] = {
    # the store
    "an update's bytes are others": (
        lambda s: s.stored(update_of(s, 2)[1]["cids"][0], b"other"),
        2,
        "updates[0].bytes",
    ),
    "an update's bytes are gone": (
        lambda s: s.stored(update_of(s, 6)[1]["cids"][0], None),
        6,
        "updates[0].bytes",
    ),
    "a model's bytes are gone": (
        lambda s: s.stored(s.event("Finalized", 4).args["cid"], None),
        4,
        "model.bytes",
    ),
    "a model's bytes have one bit flipped": (
        lambda s: s.stored(
            cid := s.event("Finalized", 6).args["cid"], flipped(s.contents[str(cids.Cid(cids.RAW, cid))])
        ),
        6,
        "model.bytes",
    ),
    "the genesis model is gone": (
        lambda s: s.stored(s.event("Genesis", None).args["cid"], None),
        0,
        "model.bytes",
    ),
    # submissions
    "a revealed root is another": (
        lambda s: s.bent("Revealed", 2, update_of(s, 2)[0], roots=lambda r: first(r, flipped)),
        2,
        "batches",
    ),
    "a revealed claim has one more sample": (
        lambda s: s.bent("Revealed", 3, update_of(s, 3)[0], claims=lambda c: first(c, wei(1 << 192))),
        3,
        "batches",
    ),
    "root and calldata agree on another": (
        lambda s: s.bent("Revealed", 2, update_of(s, 2)[0], roots=lambda r: first(r, flipped)).called(
            2, lambda a: (*a[:2], first(a[2], flipped), *a[3:])
        ),
        2,
        "updates[0].signature",
    ),
    "a signature has one bit flipped": (
        lambda s: s.called(4, lambda a: (*a[:5], first(a[5], lambda p: (flipped(p[0]), p[1])), a[6])),
        4,
        "updates[0].signature",
    ),
    "a sealed commitment is added": (lambda s: s.called(4, lambda a: (*a[:6], (bytes(32),))), 4, "batches"),
    "a batch digest is another": (
        lambda s: s.bent("Committed", 5, digest=lambda d: bytes([d[0] ^ 1]) + d[1:]),
        5,
        "batches",
    ),
    "a commitment is gone": (lambda s: s.without("Committed", 4), 4, "batches"),
    "a miner commits twice": (lambda s: s.twice("Committed", 4), 4, "commits"),
    "a reveal is not told": (lambda s: s.without("Revealed", 9, update_of(s, 9)[0]), 9, "batches"),
    "a reveal is told twice": (
        lambda s: s.twice("Revealed", 9, update_of(s, 9)[0]),
        9,
        ("updates", "logs.Voted"),  # the reasons of a vote are for so many updates, or for one more
    ),
    # votes
    "a vote's salt is another": (lambda s: s.bent("Voted", 6, salt=flipped), 6, "votes"),
    "a vote accepts one less": (lambda s: s.bent("Voted", 6, accepted=lambda a: (a[0] & ~1,)), 6, "votes"),
    "a reason is another": (lambda s: s.bent("Voted", 4, reasons=lambda r: b"\x60" + r[1:]), 4, "votes"),
    "a vote's digest is another": (
        lambda s: s.bent("VoteCommitted", 9, digest=lambda d: bytes([d[0] ^ 1]) + d[1:]),
        9,
        "votes",
    ),
    "a vote is gone": (lambda s: s.without("Voted", 8), 8, "penalties"),
    "a vote's commitment is gone": (lambda s: s.without("VoteCommitted", 8), 8, "votes"),
    # tally
    "the tally accepts one less": (
        lambda s: s.bent("Tallied", 6, accepted=lambda a: (a[0] & ~1,)),
        6,
        "tally.accepted",
    ),
    "the tally accepts one more": (
        lambda s: s.bent("Tallied", 4, accepted=lambda a: (a[0] | 31,)),
        4,
        "tally.accepted",
    ),
    "the tally's samples are others": (lambda s: s.bent("Tallied", 6, samples=wei(1)), 6, "tally.samples"),
    "the tally's matches are others": (lambda s: s.bent("Tallied", 6, matches=wei(1)), 6, "tally.matches"),
    # leaders and proposals
    "another leads": (
        lambda s: s.bent(
            "Elected",
            6,
            leader=lambda a: next(
                e.args["miner"]
                for e in s.testimony.events
                if e.name == "MinerRegistered" and e.args["miner"] != a
            ),
        ),
        6,
        "leader",
    ),
    "a turn is another": (lambda s: s.bent("Elected", 6, turn=1), 6, "leader"),
    "another layer is shown": (
        lambda s: s.bent("Proposed", 6, layer=flipped),
        6,
        "proposal.layer",
    ),
    "another tail is registered": (
        lambda s: s.bent(
            "MinerRegistered", None, seat_of(s, s.event("Elected", 1).args["leader"]), tail=flipped
        ),
        1,
        "proposal.layer",
    ),
    "another engine": (lambda s: s.bent("RoundOpened", 6, engine=1), 6, "engine"),
    "a committee where there is none": (lambda s: s.bent("RoundOpened", 6, committee=1), 6, "committee"),
    "a wish where there is none": (lambda s: s.wishing(6), 6, "votes"),
    "a puzzle where there is no race": (lambda s: s.bent("Tallied", 6, parent=flipped), 6, "tally.parent"),
    "another root is proposed": (lambda s: s.bent("Proposed", 6, root=flipped), 6, "block.root"),
    "another rows root is proposed": (lambda s: s.bent("Proposed", 6, rows=flipped), 6, "proposal.rows"),
    "another model became final": (
        lambda s: s.bent("Proposed", 6, root=flipped).bent("Finalized", 6, root=flipped),
        6,
        "proposal.root",
    ),
    "an attestation is told twice": (lambda s: s.twice("Attested", 6), 6, "attestations"),
    "attestations are gone": (
        lambda s: s.without("Attested", 6).without("Attested", 6),
        6,
        "attestations",
    ),
    "a lost turn is not told": (lambda s: s.without("Skipped", SKIPPED), SKIPPED, "leader"),
    # blocks
    "a block's hash is another": (lambda s: s.bent("Finalized", 9, block_hash=flipped), 9, "block.hash"),
    "a block's accepted set is another": (
        lambda s: s.bent("Finalized", 9, accepted=flipped),
        9,
        "block.accepted",
    ),
    "a block's CID is another": (lambda s: s.bent("Finalized", 9, cid=flipped), 9, "block.cid"),
    "a block is gone": (lambda s: s.without("Finalized", 9), 9, "logs"),
    "the contract keeps another block": (
        lambda s: s.standing(ledger={**s.testimony.standing.ledger, 8: bytes(32)}),
        8,
        "contract.ledger",
    ),
    "another reason for a void round": (lambda s: s.bent("Voided", VOID, reason=4), VOID, "void"),
    # money
    "a reward is one wei more": (lambda s: s.bent("Finalized", 6, reward=wei(1)), 6, "block.reward"),
    "a vote's penalty is one wei less": (
        lambda s: s.bent("Penalized", SILENT, amount=wei(-1)),
        SILENT,
        "penalties",
    ),
    "a penalty is not told": (lambda s: s.without("Penalized", SILENT), SILENT, "penalties"),
    "a leader's penalty is not told": (lambda s: s.without("Penalized", SKIPPED), SKIPPED, "penalties"),
    "a claim is one wei more": (lambda s: s.bent("Claimed", CLAIMED, amount=wei(1)), CLAIMED, "claims"),
    "a claim is told twice": (lambda s: s.twice("Claimed", CLAIMED), CLAIMED, "claims"),
    "a withdrawal is one wei more": (lambda s: s.bent("Withdrawn", None, amount=wei(1)), 11, "withdrawals"),
    "the pool is one wei less": (
        lambda s: s.standing(pool=s.testimony.standing.pool - 1),
        11,
        "contract.pool",
    ),
    "the balance is one wei less": (
        lambda s: s.standing(balance=s.testimony.standing.balance - 1),
        11,
        "contract.balance",
    ),
    "a credit is gone": (lambda s: s.standing(credits={}), 11, "contract.credits"),
    "a stake is another": (
        lambda s: s.standing(stakes={a: 1 + w for a, w in s.testimony.standing.stakes.items()}),
        11,
        "contract.stakes",
    ),
    "the current model is another": (
        lambda s: s.standing(root=flipped(s.testimony.standing.root)),
        11,
        "contract.model",
    ),
    "the seed is another": (
        lambda s: s.standing(seed=flipped(s.testimony.standing.seed)),
        11,
        "contract.seed",
    ),
    # time and membership
    "a proposal came too late": (lambda s: s.late("Proposed", 6), 6, "deadlines.propose"),
    "a commitment came too late": (lambda s: s.late("Committed", 6, 3), 6, "deadlines.Committed"),
    "votes were counted too early": (lambda s: s.late("Tallied", 6, seconds=-60), 6, "deadlines.Tallied"),
    "a device was never admitted": (lambda s: s.without("DeviceRegistered", None, 4), 1, "updates"),
    "a device had left": (
        lambda s: s.with_events(
            [
                *s.testimony.events[: (at := s.index("RoundOpened", 8))],
                replace(
                    s.event("DeviceRegistered", None),
                    name="DeviceLeft",
                    args={
                        "device": s.event("DeviceRegistered", None).args["device"],
                        "index": 0,
                        "until_round": 8,
                    },
                ),
                *s.testimony.events[at:],
            ]
        ),
        8,
        "updates",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_single_tampering_fails_at_its_round_and_field(scene: Scene, name: str) -> None:
    bend, number, field = TAMPERINGS[name]
    verdict = bend(scene).audit()
    assert not verdict.passed
    assert verdict.first is not None
    assert verdict.first.round == number, verdict.first
    assert verdict.first.field.startswith(field), verdict.first


ENGINES: dict[str, tuple[dict[str, int], Bend, int, str]] = {
    "pow": ({"engine": Engine.POW}, lambda s: s.bent("Elected", 2, nonce=wei(1)), 2, "leader"),
    "pow from another block": (
        {"engine": Engine.POW},
        lambda s: s.bent("Tallied", 2, parent=flipped),
        2,
        "leader",
    ),
    "committee": (
        {"engine": Engine.COMMITTEE, "committee_size": 3},
        lambda s: s.bent("RoundOpened", 2, committee=lambda mask: mask ^ 15),
        2,
        "committee",
    ),
    "resource": (
        {"engine": Engine.RESOURCE},
        lambda s: s.standing(scores={a: v + 1 for a, v in s.testimony.standing.scores.items()}),
        4,
        "contract.scores",
    ),
    "full": (
        {"mode": Mode.FULL, "engine": Engine.RESOURCE},
        lambda s: s.bent("Elected", 3, turn=1),
        3,
        "leader",
    ),
    "hybrid": ({"mode": Mode.HYBRID}, lambda s: s.bent("RoundOpened", 3, engine=2), 3, "engine"),
}


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_is_followed(tmp_path: Path, name: str) -> None:
    changes, bend, number, field = ENGINES[name]
    village = Village(tmp_path, shared=4 if name == "full" else 2, terms=replace(TERMS, **changes))
    village.play(3)
    scene = scene_of(village)
    assert scene.audit().passed, scene.audit().first
    first = bend(scene).audit().first
    assert first is not None
    assert (first.round, first.field.split("[")[0]) == (number, field)


def test_rounds_can_be_chosen(scene: Scene) -> None:
    bent = scene.bent("Voted", 6, salt=flipped)
    archive = Archive(Held(dict(scene.contents)), LAYOUT, scene.testimony.terms)
    chosen = list(Audit(bent.testimony, archive).verdicts(7, 9))
    assert [found.round for found in chosen] == [7, 8, 9]
    assert all(found.passed for found in chosen)


@pytest.fixture(autouse=True)
def _unchanged(scene: Scene) -> Iterator[None]:
    before = len(scene.testimony.events), len(scene.contents)
    yield
    assert (len(scene.testimony.events), len(scene.contents)) == before
