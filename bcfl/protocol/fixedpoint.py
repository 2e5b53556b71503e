"""Encode real numbers as signed integer lanes: the only place where a float becomes an integer.

A model lane `G` is worth `G * 2**-scale_bits`; an update lane is worth `lane * 2**-(scale_bits - shift)`.
Both are in the vector's units: a tensor's own values are `2**exponent` times that (`bcfl/learning/flat.py`).
Scales are powers of two, so nothing but the one rounding, half to even, ever changes a value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bcfl.errors import PayloadError
from bcfl.protocol.limits import MODEL_BITS

Lanes = npt.NDArray[np.signedinteger[Any]]  # (parameters,) of int8, int16 or int32
Model = npt.NDArray[np.int32]  # (parameters,)
Wide = npt.NDArray[np.int64]  # sums and products of lanes
Reals = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_DTYPES: dict[int, np.dtype[np.signedinteger[Any]]] = {
    8: np.dtype(np.int8),
    16: np.dtype(np.int16),
    32: np.dtype(np.int32),
}


def lane_dtype(lane_bits: int) -> np.dtype[np.signedinteger[Any]]:
    """Return the integer type of a lane of 8, 16 or 32 bits; any other width raises PayloadError."""
    if lane_bits not in _DTYPES:
        raise PayloadError(f"lanes have 8, 16 or 32 bits, not {lane_bits}")
    return _DTYPES[lane_bits]


def saturate(values: Wide, lane_bits: int = MODEL_BITS) -> Lanes:
    """Clip integers to the range of a lane of `lane_bits`, in that lane's type and the same shape."""
    dtype = lane_dtype(lane_bits)
    bounds = np.iinfo(dtype)
    return np.clip(values, bounds.min, bounds.max).astype(dtype)


def divide_half_even(numerator: Wide, denominator: int) -> Wide:
    """Return exact quotients rounded to the nearest integer, a half to the even one.

    `denominator` is positive and below 2**61, so that twice a remainder fits.
    """
    quotient = numerator // denominator
    twice = (numerator - quotient * denominator) * 2  # 0 <= twice < 2 * denominator
    quotient += (twice > denominator) | ((twice == denominator) & (quotient & 1 == 1))
    return quotient


def encode(values: Reals, scale_bits: int) -> Model:
    """Encode a float vector as model lanes, (parameters,), rounded half to even and saturating.

    Raises PayloadError if a value is not finite: a vector that holds one is worth nothing.
    """
    return _round(_scale(values, scale_bits), MODEL_BITS).astype(np.int32)


def decode(lanes: Lanes, scale_bits: int) -> npt.NDArray[np.float32]:
    """Decode lanes, (parameters,), at scale `2**-scale_bits`, rounded once to float32."""
    return lanes.astype(np.float32) * np.float32(2.0**-scale_bits)


def encode_update(
    delta: Reals, residual: Reals | None, lane_bits: int, scale_bits: int, shift: int
) -> tuple[Lanes, npt.NDArray[np.float64]]:
    """Encode `delta + residual` as lanes; return them and the new residual, both (parameters,).

    The residual is what rounding and saturation took away. Error feedback (Seide et al. 2014; Karimireddy et
    al. 2019): the sum of all values sent plus the last residual is the sum of all deltas. `residual` is None
    or the second result of the device's previous call. Raises PayloadError if a value is not finite.
    """
    bits = scale_bits - shift
    units = _scale(delta if residual is None else delta.astype(np.float64) + residual, bits)
    whole = _round(units, lane_bits)
    lanes = whole.astype(lane_dtype(lane_bits))
    units -= whole
    units *= 2.0**-bits
    return lanes, units


def decode_update(lanes: Lanes, scale_bits: int, shift: int) -> npt.NDArray[np.float32]:
    """Decode update lanes, (parameters,), at scale `2**-(scale_bits - shift)`, to float32."""
    return decode(lanes, scale_bits - shift)


def _scale(values: Reals, bits: int) -> npt.NDArray[np.float64]:
    """Return `values * 2**bits` in a new float64 array: exact, for the factor is a power of two."""
    with np.errstate(over="ignore"):
        units = np.multiply(values, 2.0**bits, dtype=np.float64)
    if not np.isfinite(units).all():
        raise PayloadError("the vector holds a value that is not finite: training diverged")
    return units


def _round(units: npt.NDArray[np.float64], lane_bits: int) -> npt.NDArray[np.float64]:
    """Round to whole numbers, half to even, within the range of a lane; float64 holds all of them exactly."""
    bounds = np.iinfo(lane_dtype(lane_bits))
    whole = np.rint(units)
    return np.clip(whole, bounds.min, bounds.max, out=whole)
