"""A running variance that rounding has made too small does no harm, whatever the module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from torch import nn

from bcfl.federation.views.model import to_safetensors
from bcfl.learning.flat import FlatModule
from bcfl.learning.training import TorchLearner, initial_model, layout, state_of
from bcfl.learning.variances import STEP
from bcfl.protocol import fixedpoint
from tests.unit.learning.toy import CLASSES, FEATURES, samples_of, task_of

SCALE_BITS = 24
EXPONENT = 5


class Own(nn.Module):
    """A norm layer of one's own, whose mean may be below 0 and whose variance is a buffer of a known name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(FEATURES))
        self.register_buffer("running_mean", torch.zeros(FEATURES))
        self.register_buffer("running_var", torch.ones(FEATURES))


class Weight(nn.Module):
    """Something else with that name, which is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.running_var = nn.Parameter(torch.ones(FEATURES))


LAYERS = [
    nn.BatchNorm1d(FEATURES),
    nn.BatchNorm2d(FEATURES),
    nn.BatchNorm3d(FEATURES),
    nn.SyncBatchNorm(FEATURES),
    nn.InstanceNorm1d(FEATURES, affine=True, track_running_stats=True),
    Own(),
]


def normalised() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(FEATURES), nn.Linear(FEATURES, CLASSES))


def spoiled(layout_: Any, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the vector with one variance a step below 0, one at 0, and a mean below 0."""
    values, start = values.copy(), 0
    for tensor in layout_.tensors:
        if tensor.name.endswith("running_var"):
            values[start : start + 2] = (-STEP, 0.0)
        if tensor.name.endswith("running_mean"):
            values[start] = -1.0
        start += int(np.prod(tensor.shape, dtype=int))
    return values


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("exponent", [0, EXPONENT])
def test_a_loaded_variance_is_a_step_at_least(layer: nn.Module, exponent: int) -> None:
    module = nn.ModuleDict({"deep": nn.Sequential(nn.Linear(2, 2), nn.ModuleList([layer]))})
    name = "deep.1.0.running_var"
    flat = FlatModule(module, {name: exponent})
    flat.load(spoiled(flat.layout, flat.read()))
    state = flat.state()
    assert (state[name][:2] == STEP * 2.0**exponent).all()
    assert (state[name][2:] > STEP * 2.0**exponent).all()
    assert state["deep.1.0.running_mean"][0] == -1


def test_what_is_trained_keeps_its_sign() -> None:
    flat = FlatModule(Weight())
    flat.load(np.full(FEATURES, -1, np.float32))
    assert (flat.read() == -1).all()


def test_what_is_not_shared_is_not_below_0() -> None:
    flat = FlatModule(normalised(), shared=lambda name, _tensor: name.startswith("1."))
    flat.load(flat.read(), np.full(len(flat.own), -1, np.float32))
    state = flat.state()
    assert (state["0.running_var"] == 0).all()
    assert (state["0.running_mean"] == -1).all()


def test_a_spoiled_model_is_evaluated_and_exported() -> None:
    """Before, its loss was no number, and a module that loads the file computed none."""
    task = task_of(normalised)
    model = spoiled(layout(task), initial_model(task, 0))
    learner = TorchLearner(task, samples_of(20), samples_of(20), 0)
    assert learner.evaluate(model).loss < 100
    assert np.isfinite(learner.slopes(model, 2, 20).gradients).all()
    lanes = fixedpoint.encode(model, SCALE_BITS)
    for files in (
        state_of(task, model),
        *(load(to_safetensors(layout(task), lanes, SCALE_BITS, {}, each)) for each in (None, task)),
    ):
        assert files["0.running_var"].min() == STEP


def test_an_update_brings_the_chain_back() -> None:
    """A change is to what the chain has: it is upwards where that is below what training finds."""
    task = task_of(normalised)
    model = spoiled(layout(task), initial_model(task, 0))
    trained = TorchLearner(task, samples_of(40), None, 0).train(model, 1).vector
    place = [tensor.name for tensor in layout(task).tensors].index("0.running_var") * FEATURES
    assert (trained[place : place + 2] - model[place : place + 2] > 0.1).all()
