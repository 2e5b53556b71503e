"""Rule on disputes: a demand to show what is behind a proposal, and the contract's ruling on each move.

A dispute is about one tree of a proposal, or about an accepted update that cannot be had; any number of them
run side by side. Each stands at a node of that tree, at first the root (for the rows tree, the `rows` of the
proposal). In turn, anybody shows what is below that node,

    answer_rows   the two digests behind `rows`; the nodes below are due at the same time
    answer        the nodes up to eight levels below, without padding
    answer_leaf   the bytes of a leaf; then the challenger rules, by a challenge at that leaf

and the challenger picks one of the nodes that were shown (`pursue`). A challenger that knows the right tree
picks the first node that differs from it (`first_mismatch`). So a dispute of a wrong tree ends at a wrong
leaf, for which there is a challenge, or in silence, which refutes the proposal (`expire`) once it can no
longer be challenged (`docket.window_end`). A challenger that
lacks an update picks the nodes above any leaf: whoever has made a model of the update can show them. Padding
is never shown: where a tree has something else there, no answer fits.

Each answer has `answer_seconds`; the challenger has as long for all its moves together. Times are seconds:
the contract gives more where too few blocks have passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self

from bcfl.errors import ChallengeError
from bcfl.protocol import merkle
from bcfl.protocol.challenges import Form, Trees, rows_digest
from bcfl.protocol.event import LogEvent
from bcfl.protocol.hashing import keccak
from bcfl.protocol.limits import GROUP, LEVELS
from bcfl.protocol.submissions import pack_claim
from bcfl.protocol.types import Tally, Terms, Update
from bcfl.protocol.verification import tally_bytes

_LEAF = b"\x00"


class State(IntEnum):
    """Who has the next move of a dispute, and which; the numbers are the contract's."""

    ROWS = 1  # what is behind `rows` is due, and nodes with it
    ANSWER = 2  # nodes or a leaf are due
    PICK = 3  # the challenger picks a node
    RULE = 4  # the challenger shows the place that is wrong


