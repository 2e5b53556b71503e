"""Say what a running variance is taken for where rounding has made nothing of it.

A lane holds a variance to a step. That of a constant feature, or of a unit that never fires, may come out
below 0, and the square root of a norm layer is then no number; at 0 exactly, a rounded mean counts hundreds
of times. So whoever uses a model takes a variance that is not above 0 for a step of a 16-bit lane. What is
above 0 stays, however small: lanes of 32 bits hold it, and so does every model that began with it. The
vector keeps what it has, and a device's change is to that.
"""

from __future__ import annotations

from typing import Final

NAME: Final = "running_var"  # as torch's norm layers call it
STEP: Final = 2.0**-14  # of a 16-bit lane, by default


def is_variance(name: str) -> bool:
    """Whether a buffer of that name is a running variance."""
    return name.rpartition(".")[2] == NAME


def instead(exponent: int | None) -> float:
    """Return what a variance is taken for that is not above 0; 0 where it is not shared (None)."""
    return 0.0 if exponent is None else STEP * 2.0**exponent
