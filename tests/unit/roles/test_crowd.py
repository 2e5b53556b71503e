"""The median of a few values is that of numpy, bit by bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.roles.checks.scores import crowd, median

VALUES = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=9)


@given(VALUES)
def test_the_median_is_that_of_numpy(values: list[float]) -> None:
    assert median(np.array(values)) == np.median(values)


@pytest.mark.parametrize("place", range(4))
def test_what_is_no_number_has_no_median(place: int) -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    values[place] = np.nan
    assert math.isnan(median(values))
    assert all(map(math.isnan, crowd(values)))
