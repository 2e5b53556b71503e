"""Steps 1 and 7: every wei that the contract holds, followed from log to log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bcfl.protocol import verification
from bcfl.protocol.challenges import Form
from bcfl.protocol.disputes import NOBODY
from bcfl.protocol.rewards import earned
from bcfl.protocol.rounds import History, Recorded, Round
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Tally, Terms
from bcfl.roles.auditor.verdict import Finding


@dataclass
class Books:
    """Pool, debts and credits as they must be, in wei."""

    terms: Terms
    domain: Domain
    pool: int
    owed: int = 0
    credits: dict[str, int] = field(default_factory=dict)
    winner: str | None = None  # who has just refuted a proposal, until the stake of its leader is taken
    tallies: dict[int, Tally] = field(default_factory=dict)  # of the rounds that were counted

    def take(self, event: Recorded, number: int, history: History) -> Iterator[Finding]:
        """Book an event that happens in round `number`; `history` stands where it was before the event."""
        # A list, not a generator: what is booked is booked whoever looks at the findings.
        return iter(list(self._take(event, number, history)))

    def _take(self, event: Recorded, number: int, history: History) -> Iterator[Finding]:
        args = event.args
        if event.name == "Funded":
            self.pool += args["amount"]
        elif event.name == "Penalized":
            yield from self._penalize(args["miner"], args["amount"], number, history)
        elif event.name == "ChallengeFailed":
            self.pool += self.terms.challenge_bond
        elif event.name == "Refuted":
            self.winner = args["challenger"]
            if args["form"] != Form.DISPUTE:  # whose bond has been in the books since it was opened
                self._credit(args["challenger"], self.terms.challenge_bond)
        elif event.name == "Disputed":
            self.owed += self.terms.challenge_bond
        elif event.name == "DisputeEnded":
            self._release(args["challenger"], args["answerer"])
        elif event.name == "Finalized":
            yield from self._reserve(args["reward"], number, history)
        elif event.name == "Claimed":
            self.credits[args["account"]] = self.credits.get(args["account"], 0) + args["amount"]
        elif event.name == "Withdrawn":
            yield from self._withdraw(args["account"], args["amount"], number)
        elif event.name == "StakeChanged":
            yield from self._stake(args["miner"], args["stake"], number, history)

    def count(self, current: Round) -> Tally:
        """What the votes of a round come to, counted once."""
        if current.number not in self.tallies:
            self.tallies[current.number] = verification.tally(
                current.words(self.domain), current.votes, current.engine
            )
        return self.tallies[current.number]

    def _penalize(self, miner: str, amount: int, number: int, history: History) -> Iterator[Finding]:
        """A vote that is not unveiled has its price, a missed turn too; a refuted proposal costs all."""
        counted = history.rounds[number].accepted is not None
        price = self.terms.leader_penalty if counted else self.terms.vote_penalty
        stake = history.miners[miner].stake
        due = stake if self.winner is not None else min(price, stake)
        if amount != due:
            yield Finding(number, f"penalties[{miner}]", f"it pays {amount} wei and has to pay {due}")
        if self.winner is not None:  # half of it is the challenger's
            self._credit(self.winner, amount // 2)
            self.winner, amount = None, amount - amount // 2
        self.pool += amount

    def _credit(self, account: str, amount: int) -> None:
        """What the contract owes an account from now on, though no claim says so."""
        self.credits[account] = self.credits.get(account, 0) + amount
        self.owed += amount

    def _release(self, challenger: str, answerer: str) -> None:
        """The bond of a dispute goes back, or half of it to who answered last, and the rest to the pool."""
        bond = self.terms.challenge_bond
        self.owed -= bond
        if answerer == NOBODY:
            self._credit(challenger, bond)
        else:
            self._credit(answerer, bond // 2)
            self.pool += bond - bond // 2

    def _reserve(self, reward: int, number: int, history: History) -> Iterator[Finding]:
        """A round's reward is what the terms promise, as far as the pool goes."""
        due = min(self.pool, self.terms.reward)
        if reward != due:
            yield Finding(number, "block.reward", f"the reward is {reward} wei and has to be {due}")
        aside = earned(self.terms, due, self.count(history.rounds[number]))
        self.pool -= aside
        self.owed += aside

    def _withdraw(self, account: str, amount: int, number: int) -> Iterator[Finding]:
        credit = self.credits.pop(account, 0)
        if amount != credit:
            text = f"{account} takes {amount} wei out and has a credit of {credit}"
            yield Finding(number, "withdrawals", text)
        self.owed -= credit

    def _stake(self, miner: str, stake: int, number: int, history: History) -> Iterator[Finding]:
        """A miner tops its stake up, or has left and takes it."""
        member = history.miners[miner]
        if stake == 0:
            if not member.exit_round or member.exit_round > number:
                yield Finding(number, "stakes", f"{miner} takes its stake before its time")
        elif stake < max(member.stake, self.terms.min_stake):
            yield Finding(number, "stakes", f"{miner} tops its stake up to less than it has to be")
