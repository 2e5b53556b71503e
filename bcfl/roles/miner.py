"""Steps 3 to 7: a miner brings its devices' updates, verifies all of them, votes, leads and attests."""

from __future__ import annotations

from collections.abc import Callable

from bcfl.ports import Ledger, Relay
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from bcfl.roles.archive import Archive
from bcfl.roles.ballots import Ballots, Wishes, no_wish
from bcfl.roles.batches import Batches
from bcfl.roles.clerk import Office
from bcfl.roles.desk import Inbox
from bcfl.roles.journal import Journal
from bcfl.roles.lead import Lead
from bcfl.roles.moment import Moment, look
from bcfl.roles.verifier import Verifier


class Miner:
    """One miner, and its desk; `act` does whatever is due for it and says what it did."""

    def __init__(
        self,
        account: Account,
        ledger: Ledger,
        relay: Relay,
        archive: Archive,
        verifier: Verifier,
        journal: Journal,
        wishes: Wishes = no_wish,
    ) -> None:
        self.account, self.ledger = account, ledger
        self.inbox = Inbox(ledger, account.address)
        office = Office(account, ledger, relay, journal, self.inbox)
        self.batches = Batches(office)
        self.ballots = Ballots(office, verifier, wishes)
        self.lead = Lead(office, archive)
        self.take_commitment = self.batches.take_commitment
        self.take_update = self.inbox.take_update
        self.take_batch = self.inbox.take_batch
        self.take_opening = self.inbox.take_opening
        self.batch = self.batches.committed

    def act(self) -> str | None:
        """Do what is due; None if nothing is. Raises Reverted where somebody else was quicker."""
        moment = look(self.ledger)
        if moment is None:
            return None
        me = moment.history.miners.get(self.account.address)
        if me is None or not me.weight:
            return None
        self.inbox.turn(moment.round)
        if moment.clock.phase is Phase.COMMIT and (renewed := self.lead.renew(moment)):
            return renewed
        step = self._steps().get(moment.clock.phase)
        return None if step is None else step(moment)

    def _steps(self) -> dict[Phase, Callable[[Moment], str | None]]:
        """What a miner does in which phase."""
        return {
            Phase.COMMIT: self.batches.commit,
            Phase.REVEAL: self.batches.reveal,
            Phase.VOTE: self.ballots.vote,
            Phase.UNVEIL: self.ballots.unveil,
            Phase.TALLY: self.ballots.tally,
            Phase.ELECT: self.lead.race,
            Phase.PROPOSE: self.lead.propose,
            Phase.ATTEST: self.lead.attest,
            Phase.VOID: self.lead.advance,
        }
