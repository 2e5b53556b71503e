"""What devices gave in earlier rounds: of accepted updates alone, bounded, and the same after a restart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bcfl.protocol.rounds import Round, Submission
from bcfl.roles.checks.shared import share
from bcfl.roles.miner import contributions
from bcfl.roles.miner.contributions import KEPT, Contributions
from bcfl.roles.miner.verifier import as_matrix
from tests.local_federation import TERMS, LocalFederation


def load_from(local: LocalFederation) -> contributions.Load:
    def load(items: list[Submission]) -> tuple[list[int], np.ndarray]:
        return list(range(len(items))), as_matrix([local.archive.update(item) for item in items], TERMS)

    return load


def matrix(local: LocalFederation, memory: Contributions, number: int) -> np.ndarray:
    devices = list(range(local.devices))
    vectors = memory.of(local.history, local.history.rounds.get(number) or Round(number, 0), devices)
    nothing = np.zeros(TERMS.parameters, np.float32)
    return np.stack([nothing if vector is None else vector for vector in vectors])


def test_it_is_the_weighted_surplus_over_the_median_and_fades(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, devices=5)
    for _ in range(2):
        local.play()
    memory = Contributions(load_from(local))
    assert not matrix(local, memory, 1).any()
    expected = np.zeros((5, TERMS.parameters))
    for number in (1, 2):
        expected *= KEPT
        items = local.history.rounds[number].accepted_submissions()
        _, rows = load_from(local)(items)
        total = sum(item.weight for item in items)
        for item, row in zip(items, rows, strict=True):
            expected[item.update.device] += item.weight / total * (row - np.median(rows, axis=0))
    assert expected.any()
    assert matrix(local, memory, 3) == pytest.approx(expected, abs=1e-6)
    restarted = Contributions(load_from(local))
    assert np.array_equal(matrix(local, restarted, 3), matrix(local, memory, 3))
    assert not matrix(local, memory, 1).any(), "a round that is judged again counts nothing of itself"


def test_what_was_rejected_or_is_gone_counts_nothing_and_memory_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalFederation(tmp_path, devices=5)
    round_ = local.play()
    assert round_.accepted is not None
    lost = round_.submissions[1].update.device
    round_.levels = tuple(3 * (i != 1) for i in range(5))
    rows = matrix(local, Contributions(load_from(local)), 2)
    assert [bool(row.any()) for row in rows] == [device != lost for device in range(5)]
    assert not matrix(local, Contributions(lambda _: ([], np.zeros((0, 0), np.float32))), 2).any()
    monkeypatch.setattr(contributions, "DEVICES", 2)
    assert sum(bool(row.any()) for row in matrix(local, Contributions(load_from(local)), 2)) == 2
    monkeypatch.setattr(contributions, "FEW", 3)  # of five updates four were accepted
    assert not matrix(local, Contributions(load_from(local)), 2).any()


def test_after_a_restart_nobody_is_asked_for_what_is_kept_no_longer(tmp_path: Path) -> None:
    """Rounds are read backwards; where nothing of one can be had, those before it are not looked for."""
    local = LocalFederation(tmp_path, devices=5)
    for _ in range(4):
        local.play()
    load, asked = load_from(local), list[int]()

    def load_late(submissions: list[Submission]) -> tuple[list[int], np.ndarray]:
        asked.append(submissions[0].update.round)
        return load(submissions) if asked[-1] > 2 else ([], np.zeros((0, 0), np.float32))

    late = matrix(local, Contributions(load_late), 5)
    assert asked == [4, 3, 2]
    assert late.any()
    whole = matrix(local, Contributions(load), 5)
    assert not np.array_equal(late, whole)


def test_miners_of_one_process_keep_the_same_vectors(tmp_path: Path) -> None:
    """Each has its own memory of what it has seen, and no copy of what all see."""
    local = LocalFederation(tmp_path, devices=5)
    known: dict[int, np.ndarray] = {}

    def load(items: list[Submission]) -> tuple[list[int], np.ndarray]:
        places, rows = load_from(local)(items)
        return places, known.setdefault(items[0].update.round, share(rows))

    memories, devices = [Contributions(load) for _ in range(2)], list(range(5))
    for number in (1, 2, 3):
        local.play()
        one, other = (each.of(local.history, Round(number + 1, 0), devices) for each in memories)
        assert any(vector is not None for vector in one)
        assert all(mine is its for mine, its in zip(one, other, strict=True))
    alone = Contributions(load_from(local)).of(local.history, Round(4, 0), devices)
    for mine, its in zip(one, alone, strict=True):
        assert mine is not None
        assert mine == pytest.approx(its, abs=1e-6)
