"""The strategy of a Flower app says what its clients get in each round, and does nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bcfl.learning.flower import Node
from tests.unit.learning.test_flower import STARTS, app, learner

DECAYS = """
    import random
    from logging import INFO

    class Decay({base}):
        asked = []

        def configure_train(self, server_round, arrays, config, grid):
            if server_round % 2 == 0:
                config["lr"] *= 0.5
            self.asked.append(server_round)
            messages = list(super().configure_train(server_round, arrays, config, grid))
            return [] if server_round == 3 else messages

        def aggregate_train(self, server_round, replies):
            raise AssertionError("the federation aggregates")
        {more}

    def evaluated(server_round, arrays):
        raise AssertionError("the ServerApp's own evaluation is not used")

    strategy = Decay(min_available_nodes=3)
    main.strategy = strategy
    strategy.start(
        grid=grid, initial_arrays=ArrayRecord([np.ones(3)]), train_config=ConfigRecord({{"lr": 0.8}}),
        evaluate_fn={evaluate}, num_rounds=2,
    )
"""
LEARNS = (
    "return answer(msg, [a * msg.content['config']['lr'] for a in msg.content['arrays'].to_numpy_ndarrays()])"
)


def test_a_strategy_gives_the_config_of_each_round(tmp_path: Path) -> None:
    """In order, once a round, also beyond the app's own; one that it leaves out is as the one before."""
    task = app(tmp_path, LEARNS, main=DECAYS.format(base="FedAvg", more="", evaluate="evaluated"))
    learners = [learner(task, Node(place, 2)) for place in range(2)]

    def rates(*rounds: int) -> list[float]:
        return [
            float(each.train(np.ones(3, np.float32), number).vector[0])
            for number in rounds
            for each in learners
        ]

    assert rates(1, 2) == pytest.approx([0.8, 0.8, 0.4, 0.4])
    assert rates(5) == pytest.approx([0.2, 0.2])
    assert rates(3, 1) == pytest.approx([0.4, 0.4, 0.8, 0.8])
    main = sys.modules[f"{task.client.partition(':')[0]}_server"].main
    assert main.strategy.asked == [1, 2, 3, 4, 5]
    again = learner(task, Node(1, 2)).evaluate(np.ones(3, np.float32))
    assert again.samples == 10


def test_a_strategy_of_flowers_adds_its_own(tmp_path: Path) -> None:
    """Flower's FedProx sends its mu with the config of each round."""
    main = STARTS.replace("FedAvg(", "FedProx(proximal_mu=0.25, ")
    main = f"from flwr.serverapp.strategy import FedProx; {main}"
    train = LEARNS.replace("lr", "proximal-mu")
    task = app(tmp_path, train, main=main)
    assert np.allclose(learner(task).train(np.ones(5, np.float32), 4).vector, 0.25)


def test_a_start_of_its_own_gives_the_config_of_the_first_round(tmp_path: Path) -> None:
    more = """
        def start(self, grid, initial_arrays, num_rounds, train_config, evaluate_fn):
            for number in range(1, num_rounds + 1):
                grid.send_and_receive(self.configure_train(number, initial_arrays, train_config, grid))
    """
    task = app(tmp_path, LEARNS, main=DECAYS.format(base="FedAvg", more=more, evaluate="None"))
    vectors = [learner(task).train(np.ones(3, np.float32), number).vector[0] for number in (1, 2, 4)]
    assert vectors == pytest.approx([0.8, 0.8, 0.8])


def test_flowers_own_start_is_put_back(tmp_path: Path) -> None:
    from flwr.serverapp.strategy import Strategy

    before = Strategy.start
    assert len(app(tmp_path).first_model) == 5
    assert Strategy.start is before
