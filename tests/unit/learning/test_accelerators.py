"""Where torch computes: what is chosen, what is refused, and that nothing else depends on it."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from numpy.random.mtrand import get_bit_generator, set_bit_generator
from torch import nn

from bcfl.errors import ConfigError
from bcfl.learning import accelerators
from bcfl.learning.accelerators import choose, isolated
from bcfl.learning.context import FitContext
from bcfl.learning.training import TorchLearner, Workbench, initial_model, layout
from tests.unit.learning.toy import restless, samples_of, task_of

IS_CUDA = torch.cuda.is_available()
needs_cuda = pytest.mark.skipif(not IS_CUDA, reason="there is no CUDA device on this machine")


def here(monkeypatch: pytest.MonkeyPatch, **counts: int) -> None:
    monkeypatch.setattr(accelerators, "_count", {"cpu": 1, "cuda": 0, "mps": 0, **counts}.get)


@pytest.mark.parametrize(
    ("counts", "name", "chosen"),
    [
        ({}, "auto", "cpu"),
        ({"mps": 1}, "auto", "mps"),
        ({"mps": 1, "cuda": 2}, "auto", "cuda"),
        ({"cuda": 2}, "cuda:1", "cuda:1"),
        ({"mps": 1, "cuda": 1}, "cpu", "cpu"),
    ],
)
def test_auto_takes_cuda_then_mps_then_cpu(
    monkeypatch: pytest.MonkeyPatch, counts: dict[str, int], name: str, chosen: str
) -> None:
    here(monkeypatch, **counts)
    assert choose(name) == chosen


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)
    with pytest.raises(ConfigError, match=r"^--device cuda: there is none here; there is cpu$"):
        choose("cuda")
    here(monkeypatch, cuda=2)
    with pytest.raises(ConfigError, match=r"^--device cuda:2: .*; there is cuda:0, cuda:1, cpu$"):
        choose("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cpu:0", "auto:1", "cuda:", "cuda:x", "CUDA"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is none of cuda, mps, cpu and auto"):
        choose(name)


def test_isolation_puts_torchs_generator_and_threads_back() -> None:
    torch.manual_seed(1)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with isolated(7):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    with isolated(7):
        assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize("normals", [0, 1, 2, 3])
@pytest.mark.parametrize("used", [0, 1, 623, 624, 700])
def test_isolation_puts_the_generators_of_numpy_and_python_back(normals: int, used: int) -> None:
    """Also the spare number that a generator of normal numbers holds after an odd count of them."""
    np.random.seed(3)
    np.random.randint(2**32, size=used, dtype=np.uint32)
    np.random.standard_normal(normals)
    for _ in range(normals):
        random.gauss(0, 1)
    state, python_state = np.random.get_state(), random.getstate()
    expected = np.random.standard_normal(3).tolist(), [random.gauss(0, 1) for _ in range(3)]
    np.random.set_state(state)
    random.setstate(python_state)
    draws = []
    for _ in range(2):
        with isolated(7):
            draws.append((np.random.standard_normal(3).tolist(), np.random.randint(9), random.random()))
    assert draws[0] == draws[1]
    assert np.random.standard_normal(3).tolist() == expected[0]
    assert [random.gauss(0, 1) for _ in range(3)] == expected[1]


def test_isolation_puts_another_generator_of_numpy_back() -> None:
    """Before it, one whose memory is another; within it, the task's code has set one of its own."""
    former = get_bit_generator()
    try:
        state = np.random.get_state()
        with isolated(7):
            set_bit_generator(np.random.MT19937(1))
        assert get_bit_generator() is former
        assert repr(np.random.get_state()) == repr(state)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accelerators, "_has_known_layout", lambda _: False)
            with isolated(7):
                np.random.random()
        assert repr(np.random.get_state()) == repr(state)
    finally:
        set_bit_generator(former)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_was_closed_or_replaced_is_written_to_again(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A task's code closes stdout; what bcfl says afterwards is neither lost nor a defect."""
    descriptor = accelerators.OUTPUTS[name]
    opened = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    monkeypatch.setattr(sys, name, opened)
    with isolated(7):
        getattr(sys, name).close()
    print("after closing", file=getattr(sys, name), flush=True)
    stream = getattr(sys, name)
    with isolated(7):
        monkeypatch.setattr(sys, name, StringIO())
    assert getattr(sys, name) is stream
    assert getattr(capfd.readouterr(), name[3:]) == f"after closing{os.linesep}"


def test_learners_at_one_bench_train_as_each_at_its_own() -> None:
    task = task_of(restless)
    model, bench = initial_model(task, 0), Workbench(task)
    together = [TorchLearner(task, samples_of(20, seed=i), samples_of(9), i, bench) for i in range(3)]
    for _ in range(2):
        for i, learner in enumerate(together):
            alone = TorchLearner(task, samples_of(20, seed=i), samples_of(9), i)
            assert np.array_equal(learner.train(model, 1).vector, alone.train(model, 1).vector)
            assert np.array_equal(
                learner.slopes(model, 4, 1000).gradients, alone.slopes(model, 4, 1000).gradients
            )
            assert learner.evaluate(model) == alone.evaluate(model)


def test_a_loop_that_fails_leaves_nothing_behind_for_the_next() -> None:
    def fit(model: nn.Module, data: object, context: FitContext) -> None:
        del data
        assert context.device == "cpu"
        if context.round == 1:
            model.requires_grad_(False)
            raise ValueError("no")
        torch.optim.SGD(model.parameters(), lr=0.1)
        for weight in model.parameters():
            assert weight.grad is None or not weight.grad.any()
            weight.grad = torch.ones_like(weight)  # which the next loop must not find
            weight.data.sub_(weight.grad)

    task = replace(task_of(), fit=fit)
    model, bench = initial_model(task, 0), Workbench(task)
    first, second = (TorchLearner(task, samples_of(8), None, seed, bench) for seed in (0, 1))
    with pytest.raises(ConfigError, match="no"):
        first.train(model, 1)
    for round_ in (2, 3):
        assert np.allclose(second.train(model, round_).vector, model - 1)


@needs_cuda
def test_cuda_learns_what_the_cpu_learns() -> None:
    task = task_of(lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)))
    model, kinds = initial_model(task, 0), list[str]()

    def fit(module: nn.Module, data: torch.utils.data.TensorDataset, context: FitContext) -> None:
        kinds.extend([context.device, data.tensors[0].device.type, next(module.parameters()).device.type])

    results = []
    for device in ("cpu", "cuda"):
        bench = Workbench(task, device)
        learner = TorchLearner(task, samples_of(40), samples_of(20), 0, bench)
        assert bench.flat.layout == layout(task)
        results.append((learner.train(model, 1).vector, learner.slopes(model, 4, 1000).gradients))
        own_loop = replace(task, fit=fit)
        TorchLearner(own_loop, samples_of(8), None, 0, Workbench(own_loop, device)).train(model, 1)
    assert kinds == ["cpu"] * 3 + ["cuda"] * 3
    for cpu, cuda in zip(*results, strict=True):
        assert np.allclose(cpu, cuda, atol=1e-3)
