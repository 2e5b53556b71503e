"""An evaluation says which model it is of, whatever a Flower app calls a metric."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from bcfl.federation.evaluation import OwnData, evaluate
from bcfl.ports import Evaluation


def test_a_metric_does_not_stand_for_the_round() -> None:
    block = SimpleNamespace(round=2, root=b"root")
    query: Any = SimpleNamespace(
        find_model=lambda _: (3, block),
        read_model=lambda _: ("layout", np.zeros(1, np.int32)),
        terms=SimpleNamespace(scale_bits=16),
    )
    learner: Any = SimpleNamespace(evaluate=lambda _: Evaluation(0.5, 9, {"auc": 0.9, "round": 7.0}))
    view = evaluate(query, OwnData("app", "test", 9, learner, "layout"))  # type: ignore[arg-type]
    assert view == {"round": 3, "block_round": 2, "root": b"root", "auc": 0.9, "loss": 0.5}
