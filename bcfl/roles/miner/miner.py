"""Serve devices as a miner, verify all updates, vote, lead and attest."""

from __future__ import annotations

from collections.abc import Callable

from bcfl.ports import ContractCall, Ledger, Relay
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import Member
from bcfl.protocol.types import Phase
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from bcfl.roles.miner.batches import Batches
from bcfl.roles.miner.context import MinerContext
from bcfl.roles.miner.inbox import MinerInbox
from bcfl.roles.miner.keyholder import Keyholder
from bcfl.roles.miner.lead import Lead
from bcfl.roles.miner.verifier import Verifier
from bcfl.roles.miner.voting import Voting, Wishes, no_wish


class Miner:
    """One miner, and its inbox; `act` does whatever is due for it and says what it did."""

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
        self.inbox = MinerInbox(ledger, account.address)
        context = self.context = MinerContext(account, ledger, relay, journal, self.inbox)
        self.batches = Batches(context)
        self.voting = Voting(context, verifier, wishes)
        self.lead = Lead(context, archive)
        self.take_commitment = self.batches.take_commitment
        self.take_update = self.inbox.take_update
        self.take_batch = self.inbox.take_batch
        self.take_opening = self.inbox.take_opening
        self.batch = self.batches.commitments
        self.keyholder = Keyholder(account, ledger, archive)
        self.answer = self.keyholder.answer

    def act(self) -> str | None:
        """Do what is due; None if nothing is. Raises Reverted where somebody else was quicker."""
        snapshot = take_snapshot(self.ledger)
        if snapshot is None:
            return None
        self.keyholder.follow(snapshot.history)
        member = snapshot.history.miners.get(self.account.address)
        if member is not None and member.suspended:
            return self._resume(snapshot, member)
        if member is None or not member.weight:
            return None
        self.inbox.start_round(snapshot.round)
        action = self._actions().get(snapshot.clock.phase)
        return None if action is None else action(snapshot)

    def prepare(self) -> None:
        """Begin what takes long and is due: to judge updates, where the learner judges elsewhere."""
        snapshot = take_snapshot(self.ledger) if self.voting.verifier.is_remote else None
        if snapshot is not None and snapshot.clock.phase is Phase.VOTE:
            self.voting.prepare(snapshot)

    def unknown_acts(self, snapshot: RoundSnapshot) -> list[str]:
        """Return what the chain shows of this miner in the round, and its journal does not know."""
        member = snapshot.history.miners.get(self.account.address)
        if member is None or not member.weight:
            return []
        acts = [] if self.batches.knows_commitment(snapshot) else ["a batch"]
        return acts if self.voting.knows_commitment(snapshot) else [*acts, "a vote"]

    def _resume(self, snapshot: RoundSnapshot, member: Member) -> str | None:
        """End this miner's suspension as soon as it may: it is here again."""
        if member.exit_round or snapshot.round < member.until_round:
            return None
        self.context.send(ContractCall("resume"))
        return "resumed after its suspension"

    def _actions(self) -> dict[Phase, Callable[[RoundSnapshot], str | None]]:
        """Return what a miner does in each phase."""
        return {
            Phase.COMMIT: self.batches.commit,
            Phase.REVEAL: self.batches.reveal,
            Phase.VOTE: self.voting.vote,
            Phase.UNVEIL: self.voting.unveil,
            Phase.TALLY: self.voting.tally,
            Phase.ELECT: self.lead.race,
            Phase.PROPOSE: self.lead.propose,
            Phase.ATTEST: self.lead.attest,
            Phase.VOID: self.lead.advance,
        }
