"""A party is absent, silent or lying at any step: the round ends, and the chain says why."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.errors import ConfigError, RelayError
from bcfl.federation.schedule import MINERS
from bcfl.ports import SignedCommitment, Slopes, TrainingResult, Vector
from bcfl.protocol import submissions
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Phase, SignedUpdate, Verdict, VoidReason
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from tests.local_federation import ETHER, TERMS, LocalFederation, Quadratic

STEPS = [Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.TALLY, Phase.PROPOSE, Phase.ATTEST]
BATCHER, OTHER = 1, 0  # in the first round


def devices_of(round_: Round) -> list[int]:
    return sorted(item.update.device for item in round_.accepted_submissions())


def leader_of(local: LocalFederation) -> Miner:
    return next(m for m in local.miner_parties if m.account.address == local.history.current.leader)  # type: ignore[union-attr]


def test_default_behavior(tmp_path: Path) -> None:
    round_ = LocalFederation(tmp_path).play()
    assert (round_.status, devices_of(round_), round_.penalties) == ("finalized", [0, 1, 2, 3], [])
    assert len(round_.commits) == len(round_.votes) == 4
    assert (round_.closed or 0) - round_.opened < 30  # nobody waited for a deadline


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("which", [BATCHER, OTHER])
def test_a_miner_is_absent_from_a_step_on(tmp_path: Path, step: Phase, which: int) -> None:
    local = LocalFederation(tmp_path)
    absent = local.miner_parties[which]
    local.leave_in(step, absent)
    round_ = local.play()
    assert (round_.status, devices_of(round_)) == ("finalized", [0, 1, 2, 3])  # no device is silenced
    accounts = [miner for miner, _ in round_.penalties]
    assert accounts == ([absent.account.address] if step is Phase.UNVEIL else accounts)
    assert len(local.play().votes) == 4


@pytest.mark.parametrize("devices", [4, 8])  # for its miner it is the only one, or one of two
@pytest.mark.parametrize("which", [BATCHER, OTHER])
def test_a_miner_waits_for_no_update_that_its_device_reveals_alone(
    tmp_path: Path, which: int, devices: int
) -> None:
    local = LocalFederation(tmp_path, devices=devices)
    miner = local.miner_parties[which]
    device = next(party for i, party in enumerate(local.device_parties) if local.miner_of(i) is miner)
    device._batch_of = lambda *_: None  # type: ignore[method-assign]  # the miner does not tell it
    round_ = local.play()
    assert device.account.address in round_.commits
    assert len(round_.submissions) == devices
    assert (round_.closed or 0) - round_.opened < 30


@pytest.mark.parametrize("step", [Phase.COMMIT, Phase.REVEAL])
def test_a_device_is_absent(tmp_path: Path, step: Phase) -> None:
    local = LocalFederation(tmp_path)
    local.leave_in(step, local.device_parties[1])
    assert devices_of(local.play()) == [0, 2, 3]
    assert devices_of(local.play()) == [0, 1, 2, 3]


def test_all_devices_are_absent(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.leave_in(Phase.COMMIT, *local.device_parties)
    assert local.play().void is VoidReason.FEW_UPDATES
    assert local.play().status == "finalized"


@pytest.mark.parametrize("step", [Phase.COMMIT, Phase.VOTE])
def test_all_miners_are_absent(tmp_path: Path, step: Phase) -> None:
    local = LocalFederation(tmp_path)
    local.leave_in(step, *local.miner_parties)
    assert local.play().void is VoidReason.NO_VOTES
    assert local.play().status == "finalized"


@pytest.mark.parametrize(
    ("step", "stops", "outcome"),
    [(Phase.UNVEIL, Phase.TALLY, VoidReason.NO_QUORUM), (Phase.PROPOSE, Phase.PROPOSE, None)],
)
def test_all_miners_sleep_and_wake(
    tmp_path: Path, step: Phase, stops: Phase, outcome: VoidReason | None
) -> None:
    local = LocalFederation(tmp_path)
    local.leave_in(step, *local.miner_parties)
    local.until(stops)
    local.chain.warp(local.ledger.now() + 1000)  # type: ignore[union-attr]
    for miner in local.miner_parties:
        del miner.act
    assert local.play().void is outcome
    assert local.play().status == "finalized"


def test_too_few_votes_for_a_quorum(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, miners=3, stakes=(ETHER, ETHER, 3 * ETHER))
    local.leave_in(Phase.UNVEIL, local.miner_parties[2])
    assert local.play().void is VoidReason.NO_QUORUM
    assert local.play().status == "finalized"


def test_a_suspended_miner_resumes_by_itself(tmp_path: Path) -> None:
    terms = replace(TERMS, tally_seconds=60, absence_seconds=1440)  # three of the longest rounds
    local = LocalFederation(tmp_path, miners=3, terms=terms)
    absent = local.miner_parties[0]
    address = absent.account.address
    local.remove(absent)
    local.play()
    local.until(Phase.PROPOSE)
    local.chain.warp(local.ledger.now() + terms.absence_seconds)  # type: ignore[union-attr]
    rounds = [local.play() for _ in range(3)]
    assert [round_.status for round_ in rounds] == ["finalized"] * 3
    assert len(local.history.rounds[1].votes) == len(rounds[-1].votes) == 2
    assert local.history.miners[address].suspended  # and the last round did not wait for it
    assert (rounds[-1].closed or 0) - rounds[-1].opened < 30
    local.schedule.parties[MINERS].append(absent)
    local.relay.open(address, absent)
    local.play()
    assert not local.history.miners[address].suspended
    assert address in [vote.voter.account for vote in local.play().votes]


def test_every_update_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalFederation(tmp_path)
    with monkeypatch.context() as patch:
        for miner in local.miner_parties:
            reject: Any = lambda _, current: (Verdict.QUALITY,) * len(current.submissions)  # noqa: E731
            patch.setattr(miner.voting.verifier, "verdicts", reject)
        round_ = local.play()
    assert round_.void is VoidReason.FEW_ACCEPTED
    assert round_.verdict(0) is Verdict.QUALITY
    next_round = local.play()
    assert (next_round.status, next_round.block.parent) == ("finalized", local.contract_head(0))  # type: ignore[union-attr]


def test_a_silent_leader_loses_its_turn(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    for miner in local.miner_parties:
        silence(miner)
    round_ = local.play()
    assert round_.status == "finalized"
    assert len(round_.skipped) == 1
    assert round_.leader not in round_.skipped
    assert [miner for miner, _ in round_.penalties] == round_.skipped


def silence(miner: Miner) -> None:
    """Let the first leader of a round forget to propose."""
    propose = miner.lead.propose

    def forgetful(snapshot: RoundSnapshot) -> str | None:
        first = len(snapshot.current.elections) == 1 and snapshot.current.leader == miner.account.address
        return None if first and not snapshot.due else propose(snapshot)

    miner.lead.propose = forgetful  # type: ignore[method-assign]


def test_the_bytes_of_an_accepted_update_vanish(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    for miner in local.miner_parties:
        vanish(local, miner)
    round_ = local.play()
    assert round_.void is VoidReason.NO_LEADER
    assert len(round_.skipped) == 4
    for miner in local.miner_parties:
        del miner.voting.unveil
    assert local.play().status == "finalized"


def vanish(local: LocalFederation, miner: Miner) -> None:
    """Let the store lose an update after everybody has voted for it."""
    unveil = miner.voting.unveil

    def losing(snapshot: RoundSnapshot) -> str | None:
        cid = local.archive.sizes.update_cid(snapshot.current.submissions[0])
        (local.path / "store" / cid[-3:-1] / cid).unlink(missing_ok=True)
        local.archive.forget()
        return unveil(snapshot)

    miner.voting.unveil = losing  # type: ignore[method-assign]


@pytest.mark.parametrize("withheld", ["commitment", "opening"])
@pytest.mark.parametrize("which", [BATCHER, OTHER])
def test_a_miner_withholds_a_message(tmp_path: Path, withheld: str, which: int) -> None:
    local = LocalFederation(tmp_path)
    miner = local.miner_parties[which]
    device = next(d for d in range(4) if local.miner_of(d) is miner)
    if withheld == "commitment":
        take = miner.batches.take_commitment
        miner.take_commitment = lambda m: None if m.device == device else take(m)  # type: ignore[assignment]
    else:
        update = miner.inbox.take_update
        miner.take_update = lambda m: None if m.update.device == device else update(m)  # type: ignore[assignment]
    round_ = local.play()
    assert devices_of(round_) == [0, 1, 2, 3]
    account = local.device_accounts[device].address
    assert (account in round_.commits) is (withheld == "commitment")


def test_a_miner_shows_another_batch_than_it_committed(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    liar = local.miner_parties[OTHER]
    honest = liar.batch
    liar.batch = lambda round_: (*(honest(round_) or ()), bytes(32))
    result = local.play()
    assert devices_of(result) == [0, 1, 2, 3]
    devices = [d for d in range(4) if result.commits.get(local.device_accounts[d].address)]
    assert devices  # its devices do not trust it and commit by themselves


def test_a_miner_dies_after_its_batch_stands(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.until(Phase.REVEAL)
    local.remove(local.miner_parties[OTHER])
    round_ = local.play()
    assert devices_of(round_) == [0, 1, 2, 3]
    assert not any(a.address in round_.commits for a in local.device_accounts)


def test_the_batcher_swallows_what_it_is_handed(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    batcher = local.miner_parties[BATCHER]
    batcher.take_batch = batcher.take_opening = lambda _: None  # type: ignore[assignment]
    round_ = local.play()
    assert (round_.status, devices_of(round_), len(round_.votes)) == ("finalized", [0, 1, 2, 3], 4)


class Diverging(Quadratic):
    error: Exception = ConfigError("training diverged, lower the learning rate")

    def train(self, model: Vector, round_: int) -> TrainingResult:
        if round_ == 1:
            raise self.error
        return super().train(model, round_)


class Broken(Diverging):
    """A learner of the party's own whose code has a mistake."""

    error = KeyError("column\nmissing")

    def slopes(self, *_: object) -> Slopes:
        raise self.error


