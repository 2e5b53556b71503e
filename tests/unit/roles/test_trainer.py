"""One update a round, whatever happens to the process; its residual goes into the next exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bcfl.ports import TrainingResult
from bcfl.protocol import fixedpoint
from bcfl.protocol.rounds import Submission
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from bcfl.roles.device.device import Device
from bcfl.roles.device.trainer import PENDING, RECORD, SEALED, SETTLED, claim
from tests.local_federation import TERMS, LocalFederation

NARROW = replace(TERMS, lane_bits=8, shift=16, leaf_lanes=32)


def snapshot_of(local: LocalFederation) -> RoundSnapshot:
    snapshot = take_snapshot(local.ledger)
    assert snapshot is not None
    return snapshot


def residual(device: Device, name: str = SETTLED) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    return device.trainer._residual(name, None)


def test_default_behavior(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    device, learner = local.device_parties[0], local.learners[0]
    update = device.trainer.update(snapshot_of(local), 0)
    assert update == device.trainer.update(snapshot_of(local), 0)
    assert (learner.trainings, update.samples, update.microseconds) == (
        1,
        learner.samples,
        learner.microseconds,
    )
    cid = local.archive.sizes.update_cid(Submission(0, update, ""))
    assert not local.store.has(cid)  # before the commitment it could be copied
    device.trainer.publish(snapshot_of(local), update)
    assert local.store.has(cid)


def test_a_restarted_device_publishes_what_it_trained(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    update = local.device_parties[0].trainer.update(snapshot_of(local), 0)
    local.restart().device_parties[0].trainer.publish(snapshot_of(local), update)
    assert local.store.has(local.archive.sizes.update_cid(Submission(0, update, "")))


def test_an_update_is_published_only_as_it_was_sealed(tmp_path: Path) -> None:
    """The record of another round puts nothing on the store."""
    local = LocalFederation(tmp_path)
    device = local.device_parties[0]
    update = device.trainer.update(snapshot_of(local), 0)
    device.trainer.publish(snapshot_of(local), replace(update, round=update.round + 1))
    assert not local.store.has(local.archive.sizes.update_cid(Submission(0, update, "")))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda _: b"", lambda data: b"?" + data[1:]])
def test_bytes_that_the_journal_has_lost_are_trained_again(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    local = LocalFederation(tmp_path)
    device = local.device_parties[0]
    update = device.trainer.update(snapshot_of(local), 0)
    (file,) = (tmp_path / "journal" / device.account.address).glob(SEALED)
    file.write_bytes(damage(file.read_bytes()))
    local.restart().device_parties[0].trainer.publish(snapshot_of(local), update)
    assert local.store.has(local.archive.sizes.update_cid(Submission(0, update, "")))
    assert file.with_name(f"{SEALED}.damaged").exists()


def test_another_training_that_comes_to_something_else_is_not_published(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    device = local.device_parties[0]
    update = device.trainer.update(snapshot_of(local), 0)
    (file,) = (tmp_path / "journal" / device.account.address).glob(SEALED)
    file.unlink()
    device.trainer.publish(snapshot_of(local), replace(update, root=bytes(32)))
    assert not local.store.has(local.archive.sizes.update_cid(Submission(0, update, "")))


def test_an_update_whose_bytes_are_lost_is_not_revealed(tmp_path: Path) -> None:
    """Miners would call it unavailable; its device sits the round out, and takes part in the next one."""
    local = LocalFederation(tmp_path)
    device, learner = local.device_parties[0], local.learners[0]
    local.until(Phase.REVEAL)
    (file,) = (tmp_path / "journal" / device.account.address).glob(SEALED)
    file.unlink()
    learner.optimum += 1  # another training does not come to the same
    first_round, second_round = local.play(), local.play()
    assert {item.update.device for item in first_round.submissions} == {1, 2, 3}
    assert learner.trainings == 3  # once in vain, not at each turn
    assert {item.update.device for item in second_round.submissions} == {0, 1, 2, 3}


def test_a_training_that_fails_when_bytes_are_lost_ends_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    local = LocalFederation(tmp_path)
    local.until(Phase.REVEAL)
    (file,) = (tmp_path / "journal" / local.device_accounts[0].address).glob(SEALED)
    file.unlink()

    def train(*_: object) -> TrainingResult:
        raise MemoryError("no room")

    monkeypatch.setattr(local.learners[0], "train", train)
    assert {item.update.device for item in local.play().submissions} == {1, 2, 3}
    assert "training failed: MemoryError: no room" in caplog.text


def test_a_restarted_device_does_not_train_again(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    update = local.device_parties[0].trainer.update(snapshot_of(local), 0)
    second = local.restart()
    assert second.device_parties[0].trainer.update(snapshot_of(second), 0) == update
    assert local.learners[0].trainings == 1


@pytest.mark.parametrize("lane_bits", [8, 16])
def test_what_was_taken_away_comes_with_the_next_update(tmp_path: Path, lane_bits: int) -> None:
    """The sum of all updates and the residual is the sum of all that was learnt."""
    local = LocalFederation(tmp_path, terms=NARROW if lane_bits == 8 else TERMS)
    device, learner = local.device_parties[0], local.learners[0]
    learnt_sum = np.zeros(38)
    update_sum = np.zeros(38)
    for _ in range(4):
        parent = local.archive.values(local.history.head)
        round_ = local.play()
        learnt_sum += learner.train(parent, round_.number).vector.astype(np.float64) - parent
        item = next(item for item in round_.accepted_submissions() if item.update.device == 0)
        update_sum += local.archive.update(item) * 2.0 ** (local.terms.shift - 24)
    device.trainer._settle(snapshot_of(local), 0)
    remainder = residual(device)
    assert remainder is not None
    assert learnt_sum == pytest.approx(update_sum + remainder, abs=1e-9)
    assert np.abs(remainder).max() > 0


def test_an_update_left_out_takes_nothing_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalFederation(tmp_path, terms=NARROW)
    local.play()
    local.device_parties[0].trainer._settle(snapshot_of(local), 0)
    first_residual = residual(local.device_parties[0])
    with monkeypatch.context() as patch:
        for miner in local.miner_parties:
            verdicts = (Verdict.TIME, *[Verdict.ACCEPTED] * 3)
            order = lambda _, c, v=verdicts: tuple(v[i.update.device] for i in c.submissions)  # noqa: E731
            patch.setattr(miner.voting.verifier, "verdicts", order)
            patch.setattr(miner.voting.verifier, "levels", ())
        local.play()
    local.device_parties[0].trainer._settle(snapshot_of(local), 0)
    second_residual = residual(local.device_parties[0])
    assert first_residual is not None
    assert second_residual is not None
    assert np.array_equal(first_residual, second_residual)


def test_settling_twice_is_settling_once(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=NARROW)
    local.play()
    for _ in range(3):
        local.device_parties[0].trainer._settle(snapshot_of(local), 0)
    pending_residual, settled_residual = (
        residual(local.device_parties[0], PENDING),
        residual(local.device_parties[0]),
    )
    assert pending_residual is not None
    assert np.array_equal(pending_residual, settled_residual)  # type: ignore[arg-type]


def test_a_crash_between_residual_and_record_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remainder of an update that was never written down must not be taken for the last one's."""
    federation, crashed = (LocalFederation(tmp_path / name, terms=NARROW) for name in ("straight", "crashed"))
    for local in (federation, crashed):
        local.play(2)
        local.until(Phase.COMMIT)
    device = crashed.device_parties[0]
    with monkeypatch.context() as patch:

        def kill(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(device.journal, "write_json", kill)
        with pytest.raises(KeyboardInterrupt):
            device.trainer.update(snapshot_of(crashed), 0)
    crashed = crashed.restart()
    expected = federation.device_parties[0].trainer.update(snapshot_of(federation), 0)
    assert crashed.device_parties[0].trainer.update(snapshot_of(crashed), 0).root == expected.root


def test_an_update_of_another_model_is_not_used(tmp_path: Path) -> None:
    """A journal that belongs to another federation, or to a chain that was put back."""
    local = LocalFederation(tmp_path)
    device = local.device_parties[0]
    device.trainer.update(snapshot_of(local), 0)
    record = device.journal.read_json(RECORD) or {}
    device.journal.write_json(RECORD, record | {"model": "00" * 32})
    assert device.trainer.recorded_update(snapshot_of(local), 0) is None
    device.trainer.update(snapshot_of(local), 0)
    assert local.learners[0].trainings == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"round": 1, "device": 0, "model": 3}'])
