"""The contract's money: every wei that it holds, followed from event to event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bcfl.protocol import verification
from bcfl.protocol.challenges import Form
from bcfl.protocol.disputes import NOBODY
from bcfl.protocol.event import LogEvent
from bcfl.protocol.rewards import earned, verdict_pay
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Tally, Terms
from bcfl.roles.auditor.verdict import Finding

Args = Mapping[str, Any]  # of an event


@dataclass
class Balances:
    """Pool, debts and credits as they must be, in wei."""

    terms: Terms
    domain: Domain
    pool: int
    owed: int = 0
    credits: dict[str, int] = field(default_factory=dict)
    winner: str | None = None  # who has just refuted a proposal, until the leader's stake is taken
    tallies: dict[int, Tally] = field(default_factory=dict)  # by round

    def apply(self, event: LogEvent, number: int, history: History) -> list[Finding]:
        """Book an event of round `number` and return what is wrong with it.

        `history` is that of all events before this one.
        """
        book = BOOKINGS.get(event.name)
        return [] if book is None else list(book(self, event.args, number, history))

    def tally(self, round_: Round) -> Tally:
        """Count the votes of a round, once."""
        if round_.number not in self.tallies:
            self.tallies[round_.number] = verification.tally(
                round_.words(self.domain), round_.votes, round_.electorate, round_.engine
            )
        return self.tallies[round_.number]

    def fund(self, args: Args, *_: object) -> Iterable[Finding]:
        """Add a donation to the pool."""
        self.pool += args["amount"]
        return ()

    def penalize(self, args: Args, number: int, history: History) -> Iterator[Finding]:
        """Check and book a penalty.

        What absence costs is checked with the votes (`members.py`). A missed turn has its price; a refuted
        proposal costs the whole stake, of which the challenger gets half.
        """
        miner, amount = args["miner"], args["amount"]
        after_tally = history.rounds[number].accepted is not None
        stake = history.miners[miner].stake
        due = stake if self.winner is not None else min(self.terms.leader_penalty, stake)
        if after_tally and amount != due:
            yield Finding(number, f"penalties[{miner}]", f"it pays {amount} wei and has to pay {due}")
        if self.winner is not None:
            self._credit(self.winner, amount // 2)
            self.winner, amount = None, amount - amount // 2
        self.pool += amount

    def forfeit(self, *_: object) -> Iterable[Finding]:
        """Move the bond of a failed challenge to the pool."""
        self.pool += self.terms.challenge_bond
        return ()

    def refute(self, args: Args, *_: object) -> Iterable[Finding]:
        """Return the challenger's bond; that of a dispute has been owed since the dispute was opened."""
        self.winner = args["challenger"]
        if args["form"] != Form.DISPUTE:
            self._credit(args["challenger"], self.terms.challenge_bond)
        return ()

    def open_dispute(self, *_: object) -> Iterable[Finding]:
        """Owe the bond of a new dispute."""
        self.owed += self.terms.challenge_bond
        return ()

    def end_dispute(self, args: Args, *_: object) -> Iterable[Finding]:
        """Return a dispute's bond, or give half to the last answerer and the other half to the pool."""
        bond = self.terms.challenge_bond
        self.owed -= bond
        if args["answerer"] == NOBODY:
            self._credit(args["challenger"], bond)
        else:
            self._credit(args["answerer"], bond // 2)
            self.pool += bond - bond // 2
        return ()

    def reserve(self, args: Args, number: int, history: History) -> Iterator[Finding]:
        """Check a round's reward, which is that of the terms as far as the pool goes, and set it aside."""
        due = min(self.pool, self.terms.reward)
        if args["reward"] != due:
            yield Finding(number, "block.reward", f"the reward is {args['reward']} wei and has to be {due}")
        shares = earned(self.terms, due, self.tally(history.rounds[number]))
        self.pool -= shares
        self.owed += shares

    def claim(self, args: Args, _: int, history: History) -> Iterable[Finding]:
        """Credit an account with a claim, of wei owed already; what it forfeits is the pool's."""
        self.credits[args["account"]] = self.credits.get(args["account"], 0) + args["amount"]
        if args["as_miner"]:
            forfeit = self._forfeited(history.rounds[args["round"]], args["account"])
            self.owed -= forfeit
            self.pool += forfeit
        return ()

    def withdraw(self, args: Args, number: int, _: History) -> Iterator[Finding]:
        """Check that an account takes out its whole credit, and book it."""
        account, amount = args["account"], args["amount"]
        credit = self.credits.pop(account, 0)
        if amount != credit:
            text = f"{account} takes {amount} wei out and has a credit of {credit}"
            yield Finding(number, "withdrawals", text)
        self.owed -= credit

    def _forfeited(self, round_: Round, account: str) -> int:
        """Return the wei that a voter does not get for its verdicts, as it did not attest."""
        places = [place for place, vote in enumerate(round_.votes) if vote.voter.account == account]
        if round_.block is None or not places:
            return 0
        return verdict_pay(self.terms, round_.block, self.tally(round_), places[0])[1]

    def _credit(self, account: str, amount: int) -> None:
        """Owe an account wei that no claim tells of."""
        self.credits[account] = self.credits.get(account, 0) + amount
        self.owed += amount


Booking = Callable[[Balances, Args, int, History], Iterable[Finding]]

BOOKINGS: Final[dict[str, Booking]] = {
    "Funded": Balances.fund,
    "Penalized": Balances.penalize,
    "ChallengeFailed": Balances.forfeit,
    "Refuted": Balances.refute,
    "Disputed": Balances.open_dispute,
    "DisputeEnded": Balances.end_dispute,
    "Finalized": Balances.reserve,
    "Claimed": Balances.claim,
    "Withdrawn": Balances.withdraw,
}
