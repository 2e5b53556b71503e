"""Tries have the roots that py-trie gives them, and every node that a reader needs."""

from __future__ import annotations

from random import Random

import pytest
import rlp  # type: ignore[import-untyped]
from trie.hexary import HexaryTrie

from bcfl.ledger.devnet.tries import (
    BLANK_ROOT,
    Tries,
    parts_of,
    rlp_list,
    rlp_number,
    rlp_string,
    string_of,
)


@pytest.mark.parametrize("length", [0, 1, 2, 54, 55, 56, 255, 256, 70_000])
def test_rlp_is_that_of_pyrlp(length: int) -> None:
    for byte in (0, 0x7F, 0x80, 0xFF):
        data = bytes([byte]) * length
        assert rlp_string(data) == rlp.encode(data)
        assert string_of(rlp_string(data)) == data
        listed = rlp_list([rlp_string(data), rlp_list([rlp_string(data)]), rlp_string(b"")])
        assert listed == rlp.encode([data, [data], b""])
        assert parts_of(listed) == [rlp.encode(data), rlp.encode([data]), b"\x80"]
    assert rlp_number(length) == rlp.encode(length)


def key_of(chance: Random) -> bytes:
    """Return a key that has much of its path in common with others."""
    ends = (0, 0, 1, 15, 16, 17, 255)
    return bytes(28) + bytes(chance.choice(ends) for _ in range(4))


@pytest.mark.parametrize("seed", range(40))
def test_random_changes_come_to_the_roots_of_py_trie(seed: int) -> None:
    """Short values make nodes that stand in their parents; keys in common make extensions."""
    chance = Random(seed)
    theirs, entries, root = HexaryTrie({}), dict[bytes, bytes](), BLANK_ROOT
    content = dict[bytes, bytes]()
    lengths = chance.choice([(1, 2), (1, 40), (33, 70)])
    for _ in range(30):
        changes = dict[bytes, bytes]()
        for _ in range(chance.randrange(1, 9)):
            keys = [key_of(chance), *content] if chance.random() < 0.8 else [chance.randbytes(32)]
            is_gone = chance.random() < 0.45
            changes[chance.choice(keys)] = b"" if is_gone else chance.randbytes(chance.choice(lengths))
        tries = Tries(entries.__getitem__, {})
        root, new = tries.changed(root, changes)
        entries |= new
        for key, value in changes.items():
            theirs[key] = value
            content[key] = value
        content = {key: value for key, value in content.items() if value}
        assert root == theirs.root_hash
        reader = Tries(entries.__getitem__, {})
        for key in {*content, *changes, key_of(chance)}:
            assert reader.get(root, key) == content.get(key, b"") == theirs[key]


def test_only_nodes_of_the_new_trie_are_given() -> None:
    """Not those that a later change in the same block has replaced."""
    entries = dict[bytes, bytes]()
    tries = Tries(entries.__getitem__, {})
    root, new = tries.changed(BLANK_ROOT, {bytes([n]) * 32: b"x" * 40 for n in range(40)})
    entries |= new
    reached, roots = set[bytes](), [root]
    while roots:
        place = roots.pop()
        reached.add(place)
        node = parts_of(entries[place])
        roots += [part[1:] for part in node if len(part) == 33 and len(node) == 17]
    assert reached == entries.keys()


def test_a_change_back_gives_the_trie_before_and_needs_no_new_node() -> None:
    entries = dict[bytes, bytes]()
    tries = Tries(entries.__getitem__, {})
    first, new = tries.changed(BLANK_ROOT, {b"a" * 32: b"1" * 40})
    entries |= new
    second, new = tries.changed(first, {b"b" * 32: b"2" * 40})
    entries |= new
    assert tries.changed(second, {b"b" * 32: b""})[0] == first
    assert tries.changed(first, {b"a" * 32: b""}) == (BLANK_ROOT, {})
    assert tries.changed(first, {b"c" * 32: b""}) == (first, {})


def test_a_node_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError):
        Tries(dict[bytes, bytes]().__getitem__, {}).get(b"\1" * 32, bytes(32))
