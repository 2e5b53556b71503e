"""Exponents scale the vector by powers of two and change nothing of what is learnt; what is chosen fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.federation.genesis import set_up_data
from bcfl.learning import Dataset, Samples, Task, exponents
from bcfl.learning.exponents import (
    CHANGE_ROOM,
    FEW_STEPS,
    NOISE,
    STATISTICS,
    TRIAL_STEPS,
    Extent,
    Numbers,
    choose,
    measure,
    with_exponents,
)
from bcfl.learning.flat import FlatModule
from bcfl.learning.tasks import cross_entropy
from bcfl.learning.training import TorchLearner, initial_model, layout, state_of
from bcfl.learning.variances import BEGIN
from bcfl.learning.weights import require_kept
from bcfl.protocol.fixedpoint import decode, encode, encode_update

NUMBERS = Numbers(lane_bits=16, scale_bits=24, shift=10)
LANES = {8: Numbers(8, 24, 16), 16: NUMBERS, 32: Numbers(32, 24, 0)}
EPSILON = 1e-5


def samples_of(scale: float = 1.0, count: int = 60) -> Samples:
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int64) % 3
    features = rng.normal(size=(count, 4)) + 2 * np.eye(3, 4)[labels]
    return Samples((features * scale).astype(np.float32), labels)


def plain() -> nn.Module:
    """Return a layer that starts at 0, so that its scale is the data's alone."""
    layer = nn.Linear(4, 3, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def normed() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))


def normed_task(share: Samples, build: Callable[[], nn.Module] | None = None) -> Task:
    """Return a task on these samples, that normalises them first."""

    def two() -> nn.Module:
        return nn.Sequential(nn.BatchNorm1d(4, eps=EPSILON), nn.Linear(4, 2))

    return Task("t", "", lambda _: Dataset(share, share), build or two, learning_rate=0.05)


def with_signs(features: npt.NDArray[np.float64]) -> Samples:
    return Samples(features.astype(np.float32), (features[:, 0] > features[:, 0].mean()).astype(np.int64))


def task_of(build: object = plain, scale: float = 1.0, rate: float = 0.125, **options: object) -> Task:
    def load(_: Path | None) -> Dataset:
        return Dataset(samples_of(scale), samples_of(scale))

    fields = {"epochs": 2, "batch_size": 10, "learning_rate": rate} | options
    return Task("test", "a test", load, build, **fields)  # type: ignore[arg-type]


@given(st.integers(-60, 60), st.integers(-60, 60))
def test_a_vector_comes_back_bit_by_bit(first: int, second: int) -> None:
    flat = FlatModule(nn.Linear(4, 3), {"weight": first, "bias": second})
    weights = [tensor.clone() for tensor in flat.module.state_dict().values()]
    vector = flat.read()
    assert np.array_equal(vector[:12], weights[0].numpy().ravel() * np.float32(2.0**-first))
    flat.load(vector)
    assert all(map(torch.equal, flat.module.state_dict().values(), weights))
    assert np.array_equal(flat.read(), vector)


@given(st.integers(-15, 15))
def test_data_in_other_units_give_the_same_lanes_and_gradients(power: int) -> None:
    """Features times 2**-k make weights 2**k times as large; with exponent k no lane and no merit differs."""
    unit = task_of()
    other = task_of(scale=2.0**-power, rate=0.125 * 4.0**power).with_exponents({"weight": power})
    results = []
    for task, scale in ((unit, 1.0), (other, 2.0**-power)):
        learner = TorchLearner(task, samples_of(scale), samples_of(scale), seed=1)
        model = learner.train(initial_model(task, 0), 1).vector
        delta = learner.train(model, 2).vector - model
        lanes, residual = encode_update(delta, None, 16, 24, 10)
        results.append((encode(model, 24), lanes, residual, learner.slopes(model, 3, 1000).gradients))
        assert lanes.any()
    for one, another in zip(*results, strict=True):
        assert np.array_equal(one, another)
    values = state_of(other, model)["weight"]
    assert np.array_equal(values.ravel(), model * np.float32(2.0**power))


sizes = st.floats(1e-12, 1e12)
extents = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        lambda value, change, trained, count: Extent(max(value, change), change, change * count, trained),
        st.one_of(st.just(0.0), sizes), st.one_of(st.just(0.0), sizes), st.booleans(), st.floats(1, 1e3),
    ),
    min_size=1,
)  # fmt: skip


