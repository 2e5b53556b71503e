"""A module as one vector: which tensors, in which order, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError
from bcfl.learning.flat import FlatModule, layout_of
from bcfl.learning.models import Mlp
from bcfl.protocol.types import Layout, TensorSpec


class Tied(nn.Module):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.second(self.first(features))
        return outputs


class Scratch(nn.Module):
    """A layer and buffers that stay out of the vector."""

    mask: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1, bias=False)
        self.register_buffer("mask", torch.full((2,), -torch.inf), persistent=False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))


def test_layout_is_the_state_dicts_order() -> None:
    layout = layout_of(Mlp((1, 8, 8), 10))
    expected = [
        ("hidden.weight", (64, 64)),
        ("hidden.bias", (64,)),
        ("output.weight", (10, 64)),
        ("output.bias", (10,)),
    ]
    assert layout == Layout(tuple(TensorSpec(name, shape) for name, shape in expected))
    assert layout.parameters == 4810


def test_the_vector_is_the_tensors_one_after_the_other() -> None:
    module = Mlp((4,), 2)
    expected = np.concatenate([tensor.numpy().ravel() for tensor in module.state_dict().values()])
    assert np.array_equal(FlatModule(module).read(), expected)


def test_load_puts_every_tensor_in_place() -> None:
    flat = FlatModule(Mlp((4,), 2))
    vector = np.arange(len(flat.vector), dtype=np.float32)
    vector.flags.writeable = False
    flat.load(vector)
    assert np.array_equal(flat.read(), vector)
    state = flat.module.state_dict()
    assert np.array_equal(np.concatenate([tensor.numpy().ravel() for tensor in state.values()]), vector)
    flat.read()[:] = 0
    assert np.array_equal(flat.read(), vector)


@pytest.mark.parametrize("shape", [(0,), (29,), (31,), (30, 1)])
def test_load_refuses_another_length(shape: tuple[int, ...]) -> None:
    flat = FlatModule(nn.Linear(5, 5))
    with pytest.raises(ValueError, match=r"a vector of \(30,\) is needed"):
        flat.load(np.zeros(shape, dtype=np.float32))


def test_running_statistics_are_in_the_vector_and_counters_are_not() -> None:
    names = [tensor.name for tensor in layout_of(nn.BatchNorm1d(3)).tensors]
    assert names == ["weight", "bias", "running_mean", "running_var"]


def test_tied_weights_are_held_once_and_stay_tied() -> None:
    flat = FlatModule(Tied())
    assert [tensor.name for tensor in layout_of(Tied()).tensors] == ["first.weight"]
    flat.load(np.full(9, 2, dtype=np.float32))
    gradient = flat.backward(flat.module(torch.ones(1, 3)).sum())
    assert torch.equal(gradient, torch.full((9,), 12.0))  # each weight counts in both layers


@pytest.mark.parametrize("build", [Tied, Scratch])
def test_plain_torch_loads_the_state(build: Callable[[], nn.Module]) -> None:
    flat, module = FlatModule(build()), build()
    flat.load(np.arange(len(flat.vector), dtype=np.float32))
    tensors = {name: torch.tensor(array) for name, array in flat.state().items()}
    module.load_state_dict(tensors)
    assert all(
        torch.equal(value, flat.module.state_dict()[name]) for name, value in module.state_dict().items()
    )
    flat.vector.zero_()
    assert any(tensor.any() for tensor in tensors.values()), "the state is a copy"


def test_other_buffers_go_back_to_what_they_were_built_as() -> None:
    flat = FlatModule(Scratch())
    assert len(flat.vector) == 2
    module = flat.module
    assert isinstance(module, Scratch)
    module.mask.zero_()
    module.calls.add_(5)
    flat.load(np.zeros(2, dtype=np.float32))
    assert torch.isinf(module.mask).all()
    assert module.calls == 0


def test_a_gradient_starts_from_zero_each_time() -> None:
    flat = FlatModule(nn.Linear(2, 1))
    features = torch.tensor([[1.0, 2.0]])
    for _ in range(2):
        assert flat.backward(flat.module(features).sum()).tolist() == [1, 2, 1]


def test_frozen_weights_are_carried_and_have_no_gradient() -> None:
    module = nn.Linear(2, 1)
    module.weight.requires_grad_(False)
    flat = FlatModule(module)
    assert flat.backward(flat.module(torch.ones(1, 2)).sum()).tolist() == [0, 0, 1]


def test_a_sparse_gradient_lands_in_the_vector() -> None:
    flat = FlatModule(nn.Embedding(3, 2, sparse=True))
    gradient = flat.backward(flat.module(torch.tensor([1])).sum())
    assert gradient.tolist() == [0, 0, 1, 1, 0, 0]


def test_double_precision_becomes_single() -> None:
    assert FlatModule(nn.Linear(2, 1).double()).read().dtype == np.float32


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (nn.ReLU, "nothing to train"),
        (lambda: nn.Linear(2, 1).requires_grad_(False), "nothing to train"),
        (lambda: nn.LazyLinear(2), "lazy layers"),
        (lambda: nn.Linear(2, 1, device="meta"), "device meta, without values"),
        (lambda: nn.Linear(2, 1, dtype=torch.complex64), "not real floating-point numbers"),
    ],
)
def test_modules_that_are_no_use(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FlatModule(build())
