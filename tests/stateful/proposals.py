"""Model proposals, and what happens to a wrong one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bcfl.protocol.challenges import Form
from bcfl.protocol.types import Phase
from tests.stateful.model import Model
from tests.stateful.registry import Effect
from tests.stateful.seats import ModelClock

BASIS = 10_000


@dataclass
class Proposals(Model):
    """Model a round from its first leader on; the name of a proposal is its round and turn."""

    standing: bool = False  # a proposal was made that nobody has refuted
    content: bytes = b""  # digest of the last one
    cid: bytes = b""  # that its last leader named
    author: str = ""
    proposed: int = 0  # when it was made
    attested: set[str] = field(default_factory=set)
    slashed: set[str] = field(default_factory=set)  # in this round
    authors: dict[bytes, str] = field(default_factory=dict)  # of what was replaced
    wrong: set[bytes] = field(default_factory=set)  # contents that can be refuted
    refuted: set[tuple[int, int]] = field(default_factory=set)
    credits: dict[str, int] = field(default_factory=dict)  # not withdrawn
    burnt: int = 0

    @property
    def name(self) -> tuple[int, int]:
        """Return round and turn, which name the proposal that stands."""
        return self.round, self.turn

    def open_round(self, number: int, now: int) -> None:
        super().open_round(number, now)
        self.standing, self.attested, self.slashed = False, set(), set()

    def waits(self, now: int) -> bool:
        """Return whether something is held against the proposal that stands."""
        raise NotImplementedError

    def credit(self, account: str, amount: int) -> None:
        self.credits[account] = self.credits.get(account, 0) + amount

    def propose(self, now: int, account: str, content: bytes, cid: bytes) -> Effect:
        clock = self.clock
        if clock.phase is not Phase.PROPOSE or account != self.leader or now >= clock.deadline:
            return None

        def effect() -> None:
            if not self.standing:
                self.author, self.attested = account, set()
            elif content != self.content:
                self.authors[self.content] = self.author
                self.author, self.attested = self.authors.get(content, account), set()
            self.standing, self.content, self.cid, self.proposed = True, content, cid, now
            self.support(account)
            self.clock = self.clock_at(Phase.ATTEST, now + self.terms.attest_seconds, clock.expected)

        return effect

    def support(self, account: str) -> None:
        self.attested.add(account)
        if self.content in self.wrong:
            self.faults.add((self.round, account))

    def attest(self, now: int, account: str, content: bytes) -> Effect:
        clock = self.clock
        if clock.phase is not Phase.ATTEST or now >= clock.deadline or content != self.content:
            return None
        may = account in clock.expected - self.attested
        return (lambda: self.support(account)) if may else None

    def is_supported(self) -> bool:
        return self.decides(self.attested)

    def is_window_over(self, now: int) -> bool:
        return now >= self.proposed + self.terms.challenge_seconds

    def correct_cid(self, account: str) -> Effect:
        return (lambda: None) if self.clock.phase is Phase.ATTEST and account in self.attested else None

    def finalize(self, now: int, content: bytes, cid: bytes) -> Effect:
        is_named = (content, cid) == (self.content, self.cid)
        is_due = self.clock.phase is Phase.ATTEST and is_named and self.is_window_over(now)
        if not is_due or not self.is_supported() or self.waits(now):
            return None

        def effect() -> None:
            self.blocks.append(self.round)
            self.open_round(self.round + 1, now)

        return effect

    def skip(self, now: int) -> Effect:
        clock = self.clock
        if clock.phase not in (Phase.PROPOSE, Phase.ATTEST) or now < clock.deadline:
            return None
        if clock.phase is Phase.ATTEST and (self.is_supported() or self.waits(now)):
            return None

        def effect() -> None:
            if clock.phase is Phase.PROPOSE:
                self.faults.add((self.round, self.leader))
                self.penalize(self.leader, self.terms.leader_penalty)
            self.failed.add(self.leader)
            if clock.expected <= self.failed:
                self.open_round(self.round + 1, now)
            else:
                self.pass_on(now, clock)

        return effect

    def pass_on(self, now: int, clock: ModelClock) -> None:
        self.turn += 1
        self.lead(now, clock.expected)

    # A refuted proposal.

    def refute(self, now: int, challenger: str, form: Form) -> None:
        """Slash author and attesters; the next leads, or the round is void."""
        clock, accused = self.clock, self.attested | {self.author}
        if form is Form.SILENCE and self.content not in self.wrong:
            self.faults |= {(self.round, account) for account in accused}  # each could have answered
        assert all((self.round, account) in self.faults for account in accused)
        is_left = self.does_decide(self.whole() - self.weigh(self.attested))
        self.slash(challenger, form is Form.SILENCE)
        self.refuted.add(self.name)
        self.slashed |= accused
        self.failed |= accused | {self.leader}
        self.standing, self.attested = False, set()
        if is_left and not clock.expected <= self.failed:
            self.pass_on(now, replace(clock, expected=clock.expected - accused))
        else:
            self.clock = ModelClock(Phase.VOID, 0)

    def slash(self, challenger: str, is_silent: bool) -> None:
        author_part = BASIS // 2 if is_silent else BASIS
        attester_part = min(self.terms.attest_slash, BASIS // 10) if is_silent else self.terms.attest_slash
        taken = self.take(self.author, author_part)
        burnt = taken - taken // 4
        burnt += sum(self.take(account, attester_part) for account in self.attested - {self.author})
        self.credit(challenger, taken // 4)
        self.burnt += burnt
        self.balance -= burnt

    def take(self, account: str, part: int) -> int:
        amount = self.seats[account].stake * part // BASIS
        self.penalize(account, amount)
        return amount
