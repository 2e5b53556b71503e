"""Read MNIST's idx files strictly: sizes are checked before anything else is read.

The format: two zero bytes, the element type (0x08: unsigned byte), the number of dimensions, each extent as a
big-endian 32-bit integer, then the elements and nothing after them. http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bcfl.errors import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, item_shape: tuple[int, ...], max_items: int) -> npt.NDArray[np.uint8]:
    """Read the array, (items, *item_shape), in the gzipped idx file at `path`; raises DataError.

    Memory is bounded by `max_items` whatever the file claims or unpacks to.
    """
    try:
        with gzip.open(path, "rb") as stream:
            items = _read_header(stream, path, item_shape, max_items)
            size = items * math.prod(item_shape)
            content = stream.read(size + 1)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: --data must name the folder that holds it") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if len(content) != size:
        count = "more" if len(content) > size else f"{len(content)}"
        raise DataError(f"{path} announces {size} bytes and holds {count}: fetch it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(items, *item_shape)


def _read_header(stream: gzip.GzipFile, path: Path, item_shape: tuple[int, ...], max_items: int) -> int:
    dimensions = 1 + len(item_shape)
    header = stream.read(4 + 4 * dimensions)
    if len(header) != 4 + 4 * dimensions or header[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)):
        raise DataError(f"{path} is not an idx file of unsigned bytes in {dimensions} dimensions")
    items, *extents = struct.unpack(f">{dimensions}I", header[4:])
    if tuple(extents) != item_shape:
        raise DataError(f"{path} holds items of shape {tuple(extents)} instead of {item_shape}")
    if items > max_items:
        raise DataError(f"{path} announces {items} items; at most {max_items} are read")
    return int(items)
