"""Rule on disputes: a demand to show what is behind a proposal, and the contract's ruling on each move.

A dispute is about one tree of a proposal, or about an accepted update that cannot be had. It stands at a node
of that tree, at first the root (for the rows tree, the `rows` of the proposal). In turn, anybody shows what
is below that node,

    answer_rows   the two digests behind `rows`
    answer        the nodes up to eight levels below, without padding
    answer_leaf   the bytes of a leaf, which ends it

and the challenger picks one of the nodes that were shown (`pursue`). A challenger that knows the right tree
picks the first node that differs from it (`first_mismatch`). So a dispute of a wrong tree ends at a wrong
leaf, for which there is a challenge, or in silence, which refutes the proposal (`expire`). A challenger that
lacks an update picks the nodes above any leaf: whoever has made a model of the update can show them. Padding
is never shown: where a tree has something else there, no answer fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bcfl.errors import ChallengeError
from bcfl.protocol import merkle
from bcfl.protocol.challenges import Trees, rows_digest
from bcfl.protocol.event import LogEvent
from bcfl.protocol.hashing import keccak
from bcfl.protocol.limits import GROUP, LEVELS
from bcfl.protocol.submissions import pack_claim
from bcfl.protocol.types import Tally, Terms, Update
from bcfl.protocol.verification import tally_bytes

UNOPENED = LEVELS + 2  # in `shown`: what is behind `rows` is due
NOBODY = "0x" + "0" * 40
_LEAF = b"\x00"


@dataclass(frozen=True)
class Dispute:
    """The state of a dispute, as the contract holds it; every move returns the next state.

    Times are timestamps in seconds. A move raises ChallengeError where the contract would refuse it.
    """

    proposal: bytes  # digest
    challenger: str
    answerer: str  # of the last answer
    tree: Trees
    height: int
    index: int  # of the node among those of its height
    node: bytes
    shown: int  # how many levels below the node were shown, plus 1; 0 or UNOPENED: an answer is due
    since: int  # time of its opening
    due: int  # the next move has to come before this time
    position: int | None = None  # of the disputed update among those of the round

    def answer_rows(self, terms: Terms, answerer: str, now: int, weights: bytes, rows: bytes) -> Dispute:
        """Show the two digests behind `rows`."""
        self._require_due(now, self.shown == UNOPENED)
        _require(rows_digest(weights, rows) == self.node, "not the disputed node")
        return replace(self, answerer=answerer, node=rows, shown=1)._renewed(now, terms)

    def answer(self, terms: Terms, answerer: str, now: int, nodes: Sequence[bytes]) -> Dispute:
        """Show the nodes below the disputed one."""
        _require(len(nodes) == self.due_nodes(terms), "not all of its nodes")
        self._require_due(now, self.shown == 0 and self.height != 0)
        levels = min(LEVELS, self.height)
        top = merkle.top(b"".join(nodes), self.height - levels, self.height)
        _require(top == self.node, "not the disputed node")
        return replace(self, answerer=answerer, shown=1 + levels)._renewed(now, terms)

    def answer_leaf(self, answerer: str, now: int, content: bytes) -> Dispute:
        """Show the leaf, `content` being its zero byte and its bytes; this ends the dispute."""
        self._require_due(now, self.shown == 0 and self.height == 0)
        _require(keccak(content) == self.node, "not the disputed node")
        if content[:1] != _LEAF:
            raise ChallengeError("challenges: not a leaf")
        return replace(self, answerer=answerer)

    def pursue(
        self, terms: Terms, challenger: str, now: int, child: int, digest: bytes, proof: Sequence[bytes]
    ) -> Dispute:
        """Pick one of the nodes that were shown: `proof` leads from it to the disputed node."""
        self._require_due(now, not self.answerable)
        _require(challenger == self.challenger, "not the challenger")
        levels = self.shown - 1
        _require(len(proof) == levels, "proof of another length")
        height, index = self.height - levels, (self.index << levels) + child
        exists = child >> levels == 0 and index << height < _leaves(terms)
        _require(exists, "no such node")
        _require(merkle.climb(digest, child, proof) == self.node, "not a node that was shown")
        return replace(self, height=height, index=index, node=digest, shown=0)._renewed(now, terms)

    def expire(self, now: int) -> bool:
        """End an overdue dispute: True refutes the proposal, False means that the challenger was silent."""
        _require(now >= self.due, "not yet due")
        return self.answerable

    @property
    def answerable(self) -> bool:
        """Whether an answer is due; else the challenger has to pick a node."""
        return self.shown in (0, UNOPENED)

    def due_nodes(self, terms: Terms) -> int:
        """Return how many nodes an answer has to show."""
        levels = min(LEVELS, self.height)
        nodes = ((_leaves(terms) - 1) >> (self.height - levels)) + 1 - (self.index << levels)
        return min(nodes, 1 << levels)

    def _require_due(self, now: int, is_due: bool) -> None:
        _require(now < self.due, "move too late")
        _require(is_due, "not what is due")

    def _renewed(self, now: int, terms: Terms) -> Dispute:
        """Return the same with the whole time for the next move."""
        return replace(self, due=now + terms.answer_seconds)


@dataclass(frozen=True)
class DisputeSubject:
    """The subject of disputes: a proposal, and the updates that it has to be made of."""

    proposal: bytes  # digest
    root: bytes
    rows: bytes
    updates: Mapping[int, bytes]  # position -> root of an accepted update

    def open(self, terms: Terms, code: int, challenger: str, now: int) -> Dispute:
        """Open a dispute; `code` names the tree as the contract does, `Trees.UPDATE + p` for update p.

        Raises ChallengeError for an update that is not among `updates`.
        """
        tree = Trees(min(code, Trees.UPDATE))
        node, shown, position = self.root, 0, None
        if tree is Trees.ROWS:
            node, shown = self.rows, UNOPENED
        elif tree is Trees.UPDATE:
            position = code - Trees.UPDATE
            if position not in self.updates:
                raise ChallengeError("challenges: no such place")
            node = self.updates[position]
        height, due = merkle.depth(terms.parameters, terms.leaf_lanes), now + terms.answer_seconds
        return Dispute(self.proposal, challenger, NOBODY, tree, height, 0, node, shown, now, due, position)


def update_args(
    tally: Tally, words: Sequence[int], position: int, update: Update
) -> tuple[int, bytes, tuple[bytes, bytes, int], list[int]]:
    """Return the arguments of `dispute_update` behind the four fields of the proposal.

    `words` are the words of all updates of the round, and `position` is that of the disputed one among them.
    """
    first = position // GROUP * GROUP
    opening = (update.root, update.cid, pack_claim(update))
    return position, tally_bytes(tally), opening, list(words[first : first + GROUP])


@dataclass(frozen=True)
class Course:
    """The course of a dispute: its state after the moves so far, and everything that they have shown."""

    state: Dispute
    weights: bytes | None = None  # the two digests behind `rows`
    rows: bytes | None = None
    nodes: tuple[bytes, ...] = ()  # of the last answer
    above: tuple[bytes, ...] = ()  # siblings of the disputed node up to the root, the lowest first
    leaf: bytes | None = None  # with its zero byte in front
    end_time: int | None = None  # timestamp

    def apply(self, event: LogEvent, terms: Terms) -> Course:
        """Follow one more event of its round; raises ChallengeError where the contract would refuse it."""
        now, args, state = event.timestamp, event.args, self.state
        if event.name == "RowsShown":
            weights, rows = args["weights"], args["rows"]
            state = state.answer_rows(terms, args["answerer"], now, weights, rows)
            return replace(self, state=state, weights=weights, rows=rows, nodes=(rows,))
        if event.name == "NodesShown":
            nodes = tuple(args["nodes"])
            return replace(self, state=state.answer(terms, args["answerer"], now, nodes), nodes=nodes)
        if event.name == "LeafShown":
            content = args["content"]
            return replace(self, state=state.answer_leaf(args["answerer"], now, content), leaf=content)
        if event.name == "Pursued":
            child, proof = args["child"], self.proof(args["child"])
            state = state.pursue(terms, args["challenger"], now, child, args["digest"], proof)
            return replace(self, state=state, nodes=(), above=proof + self.above)
        return replace(self, end_time=now)

    def proof(self, child: int) -> tuple[bytes, ...]:
        """Return the siblings of one of the nodes of the last answer, up to the disputed node."""
        levels = self.state.shown - 1
        height = self.state.height - levels
        return merkle.siblings(b"".join(self.nodes), child, height, height + levels)


def courses(terms: Terms, subject: DisputeSubject, events: Iterable[LogEvent]) -> list[Course]:
    """Follow all disputes about one proposal through the events of its round; the last one may be open.

    Raises ChallengeError at a move that the contract would refuse.
    """
    result: list[Course] = []
    for event in events:
        if event.name == "Disputed":
            code, challenger = event.args["tree"], event.args["challenger"]
            result.append(Course(subject.open(terms, code, challenger, event.timestamp)))
        elif result and event.args.get("proposal", subject.proposal) == subject.proposal:
            result[-1] = result[-1].apply(event, terms)
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
