"""Say what a running variance is taken for where rounding has made nothing of it, and where it begins.

A lane holds a variance to a step. That of a constant feature, or of a unit that never fires, may come out
below 0, and the square root of a norm layer is then no number; at 0 exactly, a rounded mean counts hundreds
of times. So whoever uses a model takes a variance that is not above 0 for a step of a 16-bit lane. What is
above 0 stays, however small: lanes of 32 bits hold it, and so does every model that began with it. The
vector keeps what it has, and a device's change is to that.

Where each channel has an exponent of its own (`bcfl.learning.channels`), a variance that is known takes a
place not above `BEGIN` in the vector. One that is not above 0 is taken for far less, and none begins higher:
from the 1 of torch a lane would not come down to what the channel has.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from bcfl.protocol.types import Exponent, Layout

if TYPE_CHECKING:
    from torch import Tensor

    from bcfl.ports import Vector

NAME: Final = "running_var"  # as torch's norm layers call it
STEP: Final = 2.0**-14  # of a 16-bit lane, by default
BEGIN: Final = 0.25  # in the vector's units
LEAST: Final = 2.0**-10  # in the vector's units, where each channel has an exponent


def is_variance(name: str) -> bool:
    """Whether a buffer of that name is a running variance."""
    return name.rpartition(".")[2] == NAME


def instead(exponent: Exponent | None) -> npt.NDArray[np.float32]:
    """Return what variances are taken for that are not above 0, () or (entries,).

    They are 0 where the tensor is not shared (None).
    """
    if exponent is None:
        return np.zeros((), np.float32)
    return np.ldexp(np.float32(LEAST if isinstance(exponent, tuple) else STEP), exponent)


def instead_of(view: Tensor, exponent: Exponent | None) -> Tensor:
    """Return `instead` as a tensor like `view`."""
    return view.new_tensor(np.resize(instead(exponent), view.shape))


def begin(vector: Vector, layout: Layout) -> Vector:
    """Lower in place the variances that a newly built module has in its vector, (parameters,); return it."""
    start = 0
    for tensor in layout.tensors:
        stop = start + prod(tensor.shape)
        if is_variance(tensor.name) and isinstance(tensor.exponent, tuple):
            np.minimum(vector[start:stop], BEGIN, out=vector[start:stop])
        start = stop
    return vector
