"""Models in any units learn what plain FedAvg in floats does; a run keeps the exponents it began with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load
from torch import Tensor, nn
from typer.testing import CliRunner

from bcfl.cli.app import app
from bcfl.config import Config
from bcfl.errors import ConfigError, StoreError
from bcfl.federation import genesis, simulation
from bcfl.federation.audits import judge as audit
from bcfl.federation.audits import source_of
from bcfl.federation.genesis import create_genesis
from bcfl.federation.layouts import recorded_task
from bcfl.federation.query import open_run
from bcfl.federation.runs import Run
from bcfl.federation.views.model import to_safetensors
from bcfl.learning import Dataset, Samples, Split, Task, split
from bcfl.learning import training as learning
from bcfl.ports import Vector
from bcfl.storage import DirectoryStore
from testkit.chainless import Chainless
from tests.explorers import run_target, serving

DEVICES, MINERS, ROUNDS = 4, 2, 4
SIZES: dict[str, Any] = {"devices": DEVICES, "miners": MINERS, "rounds": ROUNDS, "partition": "iid"}


def clouds(scale: float, shift: float = 0.0) -> Dataset:
    """Return clouds of points around a centre for each of three classes, 6 numbers each."""
    rng = np.random.RandomState(0)
    labels = (np.arange(640) % 3).astype(np.int64)
    features = ((rng.randn(3, 6) * 2)[labels] + rng.randn(640, 6)) * scale + shift
    order = rng.permutation(640).astype(np.int64)
    samples = Samples(features.astype(np.float32), labels)
    return Dataset(samples.take(order[:240]), samples.take(order[240:]))


def prices(_: Path | None) -> Dataset:
    """Return what is to be predicted as whole numbers around 300,000."""
    data = clouds(1.0)
    weights = np.array([50_000, -20_000, 10_000, 0, 30_000, 5_000])
    parts = [
        Samples(part.features, np.maximum(0, part.features @ weights + 300_000).astype(np.int64))
        for part in (data.train, data.test)
    ]
    return Dataset(*parts)


def normed() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def from_zero() -> nn.Module:
    """Return a layer whose scale is the data's alone."""
    layer = nn.Linear(6, 3, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs[:, 0] - labels).square().mean()


def task_of(
    name: str, load: Callable[[Path | None], Dataset], build: Callable[[], nn.Module], rate: float
) -> Task:
    return Task(name, name, load, build, learning_rate=rate)


TASKS = {
    "pixels": task_of("pixels", lambda _: clouds(40.0, 128.0), normed, 0.1),
    "raw": task_of("raw", lambda _: clouds(300.0, 4000.0), normed, 0.1),
    "millions": task_of("millions", lambda _: clouds(1e6, 4e6), normed, 0.1),
    "1e6": task_of("1e6", lambda _: clouds(1e6), from_zero, 0.05e-12),
    "1e-6": task_of("1e-6", lambda _: clouds(1e-6), from_zero, 0.05e12),
    "prices": replace(task_of("prices", prices, lambda: nn.Linear(6, 1), 0.005), loss=squared),
}
raw = TASKS["raw"]  # as a run names it
columns = task_of("columns", lambda _: unlike(1.0, 1e-3), normed, 0.1)
unfit = replace(raw, exponents={})


def shares_of(task: Task, config: Config) -> Split:
    return split(task.dataset(), DEVICES, MINERS, "iid", config.seed, alpha=1.0, classes=2)


def in_floats(task: Task, shares: Split, config: Config) -> Vector:
    """Return what plain FedAvg of the same trainings comes to, (parameters,); its means are in floats."""
    model = learning.initial_model(task, config.seed)
    learners = [learning.device_learner(task, shares, i, config.seed) for i in range(DEVICES)]
    for number in range(1, ROUNDS + 1):
        vectors = [learner.train(model, number).vector.astype(np.float64) for learner in learners]
        sizes = [learner.samples for learner in learners]
        model = np.average(vectors, axis=0, weights=sizes).astype(np.float32)
    return model


