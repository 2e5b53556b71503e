"""A federation starts from given weights: what plain torch wrote, checked name by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bcfl.errors import ConfigError
from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.misfits import check_fit
from bcfl.learning.training import initial_model, layout, state_of
from bcfl.learning.weights import require_kept
from bcfl.protocol import fixedpoint


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


NOTHING = Samples(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
TASK = Task("given", "given weights", lambda _: Dataset(NOTHING, NOTHING), build)


def trained() -> dict[str, Tensor]:
    """What somebody trained before."""
    torch.manual_seed(5)
    module = build()
    module(torch.randn(16, 4)).sum().backward()
    return dict(module.state_dict())


def test_the_model_is_that_of_the_file(tmp_path: Path) -> None:
    save_file(trained(), file := tmp_path / "weights.safetensors")
    for seed in (1, 2):
        model = initial_model(replace(TASK, weights=file), seed)
        state = state_of(TASK, model)
        for name, value in trained().items():
            if value.is_floating_point():
                assert np.array_equal(state[name], value.numpy())
    assert not np.array_equal(initial_model(TASK, 1), initial_model(TASK, 2))


def test_half_precision_and_exponents(tmp_path: Path) -> None:
    state = {name: value.half() if value.is_floating_point() else value for name, value in trained().items()}
    save_file(state, file := tmp_path / "half.safetensors")
    task = replace(TASK, weights=file, exponents={"0.weight": 3})
    assert np.array_equal(
        state_of(task, initial_model(task, 0))["0.weight"], state["0.weight"].float().numpy()
    )


def test_tied_weights_under_one_name(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.second(self.first(x))
            return outputs

    state = {"second.weight": torch.eye(3), "first.bias": torch.ones(3), "second.bias": torch.zeros(3)}
    save_file(state, file := tmp_path / "tied.safetensors")
    task = replace(TASK, build=Tied, weights=file)
    assert np.array_equal(state_of(task, initial_model(task, 0))["first.weight"], np.eye(3))
    save_file(state | {"first.weight": torch.ones(3, 3)}, file)
    with pytest.raises(ConfigError, match="is tied to another tensor, whose values differ"):
        initial_model(task, 0)


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    state = {**trained(), **{name.replace("_", "."): value for name, value in changes.items()}}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (changed(**{"0_weight": None}), "lacks tensors of the model: 0.weight"),
        (changed(**{"9_weight": torch.ones(2)}), "that the model does not have: 9.weight"),
        (changed(**{"0_weight": torch.ones(3, 5)}), "0.weight is 3 x 5, the model's is 3 x 4"),
        (changed(**{"0_weight": torch.full((3, 4), torch.nan)}), "0.weight is not finite"),
        (
            changed(**{"0_weight": torch.full((3, 4), 1e300, dtype=torch.float64)}),
            "0.weight is not finite as float32",
        ),
        (changed(**{"0_weight": torch.ones(3, 4).to(torch.float8_e4m3fn)}), "is of type torch.float8_e4m3fn"),
        ({"\x1b[31m" + "x" * 5000: torch.ones(1)}, "does not have: ?[31mxxx"),
        (changed(**{"0_weight": torch.ones(3, 4, dtype=torch.int32)}), "0.weight is of type torch.int32"),
        ({f"x{i}": torch.ones(1) for i in range(9)}, "x0, x1, x2 and 6 more"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    state: dict[str, Tensor], words: str, tmp_path: Path
) -> None:
    save_file(state, file := tmp_path / "weights.safetensors")
    with pytest.raises(ConfigError, match=re.escape(words)) as failure:
        initial_model(replace(TASK, weights=file), 0)
    assert str(failure.value).isprintable()
    assert len(str(failure.value)) < 1000


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    pickle, noise, large = (tmp_path / name for name in ("model.pt", "noise", "large"))
    torch.save(trained(), pickle)
    noise.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")
    save_file({"0.weight": torch.zeros(5_000_000)}, large)
    cases = {
        pickle: "is a pickle",
        noise: "is no safetensors file",
        large: "is larger than",
        tmp_path: "cannot be read",
        tmp_path / "none": "cannot be read: No such file",
    }
    for file, words in cases.items():
        with pytest.raises(ConfigError, match=words) as failure:
            initial_model(replace(TASK, weights=file), 0)
        assert "\n" not in str(failure.value)


def test_who_joins_needs_no_weights() -> None:
    """The others have the first model from the store, and the owner's file is not on their machine."""
    data = Samples(np.ones((4, 4), np.float32), np.array([0, 1, 0, 1]))
    check_fit(replace(TASK, weights="only/the/owner.safetensors"), Dataset(data, data))


def test_what_is_not_shared_is_what_build_makes(tmp_path: Path) -> None:
    """A base model that only the deployer has would lock everybody else out."""
    task = replace(TASK, shared=lambda name, _: name.startswith("2."))
    own = state_of(task, initial_model(task, 0))
    state = {name: torch.tensor(value) for name, value in own.items()}
    state["2.weight"] = torch.ones(2, 3)
    save_file(state, file := tmp_path / "head.safetensors")
    given = replace(task, weights=file)
    assert layout(given) == layout(task)
    assert np.array_equal(state_of(given, initial_model(given, 3))["2.weight"], np.ones((2, 3)))
    save_file(state | {"0.weight": torch.ones(3, 4)}, file)
    with pytest.raises(ConfigError, match=r"0\.weight is not shared, and not what `build` makes"):
        initial_model(given, 0)


@pytest.mark.parametrize(
    ("first", "exponent", "words"),
    [
        (1e10, 30, "11 of 12 values of 0.weight become 0 in fixed point, beside one of 1e+10"),
        (1e10, 0, "1 of 12 values of 0.weight do not fit fixed point, one is 1e+10"),
        (1.0, 0, None),
    ],
)
def test_weights_that_fixed_point_would_lose_are_refused(
    first: float, exponent: int, words: str | None, tmp_path: Path
) -> None:
    state = trained() | {"0.weight": torch.full((3, 4), 0.5)}
    state["0.weight"][0, 0] = first
    save_file(state, file := tmp_path / "weights.safetensors")
    task = replace(TASK, weights=file, exponents={"0.weight": exponent})
    values = initial_model(task, 0)
    kept = fixedpoint.decode(fixedpoint.encode(values, 24), 24)
    if words is None:
        require_kept(layout(task), values, kept)
        return
    with pytest.raises(ConfigError, match=re.escape(words)):
        require_kept(layout(task), values, kept)
