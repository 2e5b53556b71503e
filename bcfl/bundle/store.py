"""Keep many contents in one file: a CARv1 that is written once and read as a store.

A reader trusts nothing in it: blocks are hashed when they are used. Memory holds an index of the blocks and
one content at a time. `ipfs dag import` takes the same file. https://ipld.io/specs/transport/car/carv1
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from bcfl.errors import BundleError, Corrupt, StoreError, Unavailable
from bcfl.protocol import cid as cids
from bcfl.protocol.cid import Cid
from bcfl.storage.ipld import car
from bcfl.storage.ipld.blocks import blocks_of
from bcfl.storage.ipld.dag import Assembly
from bcfl.storage.ipld.encoding import (
    CID_BYTES,
    Malformed,
    decode_cid,
    decode_varint,
    encode_cid,
    encode_varint,
)

PIECE = 1 << 20
MOST_BLOCKS = 1 << 20  # in one bundle: 256 GiB of full blocks
LARGEST = 1 << 28  # bytes of a content, or SPREAD times the file's: a block that repeats stands for terabytes
SPREAD = 16
ROOT_OFFSET = len(car.ROOTS_KEY) + 1 + len(car.LINK)  # of the root's CID in the header


def write(stream: BinaryIO, root: str, contents: Iterable[bytes]) -> None:
    """Write a CAR whose one root is the content `root`, each block once."""
    header = car.header(cids.parse(root))
    stream.write(encode_varint(len(header)) + header)
    finished: set[Cid] = set()
    for data in contents:
        for cid, block in blocks_of(data):
            if cid not in finished:
                finished.add(cid)
                stream.write(encode_varint(CID_BYTES + len(block)) + encode_cid(cid) + block)


class BundleStore:
    """The contents of a bundle, as a store that accepts no new ones; a context manager.

    Raises BundleError for a file that is not a bundle.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._stream = path.open("rb")
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        try:
            self.root = self._read_root()
            self._places = dict(self._index())
        except Malformed as error:
            self._stream.close()
            raise BundleError(f"{path} is not a bundle: {error}") from error
        except BaseException:
            self._stream.close()
            raise

    @property
    def cids(self) -> list[Cid]:
        """The CIDs of all blocks in the bundle."""
        return list(self._places)

    def put(self, data: bytes) -> str:
        """Return the CID of `data`; a bundle stores nothing."""
        return cids.compute(data)

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Return the verified bytes of `cid`; raises Unavailable, Corrupt or Oversized."""
        root = cids.parse(cid)
        largest = max(LARGEST, SPREAD * os.fstat(self._stream.fileno()).st_size)
        assembly = Assembly(root, min(max_bytes, largest))
        while links := assembly.wanted:
            for link in links:
                assembly.take(link, self._block(link, cid))
        return assembly.data()

    def has(self, cid: str) -> bool:
        """Return whether the bundle holds `cid`."""
        return cids.parse(cid) in self._places

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _block(self, cid: Cid, content: str) -> bytes:
        if cid not in self._places:
            raise Unavailable(f"{self.path} does not hold block {cid} of {content}", content)
        start, size = self._places[cid]
        try:
            block = os.pread(self._stream.fileno(), size, start)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}", content) from error
        if len(block) != size:
            raise Corrupt(f"{self.path} is cut off", content)
        return block

    def _read_root(self) -> Cid:
        """Read the one root that the header names."""
        header = self._stream.read(car.MAX_HEADER_BYTES)
        start = decode_varint(header, 0)[1] + ROOT_OFFSET
        return decode_cid(header[start : start + CID_BYTES])

    def _index(self) -> Iterator[tuple[Cid, tuple[int, int]]]:
        """Yield where in the file each block is, as (start, size); the first of two with one CID counts."""
        self._stream.seek(0)
        size = os.fstat(self._stream.fileno()).st_size
        reader = car.Reader(iter(lambda: self._stream.read(PIECE), b""), self.root, size)
        header = len(car.header(self.root))
        place, indexed = len(encode_varint(header)) + header, set[Cid]()
        for count, (cid, block) in enumerate(reader.blocks()):
            if count >= MOST_BLOCKS:
                raise Malformed(f"more than {MOST_BLOCKS:,} blocks")
            place += len(encode_varint(CID_BYTES + len(block))) + CID_BYTES
            if cid not in indexed:
                indexed.add(cid)
                yield cid, (place, len(block))
            place += len(block)