def test_a_record_of_another_version_is_made_again(tmp_path: Path, damage: bytes) -> None:
    local = LocalFederation(tmp_path)
    update = local.device_parties[0].trainer.update(snapshot_of(local), 0)
    record = local.device_parties[0].journal.read_json(RECORD) or {}
    if damage.endswith(b"3}"):
        damage = json.dumps(record | {"root": 3}).encode()
    local.device_parties[0].journal.write(RECORD, damage)
    assert local.device_parties[0].act()
    assert local.learners[0].trainings == 2
    assert local.device_parties[0].trainer.recorded_update(snapshot_of(local), 0) == update


def test_a_residual_of_another_length_is_dropped(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.device_parties[0].journal.write(SETTLED, bytes(99))
    assert residual(local.device_parties[0]) is None
    assert local.play().status == "finalized"


def test_a_device_over_the_cap_claims_the_cap_and_its_time() -> None:
    vector = np.zeros(3, np.float32)
    assert claim(TrainingResult(vector, 50, 1000), 100) == (50, 1000)
    assert claim(TrainingResult(vector, 400, 1000), 100) == (100, 250)
    assert claim(TrainingResult(vector, 400, 1), 100) == (100, 1)


def test_lanes_say_what_was_learnt(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    item = local.play().accepted_submissions()[0]
    lanes = local.archive.update(item)
    model = np.zeros(38, np.float32)
    vector = local.learners[item.update.device].train(model, 1).vector
    resolution = 2.0 ** (TERMS.shift - TERMS.scale_bits)
    assert lanes * resolution == pytest.approx(vector, abs=resolution / 2)
    assert fixedpoint.decode(local.archive.model(local.history.blocks[0]), 24) == pytest.approx(model)


def test_what_the_lanes_cannot_hold_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    local = LocalFederation(tmp_path)
    learner = local.learners[0]
    vector = np.zeros(38, dtype=np.float32)
    vector[:5], vector[5:9] = 1e9, 1e-9
    monkeypatch.setattr(learner, "train", lambda *_: TrainingResult(vector, learner.samples, 1))
    monkeypatch.setattr(local.device_parties[0].trainer, "clips", False)
    monkeypatch.setattr(local.archive, "values", lambda *_: np.zeros(38, dtype=np.float32))
    with caplog.at_level("INFO"):
        local.device_parties[0].trainer.update(snapshot_of(local), 0)
    words = "of 9 changes 5 saturate, 4 vanish: 55.56% of the changes saturate their lanes (bias, weight)"
    assert f"round 1: {words}; the task may state other exponents" in caplog.messages
