"""Hold what is held against a proposal: sealed announcements of challenges, and the price of disputes.

Whoever challenges announces it first, with a bond: a sealed hash names the place, and is opened a quarter to
three quarters of the challenge window later. So nobody can copy a challenge out of a transaction that waits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bcfl.protocol import merkle
from bcfl.protocol.challenges import Challenge
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import LEVELS
from bcfl.protocol.types import Terms

WINDOW_PARTS = 4  # of the challenge window: what is announced opens after one, and within three
LEAST_ANSWERS = 2  # that the terms count for a dispute
MIN_SALT = 2**64  # smaller numbers are those of disputes
CHEAP_DISPUTES = 8  # of a proposal before each costs twice as much as the last
MAX_DOUBLINGS = 4  # of the bond of a dispute
MAX_SURCHARGE = 3  # doublings for rounds in which a dispute was lost


@dataclass(frozen=True)
class Announcement:
    """A sealed challenge, and when it was announced, in seconds."""

    challenger: str
    sealed: bytes
    time: int

    def opens(self, terms: Terms) -> int:
        """Return the time from which it may be opened."""
        return self.time + terms.challenge_seconds // WINDOW_PARTS

    def ends(self, terms: Terms) -> int:
        """Return the time until which it may be opened, and the proposal waits."""
        return self.time + 3 * (terms.challenge_seconds // WINDOW_PARTS)


def seal(challenge: Challenge, sender: str, digest: bytes, salt: int) -> bytes:
    """Return what announces a challenge of the proposal with this digest."""
    leaf, place = challenge.place
    return sealed_challenge(sender, digest, challenge.form, leaf, place, salt)


def sealed_challenge(sender: str, digest: bytes, form: int, leaf: int, place: int, salt: int) -> bytes:
    """Return the hash that binds sender, proposal and place; a salt is at least MIN_SALT."""
    return keccak(word(int(sender, 16)) + digest + word(form) + word(leaf) + word(place) + word(salt))


def answers_due(terms: Terms) -> int:
    """Return how many answers the longest dispute has: what is behind `rows` comes with the first."""
    return -(-merkle.depth(terms.parameters, terms.leaf_lanes) // LEVELS) + 1


def longest_dispute_seconds(terms: Terms) -> int:
    """Return how long disputes can hold a proposal, however many there are: they all begin within the window.

    Each answer may take its whole time, and the challenger's moves together as much as one answer.
    """
    return (answers_due(terms) + 1) * terms.answer_seconds


def longest_wait_seconds(terms: Terms) -> int:
    """Return how long a proposal can wait to be final after it was made, whatever is held against it."""
    announced = 3 * (terms.challenge_seconds // WINDOW_PARTS)
    return terms.challenge_seconds + max(longest_dispute_seconds(terms), announced)


def longest_round(terms: Terms) -> int:
    """Return the seconds of a round with one turn, every phase of full length, and a dispute as well.

    Exits and suspensions take longer: the contract insists. A tree of one leaf counts two answers too.
    """
    phases = terms.commit_seconds + terms.reveal_seconds + terms.vote_seconds + terms.unveil_seconds
    phases += terms.tally_seconds + terms.elect_seconds + terms.propose_seconds
    window, judged = terms.challenge_seconds, 0
    if window:
        answers = max(answers_due(terms), LEAST_ANSWERS)
        judged = window + max((answers + 1) * terms.answer_seconds, 3 * (window // WINDOW_PARTS))
    return phases + max(terms.attest_seconds, judged)


def window_end(terms: Terms, proposed: int, announced: Iterable[int]) -> int:
    """Return the time from which a proposal can become final, or silence refutes it.

    `proposed` and `announced` are when it was made, and when challenges of it were announced: whoever can
    show that it is wrong goes first.
    """
    part = terms.challenge_seconds // WINDOW_PARTS
    return max([proposed + terms.challenge_seconds, *(time + 3 * part for time in announced)])


def dispute_price(terms: Terms, opened: int, surcharge: int, base_fee: int) -> int:
    """Return what the next dispute of a proposal costs, in wei; `opened` have been opened before.

    The bond doubles for each level of the surcharge and for each dispute beyond the first eight, four times
    at most; it is at least what honest answers cost at `base_fee` wei a gas, four times over.
    """
    beyond = max(0, opened + 1 - CHEAP_DISPUTES)
    answers = answers_due(terms)
    shown = terms.max_updates * terms.leaf_lanes * terms.lane_bits // 8 + 8_192 * answers
    gas = 40 * shown + 200_000 * answers
    return max(terms.challenge_bond << min(surcharge + beyond, MAX_DOUBLINGS), 4 * gas * base_fee)


def surcharge_at(round_: int, surcharge: int, lost: int) -> int:
    """Return how often the bond is doubled in a round; it was `surcharge` after the loss in round `lost`.

    It falls by one in each round without a lost dispute.
    """
    return max(0, surcharge - max(0, round_ - lost - 1))


def surcharge_after_loss(round_: int, surcharge: int, lost: int) -> int:
    """Return the surcharge once a dispute was lost in a round: one more, once a round."""
    if lost == round_:
        return surcharge
    return min(surcharge_at(round_, surcharge, lost) + 1, MAX_SURCHARGE)
