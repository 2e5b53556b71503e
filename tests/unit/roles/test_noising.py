"""A device hides its update as the terms say, the same whenever it is asked, and counts what it tells."""

from __future__ import annotations

import errno
import math
import shutil
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from bcfl.errors import ConfigError, DiskError, PayloadError
from bcfl.federation import budget as budget_module
from bcfl.federation.accountant import total
from bcfl.federation.budget import BudgetLedger
from bcfl.federation.node import Node, NodeOptions
from bcfl.protocol import cid, payload
from bcfl.protocol.accounts import Account
from bcfl.protocol.noise import Budget, Noise, Release
from bcfl.protocol.rounds import Submission
from bcfl.protocol.types import Layout
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from bcfl.roles.device.device import Device
from bcfl.roles.device.noising import Noising, Reals, clipped
from bcfl.roles.device.trainer import SEALED
from tests.daemons import client_of
from tests.local_federation import LAYOUT, TERMS, LocalFederation, Quadratic

SECRET, MODEL = b"a" * 32, b"m" * 32
HIDDEN = replace(LAYOUT, agreement=(("noise", "level=participant,noise=0.5,clip=0.25"),))
HIDDEN_TERMS = replace(TERMS, layout=payload.layout_digest(HIDDEN))
PER_SAMPLE = replace(LAYOUT, agreement=(("noise", "level=sample,noise=1,clip=1,batch=4,epochs=1"),))
BITS = TERMS.scale_bits - TERMS.shift


def noising(text: str = HIDDEN.agreement[0][1], secret: bytes = SECRET) -> Noising:
    return Noising(Noise.of((("noise", text),)), secret)


def vector(norm: float, size: int = 5000, seed: int = 0) -> Reals:
    values = np.random.default_rng(seed).normal(size=size)
    return values * (norm / float(np.linalg.norm(values)))


@pytest.mark.parametrize("bits", [4, 8, 14])
@pytest.mark.parametrize("norm", [0.0, 0.1, 0.2499, 0.25, 0.2501, 3.0, 1e6])
def test_a_shortened_vector_is_no_longer_than_the_clip_by_exact_arithmetic(norm: float, bits: int) -> None:
    clip = Fraction(1, 4)
    for seed in range(5):
        whole = clipped(vector(norm, seed=seed), clip, bits)
        assert sum(int(value) ** 2 for value in whole) <= clip**2 * 4**bits
        if bits == 14 and norm:
            length = float(np.linalg.norm(whole)) / 2**bits
            assert length == pytest.approx(min(norm, 0.25), rel=0.01)


def test_steps_that_are_longer_than_a_unit_are_exact_too() -> None:
    """A shift above the scale: 2**-3 as a float would take the whole sum through floats."""
    whole = clipped(vector(1e6), Fraction(10**6, 3), -3)
    assert sum(int(value) ** 2 for value in whole) <= (Fraction(10**6, 3) / 8) ** 2
    coarse = replace(TERMS, scale_bits=2, shift=5)
    noise = noising("level=participant,noise=1,clip=100").lanes(np.zeros(5000), coarse, 1, MODEL)
    assert noise.std() == pytest.approx(100 / 8, rel=0.1)


def test_a_training_that_diverged_is_refused() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(PayloadError, match="diverged"):
            clipped(np.array([1.0, value]), Fraction(1), 4)


def test_the_noise_has_the_deviation_of_the_terms() -> None:
    hider = noising("level=participant,noise=0.5,clip=0.25")
    change = vector(0.2, size=20_000)
    noise = hider.lanes(change, TERMS, 1, MODEL) / 2**BITS - change
    assert noise.std() == pytest.approx(0.125, rel=0.03)
    assert abs(noise.mean()) < 0.005


def test_the_same_update_has_the_same_noise_and_anything_else_other_noise() -> None:
    change = vector(0.2)
    first = noising().lanes(change, TERMS, 1, MODEL)
    assert (first == noising().lanes(change, TERMS, 1, MODEL)).all()
    others = (
        noising(secret=b"b" * 32).lanes(change, TERMS, 1, MODEL),
        noising().lanes(change, TERMS, 2, MODEL),
        noising().lanes(change, TERMS, 1, b"n" * 32),
        noising("level=participant,noise=0.6,clip=0.25").lanes(change, TERMS, 1, MODEL),
        noising().lanes(vector(0.2) + np.eye(1, 5000, 3)[0] * 2.0**-BITS, TERMS, 1, MODEL),
    )
    for other in others:
        assert np.linalg.norm((first - other) / 2**BITS) > 5  # of two noises of 0.125 on 5,000 coordinates


