"""Play one case of the privacy bench: a setting, an adversary, and what of the data comes out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median

import numpy as np
import numpy.typing as npt

from bcfl.learning import Dataset, Samples, Task, resolve
from bcfl.learning.exponents import Numbers
from bcfl.ports import Vector
from testkit.privacy import convolution, inversion, measures, settings
from testkit.privacy.inversion import Effort, Guess, Knowledge
from testkit.privacy.settings import PUBLIC, UPDATE, Observation, Setting

Reals = npt.NDArray[np.float64]
FULL = Effort()
KNOWN = 1_000  # samples that an attacker has, at most: of the test part, which no device trains on
SHIFTS = {32: 0, 16: 10, 8: 16}  # by bits of a lane, as `bcfl run` has them
TRAINED_ROUNDS, TRAINED_DEVICES = 10, 20
NEIGHBOURS = 5_000  # training samples among which a reconstruction is to find its own, at most


@dataclass(frozen=True)
class Case:
    """One row of a table."""

    task: str = "digits"
    model: str = "mlp"
    batch: int = 1  # samples of a device, all in one batch unless `lot` says otherwise
    steps: int = 1  # epochs
    devices: int = 3
    setting: Setting = PUBLIC
    adversary: str = "miner"
    source: str = UPDATE
    lane_bits: int = 16
    is_trained: bool = False  # whether the round follows ten others
    lot: int | None = None
    trials: int = 1
    effort: Effort = FULL


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out of a case: medians over samples, and shares of them."""

    case: Case
    samples: int
    error: float  # relative, of the standardised features
    blind_error: float
    labels: float  # share
    identified: float  # share whose reconstruction is nearest to them among the training samples
    psnr: float | None  # dB
    ssim: float | None
    blind_psnr: float | None
    blind_ssim: float | None
    pictures: Reals  # (samples, height, width) of what was reconstructed; empty for a table
    truths: Reals


@lru_cache(maxsize=8)
def data_of(name: str) -> tuple[Task, Dataset, Knowledge]:
    """Return a task, its data, and what an attacker has of the same kind."""
    task = resolve(name)
    dataset = task.dataset()
    return task, dataset, Knowledge.of(dataset.test.take(np.arange(min(KNOWN, len(dataset.test)))))


@lru_cache(maxsize=8)
def _start(name: str, model: str, is_trained: bool) -> tuple[Task, Vector]:
    """Return the task with its exponents, and the model that a round starts from."""
    base, dataset, _ = data_of(name)
    task, vector = settings.genesis(base.with_options(model=model), 0)
    if is_trained:
        parts = np.array_split(np.random.default_rng(1).permutation(len(dataset.train)), TRAINED_DEVICES)
        shares = [dataset.train.take(part) for part in parts]
        for number in range(TRAINED_ROUNDS):
            vector = settings.play(task, vector, shares, seed=1_000 * number).after
    return task, vector


def victims(case: Case) -> list[Samples]:
    """Return the shares of all devices, trial by trial: the same samples first, whatever the batch."""
    train = data_of(case.task)[1].train
    order = np.random.default_rng(7).permutation(len(train))
    own = case.batch * case.trials
    rest = np.random.default_rng(8).permutation(order[own:])
    shares = []
    for trial in range(case.trials):
        shares.append(train.take(order[trial * case.batch : (trial + 1) * case.batch]))
        need = case.batch * (case.devices - 1)
        others = np.resize(rest[trial * need :], need)
        shares += [train.take(part) for part in others.reshape(case.devices - 1, case.batch)]
    return shares


def observed(case: Case) -> list[tuple[Observation, Samples]]:
    """Return what the adversary gets in each trial, and the samples behind it."""
    task, vector = _start(case.task, case.model, case.is_trained)
    task = task.with_options(batch_size=case.lot or case.batch, epochs=case.steps)
    numbers = Numbers(case.lane_bits, 24, SHIFTS[case.lane_bits])
    shares, pairs = victims(case), []
    for trial in range(case.trials):
        own = shares[trial * case.devices : (trial + 1) * case.devices]
        played = settings.play(task, vector, own, case.setting, numbers, 100 * trial)
        for seen in settings.observe(case.adversary, played):
            if seen.source == case.source:
                count = seen.samples // case.batch
                features = np.concatenate([share.features for share in own[:count]])
                labels = np.concatenate([share.labels for share in own[:count]])
                pairs.append((seen, Samples(features, labels)))
    return pairs


def invert(seen: Observation, case: Case, seed: int) -> Guess:
    """Return what the attack makes of an observation."""
    known = data_of(case.task)[2]
    if case.model == "cnn":
        return convolution.invert(seen, known, seed=seed)
    return inversion.invert(seen, known, case.effort, seed)


def run(case: Case) -> Outcome:
    """Play all trials of a case and judge them."""
    guesses, truths, right, total = [], [], 0, 0
    for seed, (seen, samples) in enumerate(observed(case)):
        guess = invert(seen, case, seed)
        truth = samples.features.reshape(len(samples), -1).astype(np.float64)
        guesses.append(guess.features[measures.pair(guess.features, truth)])
        truths.append(truth)
        right += measures.labels_right(guess.labels, samples.labels)
        total += len(samples)
    return _judged(case, np.concatenate(guesses), np.concatenate(truths), right / total)


def _judged(case: Case, guesses: Reals, truths: Reals, labels: float) -> Outcome:
    task, dataset, known = data_of(case.task)
    blind = np.broadcast_to(known.mean, truths.shape)
    errors = [
        median(measures.relative_error(*row) for row in zip(rows, truths, strict=True))
        for rows in (guesses, blind)
    ]
    outcome = Outcome(
        case,
        len(truths),
        errors[0],
        errors[1],
        labels,
        _identified(guesses, truths, dataset),
        None,
        None,
        None,
        None,
        np.zeros((0, 1, 1)),
        np.zeros((0, 1, 1)),
    )
    pixels = measures.pixels_of(task)
    if pixels is None:
        return outcome
    drawn, true, mean = (pixels(rows.reshape(-1, *known.shape)) for rows in (guesses, truths, blind))
    middle = [
        median(function(*pair) for pair in zip(pictures, true, strict=True))
        for pictures in (drawn, mean)
        for function in (measures.psnr, measures.ssim)
    ]
    return replace(
        outcome,
        psnr=middle[0],
        ssim=middle[1],
        blind_psnr=middle[2],
        blind_ssim=middle[3],
        pictures=drawn,
        truths=true,
    )


def _identified(guesses: Reals, truths: Reals, dataset: Dataset) -> float:
    """Return the share of guesses that are nearest to their own truth among it and the training samples."""
    others = dataset.train.features[:NEIGHBOURS].reshape(-1, truths.shape[1]).astype(np.float64)
    own = ((guesses - truths) ** 2).sum(1)
    squares = (others**2).sum(1) - 2 * guesses @ others.T + (guesses**2).sum(1)[:, None]
    is_other = ((truths**2).sum(1)[:, None] + (others**2).sum(1) - 2 * truths @ others.T) > 1e-6
    nearest = np.where(is_other, squares, np.inf).min(1)
    return float((own < nearest).mean())


def blind_pictures(name: str, count: int) -> Reals:
    """Return the mean picture of what an attacker knows, (count, height, width)."""
    task, _, known = data_of(name)
    pixels = measures.pixels_of(task)
    if pixels is None:
        raise ValueError(f"the samples of {name} are no pictures")
    return pixels(np.tile(known.mean, (count, 1)).reshape(count, *known.shape))
