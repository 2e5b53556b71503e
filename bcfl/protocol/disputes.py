"""Step 6: disputes, when what is behind a proposal is kept back, and the contract's ruling on each move.

A dispute is about one tree of a proposal, or an accepted update that cannot be had, and stands at a node of
it, at first the root (for the rows tree at the `rows` of the proposal). In turn, anybody shows what is below
that node,

    answer_rows   the two digests behind `rows`
    answer        the nodes up to eight levels below, without padding
    answer_leaf   the bytes of a leaf, which ends it

and the challenger picks one of the nodes that were shown (`pursue`). Who knows the right tree picks the first
that differs from it (`strayed`), so that a dispute of a wrong tree ends at a wrong leaf, for which there is a
challenge, or in silence, which refutes the proposal (`expire`). Who lacks an update picks the nodes above any
leaf: whoever has made a model of it can show it. Padding is never shown: where a tree has
something else there, no answer fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bcfl.errors import ChallengeError
from bcfl.protocol import merkle
from bcfl.protocol.challenges import Trees, rows_digest
from bcfl.protocol.hashing import keccak
from bcfl.protocol.submissions import GROUP, pack_claim
from bcfl.protocol.types import Tally, Terms, Update
from bcfl.protocol.verification import tally_bytes

LEVELS = 8  # that one answer shows
UNOPENED = LEVELS + 2  # in `shown`: what is behind `rows` is due
NOBODY = "0x" + "0" * 40
_LEAF = b"\x00"


@dataclass(frozen=True)
class Dispute:
    """A dispute as it stands."""

    proposal: bytes  # digest
    challenger: str
    answerer: str  # who answered last
    tree: Trees
    height: int
    index: int  # of the node among those of its height
    node: bytes
    shown: int  # how many levels below the node were shown, plus 1; 0 or UNOPENED: an answer is due
    since: int  # when it was opened
    due: int  # the next move has to come before
    position: int | None = None  # of the disputed update among those of the round

    def answer_rows(self, terms: Terms, who: str, now: int, weights: bytes, rows: bytes) -> Dispute:
        """After the two digests behind `rows` were shown."""
        self._answerable(now, self.shown == UNOPENED)
        _insist(rows_digest(weights, rows) == self.node, "not the disputed node")
        after = replace(self, answerer=who, node=rows, shown=1)
        return after._from(now, terms)

    def answer(self, terms: Terms, who: str, now: int, nodes: Sequence[bytes]) -> Dispute:
        """After the nodes below were shown."""
        _insist(len(nodes) == self.due_nodes(terms), "not all of its nodes")
        self._answerable(now, self.shown == 0 and self.height != 0)
        levels = min(LEVELS, self.height)
        top = merkle.top(b"".join(nodes), self.height - levels, self.height)
        _insist(top == self.node, "not the disputed node")
        return replace(self, answerer=who, shown=1 + levels)._from(now, terms)

    def answer_leaf(self, who: str, now: int, content: bytes) -> Dispute:
        """With the one who showed the leaf, behind its zero byte; the dispute is over then."""
        self._answerable(now, self.shown == 0 and self.height == 0)
        _insist(keccak(content) == self.node, "not the disputed node")
        if content[:1] != _LEAF:
            raise ChallengeError("challenges: not a leaf")
        return replace(self, answerer=who)

    def pursue(
        self, terms: Terms, who: str, now: int, child: int, digest: bytes, proof: Sequence[bytes]
    ) -> Dispute:
        """After the challenger has picked a node."""
        _insist(now < self.due, "move too late")
        _insist(not self.answerable, "not what is due")
        _insist(who == self.challenger, "not the challenger")
        levels = self.shown - 1
        _insist(len(proof) == levels, "proof of another length")
        height, index = self.height - levels, (self.index << levels) + child
        real = child >> levels == 0 and index << height < _leaves(terms)
        _insist(real, "no such node")
        _insist(merkle.climb(digest, child, proof) == self.node, "not a node that was shown")
        return replace(self, height=height, index=index, node=digest, shown=0)._from(now, terms)

    def expire(self, now: int) -> bool:
        """Whether what happens when time is over refutes the proposal; else the challenger was silent."""
        _insist(now >= self.due, "not yet due")
        return self.answerable

    @property
    def answerable(self) -> bool:
        """Whether an answer is due; else the challenger has to pick a node."""
        return self.shown in (0, UNOPENED)

    def due_nodes(self, terms: Terms) -> int:
        """How many nodes an answer has to show."""
        levels = min(LEVELS, self.height)
        there = ((_leaves(terms) - 1) >> (self.height - levels)) + 1 - (self.index << levels)
        return min(there, 1 << levels)

    def _answerable(self, now: int, right: bool) -> None:
        _insist(now < self.due, "move too late")
        _insist(right, "not what is due")

    def _from(self, now: int, terms: Terms) -> Dispute:
        return replace(self, due=now + terms.answer_seconds)


@dataclass(frozen=True)
class Disputed:
    """What can be disputed: a proposal, and the updates that it has to be made of."""

    proposal: bytes  # digest
    root: bytes
    rows: bytes
    updates: Mapping[int, bytes]  # position -> root of an accepted update

    def opened(self, terms: Terms, code: int, who: str, now: int) -> Dispute:
        """A dispute that begins; `code` is how the chain names the tree."""
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
        return Dispute(self.proposal, who, NOBODY, tree, height, 0, node, shown, now, due, position)


def update_args(
    tally: Tally, words: Sequence[int], position: int, update: Update
) -> tuple[int, bytes, tuple[bytes, bytes, int], list[int]]:
    """What follows the four fields of the proposal in `dispute_update`; `words` are all of the round."""
    first = position // GROUP * GROUP
    opening = (update.root, update.cid, pack_claim(update))
    return position, tally_bytes(tally), opening, list(words[first : first + GROUP])


class Told(Protocol):
    """What a course needs of an event."""

    @property
    def name(self) -> str: ...
    @property
    def args(self) -> Mapping[str, Any]: ...
    @property
    def timestamp(self) -> int: ...


@dataclass(frozen=True)
class Course:
    """A dispute and what it has brought to light so far."""

    state: Dispute
    weights: bytes | None = None  # the two digests behind `rows`
    rows: bytes | None = None
    nodes: tuple[bytes, ...] = ()  # shown last
    above: tuple[bytes, ...] = ()  # the siblings of the disputed node up to the root, the lowest first
    leaf: bytes | None = None  # behind its zero byte
    ended: int | None = None  # timestamp

    def after(self, event: Told, terms: Terms) -> Course:
        """With one more event of its round; raises ChallengeError where the contract would refuse it."""
        now, args, state = event.timestamp, event.args, self.state
        if event.name == "RowsShown":
            weights, rows = args["weights"], args["rows"]
            moved = state.answer_rows(terms, args["answerer"], now, weights, rows)
            return replace(self, state=moved, weights=weights, rows=rows, nodes=(rows,))
        if event.name == "NodesShown":
            nodes = tuple(args["nodes"])
            return replace(self, state=state.answer(terms, args["answerer"], now, nodes), nodes=nodes)
        if event.name == "LeafShown":
            content = args["content"]
            return replace(self, state=state.answer_leaf(args["answerer"], now, content), leaf=content)
        if event.name == "Pursued":
            child, proof = args["child"], self.proof(args["child"])
            moved = state.pursue(terms, args["challenger"], now, child, args["digest"], proof)
            return replace(self, state=moved, nodes=(), above=proof + self.above)
        return replace(self, ended=now)

    def proof(self, child: int) -> tuple[bytes, ...]:
        """The siblings of one of the nodes shown last, up to the disputed node."""
        levels = self.state.shown - 1
        height = self.state.height - levels
        return merkle.siblings(b"".join(self.nodes), child, height, height + levels)


def courses(terms: Terms, disputed: Disputed, events: Iterable[Told]) -> list[Course]:
    """The disputes about one proposal, the last one perhaps open, from what the chain tells of them.

    Raises ChallengeError where a move is none that the contract takes.
    """
    found: list[Course] = []
    for event in events:
        if event.name == "Disputed":
            tree, who = event.args["tree"], event.args["challenger"]
            found.append(Course(disputed.opened(terms, tree, who, event.timestamp)))
        elif found and event.args.get("proposal", disputed.proposal) == disputed.proposal:
            found[-1] = found[-1].after(event, terms)
    return found


def strayed(shown: Sequence[bytes], right: Sequence[bytes]) -> int | None:
    """The first of the nodes that were shown that is not the right one."""
    pairs = enumerate(zip(shown, right, strict=True))
    return next((place for place, (one, other) in pairs if one != other), None)


def _leaves(terms: Terms) -> int:
    return merkle.leaves(terms.parameters, terms.leaf_lanes)


def _insist(condition: bool, reason: str) -> None:
    if not condition:
        raise ChallengeError(f"disputes: {reason}")
