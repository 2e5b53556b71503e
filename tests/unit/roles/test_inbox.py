"""A miner's inbox refuses what a liar hands in; its contents are bounded and of use."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import RelayError, Reverted
from bcfl.ports import Batch, ContractCall, SignedCommitment
from bcfl.protocol import submissions, verification
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Engine, Opening, Phase, SignedUpdate, Update, Verdict
from bcfl.roles.miner.miner import Miner
from tests.local_federation import TERMS, LocalFederation


def sign_update(
    local: LocalFederation, device: int, key: Account | None = None, **changes: Any
) -> SignedUpdate:
    """An update of the running round, signed by its device or with another key."""
    update = Update(local.ledger.clock().round, device, b"\1" * 32, bytes([device]) * 32, 10, 100, device + 1)
    update = replace(update, **changes)
    commitment = submissions.commitment(local.ledger.domain, update)
    return SignedUpdate(update, (key or local.device_accounts[device]).sign(commitment))


def seal(local: LocalFederation, message: SignedUpdate) -> SignedCommitment:
    commitment = submissions.commitment(local.ledger.domain, message.update)
    return SignedCommitment(message.update.round, message.update.device, commitment, message.signature)


@pytest.fixture
def local(tmp_path: Path) -> LocalFederation:
    return LocalFederation(tmp_path)


@pytest.fixture
def miner(local: LocalFederation) -> Miner:
    return local.miner_of(0)


def test_default_behavior(local: LocalFederation, miner: Miner) -> None:
    message = sign_update(local, 0)
    miner.take_commitment(seal(local, message))
    miner.take_commitment(seal(local, message))
    miner.take_update(message)
    assert list(miner.inbox.commitments) == [0]
    assert list(miner.inbox.updates.values()) == [message]


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
        lambda v, _: seal(v, sign_update(v, 0, v.device_accounts[1])),
    ],
)
def test_a_bent_commitment_is_refused(local: LocalFederation, miner: Miner, bend: Callable[..., Any]) -> None:
    with pytest.raises(RelayError):
        miner.take_commitment(bend(local, seal(local, sign_update(local, 0))))
    assert miner.inbox.commitments == {}


def test_a_device_that_is_bound_to_another_miner_is_refused(local: LocalFederation, miner: Miner) -> None:
    other_device = next(d for d in range(4) if local.miner_of(d) is not miner)
    with pytest.raises(RelayError, match="not bound"):
        miner.take_commitment(seal(local, sign_update(local, other_device)))


def test_a_device_of_the_next_round_is_refused(local: LocalFederation, miner: Miner) -> None:
    late_account = Account.derive(5, "late")
    local.send(local.owner, "register_devices", [late_account.address])
    update = sign_update(local, 4, late_account)
    with pytest.raises(RelayError, match="does not take part"):
        miner.take_commitment(seal(local, update))


def test_a_closed_batch_takes_nothing(local: LocalFederation, miner: Miner) -> None:
    local.until(Phase.REVEAL)
    with pytest.raises(RelayError, match="closed"):
        miner.take_commitment(seal(local, sign_update(local, 0)))


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
    local: LocalFederation, miner: Miner, changes: dict[str, Any]
) -> None:
    """A device may commit to anything; what it opens must not stop the others in its batch."""
    honest_update = sign_update(local, 0)
    miner.take_commitment(seal(local, honest_update))
    commitment = miner.inbox.commitments[0]
    with pytest.raises(RelayError):
        miner.take_update(SignedUpdate(replace(honest_update.update, **changes), commitment.signature))
    assert miner.inbox.updates == {}


@pytest.mark.parametrize("changes", [{"samples": 11}, {"root": b"\2" * 32}, {"round": 2}, {"device": 1}])
def test_an_opening_of_something_else_is_refused(
    local: LocalFederation, miner: Miner, changes: dict[str, Any]
) -> None:
    honest_update = sign_update(local, 0)
    miner.take_commitment(seal(local, honest_update))
    with pytest.raises(RelayError):
        miner.take_update(SignedUpdate(replace(honest_update.update, **changes), honest_update.signature))
    with pytest.raises(RelayError):
        miner.take_update(replace(honest_update, signature=honest_update.signature[:63] + b"\0"))


def batch_of(local: LocalFederation, miner: Miner) -> Batch:
    """The batch that a miner would hand to the batcher."""
    round_ = local.ledger.clock().round
    commitments = miner.batch(round_) or ()
    return Batch(round_, miner.account.address, commitments, tuple(map(miner.inbox.updates.get, commitments)))


def reveal_batch(local: LocalFederation) -> tuple[Miner, Miner, Batch]:
    """A miner, another one, and the batch that the first may reveal."""
    local.until(Phase.REVEAL)
    for device in local.device_parties:
        device.act()
    miner, receiver = local.miner_of(0), local.miner_of(1)
    return miner, receiver, batch_of(local, miner)


def test_a_batch_is_taken_and_replaced(local: LocalFederation) -> None:
    miner, receiver, batch = reveal_batch(local)
    receiver.take_batch(batch)
    receiver.take_batch(batch)
    assert receiver.inbox.batches == {miner.account.address: batch}


@pytest.mark.parametrize(
    "bend",
    [
        lambda _, b: replace(b, round=b.round + 1),
        lambda v, b: replace(b, submitter=v.miner_of(1).account.address),
        lambda v, b: replace(b, submitter=v.owner.address),
        lambda v, b: replace(b, submitter=v.device_accounts[0].address),
        lambda _, b: replace(b, updates=()),
        lambda _, b: replace(b, updates=b.updates * 2),
        lambda _, b: replace(b, commitments=b.commitments[:0]),
        lambda _, b: replace(b, commitments=b.commitments * 80, updates=b.updates * 80),
        lambda _, b: replace(b, updates=(replace(b.updates[0], signature=bytes(64)), *b.updates[1:])),
        lambda v, b: replace(b, updates=(sign_update(v, 1), *b.updates[1:])),
        lambda v, b: replace(b, updates=(sign_update(v, 0, samples=0), *b.updates[1:])),
    ],
)
def test_a_miner_that_lies_about_its_batch_is_refused(
    local: LocalFederation, bend: Callable[..., Any]
) -> None:
    _, receiver, batch = reveal_batch(local)
    with pytest.raises(RelayError):
        receiver.take_batch(bend(local, batch))
    assert receiver.inbox.batches == {}


def test_a_batch_with_a_device_twice_is_refused(local: LocalFederation) -> None:
    liar, receiver = local.miner_parties[0], local.miner_parties[1]
    pair = [sign_update(local, 0, salt=n) for n in (1, 2)]
    commitments = tuple(seal(local, message).commitment for message in pair)
    local.send(liar.account, "commit", submissions.batch_digest(commitments))
    with pytest.raises(RelayError, match="twice"):
        receiver.take_batch(Batch(1, liar.account.address, commitments, tuple(pair)))


def test_the_same_device_in_two_batches_stops_nobody(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    device, liar = local.device_parties[0], next(m for m in local.miner_parties if m is not local.miner_of(0))
    device.act()
    message = local.miner_of(0).inbox.commitments[0]
    liar.inbox.start_round(1)
    liar.inbox.commitments[0] = message  # a miner that collects what is not its own
    act = device.act

    def act_and_copy() -> str | None:
        text = act()
        if text == "handed in its update":
            liar.inbox.updates.update(local.miner_of(0).inbox.updates)
        return text

    device.act = act_and_copy  # type: ignore[method-assign]
    round_ = local.play()
    assert (round_.status, len(round_.accepted_submissions())) == ("finalized", 4)


def commit_vote(local: LocalFederation) -> tuple[Miner, Opening]:
    local.until(Phase.UNVEIL)
    miner, receiver = local.miner_parties[0], local.miner_parties[1]
    current = local.history.current
    assert current is not None
    record = miner.voting.context.journal.read_json("vote.json") or {}
    salt = miner.account.secret("vote", local.ledger.domain.separator, 1)
    verdicts, levels = verification.verdicts_of(record["verdicts"])
    return receiver, Opening(1, miner.account.address, verdicts, salt, levels=levels)


@pytest.mark.parametrize(
    "bend",
    [
        lambda _, o: replace(o, round=2),
        lambda v, o: replace(o, miner=v.owner.address),
        lambda _, o: replace(o, verdicts=o.verdicts[:-1], levels=()),
        lambda _, o: replace(o, verdicts=(*o.verdicts, Verdict.TIME), levels=()),
        lambda _, o: replace(o, verdicts=(17, *o.verdicts[1:]), levels=()),
        lambda _, o: replace(o, levels=(4, *o.levels[1:])),
        lambda _, o: replace(o, verdicts=(Verdict.TIME, *o.verdicts[1:]), levels=()),
        lambda _, o: replace(o, salt=bytes(32)),
        lambda _, o: replace(o, salt=b""),
    ],
)
def test_a_bent_vote_is_refused(local: LocalFederation, bend: Callable[..., Any]) -> None:
    receiver, opening = commit_vote(local)
    with pytest.raises(RelayError):
        receiver.take_opening(bend(local, opening))
    receiver.take_opening(opening)
    assert list(receiver.inbox.openings) == [opening.miner]


def test_a_wish_where_there_are_none_stops_nobody_elses_vote(tmp_path: Path) -> None:
    """Its miner cannot unveil it, and has kept nobody from unveiling the others."""
    local = LocalFederation(tmp_path, miners=4)
    wishing = local.miner_parties[-1]
    wishing.voting.wishes = lambda _: Engine.POW
    round_ = local.play()
    assert round_.status == "finalized"
    assert {vote.voter.account for vote in round_.votes} == {
        miner.account.address for miner in local.miner_parties[:-1]
    }


def test_a_vote_of_the_wrong_length_stops_nobody_elses(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    liar = local.miner_parties[0]
    local.until(Phase.VOTE)
    short_opening = Opening(1, liar.account.address, (Verdict.ACCEPTED,), bytes(32))
    current = local.history.current
    assert current is not None
    digest = verification.vote_digest(short_opening, current.links(local.ledger.domain))
    local.send(liar.account, "commit_vote", digest)
    round_ = local.play()
    assert (round_.status, len(round_.votes)) == ("finalized", 3)
    assert [miner for miner, _ in round_.penalties] == [liar.account.address]


def test_a_pre_committed_batch_of_a_device_crashes_nobody(tmp_path: Path) -> None:
    """A device may commit alone, in one round, to what it reveals in a later one."""
    local = LocalFederation(tmp_path)
    account = local.device_accounts[0]
    early_update = Update(2, 0, b"\7" * 32, b"\7" * 32, 10, 100, 5)
    commitment = submissions.commitment(local.ledger.domain, early_update)
    local.send(account, "commit", submissions.batch_digest([commitment]))
    local.play()
    local.until(Phase.REVEAL)
    args = submissions.reveal_args(
        account.address, [commitment], [SignedUpdate(early_update, account.sign(commitment))]
    )
    with suppress(Reverted):  # the contract may insist on a commitment of this round
        local.ledger.send(account, [ContractCall("reveal", args)])
    assert local.play().status == "finalized"


def test_an_earlier_rounds_messages_are_forgotten(local: LocalFederation, miner: Miner) -> None:
    local.play()
    miner.act()
    inbox = miner.inbox
    assert inbox.round == 2
    assert (inbox.commitments, inbox.updates, inbox.batches, inbox.openings) == ({}, {}, {}, {})