@dataclass(frozen=True)
class Dispute:
    """The state of a dispute, as the contract holds it; every move returns the next state.

    Times are timestamps in seconds. A move raises ChallengeError where the contract would refuse it.
    """

    number: int
    challenger: str
    tree: Trees
    state: State
    height: int
    index: int  # of the node among those of its height
    node: bytes
    due: int  # an answer has to come before this time
    left: int  # seconds that the challenger has for all its moves to come
    moved: int  # time of the last move that began the time of the next one
    levels: int = 0  # how many levels below the node were shown
    position: int | None = None  # of the disputed update among those of the round

    @property
    def is_answerable(self) -> bool:
        """Whether an answer is due; else the challenger has the move."""
        return self.state in (State.ROWS, State.ANSWER)

    @property
    def deadline(self) -> int:
        """Return the time before which the next move has to come."""
        return self.due if self.is_answerable else self.moved + self.left

    def answer_rows(self, terms: Terms, now: int, weights: bytes, rows: bytes) -> Self:
        """Show the two digests behind `rows`."""
        self._require_answer(terms, now, State.ROWS)
        _require(rows_digest(weights, rows) == self.node, "not the disputed node")
        return replace(self, state=State.ANSWER, node=rows)

    def answer(self, terms: Terms, now: int, nodes: Sequence[bytes]) -> Self:
        """Show the nodes below the disputed one."""
        _require(len(nodes) == self.due_nodes(terms), "not all of its nodes")
        _require(self.height != 0, "not what is due")
        self._require_answer(terms, now, State.ANSWER)
        levels = min(LEVELS, self.height)
        top = merkle.top(b"".join(nodes), self.height - levels, self.height)
        _require(top == self.node, "not the disputed node")
        return replace(self, state=State.PICK, levels=levels)._moved(terms, now)

    def answer_leaf(self, terms: Terms, now: int, content: bytes) -> Self:
        """Show the leaf, `content` being its zero byte and its bytes."""
        _require(self.height == 0, "not what is due")
        self._require_answer(terms, now, State.ANSWER)
        _require(keccak(content) == self.node, "not the disputed node")
        if content[:1] != _LEAF:
            raise ChallengeError("challenges: not a leaf")
        return replace(self, state=State.RULE)._moved(terms, now)

    def pursue(
        self, terms: Terms, challenger: str, now: int, child: int, digest: bytes, proof: Sequence[bytes]
    ) -> Self:
        """Pick one of the nodes that were shown: `proof` leads from it to the disputed node."""
        self._require_turn(terms, challenger, now)
        _require(self.state is State.PICK, "not what is due")
        _require(len(proof) == self.levels, "proof of another length")
        height, index = self.height - self.levels, (self.index << self.levels) + child
        exists = child >> self.levels == 0 and index << height < _leaves(terms)
        _require(exists, "no such node")
        _require(merkle.climb(digest, child, proof) == self.node, "not a node that was shown")
        left = max(0, self.left - (now - self.moved))
        state = replace(self, state=State.ANSWER, height=height, index=index, node=digest, left=left)
        return state._moved(terms, now)

    def check_ruling(self, terms: Terms, challenger: str, now: int, form: Form, leaf: int) -> None:
        """Check that the challenger may rule by such a challenge; raises ChallengeError.

        It rules at the leaf that was shown, or on the weights once these were shown with the rows.
        """
        self._require_turn(terms, challenger, now)
        at_leaf = self.state is State.RULE and self.index == leaf and form is not Form.PADDING
        if not (self.tree is Trees.ROWS if form is Form.WEIGHTS else at_leaf):
            raise ChallengeError("challenges: not what is disputed")

    def expire(self, now: int) -> bool:
        """End an overdue dispute: True refutes the proposal, False means that the challenger was silent."""
        _require(now >= self.deadline, "not yet due")
        return self.is_answerable

    def due_nodes(self, terms: Terms) -> int:
        """Return how many nodes an answer has to show."""
        levels = min(LEVELS, self.height)
        nodes = ((_leaves(terms) - 1) >> (self.height - levels)) + 1 - (self.index << levels)
        return min(nodes, 1 << levels)

    def check_open(self) -> None:
        """Check that it has not ended, which who follows its events knows; raises ChallengeError.

        The contract's specification overrides this, as it does `check_time`.
        """

    def check_time(self, terms: Terms, now: int) -> None:
        """Check that the next move is not late; raises ChallengeError.

        Where blocks count, the contract alone knows.
        """
        _require(now < self.deadline or terms.min_blocks > 0, "move too late")

    def _require_answer(self, terms: Terms, now: int, state: State) -> None:
        self.check_open()
        _require(self.state is state, "not what is due")
        self.check_time(terms, now)

    def _require_turn(self, terms: Terms, challenger: str, now: int) -> None:
        self.check_open()
        _require(challenger == self.challenger, "not the challenger")
        _require(not self.is_answerable, "not what is due")
        self.check_time(terms, now)

    def _moved(self, terms: Terms, now: int) -> Self:
        """Return the same at the beginning of the next move's time."""
        return replace(self, moved=now, due=now + terms.answer_seconds)


@dataclass(frozen=True)
class DisputeSubject:
    """The subject of disputes: a proposal, and the updates that it has to be made of."""

    root: bytes
    rows: bytes
    updates: Mapping[int, bytes]  # position -> root of an accepted update

    def open(self, terms: Terms, number: int, code: int, challenger: str, now: int) -> Dispute:
        """Open a dispute; `code` names the tree as the contract does, `Trees.UPDATE + p` for update p.

        Raises ChallengeError for an update that is not among `updates`.
        """
        tree = Trees(min(code, Trees.UPDATE))
        node, state, position = self.root, State.ANSWER, None
        if tree is Trees.ROWS:
            node, state = self.rows, State.ROWS
        elif tree is Trees.UPDATE:
            position = code - Trees.UPDATE
            if position not in self.updates:
                raise ChallengeError("challenges: no such place")
            node = self.updates[position]
        height, seconds = merkle.depth(terms.parameters, terms.leaf_lanes), terms.answer_seconds
        return Dispute(
            number, challenger, tree, state, height, 0, node, now + seconds, seconds, now, position=position
        )


