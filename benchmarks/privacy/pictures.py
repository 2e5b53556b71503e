"""Draw originals beside reconstructions into a PNG of shades of grey, with nothing but zlib."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.privacy.font import LETTERS

Bytes = npt.NDArray[np.uint8]
PAPER, INK, EMPTY = 255, 40, 225
GAP, LABEL_WIDTH, MARGIN, LETTER_DOT = 8, 330, 16, 2  # dots


def text(words: str) -> Bytes:
    """Return a line of text as shades, (height, width)."""
    columns: list[int] = []
    for letter in words:
        columns += [*bytes.fromhex(LETTERS[letter]), 0]
    bits = np.array([[column >> row & 1 for column in columns] for row in range(8)], np.uint8)
    dots = bits.repeat(LETTER_DOT, 0).repeat(LETTER_DOT, 1)
    return np.where(dots, INK, PAPER).astype(np.uint8)


def sheet(lines: list[tuple[str, npt.NDArray[np.float64]]], side: int) -> Bytes:
    """Return labelled lines of pictures, each (count, height, width) from 0 to 1, as shades.

    A picture is drawn `side` dots wide. Ink is dark, as it was on paper.
    """
    most = max(len(pictures) for _, pictures in lines)
    width = 2 * MARGIN + LABEL_WIDTH + most * (side + GAP)
    canvas = np.full((2 * MARGIN + len(lines) * (side + GAP) - GAP, width), PAPER, np.uint8)
    for row, (label, pictures) in enumerate(lines):
        top = MARGIN + row * (side + GAP)
        words = text(label)
        middle = top + (side - len(words)) // 2
        canvas[middle : middle + len(words), MARGIN : MARGIN + words.shape[1]] = words
        for column in range(most):
            left = MARGIN + LABEL_WIDTH + column * (side + GAP)
            area = canvas[top : top + side, left : left + side]
            area[:] = EMPTY
            if column < len(pictures):
                scale = side // pictures.shape[1]
                shades = np.rint(255 * (1 - pictures[column])).astype(np.uint8)
                area[:] = shades.repeat(scale, 0).repeat(scale, 1)
    return canvas


def write(path: Path, shades: Bytes) -> None:
    """Write shades, (height, width), as a PNG."""
    height, width = shades.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), shades], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        crc = zlib.crc32(kind + content)
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
