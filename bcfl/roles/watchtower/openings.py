"""What a watchtower has announced, and how it opens it, after a restart too.

Salts are derived from the account's key, the proposal, its turn and a count. So nothing has to be kept:
whoever has the key and finds the same place wrong can open what was announced before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bcfl.protocol import verification
from bcfl.protocol.accounts import Account
from bcfl.protocol.challenges import Challenge, proposal_digest
from bcfl.protocol.docket import MIN_SALT, Announcement, seal
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Tally
from bcfl.roles.common.snapshot import RoundSnapshot


class Openings:
    """The announcements of one account about the proposal that stands."""

    def __init__(self, account: Account, domain: Domain) -> None:
        self.account, self.domain = account, domain
        self._challenges: dict[bytes, Challenge] = {}  # by sealed hash, as far as this process made them

    def accepted(self, snapshot: RoundSnapshot) -> bytes:
        """Return the digest of the round's tally."""
        return verification.tally_digest(snapshot.current.tally(self.domain))

    def seal(self, snapshot: RoundSnapshot, challenge: Challenge) -> bytes:
        """Return the hash for one more announcement."""
        digest = digest_of(snapshot, self.domain)
        salt = self._salt(snapshot, digest, len(self._own(snapshot)))
        return seal(challenge, self.account.address, digest, salt)

    def keep(self, sealed: bytes, challenge: Challenge) -> None:
        """Remember what was announced."""
        self._challenges = {sealed: challenge}

    def challenge(self, announcements: Sequence[Announcement]) -> Challenge | None:
        """Return the challenge behind one of these announcements, if this process made it."""
        challenges = (self._challenges.get(item.sealed) for item in announcements)
        return next((challenge for challenge in challenges if challenge is not None), None)

    def due(self, snapshot: RoundSnapshot) -> list[Announcement]:
        """Return the announcements that can be opened now."""
        terms, now = snapshot.terms, snapshot.now
        return [item for item in self._waiting(snapshot) if item.opens(terms) <= now < item.ends(terms)]

    def announced(self, snapshot: RoundSnapshot, challenge: Challenge) -> int | None:
        """Return the salt of an announcement of this challenge that can still be opened, or None."""
        digest, address = digest_of(snapshot, self.domain), self.account.address
        waiting = {
            item.sealed for item in self._waiting(snapshot) if snapshot.now < item.ends(snapshot.terms)
        }
        salts = (self._salt(snapshot, digest, count) for count in range(len(self._own(snapshot))))
        return next((salt for salt in salts if seal(challenge, address, digest, salt) in waiting), None)

    def _own(self, snapshot: RoundSnapshot) -> list[Announcement]:
        """Return all own announcements about the proposal."""
        events = snapshot.current.proposals[-1].announcements
        return [
            Announcement(event.args["challenger"], event.args["sealed"], event.timestamp)
            for event in events
            if event.args["challenger"] == self.account.address
        ]

    def _waiting(self, snapshot: RoundSnapshot) -> Iterator[Announcement]:
        """Yield those that have not ended."""
        waiting = snapshot.history.announcements
        return (item for item in self._own(snapshot) if (item.challenger, item.sealed) in waiting)

    def _salt(self, snapshot: RoundSnapshot, digest: bytes, count: int) -> int:
        turn = len(snapshot.current.proposals)
        return MIN_SALT | int.from_bytes(self.account.secret("challenge", digest, turn, count), "big")


def digest_of(snapshot: RoundSnapshot, domain: Domain) -> bytes:
    """Return the digest of the proposal that stands."""
    accepted = verification.tally_digest(snapshot.current.tally(domain))
    return proposal_digest(snapshot.round, accepted, *snapshot.current.proposals[-1].content)


def tally_of(snapshot: RoundSnapshot, domain: Domain) -> tuple[Tally, list[int]]:
    """Return the tally of the round, and the words of its updates."""
    return snapshot.current.tally(domain), snapshot.current.words(domain)
