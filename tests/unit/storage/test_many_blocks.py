"""Archives of very many blocks: their time grows with their number, and their memory does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bcfl.protocol.cid import Cid
from bcfl.storage.gateway import GatewayStore
from bcfl.storage.ipld import blocks, car, dag
from bcfl.storage.ipld.dag import Assembly
from tests.unit.storage.archives import LARGE, SMALL, header, leaf, section, tree
from tests.unit.storage.archives import binary as binary_cid

REPEATS = 1_000_000
CHUNK = 32  # bytes of a leaf in a file of many blocks
LEAVES = 20_000


def pieces(archive: Iterator[bytes], size: int = 65_536) -> Iterator[bytes]:
    """An archive as a socket gives it."""
    piece = bytearray()
    for part in archive:
        piece += part
        if len(piece) >= size:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def test_many_blocks_take_no_memory() -> None:
    """A gateway that repeats one block, and then gives the rest of the file."""
    root, (first, second, third) = _file()
    repeated = section(binary_cid(root[0]) + root[1])

    def archive() -> Iterator[bytes]:
        yield header(root[0])
        for _ in range(REPEATS):
            yield repeated
        for cid, block in (first, second, third):
            yield section(binary_cid(cid) + block)

    size, blocks_seen = len(repeated) * REPEATS, 0
    assembly = Assembly(root[0], 3 * 262_144)
    before = resident()
    for block in car.Reader(pieces(archive()), root[0], 2 * size).blocks():
        assembly.take(*block)
        blocks_seen += 1
    assert resident() - before < 8 * 2**20 < size // 4
    assert blocks_seen == REPEATS + 3
    assert assembly.next_wanted is None
    assert len(assembly.data()) == 2 * 262_144 + 5


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _file() -> tuple[tuple[Cid, bytes], Any]:
    root, *leaves = tree(LARGE)
    return root, leaves


def test_the_time_of_an_archive_grows_with_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that gives nodes before leaves: as many blocks are awaited as the file has.

    Counted in looks at blocks that are awaited, not in seconds: a list of them for each block is a square.
    """
    for module in (dag, blocks):
        monkeypatch.setattr(module, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(car, "max_car_bytes", lambda _: 10**9)
    data = b"".join(number.to_bytes(CHUNK, "big") for number in range(LEAVES))
    every = list(blocks.blocks_of(data))
    root = every[-1][0]
    monkeypatch.setattr(dag, "cids", SimpleNamespace(compute=lambda _: str(root)))
    looks = [0]

    class Counted(dict[Any, Any]):
        def __iter__(self) -> Iterator[Any]:
            for key in super().__iter__():
                looks[0] += 1
                yield key

    make = Assembly.__init__

    def counted(self: Assembly, *args: Any) -> None:
        make(self, *args)
        self._wanted = Counted(self._wanted)

    monkeypatch.setattr(Assembly, "__init__", counted)
    body = header(root) + b"".join(section(binary_cid(cid) + block) for cid, block in reversed(every))
    answer = SimpleNamespace(pieces=lambda: pieces(iter([body])))
    store = GatewayStore("http://127.0.0.1:1")
    assert store._from_car(answer, root, len(data)) == data  # type: ignore[arg-type]
    assert len(every) <= looks[0] <= 3 * len(every)


def test_the_archives_of_this_test_are_those_of_others() -> None:
    cid, block = leaf(SMALL)
    assert list(car.Reader(iter([header(cid) + section(binary_cid(cid) + block)]), cid, 10**4).blocks()) == [
        (cid, block)
    ]