@dataclass
class Blindable(Quadratic):
    """A learner that can be told a secret."""

    secrets: list[bytes] = field(default_factory=list)

    def blind(self, secret: bytes) -> None:
        self.secrets.append(secret)


def snapshot_of(local: LocalFederation) -> RoundSnapshot:
    snapshot = take_snapshot(local.ledger)
    assert snapshot is not None
    return snapshot


def hidden(path: Path) -> LocalFederation:
    return LocalFederation(path, terms=HIDDEN_TERMS, layout=HIDDEN)


def test_a_device_sends_noise_and_keeps_no_residual_of_it(tmp_path: Path) -> None:
    local = hidden(tmp_path)
    device = local.device_parties[0]
    update = device.trainer.update(snapshot_of(local), 0)
    assert update == device.trainer.update(snapshot_of(local), 0)
    pending = device.trainer._residual("carry.pending", update.round)
    assert pending is not None
    assert not pending.any()
    plain = LocalFederation(tmp_path / "plain")
    assert plain.device_parties[0].trainer.update(snapshot_of(plain), 0).root != update.root


def test_an_update_that_the_journal_has_lost_is_made_again_bit_by_bit(tmp_path: Path) -> None:
    local = hidden(tmp_path)
    device = local.device_parties[0]
    update = device.trainer.update(snapshot_of(local), 0)
    (file,) = (tmp_path / "journal" / device.account.address).glob(SEALED)
    file.unlink()
    device.trainer.publish(snapshot_of(local), update)
    assert local.store.has(local.archive.sizes.update_cid(Submission(0, update, "")))


def test_nobody_who_knows_all_but_the_key_can_take_the_noise_away(tmp_path: Path) -> None:
    """An outsider that trains alike, with everything public and a key of its own, draws other noise."""
    local = hidden(tmp_path)
    device = local.device_parties[0]
    lanes = device.trainer._learn(snapshot_of(local))[1]
    outsider = Device(
        Account.derive(9, "outsider"),
        device.trainer.learner,
        local.ledger,
        local.relay,
        local.archive,
        local.journal(Account.derive(9, "outsider")),
    )
    guess = outsider.trainer._learn(snapshot_of(local))[1]
    assert device.trainer.noising.secret != outsider.trainer.noising.secret
    assert np.linalg.norm((lanes.astype(float) - guess) / 2**BITS) > 0.5  # of 0.125 on 38 coordinates, twice


def test_a_learner_that_adds_no_noise_is_refused(tmp_path: Path) -> None:
    terms = replace(TERMS, layout=payload.layout_digest(PER_SAMPLE))
    with pytest.raises(ConfigError, match="blind"):
        LocalFederation(tmp_path, terms=terms, layout=PER_SAMPLE)


def test_a_learner_gets_a_secret_that_follows_from_the_key_and_the_contract(tmp_path: Path) -> None:
    terms = replace(TERMS, layout=payload.layout_digest(PER_SAMPLE))
    learners: list[Quadratic] = [Blindable(np.zeros(38, np.float32)) for _ in range(4)]
    local = LocalFederation(tmp_path, terms=terms, layout=PER_SAMPLE, learners=learners)
    secrets = [each.secrets for each in learners if isinstance(each, Blindable)]
    domain = local.ledger.domain.separator
    assert secrets == [[account.secret("noise", domain)] for account in local.device_accounts]


def test_more_samples_than_may_be_claimed_are_refused(tmp_path: Path) -> None:
    """Anybody computes epsilon from the claim, so it has to be true."""
    terms = replace(TERMS, layout=payload.layout_digest(PER_SAMPLE))
    many = Blindable(np.zeros(38, np.float32), samples=terms.max_samples + 1)
    local = LocalFederation(tmp_path, terms=terms, layout=PER_SAMPLE, learners=[many] * 4)
    with pytest.raises(ConfigError, match="claims every sample"):
        local.device_parties[0].trainer.update(snapshot_of(local), 0)
    assert many.trainings == 0


def budget_for(path: Path, updates: int) -> BudgetLedger:
    """Return a ledger that allows so many updates."""
    epsilon = total([Release(Fraction(1, 4), Fraction(1), 1)] * updates).epsilon(1e-5)
    return BudgetLedger(path / "budget", Budget(f"{epsilon + 0.01:.2f}"))


