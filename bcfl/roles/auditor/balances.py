"""The contract's money: every wei that it holds, followed from event to event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bcfl.protocol import verification
from bcfl.protocol.event import LogEvent
from bcfl.protocol.rewards import earned, verdict_pay
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Tally, Terms
from bcfl.roles.auditor.bonds import Bonds
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
    tallies: dict[int, Tally] = field(default_factory=dict)  # by round
    bonds: Bonds = field(init=False)

    def __post_init__(self) -> None:
        self.bonds = Bonds(self.terms)

    def apply(self, event: LogEvent, number: int, history: History) -> list[Finding]:
        """Book an event of round `number` and return what is wrong with it.

        `history` is that of all events before this one.
        """
        findings = [Finding(number, *message) for message in self.bonds.apply(event, number, history)]
        book = BOOKINGS.get(event.name)
        if book is not None:
            findings += book(self, event.args, number, history)
        self.owed += self.bonds.owed
        self.pool += self.bonds.pool
        for account, wei in self.bonds.credited.items():
            self.credits[account] = self.credits.get(account, 0) + wei
        return findings

    def tally(self, round_: Round) -> Tally:
        """Count the votes of a round, once."""
        if round_.number not in self.tallies:
            self.tallies[round_.number] = verification.tally(
                round_.words(self.domain), round_.votes, round_.electorate
            )
        return self.tallies[round_.number]

    def fund(self, args: Args, *_: object) -> Iterable[Finding]:
        """Add a donation to the pool."""
        self.pool += args["amount"]
        return ()

    def penalize(self, args: Args, number: int, history: History) -> Iterator[Finding]:
        """Check and book a penalty.

        What absence costs is checked with the votes (`members.py`). A missed turn has its price, for the
        pool; what a refutation costs is burned, but for the challenger's part (`bonds.py`).
        """
        miner, amount = args["miner"], args["amount"]
        stake = history.miners[miner].stake
        slashes = self.bonds.slash(miner, stake, amount)
        if slashes is not None:
            yield from (Finding(number, *message) for message in slashes)
            return
        after_tally = history.rounds[number].accepted is not None
        due = min(self.terms.leader_penalty, stake)
        if after_tally and amount != due:
            yield Finding(number, f"penalties[{miner}]", f"it pays {amount} wei and has to pay {due}")
        self.pool += amount

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


Booking = Callable[[Balances, Args, int, History], Iterable[Finding]]

BOOKINGS: Final[dict[str, Booking]] = {
    "Funded": Balances.fund,
    "Penalized": Balances.penalize,
    "Finalized": Balances.reserve,
    "Claimed": Balances.claim,
    "Withdrawn": Balances.withdraw,
}