@pytest.mark.parametrize("name", list(TASKS))
def test_units_do_not_matter(name: str) -> None:
    config = Config(**SIZES, check_quality=False)  # with levels it ends where those lead
    shares = shares_of(TASKS[name], config)
    task = genesis.set_exponents(config, TASKS[name], shares.devices[0])
    assert task.exponents
    federation = Chainless.create(config, (task, shares))
    for _ in range(ROUNDS):
        assert len(federation.play_round().accepted) == DEVICES
    ours = federation.judge.evaluate(federation.archive.values(federation.history.head))
    judge = learning.judge(TASKS[name], shares)
    floats = judge.evaluate(in_floats(TASKS[name], shares, config))
    for metric, value in ours.metrics.items():
        assert value == pytest.approx(floats.metrics[metric], abs=0.01)
    assert ours.loss == pytest.approx(floats.loss, rel=0.01)
    assert floats.loss < judge.evaluate(learning.initial_model(TASKS[name], config.seed)).loss / 2


def unlike(large: float, small: float) -> Dataset:
    """Return clouds of which half the columns are in one unit, and half in another."""
    units = np.repeat(np.array([large, small], np.float32), 3)
    data = clouds(1.0)
    return Dataset(*(Samples(part.features * units, part.labels) for part in (data.train, data.test)))


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize(("large", "small"), [(1.0, 1e-3), (1.0, 1e-2), (1e6, 1.0), (1e3, 1e-3)])
def test_units_of_columns_do_not_matter(large: float, small: float, bits: Any) -> None:
    """One exponent for all variances leaves nothing of the small ones.

    Batches are so small that the floats come down from the 1 that they begin with, too.
    """
    config = Config(**SIZES, check_quality=False, lane_bits=bits)
    plain = replace(task_of("unlike", lambda _: unlike(large, small), normed, 0.05), batch_size=4)
    shares = shares_of(plain, config)
    task = genesis.set_exponents(config, plain, shares.devices[0])
    federation = Chainless.create(config, (task, shares))
    for _ in range(ROUNDS):
        assert len(federation.play_round().accepted) == DEVICES
    ours = federation.judge.evaluate(federation.archive.values(federation.history.head))
    floats = learning.judge(plain, shares).evaluate(in_floats(plain, shares, config))
    assert ours.metrics["accuracy"] == pytest.approx(floats.metrics["accuracy"], abs=0.01)
    assert ours.loss == pytest.approx(floats.loss, rel=0.05)


def test_a_federation_in_other_units_is_the_same_bit_by_bit() -> None:
    """Checks, aggregation and roots see no exponent: features 2**-7 times as large make the same models."""
    config, outcomes = Config(**SIZES), []
    for power in (0, 7):
        unit = task_of("unit", lambda _, power=power: clouds(2.0**-power), from_zero, 0.05 * 4.0**power)  # type: ignore[misc]
        task = unit.with_exponents({"weight": power})
        federation = Chainless.create(config, (task, shares_of(task, config)))
        outcomes.append([federation.play_round() for _ in range(2)])
    assert outcomes[0] == outcomes[1]
    assert (outcomes[0][-1].accuracy or 0) > 0.8


def config_of(folder: Path, rounds: int, name: str = "raw") -> Config:
    return Config(
        **SIZES | {"rounds": rounds, "task": f"tests.integration.test_exponents:{name}", "run_dir": folder}
    )


def test_a_run_keeps_the_exponents_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = simulation.run(config_of(tmp_path / "whole", 2))
    simulation.run(config_of(tmp_path / "parts", 1))
    with Run.open(tmp_path / "parts") as run:
        run.set_rounds(2)
    monkeypatch.setattr(genesis, "set_exponents", lambda _, task, __: task.with_exponents({"1.bias": 5}))
    resumed = simulation.resume(tmp_path / "parts")
    assert [item.global_root for item in resumed.rounds] == [item.global_root for item in whole.rounds]
    assert [item.fit for item in resumed.rounds] == [item.fit for item in whole.rounds]
    assert whole.fit_warning is None
    with open_run(tmp_path / "parts") as query:
        assert audit(source_of(query.contract, query.store)).passed
        assert set(query.model_view()["exponents"]) == {"0.running_mean", "0.running_var"}
        layout, lanes = query.read_model(query.history.head)
        for task in (None, query.task()):
            tensors = load(to_safetensors(layout, lanes, query.terms.scale_bits, {}, task))
            assert 3000 < tensors["0.running_mean"].mean() < 5000


