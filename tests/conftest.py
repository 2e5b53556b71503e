"""What all tests share: how hypothesis explores, and an environment without the caller's own settings."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# Two test processes on two cores: more threads in each only wait for one another. torch reads it at import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The gate tries the same examples every time; HYPOTHESIS_PROFILE=explore looks for new ones, and for longer.
slow_is_fine = (HealthCheck.too_slow,)
settings.register_profile("gate", derandomize=True, deadline=None, suppress_health_check=slow_is_fine)
settings.register_profile("explore", deadline=None, suppress_health_check=slow_is_fine, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_caller() -> Iterator[None]:
    """No test depends on the BCFL_* variables of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BCFL_")]:
            patch.delenv(name)
        yield
