"""Each check says what it needs of the updates, gets no more, and needs all that it says."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bcfl.ports import Slopes
from bcfl.roles import checks as package
from bcfl.roles.checks import (
    against,
    clusters,
    direction,
    duplicate,
    harm,
    hidden_task,
    krum,
    length,
    levels,
    mark,
    mark_slope,
    min_norm,
    norm,
    novelty,
    taught,
    time,
)  # fmt: skip
from bcfl.roles.checks.needs import Needs, Updates
from bcfl.roles.checks.pipeline import CheckInputs, Checks, Reference, judge

NO_CHECKS = {"__init__", "few", "medians", "memory", "needs", "pipeline", "scores", "shared"}
SIZE = 400
RNG = np.random.default_rng(3)
BEST = RNG.normal(0, 1, SIZE).astype(np.float32)
ROWS = (BEST + RNG.normal(0, 1, (24, SIZE))).astype(np.float32)
MANY = (np.tile(ROWS, (3, 1)) + RNG.normal(0, 0.5, (72, SIZE))).astype(np.float32)
BOTH = (Needs.GRAM, Needs.SUMS)
NEEDS = [
    (norm, Needs.GRAM), (length, Needs.GRAM), (min_norm, Needs.GRAM), (krum, Needs.GRAM),
    (duplicate, Needs.GRAM), (novelty, Needs.GRAM), (harm, Needs.SUMS), (mark, Needs.VECTOR),
    *((module, need) for module in (against, clusters, direction, levels, taught) for need in BOTH),
    *((module, need) for module in (mark_slope, hidden_task) for need in (*BOTH, Needs.VECTOR)),
]  # fmt: skip


@pytest.fixture(autouse=True)
def of_small_models_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taught, "LEAST", 0)


def reference() -> Reference:
    """A miner whose loss is the squared distance to the optimum."""

    def losses(delta: np.ndarray, samples: int) -> tuple[np.ndarray, int]:
        return np.full(8, np.square(delta - BEST).mean()) + np.arange(8) / 100, samples

    def slopes(delta: np.ndarray, parts: int) -> Slopes:
        gradients = np.stack([2 * (delta - BEST) / SIZE] * parts).astype(np.float32)
        return Slopes(float(losses(delta, 8)[0].mean()), gradients, 8)

    def marks(*_: Any) -> np.ndarray:
        return np.zeros(2, np.float32)

    def mark_slopes(*_: Any) -> np.ndarray:
        return np.stack([BEST, 0 * BEST])

    def class_slopes(_: int) -> np.ndarray:
        return ROWS[:3]

    return Reference(lambda: BEST, slopes, None, losses, marks, mark_slopes, class_slopes)


def play(count: int, quality: bool = True) -> None:
    """Judge a round in which every check has something to look at; of many a third follow another aim."""
    rows = MANY[:count].copy()
    if count > 16:
        rows[: count // 3] = (0.2 * RNG.normal(0, 1, (count // 3, SIZE)) - BEST).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    inputs = CheckInputs(
        rows, np.full(count, 10.0), list(range(count)), np.ones(count, bool), None,
        sketches=unit, earlier_sketches=unit[:2][:, ::-1].copy(), sketch=lambda vectors: vectors,
    )  # fmt: skip
    judge(inputs, reference(), Checks(krum=1, quality=quality))


def play_all() -> None:
    for count in (6, 24, 72):
        play(count)
    play(24, quality=False)  # without levels the miner's own training says which directions are good


def modules() -> list[ModuleType]:
    names = sorted(file.stem for file in Path(str(package.__file__)).parent.glob("*.py"))
    return [import_module(f"bcfl.roles.checks.{name}") for name in names if name not in NO_CHECKS]


def test_every_check_says_what_it_needs() -> None:
    declared: dict[ModuleType, Needs] = dict.fromkeys(modules(), Needs.CLAIMS)
    for module, need in NEEDS:
        declared[module] |= need
    assert {module.__name__: module.NEEDS for module in declared} == {
        module.__name__: needs for module, needs in declared.items()
    }
    assert time.NEEDS == Needs.CLAIMS


def test_declared_needs_are_enough() -> None:
    play_all()


@pytest.mark.parametrize(
    ("module", "need"), NEEDS, ids=lambda value: getattr(value, "name", None) or value.__name__
)
def test_without_one_of_its_needs_a_check_is_refused(
    module: ModuleType, need: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NEEDS", module.NEEDS & ~need)
    with pytest.raises(TypeError, match=f"uses .*{need.name}.*: state what it needs"):
        play_all()


def test_a_view_answers_as_the_matrix_does() -> None:
    updates = Updates(ROWS)
    products = (ROWS @ ROWS.T).astype(np.float64)
    gram, sums = updates.view(Needs.GRAM), updates.view(Needs.SUMS)
    weights = np.arange(24, dtype=np.float32)
    assert np.array_equal(gram.gram, products)
    assert np.array_equal(gram @ gram.T, ROWS @ ROWS.T)
    assert np.array_equal(gram[:5] @ gram.T, ROWS[:5] @ ROWS.T)
    assert np.array_equal(gram.norms, np.sqrt(np.diag(products)))
    assert np.array_equal(weights @ sums, weights @ ROWS)
    assert np.array_equal(sums @ BEST, ROWS @ BEST)
    assert np.array_equal(sums[3], ROWS[3])
    assert (len(gram), gram.shape, updates.parameters) == (24, (24, SIZE), SIZE)
    assert updates.view(Needs.VECTOR).matrix is ROWS


@pytest.mark.parametrize("needs", [*Needs, Needs.CLAIMS])
def test_a_view_gives_no_more_than_is_declared(needs: Needs) -> None:
    view = Updates(ROWS).view(needs)
    uses: dict[Needs, list[Callable[[], Any]]] = {
        Needs.GRAM: [lambda: view.gram, lambda: view.norms, lambda: view.cosines, lambda: view @ view.T],
        Needs.SUMS: [lambda: np.ones(24, np.float32) @ view, lambda: view @ BEST, lambda: view[0]],
        Needs.VECTOR: [lambda: view.matrix, lambda: view[:2].matrix],
    }
    for need, calls in uses.items():
        for call in calls:
            if need in needs:
                call()
            else:
                with pytest.raises(TypeError, match=f"uses {need}"):
                    call()


def test_numpy_makes_no_matrix_of_a_view() -> None:
    view: Any = Updates(ROWS).view(~Needs.VECTOR)
    uses: list[Callable[[], Any]] = [
        lambda: view + 1, lambda: np.add(view, 1), lambda: np.matmul(ROWS.T, view),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(TypeError):
            use()


def test_the_pipeline_gives_checks_nothing_but_views() -> None:
    """The matrix itself is read once, where views are made of it."""
    source = Path(str(package.__file__)).with_name("pipeline.py").read_text()
    reads = [
        node for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and node.attr == "updates" and "inputs" in ast.unparse(node.value)
    ]  # fmt: skip
    assert [ast.unparse(node) for node in reads] == ["inputs.updates"]


def test_levels_without_gradients_need_no_more() -> None:
    blind = replace(
        reference(), slopes=lambda *_: Slopes(np.nan, np.zeros((0, SIZE), np.float32), 0), losses=None
    )
    inputs = CheckInputs(ROWS, np.full(24, 10.0), list(range(24)), np.ones(24, bool))
    judge(inputs, blind, Checks())
