"""A running variance that rounding has made too small does no harm, whatever the module."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from safetensors.torch import save_file
from torch import nn

from bcfl.federation.views.model import to_safetensors
from bcfl.learning.flat import FlatModule
from bcfl.learning.training import TorchLearner, initial_model, layout, state_of
from bcfl.learning.variances import BEGIN, LEAST, STEP
from bcfl.protocol import fixedpoint
from tests.unit.learning.toy import CLASSES, FEATURES, samples_of, task_of

SCALE_BITS = 24
EXPONENT = 5
SMALL = 17 * 2.0**-SCALE_BITS  # some 1e-6


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
    """Return the vector with a variance a step below 0, one at 0, a small one, and a mean below 0."""
    values, start = values.copy(), 0
    for tensor in layout_.tensors:
        if tensor.name.endswith("running_var"):
            values[start : start + 3] = (-STEP, 0.0, SMALL)
        if tensor.name.endswith("running_mean"):
            values[start] = -1.0
        start += int(np.prod(tensor.shape, dtype=int))
    return values


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("exponent", [0, EXPONENT])
def test_a_variance_not_above_0_is_loaded_as_a_step_and_no_other(layer: nn.Module, exponent: int) -> None:
    module = nn.ModuleDict({"deep": nn.Sequential(nn.Linear(2, 2), nn.ModuleList([layer]))})
    name = "deep.1.0.running_var"
    flat = FlatModule(module, {name: exponent})
    flat.load(spoiled(flat.layout, flat.read()))
    state = flat.state()
    assert (state[name][:2] == STEP * 2.0**exponent).all()
    assert state[name][2] == np.float32(SMALL * 2.0**exponent)
    assert (state[name][3:] == 1).all()
    assert state["deep.1.0.running_mean"][0] == -1


def test_where_each_channel_has_an_exponent_it_is_far_less_than_what_is_known() -> None:
    exponents = tuple(range(-FEATURES, 0))
    flat = FlatModule(normalised(), {"0.running_var": exponents})
    flat.load(spoiled(flat.layout, flat.read()))
    variances = flat.state()["0.running_var"]
    assert np.array_equal(variances[:2], LEAST * np.exp2(exponents[:2]))
    assert variances[2] == np.float32(SMALL * 2.0 ** exponents[2])


def test_a_model_begins_where_an_update_can_bring_it_down() -> None:
    """From the 1 of torch to 1e-6 are many rounds, where a lane is fine enough for that."""
    task = task_of(normalised)
    place = [tensor.name for tensor in layout(task).tensors].index("0.running_var") * FEATURES
    span = slice(place, place + FEATURES)
    exponents = {"0.running_var": (4, 0, 2, -1, -13, 44)}
    first = initial_model(task.with_exponents(exponents), 0)
    assert first[span].tolist() == [2**-4, BEGIN, 2**-2, BEGIN, BEGIN, 2**-44]
    assert (initial_model(task.with_exponents({"0.running_var": -13}), 0)[span] == 2**13).all()
    first[span] = initial_model(task, 0)[span]
    assert np.array_equal(first, initial_model(task, 0))


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
        assert (files["0.running_var"][:3] == np.array([STEP, STEP, SMALL], np.float32)).all()


def test_an_update_brings_the_chain_back() -> None:
    """A change is to what the chain has: it is upwards where that is below what training finds."""
    task = task_of(normalised)
    model = spoiled(layout(task), initial_model(task, 0))
    trained = TorchLearner(task, samples_of(40), None, 0).train(model, 1).vector
    place = [tensor.name for tensor in layout(task).tensors].index("0.running_var") * FEATURES
    assert (trained[place : place + 2] - model[place : place + 2] > 0.1).all()


def test_small_variances_of_given_weights_are_kept(tmp_path: Path) -> None:
    """Raised to a step of a 16-bit lane, they made the module another one than that which was trained."""
    module = normalised()
    module.get_buffer("0.running_var").fill_(SMALL)
    save_file(dict(module.state_dict()), tmp_path / "given.safetensors")
    task = replace(task_of(normalised), weights=tmp_path / "given.safetensors")
    features = torch.tensor(samples_of(20).features) * SMALL**0.5
    expected = module.eval()(features)
    lanes = fixedpoint.encode(initial_model(task, 0), SCALE_BITS)
    built = normalised()
    state = state_of(task, fixedpoint.decode(lanes, SCALE_BITS))
    built.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    assert torch.allclose(built.eval()(features), expected, atol=1e-4)


@pytest.mark.parametrize(("bits", "shift", "error"), [(32, 0, 0.1), (16, 10, None)])
def test_lanes_of_32_bits_hold_small_variances(bits: int, shift: int, error: float | None) -> None:
    """An update of 16 bits makes of such a variance 0 or a step: it is a step then, and no number fails."""
    task = task_of(normalised)
    place = [tensor.name for tensor in layout(task).tensors].index("0.running_var") * FEATURES
    before = initial_model(task, 0)
    after = before.copy()
    after[place : place + FEATURES] = SMALL
    lanes, _ = fixedpoint.encode_update(after - before, None, bits, SCALE_BITS, shift)
    model = before + fixedpoint.decode_update(lanes, SCALE_BITS, shift)
    used = state_of(task, model)["0.running_var"]
    assert np.allclose(used, SMALL, rtol=error) if error else (used == STEP).all()
