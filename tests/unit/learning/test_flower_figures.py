"""What an app tells of a model, and what is written of its arrays."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors.numpy import load

from bcfl.federation.evaluation import figures
from bcfl.federation.views.model import to_safetensors
from bcfl.learning.flower import Node
from bcfl.ports import Evaluation
from bcfl.protocol.fixedpoint import encode
from tests.unit.learning.test_flower import app, learner


def test_an_app_that_tells_no_loss_has_none(tmp_path: Path) -> None:
    """Neither an infinite one, which stands for a loss that is no number."""
    from bcfl.learning.flower.learner import FlowerJudge, _mean

    task = app(tmp_path, evaluate="return answer(msg, None, accuracy=0.5)")
    evaluation = FlowerJudge(task, [Node(0, 2), Node(1, 2)]).evaluate(task.first_model)
    assert math.isnan(evaluation.loss)
    assert figures(evaluation) == {"accuracy": 0.5, "loss": None}
    known = Evaluation(2.0, 10, {})
    assert _mean([evaluation, known]).loss == 2
    diverged = app(tmp_path, evaluate="return answer(msg, None, loss=float('nan'))")
    assert learner(diverged).evaluate(diverged.first_model).loss == math.inf


def test_numbered_arrays_are_exported_under_names_that_sort(tmp_path: Path) -> None:
    arrays = "[np.full(1, float(place)) for place in range(12)]"
    main = f"FedAvg().start(grid=grid, initial_arrays=ArrayRecord({arrays}))"
    task = app(tmp_path, main=main)
    lanes = encode(task.first_model, 16)
    state = load(to_safetensors(task.layout, lanes, 16, {}, task))
    assert [float(state[name][0]) for name in sorted(state)] == list(range(12))
    assert sorted(state) == [f"{place:02}" for place in range(12)]