def test_a_device_sits_out_what_goes_beyond_its_budget(tmp_path: Path) -> None:
    local = hidden(tmp_path)
    device = local.device_parties[0]
    device.trainer.hide(allowance=budget_for(tmp_path, 1))
    first = local.play()
    second = local.play()
    taken = [{item.update.device for item in round_.submissions} for round_ in (first, second)]
    assert taken == [{0, 1, 2, 3}, {1, 2, 3}]
    assert second.block is not None


def test_a_full_disk_of_the_budget_costs_a_device_no_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again in a later turn, in COMMIT and in REVEAL."""

    def refuse(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    local = hidden(tmp_path)
    device = local.device_parties[0]
    device.trainer.hide(allowance=budget_for(tmp_path, 2))
    with monkeypatch.context() as patch:
        patch.setattr(budget_module, "sync_folder", refuse)
        with pytest.raises(DiskError, match="No space left"):
            device.act()
    update = device.trainer.update(snapshot_of(local), 0)
    with monkeypatch.context() as patch:
        patch.setattr(budget_module, "sync_folder", refuse)
        with pytest.raises(DiskError, match="No space left"):
            device.trainer.publish(snapshot_of(local), update)
    assert {item.update.device for item in local.play().submissions} == {0, 1, 2, 3}


def test_a_restarted_device_counts_an_update_once_and_another_one_again(tmp_path: Path) -> None:
    local = hidden(tmp_path)
    ledger = budget_for(tmp_path, 2)
    trainer = local.device_parties[0].trainer
    trainer.hide(allowance=ledger)
    trainer.update(snapshot_of(local), 0)
    once = ledger.spent()
    (tmp_path / "journal" / local.device_accounts[0].address / "update.json").unlink()
    second = local.restart()
    trainer = second.device_parties[0].trainer
    trainer.hide(allowance=ledger)
    trainer.update(snapshot_of(second), 0)
    assert ledger.spent() == once
    (tmp_path / "journal" / local.device_accounts[0].address / "update.json").unlink()
    trainer.hide(b"another secret, so another update", allowance=ledger)
    trainer.update(snapshot_of(second), 0)
    assert ledger.spent() != once


@pytest.mark.parametrize("lost", [False, True])
def test_at_the_end_of_its_budget_a_device_seals_again_and_trains_no_more(lost: bool, tmp_path: Path) -> None:
    """A reorganisation brings other readers: the update is the same, and tells them nothing new."""
    layout = replace(HIDDEN, agreement=(*HIDDEN.agreement, ("privacy", "confidential")))
    terms = replace(TERMS, layout=payload.layout_digest(layout))
    local = LocalFederation(tmp_path, terms=terms, layout=layout)
    trainer, snapshot, ledger = local.device_parties[0].trainer, snapshot_of(local), budget_for(tmp_path, 1)
    trainer.hide(allowance=ledger)
    before = trainer.update(snapshot, 0)
    readers = dict(list(snapshot.current.readers.items())[:3])
    other = replace(snapshot, current=replace(snapshot.current, readers=readers))
    if lost:
        trainer.journal.remove(SEALED)
        with pytest.raises(ConfigError, match="rest"):
            trainer.update(other, 0)
    else:
        after = trainer.update(other, 0)
        assert (after.root, after.cid == before.cid) == (before.root, False)
        assert trainer.publish(other, after)
        assert local.store.has(cid.from_digest(after.cid, local.archive.sizes.update(3)))
    assert local.learners[0].trainings == 1
    assert ledger.spent() == total([Release(Fraction(1, 4), Fraction(1), 1)])


def test_a_ledger_that_was_lost_counts_what_the_journal_has(tmp_path: Path) -> None:
    local = hidden(tmp_path)
    ledger = budget_for(tmp_path, 2)
    trainer = local.device_parties[0].trainer
    trainer.hide(allowance=ledger)
    trainer.update(snapshot_of(local), 0)
    once = ledger.spent()
    ledger.path.unlink()
    trainer.update(snapshot_of(local), 0)
    assert ledger.spent() == once


@pytest.mark.parametrize("updates", [0, 1])
def test_what_another_file_has_counted_is_counted_before_it_is_revealed(updates: int, tmp_path: Path) -> None:
    """A device that starts again in REVEAL, with a budget that it did not have, asks for no update."""
    local = hidden(tmp_path)
    trainer, ledger = local.device_parties[0].trainer, BudgetLedger(tmp_path / "budget", Budget("0.01"))
    update = trainer.update(snapshot_of(local), 0)
    trainer.hide(allowance=budget_for(tmp_path, 1) if updates else ledger)
    assert trainer.publish(snapshot_of(local), update) == bool(updates)
    assert local.store.has(local.archive.sizes.update_cid(Submission(0, update, ""))) == bool(updates)
    assert ledger.spent() == total([Release(Fraction(1, 4), Fraction(1), 1)] * updates)


def test_a_process_counts_where_it_was_told_to(tmp_path: Path) -> None:
    local = hidden(tmp_path)
    ledger = budget_for(tmp_path, 1)
    client, _ = client_of(local)
    options = NodeOptions(tmp_path / "journals", allowance=ledger)
    node = Node(client, local.device_accounts[0], HIDDEN, local.store, options)
    device = node._device(local.learners[0], node.relay)
    device.trainer.update(snapshot_of(local), 0)
    assert ledger.spent().epsilon(1e-5) > 0
    secret = local.device_accounts[0].secret("noise", local.ledger.domain.separator)
    assert device.trainer.noising.secret == secret


def test_a_journal_of_another_federation_is_refused(tmp_path: Path) -> None:
    """It has an update of the same round and model without noise, and residuals that noise has not hidden.

    So it is where an owner begins a chain anew, to deploy with the noise that was left out.
    """
    plain, noisy = LocalFederation(tmp_path / "plain"), hidden(tmp_path / "noisy")
    assert plain.ledger.domain == noisy.ledger.domain

    def node(local: LocalFederation, layout: Layout, path: Path) -> Node:
        client, _ = client_of(local)
        return Node(client, local.device_accounts[0], layout, local.store, NodeOptions(path))

    device = node(plain, LAYOUT, tmp_path / "one")._device(plain.learners[0], plain.relay)
    device.trainer.update(snapshot_of(plain), 0)
    shutil.copytree(tmp_path / "one", tmp_path / "two")  # the process of the first has its lock
    with pytest.raises(ConfigError, match="name another --journal"):
        _ = node(noisy, HIDDEN, tmp_path / "two").journal
    shutil.copytree(tmp_path / "one", tmp_path / "three")
    assert node(plain, LAYOUT, tmp_path / "three").journal.read_json("update.json") is not None


def test_more_samples_than_may_be_claimed_are_refused_before_a_device_begins(tmp_path: Path) -> None:
    """And nobody is told to say --cap-samples, with which it would sit out every round."""
    terms = replace(TERMS, layout=payload.layout_digest(PER_SAMPLE))
    many = Blindable(np.zeros(38, np.float32), samples=terms.max_samples + 1)
    few: list[Quadratic] = [Blindable(np.zeros(38, np.float32)) for _ in range(4)]
    local = LocalFederation(tmp_path, terms=terms, layout=PER_SAMPLE, learners=few)
    client, _ = client_of(local)
    for caps in (False, True):
        options = NodeOptions(tmp_path / f"{caps}", caps_samples=caps)
        node = Node(client, local.device_accounts[0], PER_SAMPLE, local.store, options)
        with pytest.raises(ConfigError, match="claims every sample"):
            node.device(many)


@pytest.mark.parametrize(("noise", "clip"), [("999999", "999999"), ("0.000001", "999999"), ("1", "100000")])
def test_terms_that_whole_numbers_do_not_hold_are_refused_before_a_training(
    noise: str, clip: str, tmp_path: Path
) -> None:
    """An owner may deploy them without this program: every round of a device would end in an error."""
    layout = replace(LAYOUT, agreement=(("noise", f"level=participant,noise={noise},clip={clip}"),))
    terms = replace(TERMS, layout=payload.layout_digest(layout))
    local = LocalFederation(tmp_path, terms=terms, layout=layout)
    device = local.device_parties[0]
    with pytest.raises(ConfigError, match="leave it"):
        device.trainer.update(snapshot_of(local), 0)
    assert local.learners[0].trainings == 0


def test_lanes_of_another_scale_have_other_noise() -> None:
    """Else two federations of one address would show one vector under one noise and under twice that."""
    hider, silent = noising("level=participant,noise=1,clip=0.25"), np.zeros(5000)
    finer = replace(TERMS, shift=TERMS.shift - 1)
    one, two = (hider.lanes(silent, terms, 1, MODEL).astype(float) for terms in (TERMS, finer))
    assert abs(float(np.corrcoef(one, two)[0, 1])) < 0.1
