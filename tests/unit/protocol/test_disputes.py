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
from bcfl.protocol.challenges import Form, Trees, rows_digest
from bcfl.protocol.disputes import Course, Dispute, DisputeSubject, State, courses, first_mismatch
from bcfl.protocol.docket import answers_due
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
    events: list[FakeEvent] = [FakeEvent("Disputed", opening(7, kind))]
    for _ in range(20):
        course = courses(terms, DisputeSubject(tree.root, rows, {0: tree.root}), events)[7]
        if course.leaf is not None:
            break
        events.append(move(course, tree, right_tree, forged_leaves, terms))
    assert course.leaf == b"\0wrong"
    assert (course.state.state, course.state.index) == (State.RULE, position)
    assert merkle.climb(keccak(course.leaf), position, course.above) == tree.root
    answers = [event for event in events if event.name in ("NodesShown", "LeafShown")]
    assert len(answers) == answers_due(terms)


def opening(number: int, tree: int) -> dict[str, Any]:
    return {"tree": int(tree), "challenger": ACCOUNT, "number": number, "bond": 5}


def move(
    course: Course, tree: merkle.Tree, right_tree: merkle.Tree, leaves: Sequence[bytes], terms: Any
) -> FakeEvent:
    state, number = course.state, {"number": course.state.number}
    if state.state is State.ROWS:
        return FakeEvent("RowsShown", number | {"weights": WEIGHTS, "rows": tree.root})
    if state.is_answerable and state.height:
        return FakeEvent("NodesShown", number | {"nodes": below(tree, course, terms)})
    if state.is_answerable:
        return FakeEvent("LeafShown", number | {"content": b"\0" + leaves[state.index]})
    child = first_mismatch(course.nodes, below(right_tree, course, terms))
    assert child is not None
    return FakeEvent(
        "Pursued", number | {"challenger": ACCOUNT, "child": child, "digest": course.nodes[child]}
    )


def test_nothing_strays_where_nothing_is_wrong() -> None:
    assert first_mismatch([b"a", b"b"], [b"a", b"b"]) is None


def test_time_that_is_over() -> None:
    state = model_dispute(100)
    assert state.due == state.deadline == 100 + TERMS.answer_seconds
    with pytest.raises(ChallengeError, match="not yet due"):
        state.expire(state.due - 1)
    assert state.expire(state.due)  # an answer was due: the proposal is refuted
    silent = replace(state, state=State.PICK, moved=300, left=50)
    assert silent.deadline == 350
    assert not silent.expire(350)


def model_dispute(now: int) -> Dispute:
    return DisputeSubject(bytes(32), bytes(32), {}).open(TERMS, 1, Trees.MODEL, ACCOUNT, now)


def test_where_blocks_count_the_contract_alone_knows_who_is_late() -> None:
    state = model_dispute(100)
    nodes = [bytes(32)] * state.due_nodes(TERMS)
    with pytest.raises(ChallengeError, match="move too late"):
        state.answer(TERMS, state.due, nodes)
    with pytest.raises(ChallengeError, match="not the disputed node"):
        state.answer(replace(TERMS, min_blocks=3), state.due, nodes)


def test_disputes_run_side_by_side_and_others_are_passed_over() -> None:
    end = {"number": 3, "challenger": ACCOUNT, "returned": True}
    events = [
        FakeEvent("DisputeEnded", end | {"number": 2}),  # of an earlier proposal
        FakeEvent("Disputed", opening(3, Trees.MODEL)),
        FakeEvent("Disputed", opening(4, Trees.ROWS)),
        FakeEvent("RowsShown", {"number": 4, "weights": WEIGHTS, "rows": bytes(32)}),
        FakeEvent("DisputeEnded", end),
    ]
    subject = DisputeSubject(bytes(32), rows_digest(WEIGHTS, bytes(32)), {})
    result = courses(TERMS, subject, events)
    assert {number: course.is_open for number, course in result.items()} == {3: False, 4: True}
    assert (result[3].returned, result[4].state.state, result[4].weights) == (True, State.ANSWER, WEIGHTS)


def test_a_dispute_that_cannot_be_followed_takes_no_other_with_it() -> None:
    """An audit names it; a role leaves it out, and goes on with the rest."""
    events = [
        FakeEvent("Disputed", opening(3, Trees.MODEL)),
        FakeEvent("Disputed", opening(4, Trees.ROWS)),
        FakeEvent("RowsShown", {"number": 3, "weights": WEIGHTS, "rows": bytes(32)}),  # not what is due
        FakeEvent("NodesShown", {"number": 3, "nodes": []}),
    ]
    subject = DisputeSubject(bytes(32), rows_digest(WEIGHTS, bytes(32)), {})
    with pytest.raises(ChallengeError):
        courses(TERMS, subject, events)
    assert list(courses(TERMS, subject, events, strict=False)) == [4]


def test_where_a_challenger_rules() -> None:
    model = replace(model_dispute(100), state=State.RULE, height=0, index=5)
    model.check_ruling(TERMS, ACCOUNT, 150, Form.SUM, 5)
    rows = replace(model, tree=Trees.ROWS, state=State.PICK)
    rows.check_ruling(TERMS, ACCOUNT, 150, Form.WEIGHTS, 0)
    for state, form, leaf in (
        (model, Form.SUM, 4),
        (model, Form.PADDING, 5),
        (model, Form.WEIGHTS, 5),
        (rows, Form.ROW, 5),
    ):
        with pytest.raises(ChallengeError, match="challenges: not what is disputed"):
            state.check_ruling(TERMS, ACCOUNT, 150, form, leaf)
    with pytest.raises(ChallengeError, match="not the challenger"):
        model.check_ruling(TERMS, "0x" + "33" * 20, 150, Form.SUM, 5)


def test_an_update_that_was_not_accepted_cannot_be_disputed() -> None:
    subject = DisputeSubject(bytes(32), bytes(32), {4: b"four"})
    state = subject.open(TERMS, 1, Trees.UPDATE + 4, ACCOUNT, 100)
    assert (state.tree, state.position, state.node, state.is_answerable) == (Trees.UPDATE, 4, b"four", True)
    for code in (Trees.UPDATE, Trees.UPDATE + 3):
        with pytest.raises(ChallengeError, match="no such place"):
            subject.open(TERMS, 1, code, ACCOUNT, 100)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 1000, 4097])
def test_a_node_without_the_whole_tree(count: int) -> None:
    rng = np.random.default_rng(count)
    updates = [rng.integers(-100, 100, count, "int16") for _ in range(3)]
    tree = merkle.rows_tree(updates, 16)
    for height in range(len(tree.levels)):
        nodes = [merkle.rows_node(updates, 16, height, i) for i in range(len(levels_of(tree, height)))]
        assert nodes == levels_of(tree, height)