@given(extents, st.sampled_from([NUMBERS, Numbers(8, 24, 16), Numbers(32, 24, 0), Numbers(32, 8, 0)]))
def test_what_is_chosen_fits(extents: dict[str, Extent], numbers: Numbers) -> None:
    exponents = choose(extents, numbers)
    assert exponents.keys() == extents.keys()
    largest = max((item.change or 0 for item in extents.values() if item.is_trained), default=0)
    for name, extent in extents.items():
        scale = 2.0 ** -exponents[name]
        change, value = (extent.change or 0) * scale, extent.value * scale
        assert change <= numbers.largest_change
        assert value <= numbers.largest_value / 2
        if exponents[name] > 0 and extent.is_trained:
            rooms = (
                numbers.largest_change / CHANGE_ROOM[numbers.lane_bits] / max(change, 1e-99),
                numbers.largest_value / 8 / value,
            )
            assert 1 <= min(rooms) < 2  # no larger than needed
        if exponents[name] < 0:
            assert extent.is_trained
            assert extent.change is not None
            assert extent.change > largest * NOISE
            assert change < 2 * numbers.few


def test_a_whole_model_of_small_changes_gets_steps() -> None:
    chosen = choose({"weight": Extent(1e-6, 1e-7, 1e-6), "noise": Extent(0.0, 1e-12, 1e-11)}, NUMBERS)
    assert FEW_STEPS <= 1e-7 * 2.0 ** -chosen["weight"] / NUMBERS.step < 2 * FEW_STEPS
    assert chosen["noise"] == 0


def test_statistics_are_short_beside_what_is_trained() -> None:
    task = task_of(normed, scale=300.0)
    shifted = Samples(samples_of(300.0).features + 4000, samples_of().labels)
    extents = measure(task, 0, shifted)
    chosen = choose(extents, NUMBERS)
    assert {name for name, e in chosen.items() if e} == {"0.running_mean", "0.running_var"}
    lengths = {name: item.length * 2.0 ** -chosen[name] for name, item in extents.items()}
    trained = math.hypot(*(length for name, length in lengths.items() if "running" not in name))
    others = math.hypot(*(length for name, length in lengths.items() if "running" in name))
    assert others <= STATISTICS * trained
    for name in ("0.running_mean", "0.running_var"):
        assert (extents[name].change or 0) * 2.0 ** -chosen[name] / NUMBERS.step >= FEW_STEPS


@pytest.mark.parametrize(
    "options", [{}, {"model": "cnn"}, {"task": "breast-cancer"}, {"lane_bits": 8}], ids=str
)
def test_tasks_that_fit_keep_exponent_0(options: dict[str, object]) -> None:
    task, _ = set_up_data(Config(**options))  # type: ignore[arg-type]
    assert task.exponents == {}


def test_without_data_or_with_a_trial_that_fails_the_values_decide() -> None:
    def large() -> nn.Module:
        module = normed()
        nn.init.constant_(module[1].weight, 1000.0)  # type: ignore[index]
        return module

    expected = {"1.weight": 6}  # 8 * 1000 / 128, rounded up to a power of two
    assert with_exponents(task_of(large), NUMBERS, 0).exponents == expected
    one = samples_of(count=1)  # of which BatchNorm cannot make statistics
    assert with_exponents(task_of(large), NUMBERS, 0, one).exponents == expected


@pytest.mark.parametrize("options", [{"epochs": 100}, {"steps": 5000}, {"steps": 500, "accumulate": 4}])
def test_a_trial_is_short_and_changes_are_larger_in_a_whole_training(options: dict[str, int]) -> None:
    batches = []

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        batches.append(len(labels))
        return cross_entropy(outputs, labels)

    task = task_of(loss=loss, **options)
    extent = measure(task, 0, samples_of(count=5000))["weight"]
    assert len(batches) <= TRIAL_STEPS + 4 * task.accumulate  # the steps that warm up count too
    whole = TorchLearner(task, samples_of(count=500), None, 0).train(initial_model(task, 0), 0).vector
    assert extent.change is not None
    assert 0.2 < extent.change / float(np.abs(whole).max()) < 5


def test_a_task_that_states_exponents_keeps_them() -> None:
    stated = replace(task_of(), exponents={"weight": 3})
    assert with_exponents(stated, NUMBERS, 0, samples_of(1e6)) is stated
    assert layout(stated).exponents == {"weight": 3}
    assert layout(replace(stated, exponents={})).exponents == {}


def test_wrong_exponents_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"the exponent of weight must be a whole number from -60 to 60"):
        replace(task_of(), exponents={"weight": 61})
    with pytest.raises(ConfigError, match="must be a whole number"):
        replace(task_of(), exponents={"weight": True})
    with pytest.raises(ConfigError, match="exponent for 'wieght', which is no tensor of the model: weight"):
        layout(replace(task_of(), exponents={"wieght": 1}))


