"""Medians of each parameter."""

from __future__ import annotations

import numpy as np
import pytest

from bcfl.roles.checks import medians


@pytest.mark.parametrize("count", [*range(1, 24), 32, 33, 60])
@pytest.mark.parametrize("has_ties", [False, True])
def test_the_median_is_that_of_each_parameter(
    count: int, has_ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = np.random.default_rng(count).normal(size=(count + 3, 101)).astype(np.float32)
    updates = np.round(updates) if has_ties else updates
    among = np.random.default_rng(count).permutation(count + 3) < count
    before = updates.copy()
    monkeypatch.setattr(medians, "WIDE", 7)
    monkeypatch.setattr(medians, "NARROW", 7)
    found = medians.median_of(updates, among)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.median(updates[among].astype(np.float64), axis=0).astype(np.float32))
    assert np.array_equal(updates, before)
