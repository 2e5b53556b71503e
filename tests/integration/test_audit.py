"""An audit passes what happened, and names the round and the field of every single thing that did not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.protocol import cid as cids
from bcfl.protocol.types import Engine, Mode
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.archive import Archive
from tests.local_federation import LAYOUT, TERMS, LocalFederation
from tests.recorded_run import (
    CLAIMED,
    ROUNDS,
    SILENT,
    SKIPPED,
    VOID,
    Held,
    RecordedRun,
    first,
    flipped,
    play,
    recording_of,
    seat_of,
    update_of,
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return play(tmp_path_factory.mktemp("audited"))


def test_default_behavior(recording: RecordedRun) -> None:
    verdict = recording.audit()
    assert verdict.passed, verdict.first
    assert [found.round for found in verdict.rounds] == list(range(ROUNDS + 2))
    assert verdict.rounds[VOID].status == "void"
    assert recording.event("Penalized", SILENT) is not None
    assert recording.event("Skipped", SKIPPED) is not None
    assert not any(found.lazy for found in verdict.rounds)


Bend = Callable[[RecordedRun], RecordedRun]


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
        lambda s: s.stored(update_of(s, 9)[1]["cids"][0], None),
        9,
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
    "a vote accepts one less": (
        lambda s: s.bent("Voted", 6, accepted=lambda a: (a[0] & (a[0] - 1),)),
        6,
        "votes",
    ),
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
        lambda s: s.bent("Tallied", 6, accepted=lambda a: (a[0] & (a[0] - 1),)),
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
                for e in s.transcript.events
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
        lambda s: s.storage_snapshot(ledger={**s.transcript.storage_snapshot.ledger, 8: bytes(32)}),
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
        lambda s: s.storage_snapshot(pool=s.transcript.storage_snapshot.pool - 1),
        11,
        "contract.pool",
    ),
    "the balance is one wei less": (
        lambda s: s.storage_snapshot(balance=s.transcript.storage_snapshot.balance - 1),
        11,
        "contract.balance",
    ),
    "a credit is gone": (lambda s: s.storage_snapshot(credits={}), 11, "contract.credits"),
    "a stake is another": (
        lambda s: s.storage_snapshot(stakes={a: 1 + w for a, w in s.transcript.storage_snapshot.stakes.items()}),
        11,
        "contract.stakes",
    ),
    "the current model is another": (
        lambda s: s.storage_snapshot(root=flipped(s.transcript.storage_snapshot.root)),
        11,
        "contract.model",
    ),
    "the seed is another": (
        lambda s: s.storage_snapshot(seed=flipped(s.transcript.storage_snapshot.seed)),
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
                *s.transcript.events[: (at := s.index("RoundOpened", 8))],
                replace(
                    s.event("DeviceRegistered", None),
                    name="DeviceLeft",
                    args={
                        "device": s.event("DeviceRegistered", None).args["device"],
                        "index": 0,
                        "until_round": 8,
                    },
                ),
                *s.transcript.events[at:],
            ]
        ),
        8,
        "updates",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_single_tampering_fails_at_its_round_and_field(recording: RecordedRun, name: str) -> None:
    bend, number, field = TAMPERINGS[name]
    verdict = bend(recording).audit()
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
        lambda s: s.storage_snapshot(scores={a: v + 1 for a, v in s.transcript.storage_snapshot.scores.items()}),
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
    local = LocalFederation(tmp_path, shared=4 if name == "full" else 2, terms=replace(TERMS, **changes))
    local.play(3)
    recording = recording_of(local)
    assert recording.audit().passed, recording.audit().first
    first = bend(recording).audit().first
    assert first is not None
    assert (first.round, first.field.split("[")[0]) == (number, field)


def test_rounds_can_be_chosen(recording: RecordedRun) -> None:
    bent = recording.bent("Voted", 6, salt=flipped)
    archive = Archive(Held(dict(recording.contents)), LAYOUT, recording.transcript.terms)
    chosen = list(Audit(bent.transcript, archive).verdicts(7, 9))
    assert [found.round for found in chosen] == [7, 8, 9]
    assert all(found.passed for found in chosen)


@pytest.fixture(autouse=True)
def _unchanged(recording: RecordedRun) -> Iterator[None]:
    before = len(recording.transcript.events), len(recording.contents)
    yield
    assert (len(recording.transcript.events), len(recording.contents)) == before