@pytest.mark.parametrize(
    ("largest", "small", "bits", "is_by_channel"),
    [
        (1e3, 1.0, 16, False),
        (1e3, 0.0, 16, False),  # a constant loses nothing
        (1e3, 1e-4, 16, True),
        (1e3, 1e-4, 8, True),
        (1e3, 1e-4, 32, True),
        (1e3, 1e-2, 32, False),  # these lanes hold it
        (1.0, 1e-3, 16, True),
        (1e-3, 1e-3, 16, True),
    ],
)
def test_columns_of_very_different_size_have_exponents_of_their_own(
    largest: float, small: float, bits: int, is_by_channel: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """One exponent for all variances is too coarse for the small ones."""
    features = np.random.default_rng(0).normal(size=(200, 4)) * largest * np.array([1, 1, 1, small])
    share, numbers = with_signs(features), LANES[bits]
    task = with_exponents(normed_task(share), numbers, 0, share)
    assert task.exponents
    exponents = task.exponents["0.running_var"]
    assert isinstance(exponents, tuple) == is_by_channel
    if isinstance(exponents, tuple):
        places = (features.var(axis=0) + EPSILON) * np.exp2(-np.array(exponents, float))
        assert (places > numbers.few / 2).all()
        assert (places < 2 * BEGIN).all()
    assert not caplog.messages


@pytest.mark.parametrize("kind", ["rare", "constant"])
def test_what_is_rarely_not_0_has_room_for_more(kind: str) -> None:
    """Elsewhere, or in the next round, it may be much more; of a constant nobody knows."""
    features = np.random.default_rng(0).normal(size=(400, 4)) * np.array([1e3, 1e3, 1e-2, 0])
    if kind == "rare":
        features[7, 3] = 0.5
    task = with_exponents(normed_task(with_signs(features)), NUMBERS, 0, with_signs(features))
    assert task.exponents
    chosen = task.exponents["0.running_var"]
    assert isinstance(chosen, tuple)
    large, _, small, other = chosen
    assert small < -5
    if kind == "constant":
        assert other == max(chosen)
    else:
        assert 2.0**other * NUMBERS.largest_change > 10 * 0.5**2 / 200
        assert other < large


def test_a_layer_of_very_many_channels_has_one_exponent_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exponents, "MOST_CHANNELS", 3)
    features = np.random.default_rng(0).normal(size=(200, 4)) * np.array([1e3, 1e3, 1e3, 0.1])
    share = with_signs(features)
    task = with_exponents(normed_task(share), NUMBERS, 0, share)
    assert task.exponents
    assert isinstance(task.exponents["0.running_var"], int)
    assert "of 4 variances in 0.running_var 1 are lost beside the largest, " in caplog.text


@pytest.mark.parametrize(("mean", "is_lost"), [(2000.0, False), (1e5, True)])
def test_columns_far_from_0_are_told(mean: float, is_lost: bool, caplog: pytest.LogCaptureFixture) -> None:
    features = np.random.default_rng(0).normal(size=(200, 4)) + np.array([mean, mean, 0, 0])
    share = with_signs(features)
    task = with_exponents(normed_task(share), NUMBERS, 0, share)
    assert task.exponents
    large, _, small, _ = task.exponents["0.running_mean"]  # type: ignore[misc]
    assert small < 5 < large
    assert ("of 4 means in 0.running_mean 2 are so far from 0" in caplog.text) == is_lost


def test_weights_that_a_model_begins_with_fit(tmp_path: Path) -> None:
    """No exponent is so small that a variance of the file would not come down to what the data have."""
    share = with_signs(np.random.default_rng(0).normal(size=(200, 4)) * np.array([1, 1, 1, 1e-3]))
    module, file = normed(), tmp_path / "given.safetensors"
    module.get_buffer("0.running_var").copy_(torch.tensor([1, 1, 1, 1e-3]))
    save_file(dict(module.state_dict()), file)
    task = with_exponents(replace(normed_task(share, normed), weights=file), NUMBERS, 0, share)
    first = state_of(task, initial_model(task, 0))
    assert task.exponents
    assert isinstance(task.exponents["0.running_var"], tuple)
    assert np.allclose(first["0.running_var"], [1, 1, 1, 1e-3])
    lanes = encode(initial_model(task, 0), 24)
    require_kept(layout(task), initial_model(task, 0), decode(lanes, 24))


def test_exponents_of_another_number_than_entries_are_refused() -> None:
    with pytest.raises(ConfigError, match="weight has 2 exponents: give one, or 12, one an entry"):
        layout(replace(task_of(), exponents={"weight": (1, 2)}))
    with pytest.raises(ConfigError, match="must be a whole number"):
        replace(task_of(), exponents={"weight": (1, 61)})
