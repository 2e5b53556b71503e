"""The attacks of the privacy bench work on what is public, and find nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bcfl.learning import resolve
from testkit.privacy import cases, dp, inversion, measures, membership, rowspace, settings
from testkit.privacy.cases import Case
from testkit.privacy.ensemble import Perceptrons, train
from testkit.privacy.inversion import Effort
from testkit.privacy.perceptron import Layers, replay, with_one
from testkit.privacy.settings import CIPHERTEXT, CONFIDENTIAL, GLOBAL_MODELS, PUBLIC, Setting

FAST = Effort(tries=4, iterations=400, polish=100)


def test_one_sample_is_read_off_a_public_update() -> None:
    outcome = cases.run(Case(trials=4))
    assert outcome.psnr is not None
    assert outcome.blind_psnr is not None
    assert outcome.psnr > outcome.blind_psnr + 40
    assert (outcome.labels, outcome.identified) == (1.0, 1.0)


def test_eight_samples_are_separated_by_sparsity_alone() -> None:
    (seen, truth), *_ = cases.observed(Case(batch=8))
    parts = rowspace.factors(Layers.of(seen.delta, 10).first, 8, seen.noise)
    rows = rowspace.separate(parts, seen.noise, np.random.default_rng(0))
    assert parts.is_clear
    assert rows is not None
    features = truth.features.reshape(8, -1).astype(np.float64)
    guesses = rows[0][measures.pair(rows[0], features)]
    errors = [measures.relative_error(*row) for row in zip(guesses, features, strict=True)]
    assert sorted(errors)[4] < 0.05


def test_sealed_bytes_give_nothing() -> None:
    case = Case(trials=4, setting=CONFIDENTIAL, adversary="outsider", source=CIPHERTEXT)
    outcome = cases.run(case)
    assert outcome.psnr is not None
    assert outcome.blind_psnr is not None
    assert outcome.psnr < outcome.blind_psnr
    assert outcome.identified == 0


def test_strong_noise_leaves_no_more_than_the_mean_picture() -> None:
    outcome = cases.run(Case(setting=Setting("DP", multiplier=2.0), effort=FAST))
    assert outcome.psnr is not None
    assert outcome.blind_psnr is not None
    assert outcome.psnr < outcome.blind_psnr + 3


@pytest.mark.parametrize(
    ("setting", "adversary", "sources"),
    [
        (PUBLIC, "outsider", ["update"]),
        (PUBLIC, "miner", ["update"]),
        (CONFIDENTIAL, "miner", ["update"]),
        (CONFIDENTIAL, "outsider", [CIPHERTEXT, GLOBAL_MODELS]),
        (CONFIDENTIAL, "device", [CIPHERTEXT, GLOBAL_MODELS]),
    ],
)
def test_an_adversary_gets_what_its_place_gives_it(
    setting: Setting, adversary: str, sources: list[str]
) -> None:
    task, model = settings.genesis(resolve("digits").with_options(epochs=1, batch_size=2), 0)
    train_part = task.dataset().train
    shares = [train_part.take(np.arange(start, start + 2)) for start in (0, 2, 4)]
    seen = settings.observe(adversary, settings.play(task, model, shares, setting))
    assert [each.source for each in seen] == sources
    if sources[-1] == GLOBAL_MODELS:
        assert seen[-1].samples == (6 if adversary == "outsider" else 4)
    if sources[0] == "update":
        truth = settings.play(task, model, shares[:1]).after.astype(np.float64) - model
        assert np.allclose(seen[0].delta, truth, atol=1e-6)


def test_a_replay_comes_to_the_change_that_training_made() -> None:
    (seen, truth), *_ = cases.observed(Case(batch=4, steps=3))
    before, change = Layers.of(seen.before, 10), Layers.of(seen.delta, 10)
    start = tuple(torch.tensor(part) for part in (before.first, before.second, before.bias))
    rows = torch.tensor(with_one(truth.features.reshape(4, -1).astype(np.float64)))[None]
    labels = torch.nn.functional.one_hot(torch.tensor(truth.labels), 10).double()[None]
    parts = replay(rows, labels, (start[0], start[1], start[2]), 0.2, 3, None)
    for part, expected in zip(parts, (change.first, change.second, change.bias), strict=True):
        assert np.allclose(part[0].numpy(), expected, atol=seen.step)


@pytest.mark.parametrize("multiplier", [None, 0.0])
def test_shadow_models_are_trained_as_devices_are(multiplier: float | None) -> None:
    task = resolve("digits").with_options(epochs=3, batch_size=6)
    share = task.dataset().train.take(np.arange(6))
    _, model = settings.genesis(task, 0)
    start = Perceptrons.of(torch.tensor(model), 64, 1)
    features, labels = torch.tensor(share.features).flatten(1)[None], torch.tensor(share.labels)[None]
    shadow = train(start, features, labels, task, multiplier)
    if multiplier is None:
        vector = settings.play(task, model, [share]).after
    else:
        vector = dp.train(task, model, share, multiplier, 0)
    device = Perceptrons.of(torch.tensor(vector), 64, 1)
    assert torch.allclose(shadow.hidden, device.hidden, atol=2e-4)
    assert torch.allclose(shadow.output, device.output, atol=2e-4)


def test_the_reference_of_dp_adds_noise_of_the_multiplier() -> None:
    task = resolve("digits").with_options(epochs=1, batch_size=4)
    share = task.dataset().train.take(np.arange(4))
    _, model = settings.genesis(task, 0)
    noisy, plain = (dp.train(task, model, share, noise, 0) for noise in (1.5, 0.0))
    deviation = 1.5 * dp.CLIP_NORM * task.learning_rate / 4
    assert float(np.std(noisy - plain)) == pytest.approx(deviation, rel=0.05)
    assert float(np.linalg.norm(plain - model)) <= dp.CLIP_NORM * task.learning_rate


def test_members_are_told_from_others_by_a_local_model() -> None:
    task = resolve("digits")
    scores = membership.local(task, task.dataset().train, 1, 32, 40, None, 0)
    rates = membership.attack(scores)
    assert rates[membership.RATIO].auc > 0.75
    assert rates[membership.RATIO].others == 32 * 40
    blank = membership.local(task, task.dataset().train, 1, 32, 40, None, 0, lambda models: Perceptrons(
        torch.zeros_like(models.hidden), torch.zeros_like(models.output)
    ))  # fmt: skip
    assert abs(membership.attack(blank)[membership.RAW].auc - 0.5) < 0.05


def test_labels_are_counted_from_the_last_bias() -> None:
    (seen, truth), *_ = cases.observed(Case(batch=32))
    labels = inversion.count_labels(seen, cases.data_of("digits")[2])
    assert measures.labels_right(labels, truth.labels) >= 30


def test_measures_are_what_they_say() -> None:
    picture = np.linspace(0, 1, 64).reshape(8, 8)
    assert measures.psnr(picture, picture) == measures.EXACT_DB
    assert measures.psnr(picture + 0.1, picture) == pytest.approx(20)
    assert measures.ssim(picture, picture) == pytest.approx(1)
    assert measures.ssim(picture[::-1], picture) < 0.2
    assert measures.auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert measures.auc(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
    others = np.arange(1000.0)
    assert measures.true_positives(np.array([998.0, 998.5, 2000.0]), others, 0.001) == pytest.approx(2 / 3)