def test_a_run_keeps_an_exponent_for_each_channel(tmp_path: Path) -> None:
    whole = simulation.run(config_of(tmp_path / "whole", 2, "columns"))
    assert [len(item.accepted) for item in whole.rounds] == [DEVICES, DEVICES]
    simulation.run(config_of(tmp_path / "parts", 1, "columns"))
    with Run.open(tmp_path / "parts") as run:
        run.set_rounds(2)
    resumed = simulation.resume(tmp_path / "parts")
    assert [item.global_root for item in resumed.rounds] == [item.global_root for item in whole.rounds]
    with open_run(tmp_path / "parts") as query:
        assert audit(source_of(query.contract, query.store)).passed
        exponents = query.model_view()["exponents"]["0.running_var"]
        assert isinstance(exponents, tuple)
        assert max(exponents[3:]) < 0 < min(exponents[:3])
        layout, lanes = query.read_model(query.history.head)
        for task in (None, query.task()):
            variances = load(to_safetensors(layout, lanes, query.terms.scale_bits, {}, task))["0.running_var"]
            assert (np.abs(np.log10(variances * np.repeat([0.1, 1e5], 3))) < 1).all()
    result = CliRunner().invoke(app, ["model", "--run", str(tmp_path / "parts")])
    assert f"0.running_var {min(exponents)} to {max(exponents)}, by entry" in result.output
    with serving(run_target(tmp_path / "parts")) as served:
        page = served.ask("/models/2")[1].decode()
    assert f"{min(exponents)} to {max(exponents)}" in page


def test_values_that_do_not_fit_are_counted_and_named(tmp_path: Path) -> None:
    report = simulation.run(config_of(tmp_path / "unfit", 2, "unfit"))
    first, last = (report.rounds[place].fit for place in (0, -1))
    assert first is not None
    assert last is not None
    assert first.tensors["0.running_var"].saturated == DEVICES * 6
    assert last.tensors["0.running_var"].saturated >= DEVICES * 6 / 2, "shortened updates fit in part"
    assert report.fit_warning is not None
    assert "saturate their lanes (0.running_mean, 0.running_var)" in report.fit_warning
    assert report.rounds[-1].accuracy is not None
    assert report.rounds[-1].accuracy < 0.5


def test_a_party_takes_the_exponents_of_the_first_model(tmp_path: Path) -> None:
    config, store = Config(**SIZES), DirectoryStore(tmp_path)
    first = create_genesis(config, store, (raw.with_exponents({"1.bias": 5}), shares_of(raw, config)))
    models = [first.model.cid]
    task = recorded_task(raw, store, first.terms, models)
    assert task.exponents == {"1.bias": 5}
    assert recorded_task(task, DirectoryStore(tmp_path / "empty"), first.terms, models) is task
    with pytest.raises(StoreError, match="the store holds no model"):
        recorded_task(raw, DirectoryStore(tmp_path / "empty"), first.terms, models)
    with pytest.raises(ConfigError, match="another layout than the federation's"):
        recorded_task(TASKS["1e6"], store, first.terms, models)


def test_a_deployment_may_try_data_of_its_owner(tmp_path: Path) -> None:
    """Without data the first model decides alone, which does not know the units."""
    sizes = {**SIZES, "max_samples": 200}
    blind = create_genesis(Config(**sizes, task=f"{__name__}:raw"), DirectoryStore(tmp_path))
    tried = create_genesis(Config(**sizes, task=f"{__name__}:raw", data=tmp_path), DirectoryStore(tmp_path))
    assert blind.archive.layout.exponents == {}
    assert set(tried.archive.layout.exponents) == {"0.running_mean", "0.running_var"}
