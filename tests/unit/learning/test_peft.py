"""Adapters are written by the part of a module that PEFT made; what PEFT loads of them is theirs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bcfl.errors import ConfigError
from bcfl.learning import Dataset, Samples, Task
from bcfl.learning.peft import save_adapters
from bcfl.learning.training import initial_model

NOTHING = Samples(np.zeros((0, 4), np.float32), np.zeros(0, np.int64))


class Adapters(nn.Module):
    """What a model of PEFT's has: a configuration, and a way to write itself."""

    def __init__(self) -> None:
        super().__init__()
        self.peft_config = {"default": "lora"}
        self.lora_A = nn.Linear(4, 2)

    def save_pretrained(self, folder: str, **_: object) -> None:
        Path(folder).mkdir()
        np.save(Path(folder) / "adapters.npy", self.lora_A.weight.detach().numpy())


def adapted() -> nn.Module:
    return nn.Sequential(Adapters())


TASK = Task("adapted", "", lambda _: Dataset(NOTHING, NOTHING), adapted)


def test_the_adapters_are_those_of_the_model(tmp_path: Path) -> None:
    vector = np.arange(10, dtype=np.float32)
    save_adapters(TASK, vector, tmp_path / "out")
    assert np.array_equal(np.load(tmp_path / "out" / "adapters.npy"), vector[:8].reshape(2, 4))


def test_a_model_without_adapters_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="builds no model of PEFT's: take --format safetensors"):
        save_adapters(
            replace(TASK, build=lambda: nn.Linear(4, 2)), np.zeros(10, np.float32), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match="its adapters cannot be written to"):
        save_adapters(TASK, np.zeros(10, np.float32), tmp_path / "out")


def test_peft_loads_what_is_written(tmp_path: Path) -> None:
    """With PEFT where it is installed: a base model with the written adapters computes what the task does."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    os.environ["HF_HUB_OFFLINE"] = "1"

    class Base(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            return self.layer(x)

    def base() -> nn.Module:
        torch.manual_seed(7)
        return Base()

    config = peft.LoraConfig(r=2, target_modules=["layer"])
    task = replace(
        TASK, build=lambda: peft.get_peft_model(base(), config), shared=lambda name, _: "lora_" in name
    )
    vector = np.random.default_rng(0).normal(0, 1, len(initial_model(task, 0))).astype(np.float32)
    save_adapters(task, vector, tmp_path / "out")
    loaded = peft.PeftModel.from_pretrained(base(), str(tmp_path / "out"))
    weights = np.concatenate(
        [value.detach().numpy().ravel() for name, value in loaded.named_parameters() if "lora_" in name]
    )
    assert np.array_equal(np.sort(weights), np.sort(vector))
    x = torch.ones(1, 4)
    assert not torch.equal(loaded(x), base()(x))
