"""Leaves are larger for large models, as far as a challenge stays cheap."""

from __future__ import annotations

from typing import Literal

import pytest

from bcfl.config import Config
from bcfl.federation.terms import terms_of
from bcfl.protocol.types import Layout, TensorSpec

SMALL, LARGE = 2_000_000, 10_000_000


@pytest.mark.parametrize(
    ("parameters", "devices", "lane_bits", "lanes"),
    [
        (SMALL, 8, 16, 32), (LARGE, 8, 16, 128), (LARGE, 20, 16, 128), (LARGE, 24, 16, 128),
        (LARGE, 25, 16, 64), (LARGE, 48, 16, 64), (LARGE, 49, 16, 32), (LARGE, 1000, 16, 32),
        (LARGE, 40, 8, 128), (LARGE, 20, 32, 64),
    ],
)  # fmt: skip
def test_lanes_of_a_leaf(parameters: int, devices: int, lane_bits: Literal[8, 16, 32], lanes: int) -> None:
    layout = Layout((TensorSpec("weight", (parameters,)),))
    config = Config(devices=devices, miners=16, lane_bits=lane_bits)
    assert terms_of(config, layout, 100).leaf_lanes == lanes
    assert terms_of(config.model_copy(update={"leaf_lanes": 64}), layout, 100).leaf_lanes == 64
