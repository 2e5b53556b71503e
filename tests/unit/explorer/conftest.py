"""Explorers of two recorded rounds, asked over HTTP without a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.explorers import Served, run_target, serving
from tests.unit.cli.conftest import play_two_rounds


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An explorer of two rounds of which the first has ended; its store is empty."""
    runs = tmp_path_factory.mktemp("explored") / "runs"
    play_two_rounds(runs)
    with serving(run_target(next(runs.iterdir())), measures=False) as explorer:
        yield explorer
