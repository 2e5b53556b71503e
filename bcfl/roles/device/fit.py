"""Count what the lanes of an update could not hold: changes that saturate, and changes that vanish.

Neither is lost for good, as the residual carries both into the next update. Many of them mean that a tensor's
exponent does not suit it. One line of JSON a round in the file `fit.jsonl` of the device's journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from functools import reduce
from math import prod
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from bcfl.protocol.types import Layout
from bcfl.roles.common.journal import Journal, appended

if TYPE_CHECKING:  # reports count without numpy, whose import takes longer than a command's help
    import numpy as np
    import numpy.typing as npt

    from bcfl.protocol.fixedpoint import Lanes

FILE = "fit.jsonl"
SATURATED_SHARE = 0.01  # of all changes: more are worth a warning
SATURATED_TENSOR_SHARE = 0.25  # of one tensor's
VANISHED_SHARE = 0.5  # of all changes
NAMED = 3  # tensors


@dataclass(frozen=True)
class Counts:
    """Coordinates that training changed, those whose lane saturated, and those whose lane is 0 even so."""

    saturated: int = 0
    vanished: int = 0
    moved: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.saturated + other.saturated, self.vanished + other.vanished, self.moved + other.moved
        )

    @property
    def saturated_share(self) -> float:
        """Return the share of the changes that saturated, 0 to 1."""
        return self.saturated / max(1, self.moved)

    @property
    def vanished_share(self) -> float:
        """Return the share of the changes that vanished, 0 to 1."""
        return self.vanished / max(1, self.moved)


Fit = dict[str, Counts]  # by tensor


def fit_of(layout: Layout, lanes: Lanes, residual: npt.NDArray[np.float64], bits: int) -> Fit:
    """Count by tensor, of an update's lanes and residual, (parameters,), at scale `2**-bits`."""
    saturated = abs(residual) > 2.0**-bits / 2  # rounding alone takes away half a step at most
    vanished = (lanes == 0) & (residual != 0)
    moved = vanished | (lanes != 0)
    fit, start = Fit(), 0
    for tensor in layout.tensors:
        span = slice(start, start + prod(tensor.shape))
        fit[tensor.name] = Counts(*(int(mask[span].sum()) for mask in (saturated, vanished, moved)))
        start = span.stop
    return fit


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts."""
    return reduce(add, counts, Counts())


def merge(fits: Iterable[Mapping[str, Counts]]) -> Fit:
    """Return the sums by tensor."""
    merged = Fit()
    for fit in fits:
        for name, counts in fit.items():
            merged[name] = merged.get(name, Counts()) + counts
    return merged


def remarkable(fit: Mapping[str, Counts]) -> Fit:
    """Return the tensors that a warning may name."""
    return {
        name: counts
        for name, counts in fit.items()
        if counts.saturated_share > SATURATED_SHARE or counts.vanished_share > VANISHED_SHARE
    }


def excess(whole: Counts, tensors: Mapping[str, Counts]) -> str | None:
    """Return in words what of `whole` is more than should be, None if nothing; `tensors` are remarkable.

    A tensor of which much saturates counts however small it is: without BatchNorm's statistics, say, a model
    is worth nothing.
    """
    words = []
    saturated = [name for name, counts in tensors.items() if counts.saturated_share > SATURATED_SHARE]
    is_one = any(counts.saturated_share > SATURATED_TENSOR_SHARE for counts in tensors.values())
    if whole.saturated_share > SATURATED_SHARE or is_one:
        words.append(f"{whole.saturated_share:.2%} of the changes saturate their lanes{_names(saturated)}")
    if whole.vanished_share > VANISHED_SHARE:
        vanished = [name for name, counts in tensors.items() if counts.vanished_share > VANISHED_SHARE]
        words.append(f"{whole.vanished_share:.0%} of the changes vanish between its steps{_names(vanished)}")
    return " and ".join(words) or None


def write(journal: Journal, number: int, fit: Fit) -> None:
    """Add the fit of a round's update to the journal."""
    journal.append(FILE, {"round": number, "tensors": {name: astuple(item) for name, item in fit.items()}})


def read(folder: Path, number: int) -> Fit | None:
    """Return the fit of a round's update from the folder of a journal; None without a readable line."""
    record = appended(folder / FILE, number)
    try:
        tensors = {} if record is None else record["tensors"]
        return {str(name): Counts(*map(int, item)) for name, item in tensors.items()} or None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _names(tensors: list[str]) -> str:
    more = len(tensors) - NAMED
    names = ", ".join(tensors[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f" ({names})" if names else ""
