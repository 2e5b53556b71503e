"""Model what is held against proposals: announced challenges and disputes, and their bonds.

Whether a shown place is wrong, and what a move of a dispute comes to, is left to the twins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bcfl.errors import ChallengeError
from bcfl.protocol.challenges import Challenge, ChallengeContext, Form
from bcfl.protocol.disputes import Dispute
from bcfl.protocol.docket import Announcement, dispute_price, seal, surcharge_after_loss, surcharge_at
from bcfl.protocol.types import Phase
from testkit.forged_proposals import ruling
from tests.stateful.proposals import Proposals
from tests.stateful.registry import Effect


@dataclass
class OpenDispute:
    """Hold a dispute that has not ended, and the name of its proposal."""

    state: Dispute
    bond: int
    name: tuple[int, int]


@dataclass
class Docket(Proposals):
    """Model a federation with all that can be held against a proposal."""

    announcements: dict[tuple[str, bytes], Announcement] = field(default_factory=dict)  # bond not gone
    names: dict[tuple[str, bytes], tuple[int, int]] = field(default_factory=dict)  # of their proposals
    pending: int = 0  # the proposal `held` waits until then
    held: tuple[int, int] = (0, 0)
    disputes: dict[int, OpenDispute] = field(default_factory=dict)
    opened_disputes: Counter[tuple[int, int]] = field(default_factory=Counter)
    dispute_count: int = 0
    surcharge: int = 0
    lost: int = 0  # round in which a dispute was last lost

    @property
    def bonds(self) -> int:
        """Return the bonds that are owed to nobody yet, wei."""
        announced = len(self.announcements) * self.terms.challenge_bond
        return announced + sum(dispute.bond for dispute in self.disputes.values())

    def waits(self, now: int) -> bool:
        is_disputed = any(dispute.name == self.name for dispute in self.disputes.values())
        return is_disputed or (self.held == self.name and now < self.pending)

    def is_open(self, now: int) -> bool:
        """Return whether the proposal that stands can be challenged."""
        return self.clock.phase is Phase.ATTEST and not self.is_window_over(now)

    def stands(self, name: tuple[int, int]) -> bool:
        return self.clock.phase is Phase.ATTEST and name == self.name

    # Challenges.

    def announce_challenge(self, now: int, account: str, sealed: bytes, value: int) -> Effect:
        key = account, sealed
        is_right = value == self.terms.challenge_bond and key not in self.announcements
        if not self.is_open(now) or not is_right:
            return None

        def effect() -> None:
            self.announcements[key] = announcement = Announcement(account, sealed, now)
            self.names[key] = self.held = self.name
            self.pending = announcement.ends(self.terms)

        return effect

    def open_challenge(
        self, now: int, account: str, challenge: Challenge, salt: int, context: ChallengeContext
    ) -> Effect:
        """Open an announced challenge; `context` is that of the proposal that stands."""
        key = account, seal(challenge, account, self.content, salt)
        announcement = self.announcements.get(key)
        if announcement is None or not self.stands(self.names[key]):
            return None
        is_time = announcement.opens(self.terms) <= now < announcement.ends(self.terms)
        is_wrong = ruling(challenge, context)
        if not is_time or isinstance(is_wrong, str):
            return None
        return lambda: self.end_challenge(now, key, is_wrong, challenge.form)

    def end_challenge(self, now: int, key: tuple[str, bytes], is_wrong: bool, form: Form) -> None:
        del self.announcements[key]
        if is_wrong:
            self.credit(key[0], self.terms.challenge_bond)
            self.refute(now, key[0], form)

    def settle(self, now: int, account: str, sealed: bytes) -> Effect:
        key = account, sealed
        announcement = self.announcements.get(key)
        if announcement is None:
            return None
        is_refuted = self.names[key] in self.refuted
        if not is_refuted and now < announcement.ends(self.terms):
            return None

        def effect() -> None:
            del self.announcements[key]
            self.credit(account, self.terms.challenge_bond if is_refuted else 0)

        return effect

    # Disputes.

    def price(self, base_fee: int) -> int:
        surcharge = surcharge_at(self.round, self.surcharge, self.lost)
        return dispute_price(self.terms, self.opened_disputes[self.name], surcharge, base_fee)

    def dispute(self, now: int, state: Dispute, content: bytes, value: int, base_fee: int) -> Effect:
        """Open a dispute; `state` is what the twin makes of it."""
        is_paid = value >= self.price(base_fee)
        if not self.is_open(now) or not is_paid or content != self.content:
            return None

        def effect() -> None:
            self.disputes[state.number] = OpenDispute(state, value, self.name)
            self.opened_disputes[self.name] += 1
            self.dispute_count += 1

        return effect

    def move(self, number: int, move: Callable[[Dispute], Dispute]) -> Effect:
        """Make an answer or pursue, as the twin takes it."""
        dispute = self.disputes.get(number)
        if dispute is None or not self.stands(dispute.name):
            return None
        try:
            state = move(dispute.state)
        except ChallengeError:
            return None
        return lambda: setattr(dispute, "state", state)

    def rule(
        self, now: int, account: str, number: int, challenge: Challenge, context: ChallengeContext
    ) -> Effect:
        """End a dispute by a challenge."""
        dispute, (leaf, _) = self.disputes.get(number), challenge.place
        if dispute is None or not self.stands(dispute.name):
            return None
        try:
            dispute.state.check_ruling(self.terms, account, now, challenge.form, leaf)
        except ChallengeError:
            return None
        is_wrong = ruling(challenge, context)
        if isinstance(is_wrong, str):
            return None
        return (lambda: self.win(now, number, challenge.form)) if is_wrong else (lambda: self.lose(number))

    def expire(self, now: int, number: int) -> Effect:
        dispute = self.disputes.get(number)
        if dispute is None:
            return None
        if not self.stands(dispute.name):
            return lambda: self.give_back(number)
        if now < self.end_time(dispute.state):
            return None
        if dispute.state.expire(now):
            return lambda: self.win(now, number, Form.SILENCE)
        return lambda: self.lose(number)

    def end_time(self, state: Dispute) -> int:
        """Return the time from which a dispute of the proposal that stands ends if no move comes.

        Silence refutes nothing that may still be challenged.
        """
        pending = self.pending if self.held == self.name else 0
        window = max(self.proposed + self.terms.challenge_seconds, pending)
        return max(state.deadline, window) if state.is_answerable else state.deadline

    def give_back(self, number: int) -> None:
        dispute = self.disputes.pop(number)
        self.credit(dispute.state.challenger, dispute.bond)

    def win(self, now: int, number: int, form: Form) -> None:
        challenger = self.disputes[number].state.challenger
        self.give_back(number)
        self.refute(now, challenger, form)

    def lose(self, number: int) -> None:
        """Give half of the bond to the author, and the rest to the pool."""
        self.credit(self.author, self.disputes.pop(number).bond // 2)
        self.surcharge = surcharge_after_loss(self.round, self.surcharge, self.lost)
        self.lost = self.round
