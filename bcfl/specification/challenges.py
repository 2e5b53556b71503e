"""Rule on challenges: anybody shows one place at which a proposal is wrong.

A challenge has been announced (`docket`), or is made in a dispute that has come to a leaf (`disputes`). The
twin says whether what is shown opens, and whether the place is wrong. Leaves come as they are hashed, behind
their zero byte; the tally as the bytes whose hash is the accepted set. `right` is the salt of the
announcement, or the number of the dispute.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from bcfl.protocol.challenges import (
    Candidate,
    Challenge,
    Form,
    LeafChallenge,
    PaddingChallenge,
    RowChallenge,
    SumChallenge,
    Trees,
    WeightsChallenge,
)
from bcfl.protocol.docket import MIN_SALT
from bcfl.protocol.limits import GROUP, MAX_UPDATES
from bcfl.protocol.submissions import unpack_claim
from bcfl.protocol.types import Phase, Tally
from bcfl.specification import disputes, docket, proposals, refutations, rounds, tallies
from bcfl.specification.call import WORD, Call, bounded, require, unsigned
from bcfl.specification.rulings import context_of, reverting

MAX_DEPTH: Final = 37  # siblings of a proof: 2**40 parameters in leaves of 8 lanes
MAX_LEAF: Final = 4_097  # bytes: 1,024 lanes of a model behind a zero
MAX_SAMPLES: Final = 4_096  # bytes
WORD_BITS: Final = 256

Fields = tuple[bytes, bytes, bytes]  # of a candidate
Proof = Sequence[bytes]  # the lowest sibling first
Build = Callable[[Candidate, Tally], Challenge]


def challenge_sum(
    call: Call, candidate: Fields, right: int, tally: bytes, row_proof: Proof, before_proof: Proof,
    after_proof: Proof, leaf: int, lane: int, low: int, high: int, samples: bytes, before: bytes,
    after: bytes, row: bytes,
) -> None:  # fmt: skip
    """Show wrong arithmetic: a lane of the new model is not what its row and the old model come to."""
    bounded(MAX_DEPTH, row_proof, before_proof, after_proof)
    bounded(MAX_SAMPLES, samples)
    bounded(MAX_LEAF, before, after)
    bounded(disputes.MAX_ROW, row)
    proofs = tuple(row_proof), tuple(before_proof), tuple(after_proof)

    def build(proposed: Candidate, count: Tally) -> Challenge:
        weights = unpack_samples(samples)
        return SumChallenge(proposed, count, leaf, lane, low, high, weights, proofs, before, after, row)

    challenge(call, Form.SUM, candidate, right, tally, leaf, lane, build)


def challenge_row(
    call: Call, candidate: Fields, right: int, tally: bytes, opening: tuple[bytes, bytes, int],
    group: Sequence[int], position: int, row_proof: Proof, part_proof: Proof, leaf: int, word: int,
    part: bytes, row: bytes,
) -> None:  # fmt: skip
    """Show a wrong row: a word of it is not what the accepted update at a position has there."""
    bounded(GROUP, group)
    bounded(MAX_DEPTH, row_proof, part_proof)
    bounded(MAX_LEAF, part)
    bounded(disputes.MAX_ROW, row)
    proofs = tuple(row_proof), tuple(part_proof)

    def build(proposed: Candidate, count: Tally) -> Challenge:
        unsigned(position + 1)
        update, words = unpack_claim(call.state.rounds.clock.round, *opening), tuple(group)
        return RowChallenge(proposed, count, leaf, word, position, update, words, proofs, part, row)

    challenge(call, Form.ROW, candidate, right, tally, leaf, position << 16 | word, build)


def challenge_weights(
    call: Call, candidate: Fields, right: int, tally: bytes, updates: Sequence[int], samples: bytes
) -> None:
    """Show wrong weights: they are not those of the accepted updates."""
    bounded(MAX_UPDATES, updates)
    bounded(MAX_SAMPLES, samples)

    def build(proposed: Candidate, count: Tally) -> Challenge:
        of_round = replace(count, levels=count.levels[: len(updates)])
        return WeightsChallenge(proposed, of_round, tuple(updates), unpack_samples(samples))

    challenge(call, Form.WEIGHTS, candidate, right, tally, 0, 0, build)


def challenge_leaf(
    call: Call,
    candidate: Fields,
    right: int,
    tally: bytes,
    proof: Proof,
    tree: int,
    leaf: int,
    content: bytes,
) -> None:
    """Show a leaf of another length than all leaves of its tree have: an update too few, or too many."""
    bounded(MAX_DEPTH, proof)
    bounded(disputes.MAX_ROW, content)

    def build(proposed: Candidate, count: Tally) -> Challenge:
        return LeafChallenge(proposed, count, tree_of(tree), leaf, tuple(proof), content)

    challenge(call, Form.LEAF, candidate, right, tally, leaf, tree, build)


def challenge_padding(
    call: Call, candidate: Fields, right: int, tally: bytes, proof: Proof, tree: int, height: int, index: int,
    digest: bytes,
) -> None:  # fmt: skip
    """Show a node above nothing but padding that has another digest than padding has."""
    bounded(MAX_DEPTH, proof)

    def build(proposed: Candidate, count: Tally) -> Challenge:
        kind = tree_of(tree)
        # A shift beyond the word leaves nothing: such a node is none, whatever the twin's longer numbers say.
        first = 0 if height >= WORD_BITS else (index << height) % WORD
        require(first != 0, "challenges: no such place")
        return PaddingChallenge(proposed, count, kind, height, index, digest, tuple(proof))

    challenge(call, Form.PADDING, candidate, right, tally, index, tree << 8 | height, build)


# For other modules.


def challenge(
    call: Call, form: Form, candidate: Fields, right: int, tally: bytes, leaf: int, place: int, build: Build
) -> None:
    """Rule on a challenge of a place: the proposal is refuted, or the bond is lost."""
    bounded(tallies.MAX_TALLY, tally)
    clock, proposed = rounds.enter(call, Phase.ATTEST), Candidate(*candidate)
    digest = proposed.digest(clock.round, call.state.verification.accepted)
    proposals.check(call, digest)
    tallies.check(call, tally)
    sealed: bytes | None = None
    if right >= MIN_SALT:
        sealed = docket.unseal(call, clock, digest, form, leaf, place % WORD, right)
    else:
        disputes.check_ruling(call, right, form, leaf)
    count = tallies.read(tally)
    with reverting():
        is_wrong = build(proposed, count).rule(context_of(call, digest))
    if not is_wrong:
        call.log("ChallengeFailed", round=clock.round, challenger=call.sender, form=int(form))
    if sealed is not None:
        docket.end_announcement(call, call.sender, sealed, is_wrong)
        if is_wrong:
            refutations.refute(call, call.sender, form, count.voters)
    elif is_wrong:
        disputes.win(call, right, form, count.voters)
    else:
        disputes.lose(call, right)


def tree_of(number: int) -> Trees:
    """Return the tree of a number; reverts where there is none."""
    require(number <= Trees.ROWS, "challenges: no such tree")
    return Trees(number)


def unpack_samples(samples: bytes) -> tuple[int, ...]:
    """Return weights of four bytes each; none for bytes that are no list of them, which no round has."""
    if len(samples) % 4:
        return ()
    return struct.unpack(f">{len(samples) // 4}I", samples)
