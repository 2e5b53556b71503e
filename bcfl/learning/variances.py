"""Say how small a running variance may be, whatever rounding has made of it.

A lane holds a variance to a step. That of a constant feature, or of a unit that never fires, may come out
below 0, and the square root of a norm layer is then no number; at 0 exactly, a rounded mean counts hundreds
of times. So whoever uses a model takes no variance for less than a step of a 16-bit lane: it is not known
better than that. The vector keeps what it has, and a device's change is to that.
"""

from __future__ import annotations

from typing import Final

NAME: Final = "running_var"  # as torch's norm layers call it
STEP: Final = 2.0**-14  # of a 16-bit lane, by default


def is_variance(name: str) -> bool:
    """Whether a buffer of that name is a running variance."""
    return name.rpartition(".")[2] == NAME


def least(exponent: int | None) -> float:
    """Return the least that a variance may be; 0 where it is not shared (None), for nothing rounds it."""
    return 0.0 if exponent is None else STEP * 2.0**exponent
