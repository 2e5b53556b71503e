"""Make bytes that ChaCha20-Poly1305 opens under two keys to two contents.

The tag is a polynomial of the ciphertext in a number that follows from the key. Two blocks of it are chosen
so that the polynomials of both keys come to the same tag (Len, Grubbs and Ristenpart, "Partitioning Oracle
Attacks", USENIX Security 2021).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

PRIME: Final = 2**130 - 5
CLAMP: Final = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
TOP: Final = 1 << 128  # that a whole block has on top
BLOCK: Final = 16


@dataclass(frozen=True)
class TwoKeys:
    """Two keys of 32 bytes."""

    first: bytes
    second: bytes


def two_keys(keys: TwoKeys, data: bytes, size: int) -> bytes:
    """Return a ciphertext with its tag, `size` bytes, that both keys open with the associated `data`."""
    while True:
        text = bytearray(os.urandom(size - BLOCK))
        tag = int.from_bytes(os.urandom(BLOCK), "little")
        if _solve(keys, data, text, tag):
            return bytes(text) + tag.to_bytes(BLOCK, "little")


def _solve(keys: TwoKeys, data: bytes, text: bytearray, tag: int) -> bool:
    """Choose the first two blocks so that both keys give the tag; False where no choice is a block."""
    text[: 2 * BLOCK] = bytes(2 * BLOCK)
    first = -(-len(data) // BLOCK)  # the place of the first chosen block
    rows = []
    for key in (keys.first, keys.second):
        number, pad = _one_time(key)
        blocks = _blocks(data, bytes(text))
        powers = [pow(number, len(blocks) - place, PRIME) for place in (first, first + 1)]
        sum_ = sum(block * pow(number, len(blocks) - i, PRIME) for i, block in enumerate(blocks))
        rows.append((*powers, ((tag - pad) % TOP - sum_) % PRIME))
    (a, b, u), (c, d, v) = rows
    for high in range(16):  # what the tag leaves out of both sums
        left, right = (u + high % 4 * TOP) % PRIME, (v + high // 4 * TOP) % PRIME
        inverse = pow(a * d - b * c, -1, PRIME)
        x, y = (left * d - b * right) * inverse % PRIME, (a * right - left * c) * inverse % PRIME
        if max(x, y) < TOP:
            text[: 2 * BLOCK] = x.to_bytes(BLOCK, "little") + y.to_bytes(BLOCK, "little")
            if all(_tag(key, data, bytes(text)) == tag for key in (keys.first, keys.second)):
                return True
    return False


def _one_time(key: bytes) -> tuple[int, int]:
    """Return the number and the pad of Poly1305 for a key and the nonce 0."""
    block = Cipher(ChaCha20(key, bytes(16)), None).encryptor().update(bytes(32))
    return int.from_bytes(block[:16], "little") & CLAMP, int.from_bytes(block[16:], "little")


def _blocks(data: bytes, text: bytes) -> list[int]:
    padded = data + bytes(-len(data) % BLOCK) + text + bytes(-len(text) % BLOCK)
    padded += len(data).to_bytes(8, "little") + len(text).to_bytes(8, "little")
    pieces = [padded[start : start + BLOCK] for start in range(0, len(padded), BLOCK)]
    return [int.from_bytes(piece, "little") + TOP for piece in pieces]


def _tag(key: bytes, data: bytes, text: bytes) -> int:
    number, pad = _one_time(key)
    sum_ = 0
    for block in _blocks(data, text):
        sum_ = (sum_ + block) * number % PRIME
    return (sum_ + pad) % TOP
