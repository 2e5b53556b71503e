"""An audit passes what happened, and names the round and the field of every single thing that did not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from bcfl.protocol import cid as cids
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.archive import Archive
from tests.local_federation import LAYOUT
from tests.recorded_run import (
    ABSENT,
    CLAIMED,
    REPEATED,
    ROUNDS,
    SILENT,
    SKIPPED,
    VOID,
    MemoryStore,
    RecordedRun,
    Tampering,
    another_level,
    another_miner,
    another_reason,
    change_first,
    first_reveal,
    flip_bit,
    one_less,
    one_more,
    one_rejected,
    record_run,
    wei,
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    return record_run(tmp_path_factory.mktemp("audited"))


def test_default_behavior(recording: RecordedRun) -> None:
    verdict = recording.audit()
    assert verdict.passed, verdict.first
    assert [item.round for item in verdict.rounds] == list(range(ROUNDS + 2))
    assert verdict.rounds[VOID].status == "void"
    assert recording.event("Penalized", SILENT) is not None
    assert recording.event("Skipped", SKIPPED) is not None
    assert recording.event("Penalized", ABSENT) is not None
    first, second = (recording.event("Proposed", REPEATED, nth).args for nth in (0, 1))
    assert first["leader"] == second["author"] != second["leader"]
    assert not any(item.lazy for item in verdict.rounds)


TAMPERINGS: dict[str, tuple[Tampering, int, str | tuple[str, ...]]] = {
    # the store
    "an update's bytes are others": (
        lambda run: run.with_bytes(first_reveal(run, 2)[1]["cids"][0], b"other"),
        2,
        "updates[0].bytes",
    ),
    "an update's bytes are gone": (
        lambda run: run.with_bytes(first_reveal(run, 9)[1]["cids"][0], None),
        9,
        "updates[0].bytes",
    ),
    "a model's bytes are gone": (
        lambda run: run.with_bytes(run.event("Finalized", 4).args["cid"], None),
        4,
        "model.bytes",
    ),
    "a model's bytes have one bit flipped": (
        lambda run: run.with_bytes(
            cid := run.event("Finalized", 6).args["cid"], flip_bit(run.contents[str(cids.Cid(cids.RAW, cid))])
        ),
        6,
        "model.bytes",
    ),
    "the genesis model is gone": (
        lambda run: run.with_bytes(run.event("Genesis", None).args["cid"], None),
        0,
        "model.bytes",
    ),
    # submissions
    "a revealed root is another": (
        lambda run: run.with_args(
            "Revealed", 2, first_reveal(run, 2)[0], roots=lambda r: change_first(r, flip_bit)
        ),
        2,
        "batches",
    ),
    "a revealed claim has one more sample": (
        lambda run: run.with_args(
            "Revealed", 3, first_reveal(run, 3)[0], claims=lambda c: change_first(c, wei(1 << 192))
        ),
        3,
        "batches",
    ),
    "root and calldata agree on another": (
        lambda run: run.with_args(
            "Revealed", 2, first_reveal(run, 2)[0], roots=lambda r: change_first(r, flip_bit)
        ).with_call(2, lambda a: (*a[:2], change_first(a[2], flip_bit), *a[3:])),
        2,
        "updates[0].signature",
    ),
    "a signature has one bit flipped": (
        lambda run: run.with_call(
            4, lambda a: (*a[:5], change_first(a[5], lambda p: (flip_bit(p[0]), p[1])), a[6])
        ),
        4,
        "updates[0].signature",
    ),
    "a sealed commitment is added": (
        lambda run: run.with_call(4, lambda a: (*a[:6], (bytes(32),))),
        4,
        "batches",
    ),
    "a batch digest is another": (
        lambda run: run.with_args("Committed", 5, digest=lambda d: bytes([d[0] ^ 1]) + d[1:]),
        5,
        "batches",
    ),
    "a commitment is gone": (lambda run: run.without("Committed", 4), 4, "batches"),
    "a miner commits twice": (lambda run: run.with_duplicate("Committed", 4), 4, "commits"),
    "a reveal is not logged": (lambda run: run.without("Revealed", 9, first_reveal(run, 9)[0]), 9, "votes"),
    "a reveal is logged twice": (
        lambda run: run.with_duplicate("Revealed", 9, first_reveal(run, 9)[0]),
        9,
        ("updates", "logs.Voted"),  # the reasons of a vote are for so many updates, or for one more
    ),
    # votes
    "a vote's salt is another": (lambda run: run.with_args("Voted", 6, salt=flip_bit), 6, "votes"),
    "a vote accepts one less": (
        lambda run: run.with_args("Voted", 6, verdicts=one_rejected),
        6,
        "votes",
    ),
    "a reason is another": (lambda run: run.with_args("Voted", 4, verdicts=another_reason), 4, "votes"),
    "a level is another": (lambda run: run.with_args("Voted", 6, verdicts=another_level), 6, "votes"),
    "a verdict that there is not": (
        lambda run: run.with_args("Voted", 6, verdicts=lambda words: (words[0] | 15,)),
        6,
        "logs.Voted",
    ),
    "a vote's digest is another": (
        lambda run: run.with_args("VoteCommitted", 9, digest=lambda d: bytes([d[0] ^ 1]) + d[1:]),
        9,
        "votes",
    ),
    "a vote is bound to other updates": (
        lambda run: run.with_args("VoteCommitted", 9, digest=flip_bit),
        9,
        "votes",
    ),
    "a place of a batch is passed over": (
        lambda run: run.with_args("Revealed", 9, first_reveal(run, 9)[0], taken=0),
        9,
        "batches",
    ),
    "a vote is gone": (lambda run: run.without("Voted", 8), 8, "penalties"),
    "a vote's commitment is gone": (lambda run: run.without("VoteCommitted", 8), 8, "votes"),
    # tally
    "the tally takes one less": (lambda run: run.with_args("Tallied", 6, levels=one_less), 6, "tally.levels"),
    "the tally takes one more": (lambda run: run.with_args("Tallied", 4, levels=one_more), 4, "tally.levels"),
    "the tally's samples are others": (
        lambda run: run.with_args("Tallied", 6, samples=wei(1)),
        6,
        "tally.samples",
    ),
    "the tally's matches are others": (
        lambda run: run.with_args("Tallied", 6, matches=wei(1)),
        6,
        "tally.matches",
    ),
    # leaders and proposals
    "another leads": (
        lambda run: run.with_args(
            "Elected",
            6,
            leader=lambda a: another_miner(run, a),
        ),
        6,
        "leader",
    ),
    "a turn is another": (lambda run: run.with_args("Elected", 6, turn=1), 6, "leader"),
    "the second leader is not the next in turn": (
        lambda run: run.with_args("Elected", SKIPPED, 1, leader=lambda a: another_miner(run, a)),
        SKIPPED,
        "leader",
    ),
    "a proposal has another author": (
        lambda run: run.with_args("Proposed", 6, author=lambda a: another_miner(run, a)),
        6,
        "proposal.author",
    ),
    "who repeats a proposal is its author": (
        lambda run: run.with_args(
            "Proposed", REPEATED, 1, author=lambda _: run.event("Proposed", REPEATED, 1).args["leader"]
        ),
        REPEATED,
        "proposal.author",
    ),
    "who repeats a proposal has the reward": (
        lambda run: run.with_args(
            "Finalized", REPEATED, leader=lambda _: run.event("Proposed", REPEATED, 1).args["leader"]
        ),
        REPEATED,
        "block.leader",
    ),
    "the second proposal is another": (
        lambda run: run.with_args("Proposed", REPEATED, 1, rows=flip_bit),
        REPEATED,
        "proposal.author",
    ),
    "one attester less is counted": (
        lambda run: run.with_args("Finalized", 6, attested=lambda mask: mask & (mask - 1)),
        6,
        "block.attested",
    ),
    "another seat is counted among the attesters": (
        lambda run: run.with_args("Finalized", 6, attested=lambda mask: mask | 1 << 63),
        6,
        "block.attested",
    ),
    "a seat's credit is another": (
        lambda run: run.with_storage(
            turn_credits=change_first(run.transcript.storage_snapshot.turn_credits, wei(1))
        ),
        11,
        "contract.turn_credits[0]",
    ),
    "another engine": (lambda run: run.with_args("RoundOpened", 6, engine=1), 6, "engine"),
    "a committee where there is none": (
        lambda run: run.with_args("RoundOpened", 6, committee=1),
        6,
        "committee",
    ),
    "a wish where there is none": (lambda run: run.with_wish(6), 6, "votes"),
    "a puzzle where there is no race": (
        lambda run: run.with_args("Tallied", 6, parent=flip_bit),
        6,
        "tally.parent",
    ),
    "another root is proposed": (lambda run: run.with_args("Proposed", 6, root=flip_bit), 6, "block.root"),
    "another rows root is proposed": (
        lambda run: run.with_args("Proposed", 6, rows=flip_bit),
        6,
        "proposal.rows",
    ),
    "another model became final": (
        lambda run: run.with_args("Proposed", 6, root=flip_bit).with_args("Finalized", 6, root=flip_bit),
        6,
        "proposal.root",
    ),
    "an attestation is logged twice": (lambda run: run.with_duplicate("Attested", 6), 6, "attestations"),
    "attestations are gone": (
        lambda run: run.without("Attested", 6).without("Attested", 6),
        6,
        "attestations",
    ),
    "a lost turn is not logged": (lambda run: run.without("Skipped", SKIPPED), SKIPPED, "leader"),
    # blocks
    "a block's hash is another": (
        lambda run: run.with_args("Finalized", 9, block_hash=flip_bit),
        9,
        "block.hash",
    ),
    "a block's accepted set is another": (
        lambda run: run.with_args("Finalized", 9, accepted=flip_bit),
        9,
        "block.accepted",
    ),
    "a block's CID is another": (lambda run: run.with_args("Finalized", 9, cid=flip_bit), 9, "block.cid"),
    "a block is gone": (lambda run: run.without("Finalized", 9), 9, "logs"),
    "the contract keeps another block": (
        lambda run: run.with_storage(ledger={**run.transcript.storage_snapshot.ledger, 8: bytes(32)}),
        8,
        "contract.ledger",
    ),
    "another reason for a void round": (lambda run: run.with_args("Voided", VOID, reason=4), VOID, "void"),
    "votes were there, and late": (lambda run: run.with_args("Voided", VOID, reason=6), VOID, "void"),
    # money
    "a reward is one wei more": (lambda run: run.with_args("Finalized", 6, reward=wei(1)), 6, "block.reward"),
    "a vote's penalty is one wei less": (
        lambda run: run.with_args("Penalized", SILENT, amount=wei(-1)),
        SILENT,
        "penalties",
    ),
    "a penalty is not logged": (lambda run: run.without("Penalized", SILENT), SILENT, "penalties"),
    "the fee of an absence is one wei more": (
        lambda run: run.with_args("Penalized", ABSENT, amount=wei(1)),
        ABSENT,
        "penalties",
    ),
    "another pays for an absence": (
        lambda run: run.with_args("Penalized", ABSENT, miner=lambda a: another_miner(run, a)),
        ABSENT,
        "penalties",
    ),
    "the fee of an absence is not logged": (
        lambda run: run.without("Penalized", ABSENT),
        ABSENT,
        "penalties",
    ),
    "a miner is suspended that was there": (lambda run: run.with_suspension(6), 6, "suspensions"),
    "a miner's stake is free too early": (lambda run: run.with_departure(9, 10), 9, "members"),
    "a leader's penalty is not logged": (lambda run: run.without("Penalized", SKIPPED), SKIPPED, "penalties"),
    "a claim is one wei more": (
        lambda run: run.with_args("Claimed", CLAIMED, amount=wei(1)),
        CLAIMED,
        "claims",
    ),
    "a claim is logged twice": (lambda run: run.with_duplicate("Claimed", CLAIMED), CLAIMED, "claims"),
    "a withdrawal is one wei more": (
        lambda run: run.with_args("Withdrawn", None, amount=wei(1)),
        11,
        "withdrawals",
    ),
    "the pool is one wei less": (
        lambda run: run.with_storage(pool=run.transcript.storage_snapshot.pool - 1),
        11,
        "contract.pool",
    ),
    "the balance is one wei less": (
        lambda run: run.with_storage(balance=run.transcript.storage_snapshot.balance - 1),
        11,
        "contract.balance",
    ),
    "a credit is gone": (lambda run: run.with_storage(credits={}), 11, "contract.credits"),
    "a stake is another": (
        lambda run: run.with_storage(
            stakes={a: 1 + w for a, w in run.transcript.storage_snapshot.stakes.items()}
        ),
        11,
        "contract.stakes",
    ),
    "the current model is another": (
        lambda run: run.with_storage(root=flip_bit(run.transcript.storage_snapshot.root)),
        11,
        "contract.model",
    ),
    # time and membership
    "a proposal came too late": (lambda run: run.delayed("Proposed", 6), 6, "deadlines.propose"),
    "a commitment came too late": (lambda run: run.delayed("Committed", 6, 3), 6, "deadlines.Committed"),
    "votes were counted too early": (
        lambda run: run.delayed("Tallied", 6, seconds=-60),
        6,
        "deadlines.Tallied",
    ),
    "a device was never admitted": (lambda run: run.without("DeviceRegistered", None, 4), 1, "updates"),
    "a device had left": (
        lambda run: run.with_events(
            [
                *run.transcript.events[: (at := run.index("RoundOpened", 8))],
                replace(
                    run.event("DeviceRegistered", None),
                    name="DeviceLeft",
                    args={
                        "device": run.event("DeviceRegistered", None).args["device"],
                        "index": 0,
                        "until_round": 8,
                    },
                ),
                *run.transcript.events[at:],
            ]
        ),
        8,
        "updates",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_single_tampering_fails_at_its_round_and_field(recording: RecordedRun, name: str) -> None:
    tamper, number, field = TAMPERINGS[name]
    verdict = tamper(recording).audit()
    assert not verdict.passed
    assert verdict.first is not None
    assert verdict.first.round == number, verdict.first
    assert verdict.first.field.startswith(field), verdict.first


def test_rounds_can_be_chosen(recording: RecordedRun) -> None:
    tampered_run = recording.with_args("Voted", 6, salt=flip_bit)
    archive = Archive(MemoryStore(dict(recording.contents)), LAYOUT, recording.transcript.terms)
    verdicts = list(Audit(tampered_run.transcript, archive).verdicts(7, 9))
    assert [verdict.round for verdict in verdicts] == [7, 8, 9]
    assert all(verdict.passed for verdict in verdicts)


@pytest.fixture(autouse=True)
def _unchanged(recording: RecordedRun) -> Iterator[None]:
    sizes = len(recording.transcript.events), len(recording.contents)
    yield
    assert (len(recording.transcript.events), len(recording.contents)) == sizes
