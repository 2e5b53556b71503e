"""What a liar hands in at a desk is refused, and what is kept is bounded and of use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import RelayError, Reverted
from bcfl.ports import Batch, SignedCommitment, Step
from bcfl.protocol import submissions, verification
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Opening, Phase, SignedUpdate, Update, Verdict
from bcfl.roles.miner import Miner
from tests.village import TERMS, Village


def signed(village: Village, device: int, key: Account | None = None, **changes: Any) -> SignedUpdate:
    """An update of the running round, signed by its device or with another key."""
    made = Update(village.ledger.clock().round, device, b"\1" * 32, bytes([device]) * 32, 10, 100, device + 1)
    update = replace(made, **changes)
    commitment = submissions.commitment(village.ledger.domain, update)
    return SignedUpdate(update, (key or village.device_accounts[device]).sign(commitment))


def sealed(village: Village, message: SignedUpdate) -> SignedCommitment:
    commitment = submissions.commitment(village.ledger.domain, message.update)
    return SignedCommitment(message.update.round, message.update.device, commitment, message.signature)


@pytest.fixture
def village(tmp_path: Path) -> Village:
    return Village(tmp_path)


@pytest.fixture
def desk(village: Village) -> Miner:
    return village.bound(0)


def test_default_behavior(village: Village, desk: Miner) -> None:
    message = signed(village, 0)
    desk.take_commitment(sealed(village, message))
    desk.take_commitment(sealed(village, message))
    desk.take_update(message)
    assert list(desk.inbox.commitments) == [0]
    assert list(desk.inbox.updates.values()) == [message]


@pytest.mark.parametrize(
    "bend",
    [
        lambda _, m: replace(m, round=2),
        lambda _, m: replace(m, round=0),
        lambda _, m: replace(m, device=1),
        lambda _, m: replace(m, device=-1),
        lambda _, m: replace(m, device=99),
        lambda _, m: replace(m, commitment=bytes(32)),
        lambda _, m: replace(m, commitment=b""),
        lambda _, m: replace(m, signature=bytes(64)),
        lambda _, m: replace(m, signature=m.signature + b"\0"),
        lambda v, _: sealed(v, signed(v, 0, v.device_accounts[1])),
    ],
)
def test_a_bent_commitment_is_refused(village: Village, desk: Miner, bend: Callable[..., Any]) -> None:
    with pytest.raises(RelayError):
        desk.take_commitment(bend(village, sealed(village, signed(village, 0))))
    assert desk.inbox.commitments == {}


def test_a_device_that_is_bound_elsewhere_is_refused(village: Village, desk: Miner) -> None:
    other = next(d for d in range(4) if village.bound(d) is not desk)
    with pytest.raises(RelayError, match="not bound"):
        desk.take_commitment(sealed(village, signed(village, other)))


def test_a_device_of_the_next_round_is_refused(village: Village, desk: Miner) -> None:
    late = Account.derived(5, "late")
    village.send(village.owner, "register_devices", [late.address])
    update = signed(village, 4, late)
    with pytest.raises(RelayError, match="does not take part"):
        desk.take_commitment(sealed(village, update))


def test_a_closed_batch_takes_nothing(village: Village, desk: Miner) -> None:
    village.until(Phase.REVEAL)
    with pytest.raises(RelayError, match="closed"):
        desk.take_commitment(sealed(village, signed(village, 0)))


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 0},
        {"samples": -1},
        {"samples": TERMS.max_samples + 1},
        {"samples": 2**40},
        {"microseconds": 10**9},
        {"microseconds": 2**64},
        {"salt": 2**128},
        {"root": b"\1" * 31},
        {"cid": b""},
    ],
)
def test_what_the_contract_would_refuse_is_refused(
    village: Village, desk: Miner, changes: dict[str, Any]
) -> None:
    """A device may commit to anything; what it opens must not stop the others in its batch."""
    honest = signed(village, 0)
    desk.take_commitment(sealed(village, honest))
    known = desk.inbox.commitments[0]
    with pytest.raises(RelayError):
        desk.take_update(SignedUpdate(replace(honest.update, **changes), known.signature))
    assert desk.inbox.updates == {}


@pytest.mark.parametrize("changes", [{"samples": 11}, {"root": b"\2" * 32}, {"round": 2}, {"device": 1}])
def test_an_opening_of_something_else_is_refused(
    village: Village, desk: Miner, changes: dict[str, Any]
) -> None:
    honest = signed(village, 0)
    desk.take_commitment(sealed(village, honest))
    with pytest.raises(RelayError):
        desk.take_update(SignedUpdate(replace(honest.update, **changes), honest.signature))
    with pytest.raises(RelayError):
        desk.take_update(replace(honest, signature=honest.signature[:63] + b"\0"))


def batch_of(village: Village, miner: Miner) -> Batch:
    """What a miner would hand the clerk."""
    round_ = village.ledger.clock().round
    commitments = miner.batch(round_) or ()
    return Batch(round_, miner.account.address, commitments, tuple(map(miner.inbox.updates.get, commitments)))


def revealing(village: Village) -> tuple[Miner, Miner, Batch]:
    """A miner, the desk of another, and the miner's opened batch."""
    village.until(Phase.REVEAL)
    for device in village.homes:
        device.act()
    miner, desk = village.bound(0), village.bound(1)
    return miner, desk, batch_of(village, miner)


def test_a_batch_is_taken_and_replaced(village: Village) -> None:
    miner, desk, batch = revealing(village)
    desk.take_batch(batch)
    desk.take_batch(batch)
    assert desk.inbox.batches == {miner.account.address: batch}