def update_args(
    tally: Tally, words: Sequence[int], position: int, update: Update
) -> tuple[int, bytes, tuple[bytes, bytes, int], list[int]]:
    """Return the arguments of `dispute_update` behind the accepted set and the three fields of the proposal.

    `words` are the words of all updates of the round, and `position` is that of the disputed one among them.
    """
    first = position // GROUP * GROUP
    opening = (update.root, update.cid, pack_claim(update))
    return position, tally_bytes(tally), opening, list(words[first : first + GROUP])


@dataclass(frozen=True)
class Course:
    """The course of a dispute: its state after the moves so far, and everything that they have shown."""

    state: Dispute
    bond: int  # wei
    since: int  # time of its opening
    weights: bytes | None = None  # the two digests behind `rows`
    rows: bytes | None = None
    nodes: tuple[bytes, ...] = ()  # of the last answer
    above: tuple[bytes, ...] = ()  # siblings of the disputed node up to the root, the lowest first
    leaf: bytes | None = None  # with its zero byte in front
    end_time: int | None = None  # timestamp
    returned: bool = False  # whether its bond went back

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.end_time is None

    def apply(self, event: LogEvent, terms: Terms) -> Course:
        """Follow one more event of it; raises ChallengeError where the contract would refuse it."""
        now, args, state = event.timestamp, event.args, self.state
        if event.name == "RowsShown":
            weights, rows = args["weights"], args["rows"]
            return replace(
                self, state=state.answer_rows(terms, now, weights, rows), weights=weights, rows=rows
            )
        if event.name == "NodesShown":
            nodes = tuple(args["nodes"])
            return replace(self, state=state.answer(terms, now, nodes), nodes=nodes)
        if event.name == "LeafShown":
            content = args["content"]
            return replace(self, state=state.answer_leaf(terms, now, content), leaf=content)
        if event.name == "Pursued":
            child, proof = args["child"], self.proof(args["child"])
            state = state.pursue(terms, args["challenger"], now, child, args["digest"], proof)
            return replace(self, state=state, nodes=(), above=proof + self.above)
        return replace(self, end_time=now, returned=args["returned"])

    def proof(self, child: int) -> tuple[bytes, ...]:
        """Return the siblings of one of the nodes of the last answer, up to the disputed node."""
        levels = self.state.levels
        height = self.state.height - levels
        return merkle.siblings(b"".join(self.nodes), child, height, height + levels)


def courses(
    terms: Terms, subject: DisputeSubject, events: Iterable[LogEvent], strict: bool = True
) -> dict[int, Course]:
    """Follow all disputes about one proposal, by number; moves of other disputes are passed over.

    Raises ChallengeError at a move that the contract would refuse; unless `strict`, that dispute is left out.
    """
    result: dict[int, Course] = {}
    for event in events:
        number, args = event.args["number"], event.args
        try:
            if event.name == "Disputed":
                state = subject.open(terms, number, args["tree"], args["challenger"], event.timestamp)
                result[number] = Course(state, args["bond"], event.timestamp)
            elif number in result:
                result[number] = result[number].apply(event, terms)
        except ChallengeError:
            if strict:
                raise
            result.pop(number, None)
    return result


def first_mismatch(nodes: Sequence[bytes], expected: Sequence[bytes]) -> int | None:
    """Return the place of the first node that is not the expected one; None if there is none."""
    pairs = enumerate(zip(nodes, expected, strict=True))
    return next((place for place, (node, right) in pairs if node != right), None)


def _leaves(terms: Terms) -> int:
    return merkle.leaves(terms.parameters, terms.leaf_lanes)


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise ChallengeError(f"disputes: {reason}")