@pytest.mark.parametrize(
    ("learner", "cause"),
    [(Diverging, "training diverged"), (Broken, "training failed: KeyError: 'column")],
)
def test_a_device_whose_training_fails_sits_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, learner: type[Diverging], cause: str
) -> None:
    optimum = np.full(38, 0.2, np.float32)
    learners = [learner(optimum), *(Quadratic(optimum + i / 1000) for i in range(1, 4))]
    local = LocalFederation(tmp_path, learners=learners)
    with caplog.at_level(logging.WARNING):
        assert devices_of(local.play()) == [1, 2, 3]
    assert [r.message.count("\n") for r in caplog.records] == [0]
    assert f"sits out round 1: {cause}" in caplog.text
    assert devices_of(local.play()) == [0, 1, 2, 3]


def test_a_device_that_is_left_out_says_why_and_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is far too fast for its samples; one that is as slow as that takes part."""
    optimum = np.full(38, 0.2, np.float32)
    times = (1_000, 20_000_000, 400_000, 400_000, 400_000)
    learners = [Quadratic(optimum + i / 1000, 40, time) for i, time in enumerate(times)]
    local = LocalFederation(tmp_path, devices=5, learners=learners)
    with caplog.at_level(logging.INFO):
        assert devices_of(local.play()) == [1, 2, 3, 4]
        local.play()
    told = [record.message for record in caplog.records if "left out" in record.message]
    address = local.device_accounts[0].address
    assert [text.split(":")[0] for text in told] == [f"device {address} was left out of round 1"]
    assert "time; it says more samples a second" in told[0]
    assert "--time-factor" in told[0]


def test_a_miner_whose_own_code_fails_does_not_vote(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    local = LocalFederation(tmp_path)
    local.miner_parties[1].voting.verifier.learner = Broken(np.zeros(38, np.float32))
    with caplog.at_level(logging.WARNING):
        round_ = local.play()
    voters = [vote.voter.account for vote in round_.votes]
    assert (round_.status, len(voters)) == ("finalized", 3)
    assert local.miner_accounts[1].address not in voters
    assert [record.message.count("\n") for record in caplog.records] == [0]
    assert "does not vote in round 1: judging failed: KeyError: 'column" in caplog.text


def test_a_device_waits_until_the_chain_has_seen_its_time_pass(tmp_path: Path) -> None:
    slow = Quadratic(np.full(38, 0.2, np.float32), 40_000, 20_000_000)
    learners = [Quadratic(np.full(38, 0.2 + i / 1000, np.float32), 20, 10_000) for i in range(1, 4)]
    local = LocalFederation(tmp_path, learners=[slow, *learners])
    round_ = local.play()
    assert devices_of(round_) == [0, 1, 2, 3]
    assert (round_.closed or 0) - round_.opened >= 20


@pytest.mark.parametrize("lie", ["samples", "microseconds"])
def test_one_device_cannot_stop_the_batch_it_is_in(tmp_path: Path, lie: str) -> None:
    local = LocalFederation(tmp_path)
    liar = local.device_parties[0]
    recorded_update, update = liar.trainer.recorded_update, liar.trainer.update
    bad: dict[str, Any] = {lie: 2**40}
    liar.trainer.update = lambda m, i: replace(update(m, i), **bad)  # type: ignore[method-assign,assignment]

    def lying(snapshot: RoundSnapshot, index: int) -> Any:
        record = recorded_update(snapshot, index)
        return None if record is None else replace(record, **bad, round=snapshot.round)

    liar.trainer.recorded_update = lying  # type: ignore[method-assign]
    act = liar.act
    liar.act = lambda: handing_in(local, liar, act)  # type: ignore[method-assign]
    round_ = local.play()
    assert (round_.status, devices_of(round_)) == ("finalized", [1, 2, 3])


def handing_in(local: LocalFederation, liar: Device, act: Any) -> str | None:
    """Act like a device, but without checking first what the contract would refuse."""
    clock = local.ledger.clock()
    if clock.phase not in (Phase.COMMIT, Phase.REVEAL) or clock.round != 1:
        return None if clock.round == 1 else act()
    snapshot = RoundSnapshot(clock, local.history, local.history.rounds[1], local.terms, local.ledger.now())
    update = Device.__dict__["_commit"] and liar.trainer.update(snapshot, 0)
    commitment = submissions.commitment(local.ledger.domain, update)
    signature = liar.account.sign(commitment)
    inbox = local.relay.inbox(local.miner_of(0).account.address)
    try:
        if clock.phase is Phase.COMMIT:
            inbox.take_commitment(SignedCommitment(1, 0, commitment, signature))
        else:
            inbox.take_update(SignedUpdate(update, signature))
    except RelayError:
        pass
    return None


@pytest.mark.parametrize("dual_accounts", [1, 4])
def test_accounts_that_are_both(tmp_path: Path, dual_accounts: int) -> None:
    local = LocalFederation(tmp_path, dual_accounts=dual_accounts)
    round_ = local.play(2)
    assert (round_.status, devices_of(round_)) == ("finalized", [0, 1, 2, 3])


def test_more_miners_than_devices_wait_for_nobody(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, devices=2, miners=5)
    round_ = local.play()
    assert (round_.status, devices_of(round_)) == ("finalized", [0, 1])
    assert (round_.closed or 0) - round_.opened < 40


@pytest.mark.parametrize(("devices", "miners"), [(1, 1), (2, 1), (1, 3)])
def test_the_smallest_federations(tmp_path: Path, devices: int, miners: int) -> None:
    local = LocalFederation(tmp_path, devices=devices, miners=miners, terms=replace(TERMS, min_updates=1))
    assert len(local.play(2).accepted_submissions()) == devices


def test_a_race_stops_with_its_winner(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=replace(TERMS, engine=1, pow_target=2**255))
    round_ = local.play()
    assert (round_.status, len(round_.elections)) == ("finalized", 1)
    assert local.ledger.target() < 2**255  # it was over in less than the wished seconds


def test_a_race_without_winner_is_void_and_the_next_is_easier(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=replace(TERMS, engine=1, pow_target=2**216, elect_seconds=5))
    assert local.play().void is VoidReason.NO_LEADER
    local.until(Phase.ELECT)
    assert local.ledger.target() >= 2**217