@pytest.mark.parametrize(
    "bend",
    [
        lambda _, b: replace(b, round=b.round + 1),
        lambda v, b: replace(b, submitter=v.bound(1).account.address),
        lambda v, b: replace(b, submitter=v.owner.address),
        lambda v, b: replace(b, submitter=v.device_accounts[0].address),
        lambda _, b: replace(b, updates=()),
        lambda _, b: replace(b, updates=b.updates * 2),
        lambda _, b: replace(b, commitments=b.commitments[:0]),
        lambda _, b: replace(b, commitments=b.commitments * 80, updates=b.updates * 80),
        lambda _, b: replace(b, updates=(replace(b.updates[0], signature=bytes(64)), *b.updates[1:])),
        lambda v, b: replace(b, updates=(signed(v, 1), *b.updates[1:])),
        lambda v, b: replace(b, updates=(signed(v, 0, samples=0), *b.updates[1:])),
    ],
)
def test_a_miner_that_lies_about_its_batch_is_refused(village: Village, bend: Callable[..., Any]) -> None:
    _, desk, batch = revealing(village)
    with pytest.raises(RelayError):
        desk.take_batch(bend(village, batch))
    assert desk.inbox.batches == {}


def test_a_batch_with_a_device_twice_is_refused(village: Village) -> None:
    liar, desk = village.offices[0], village.offices[1]
    pair = [signed(village, 0, salt=n) for n in (1, 2)]
    commitments = tuple(sealed(village, message).commitment for message in pair)
    village.send(liar.account, "commit", submissions.batch_digest(commitments))
    with pytest.raises(RelayError, match="twice"):
        desk.take_batch(Batch(1, liar.account.address, commitments, tuple(pair)))


def test_the_same_device_in_two_batches_stops_nobody(tmp_path: Path) -> None:
    village = Village(tmp_path)
    device, liar = village.homes[0], next(m for m in village.offices if m is not village.bound(0))
    device.act()
    message = village.bound(0).inbox.commitments[0]
    liar.inbox.turn(1)
    liar.inbox.commitments[0] = message  # a miner that collects what is not its own
    hand = device.act

    def both() -> str | None:
        done = hand()
        if done == "handed in its update":
            liar.inbox.updates.update(village.bound(0).inbox.updates)
        return done

    device.act = both  # type: ignore[method-assign]
    played = village.play()
    assert (played.status, len(played.taken())) == ("finalized", 4)


def voting(village: Village) -> tuple[Miner, Opening]:
    village.until(Phase.UNVEIL)
    miner, desk = village.offices[0], village.offices[1]
    current = village.history.current
    assert current is not None
    record = miner.ballots.office.journal.read_json("vote.json") or {}
    salt = miner.account.secret("vote", village.ledger.domain.separator, 1)
    return desk, Opening(1, miner.account.address, tuple(map(Verdict, record["verdicts"])), salt)


@pytest.mark.parametrize(
    "bend",
    [
        lambda _, o: replace(o, round=2),
        lambda v, o: replace(o, miner=v.owner.address),
        lambda _, o: replace(o, verdicts=o.verdicts[:-1]),
        lambda _, o: replace(o, verdicts=(*o.verdicts, Verdict.TIME)),
        lambda _, o: replace(o, verdicts=(17, *o.verdicts[1:])),
        lambda _, o: replace(o, verdicts=(Verdict.TIME, *o.verdicts[1:])),
        lambda _, o: replace(o, salt=bytes(32)),
        lambda _, o: replace(o, salt=b""),
    ],
)
def test_a_bent_vote_is_refused(village: Village, bend: Callable[..., Any]) -> None:
    desk, opening = voting(village)
    with pytest.raises(RelayError):
        desk.take_opening(bend(village, opening))
    desk.take_opening(opening)
    assert list(desk.inbox.openings) == [opening.miner]


def test_a_vote_of_the_wrong_length_stops_nobody_elses(tmp_path: Path) -> None:
    village = Village(tmp_path)
    liar = village.offices[0]
    village.until(Phase.VOTE)
    short = Opening(1, liar.account.address, (Verdict.ACCEPTED,), bytes(32))
    village.send(liar.account, "commit_vote", verification.vote_digest(short))
    played = village.play()
    assert (played.status, len(played.votes)) == ("finalized", 3)
    assert [miner for miner, _ in played.penalties] == [liar.account.address]


def test_a_pre_committed_batch_of_a_device_crashes_nobody(tmp_path: Path) -> None:
    """A device may commit alone, in one round, to what it reveals in a later one."""
    village = Village(tmp_path)
    account = village.device_accounts[0]
    early = Update(2, 0, b"\7" * 32, b"\7" * 32, 10, 100, 5)
    commitment = submissions.commitment(village.ledger.domain, early)
    village.send(account, "commit", submissions.batch_digest([commitment]))
    village.play()
    village.until(Phase.REVEAL)
    opened = submissions.reveal_args(
        account.address, [commitment], [SignedUpdate(early, account.sign(commitment))]
    )
    with suppress(Reverted):  # the contract may insist on a commitment of this round
        village.ledger.send(account, [Step("reveal", opened)])
    assert village.play().status == "finalized"


def test_an_earlier_rounds_messages_are_forgotten(village: Village, desk: Miner) -> None:
    village.play()
    desk.act()
    inbox = desk.inbox
    assert (inbox.round, inbox.commitments, inbox.updates, inbox.batches, inbox.openings) == (
        2,
        {},
        {},
        {},
        {},
    )
