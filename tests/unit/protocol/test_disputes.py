"""A dispute leads whoever knows the right tree to the first wrong leaf; nodes without the whole tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import pytest

from bcfl.errors import ChallengeError
from bcfl.protocol import merkle
from bcfl.protocol.challenges import Trees, rows_digest
from bcfl.protocol.disputes import NOBODY, UNOPENED, Course, DisputeSubject, courses, first_mismatch
from bcfl.protocol.hashing import keccak
from testkit.harness import TERMS

ACCOUNT, WEIGHTS = "0x" + "22" * 20, bytes(range(32))


@dataclass(frozen=True)
class FakeEvent:
    """An event of the contract, as the log has it."""

    name: str
    args: dict[str, Any]
    timestamp: int = 0
    transaction: bytes = b""


def levels_of(tree: merkle.Tree, height: int) -> list[bytes]:
    level = tree.levels[height]
    return [level[i : i + 32] for i in range(0, len(level), 32)]


def below(tree: merkle.Tree, course: Course, terms: Any) -> list[bytes]:
    state = course.state
    levels = min(8, state.height)
    first = state.index << levels
    return levels_of(tree, state.height - levels)[first : first + state.due_nodes(terms)]


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 700, 70_000])
@pytest.mark.parametrize("kind", Trees)
def test_a_dispute_ends_at_the_first_wrong_leaf(count: int, kind: Trees) -> None:
    terms, rng = replace(TERMS, parameters=8 * count, leaf_lanes=8), Random(count)
    leaves = [rng.randbytes(4) for _ in range(count)]
    position = rng.randrange(count)
    forged_leaves = [*leaves[:position], b"wrong", *leaves[position + 1 :]]
    height = merkle.depth(8 * count, 8)
    right_tree, tree = merkle.tree_of(leaves, height), merkle.tree_of(forged_leaves, height)
    rows = rows_digest(WEIGHTS, tree.root)
    events: list[FakeEvent] = [FakeEvent("Disputed", {"tree": int(kind), "challenger": ACCOUNT})]
    for _ in range(20):
        (course,) = courses(terms, DisputeSubject(b"", tree.root, rows, {0: tree.root}), events)
        if course.leaf is not None:
            break
        events.append(move(course, tree, right_tree, forged_leaves, terms))
    assert course.leaf == b"\0wrong"
    assert course.state.index == position
    assert merkle.climb(keccak(course.leaf), position, course.above) == tree.root
    moves = 2 * -(-height // 8) + 1 + 2 * (kind is Trees.ROWS)
    assert len(events) == 1 + moves  # what docs/protocol.md says


def move(
    course: Course, tree: merkle.Tree, right_tree: merkle.Tree, leaves: Sequence[bytes], terms: Any
) -> FakeEvent:
    state = course.state
    if state.shown == UNOPENED:
        return FakeEvent("RowsShown", {"answerer": ACCOUNT, "weights": WEIGHTS, "rows": tree.root})
    if state.answerable and state.height:
        return FakeEvent("NodesShown", {"answerer": ACCOUNT, "nodes": below(tree, course, terms)})
    if state.answerable:
        return FakeEvent("LeafShown", {"answerer": ACCOUNT, "content": b"\0" + leaves[state.index]})
    nodes = [right_tree.root] if state.shown == 1 else below(right_tree, course, terms)
    child = first_mismatch(course.nodes, nodes)
    assert child is not None
    return FakeEvent("Pursued", {"challenger": ACCOUNT, "child": child, "digest": course.nodes[child]})


def test_nothing_strays_where_nothing_is_wrong() -> None:
    assert first_mismatch([b"a", b"b"], [b"a", b"b"]) is None


def test_time_that_is_over() -> None:
    state = DisputeSubject(b"", bytes(32), bytes(32), {}).open(TERMS, Trees.MODEL, ACCOUNT, 100)
    assert (state.answerer, state.due) == (NOBODY, 100 + TERMS.answer_seconds)
    with pytest.raises(ChallengeError, match="not yet due"):
        state.expire(state.due - 1)
    assert state.expire(state.due)  # an answer was due: the proposal is refuted
    assert not replace(state, shown=3).expire(state.due)


def test_the_end_of_a_dispute_about_another_proposal_is_passed_over() -> None:
    events = [
        FakeEvent("DisputeEnded", {"proposal": b"old"}),
        FakeEvent("Disputed", {"tree": 0, "challenger": ACCOUNT}),
        FakeEvent("DisputeEnded", {"proposal": b"old"}),
    ]
    (course,) = courses(TERMS, DisputeSubject(b"new", bytes(32), bytes(32), {}), events)
    assert course.end_time is None


def test_an_update_that_was_not_accepted_cannot_be_disputed() -> None:
    subject = DisputeSubject(b"", bytes(32), bytes(32), {4: b"four"})
    state = subject.open(TERMS, Trees.UPDATE + 4, ACCOUNT, 100)
    assert (state.tree, state.position, state.node, state.answerable) == (Trees.UPDATE, 4, b"four", True)
    for code in (Trees.UPDATE, Trees.UPDATE + 3):
        with pytest.raises(ChallengeError, match="no such place"):
            subject.open(TERMS, code, ACCOUNT, 100)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 1000, 4097])
def test_a_node_without_the_whole_tree(count: int) -> None:
    rng = np.random.default_rng(count)
    updates = [rng.integers(-100, 100, count, "int16") for _ in range(3)]
    tree = merkle.rows_tree(updates, 16)
    for height in range(len(tree.levels)):
        nodes = [merkle.rows_node(updates, 16, height, i) for i in range(len(levels_of(tree, height)))]
        assert nodes == levels_of(tree, height)
