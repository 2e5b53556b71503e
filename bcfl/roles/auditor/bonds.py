"""The bonds of announced challenges and of disputes, and what a refutation costs, from event to event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bcfl.protocol.challenges import Form
from bcfl.protocol.docket import Announcement
from bcfl.protocol.event import LogEvent
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Terms

SILENT_AUTHOR, SILENT_ATTESTER = BASIS_POINTS // 2, BASIS_POINTS // 10  # parts of a stake, at most
REWARD_PARTS = 4  # a challenger gets one of them of what the author loses

Place = tuple[int, int]  # of a proposal: the round, and how many were made in it before
Message = tuple[str, str]  # field and text


@dataclass(frozen=True)
class Bond:
    """A bond that has not ended."""

    account: str
    wei: int
    place: Place
    announcement: Announcement | None = None  # None: a dispute

    @property
    def field(self) -> str:
        """Return the field of a finding about it."""
        return "disputes" if self.announcement is None else "challenges"


@dataclass
class Refutation:
    """A refutation while its slashes are logged."""

    challenger: str
    author: str
    parts: dict[str, int]  # account -> basis points of its stake


class Bonds:
    """What is held against proposals, and the wei that each event moves between debts, pool and credits."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.owed = self.pool = 0  # by how much the last event changes them, wei
        self.credited: dict[str, int] = {}  # by the last event: account -> wei
        self._bonds: dict[object, Bond] = {}
        self._refuted: set[Place] = set()
        self._refutation: Refutation | None = None
        self._winner: Bond | None = None  # it has gone back: its account's refutation has to follow
        self._loser: tuple[str, bytes] | None = None  # who has just failed, and in which transaction

    def apply(self, event: LogEvent, number: int, history: History) -> list[Message]:
        """Book an event of round `number`, and return what is wrong with it; `history` is that before it."""
        self.owed, self.pool, self.credited = 0, 0, {}
        messages = []
        winner = self._winner
        is_won = event.name == "Refuted" and winner is not None and event.args["challenger"] == winner.account
        if winner is not None and not is_won:
            messages.append((winner.field, f"the bond of {winner.account} goes back, and nothing is refuted"))
            self._winner = None
        book = BOOKINGS.get(event.name)
        if book is not None:
            messages += book(self, event, number, history)
        if event.name != "ChallengeFailed":
            self._loser = None
        if event.name not in ("Refuted", "Penalized"):
            self._refutation = None
        return messages

    def slash(self, account: str, stake: int, amount: int) -> list[Message] | None:
        """Book what an account loses in a refutation; None where there is none that it has a part in."""
        refutation = self._refutation
        if refutation is None or account not in refutation.parts:
            return None
        due = stake * refutation.parts.pop(account) // BASIS_POINTS
        if account == refutation.author:
            self._credit(refutation.challenger, amount // REWARD_PARTS)
            self.owed += amount // REWARD_PARTS
        if amount == due:
            return []
        return [(f"penalties[{account}]", f"it pays {amount} wei and has to pay {due}")]

    def announce(self, event: LogEvent, number: int, history: History) -> Iterator[Message]:
        """Owe the bond of an announced challenge."""
        account, sealed = event.args["challenger"], event.args["sealed"]
        if (account, sealed) in self._bonds:
            yield "challenges", f"{account} announces what it has announced"
        announcement = Announcement(account, sealed, event.timestamp)
        self.owed += self.terms.challenge_bond
        self._bonds[account, sealed] = Bond(
            account, self.terms.challenge_bond, place_of(history, number), announcement
        )

    def end_announcement(self, event: LogEvent, *_: object) -> Iterator[Message]:
        """Give a bond back, or to the pool."""
        bond = self._bonds.pop((event.args["challenger"], event.args["sealed"]))
        assert bond.announcement is not None
        now, announcement, is_gone = event.timestamp, bond.announcement, bond.place in self._refuted
        is_failed = self._loser == (bond.account, event.transaction)
        is_opened = is_failed or (event.args["returned"] and not is_gone)
        if is_opened and now < announcement.opens(self.terms):
            yield "challenges", f"{bond.account} opens its challenge before its time"
        if is_opened and now >= announcement.ends(self.terms) and not self.terms.min_blocks:
            yield "challenges", f"{bond.account} opens its challenge after its time"
        if event.args["returned"]:
            self._return(bond, is_gone)
            return
        if is_gone:
            yield "challenges", f"{bond.account} loses its bond, and the proposal was refuted"
        elif not is_opened and now < announcement.ends(self.terms):
            yield "challenges", f"the announcement of {bond.account} ends before its time"
        self.owed -= bond.wei
        self.pool += bond.wei

    def dispute(self, event: LogEvent, number: int, history: History) -> Iterator[Message]:
        """Owe the bond of a new dispute."""
        account, wei = event.args["challenger"], event.args["bond"]
        if wei < self.terms.challenge_bond:
            yield "disputes", f"{account} disputes with {wei} wei, less than the bond"
        if event.args["number"] in self._bonds:
            yield "disputes", f"dispute {event.args['number']} is opened twice"
        self.owed += wei
        self._bonds[event.args["number"]] = Bond(account, wei, place_of(history, number))

    def end_dispute(self, event: LogEvent, _: int, history: History) -> Iterator[Message]:
        """Give a bond back, or half to the author and half to the pool."""
        bond = self._bonds.pop(event.args["number"])
        is_gone = bond.place in self._refuted
        if event.args["returned"]:
            self._return(bond, is_gone)
            return
        if is_gone:
            yield "disputes", f"{bond.account} loses its bond, and the proposal was refuted"
        current = history.current
        assert current is not None
        half = bond.wei // 2
        self._credit(current.proposals[-1].author, half)
        self.owed -= bond.wei - half
        self.pool += bond.wei - half

    def fail(self, event: LogEvent, *_: object) -> Iterable[Message]:
        """Note whose bond is about to be lost."""
        self._loser = event.args["challenger"], event.transaction
        return ()

    def _refuted_parts(self, form: int) -> tuple[int, int]:
        """Return the parts of their stakes that author and attesters lose, in basis points."""
        if form == Form.SILENCE:
            return SILENT_AUTHOR, min(self.terms.attest_slash, SILENT_ATTESTER)
        return BASIS_POINTS, self.terms.attest_slash

    def refute(self, event: LogEvent, number: int, history: History) -> Iterator[Message]:
        """Check that the challenger had a right to, and note what everybody loses."""
        challenger, author = event.args["challenger"], event.args["leader"]
        if self._winner is None:
            field = "disputes" if event.args["form"] == Form.SILENCE else "challenges"
            yield field, f"{challenger} refutes a proposal, and has announced or disputed nothing"
        self._winner = None
        self._refuted.add(place_of(history, number))
        whole, part = self._refuted_parts(event.args["form"])
        proposal = history.rounds[number].proposals[-1]
        parts = dict.fromkeys(proposal.attested, part) | {author: whole}
        self._refutation = Refutation(challenger, author, parts)

    def _return(self, bond: Bond, is_gone: bool) -> None:
        self._credit(bond.account, bond.wei)
        if not is_gone:
            self._winner = bond

    def _credit(self, account: str, wei: int) -> None:
        self.credited[account] = self.credited.get(account, 0) + wei


def place_of(history: History, number: int) -> Place:
    """Return the place of the last proposal of a round."""
    return number, len(history.rounds[number].proposals)


Booking = Callable[[Bonds, LogEvent, int, History], Iterable[Message]]

BOOKINGS: Final[dict[str, Booking]] = {
    "ChallengeAnnounced": Bonds.announce,
    "AnnouncementEnded": Bonds.end_announcement,
    "Disputed": Bonds.dispute,
    "DisputeEnded": Bonds.end_dispute,
    "ChallengeFailed": Bonds.fail,
    "Refuted": Bonds.refute,
}
