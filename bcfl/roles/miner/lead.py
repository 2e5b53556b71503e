"""Compete for the lead, propose the new model, recompute what another miner proposes, and make it final."""

from __future__ import annotations

from dataclasses import replace

from bcfl.errors import PayloadError, StoreError
from bcfl.ports import ContractCall
from bcfl.protocol import election, verification
from bcfl.protocol.challenges import proposal_digest
from bcfl.protocol.rounds import Proposal
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot, window_end
from bcfl.roles.miner.answers import Answers
from bcfl.roles.miner.context import MinerContext

TRIES = 4096  # proofs of work tried in one turn


class Lead:
    """What a miner does about the new model."""

    def __init__(self, context: MinerContext, archive: Archive) -> None:
        self.context, self.archive = context, archive
        self.answers = Answers(context, archive, self._is_right)
        self._race: tuple[int, int] | None = None  # round and turn
        self._nonce = 0

    def race(self, snapshot: RoundSnapshot) -> str | None:
        """Try some proofs of work, and send one that wins; None without one, or where the race is over."""
        address, current = self.context.address, snapshot.current
        is_out = address not in current.weights() or address in current.failed
        if is_out or current.puzzle is None or snapshot.due:
            return None
        turn = len(current.skipped)
        if self._race != (snapshot.round, turn):
            self._race, self._nonce = (snapshot.round, turn), 0
        start, self._nonce = self._nonce, self._nonce + TRIES
        target = self.context.ledger.target()
        nonce = election.search(current.puzzle, turn, address, target, start, TRIES)
        if nonce is None:
            return None
        self.context.send(ContractCall("solve", (nonce,)))
        return "won the race"

    def propose(self, snapshot: RoundSnapshot) -> str | None:
        """Propose as the leader: aggregate, put the model on the store; pass over a leader that is silent."""
        if snapshot.due:
            return self._skip(snapshot)
        if snapshot.current.leader != self.context.address:
            return None
        result = self._compute(snapshot)
        if result is None:
            return None
        self.archive.publish_model(result)
        fields = (result.root, result.cid, result.rows)
        self.context.send(ContractCall("propose", (self._accepted(snapshot), *fields)))
        return "proposed the new model"

    def attest(self, snapshot: RoundSnapshot) -> str | None:
        """Recompute the proposal and attest it; make it final as soon as that is possible."""
        current, proposal = snapshot.current, snapshot.current.proposals[-1]
        if proposal.in_dispute and (text := self.answers.act(snapshot)):
            return text
        is_over = not proposal.in_dispute and snapshot.now >= window_end(snapshot)
        finalize = ContractCall("finalize", proposal.fields, optional=True)
        if is_over and current.has_support(proposal.attested):
            if not self.context.my_turn(snapshot):
                return None
            self.context.send(replace(finalize, optional=False))
            return "made the model final"
        if snapshot.due:
            return self._skip(snapshot) if is_over else None
        if not self._may_attest(snapshot, proposal) or not self._is_right(snapshot, proposal):
            return None
        is_last = is_over and current.has_support((*proposal.attested, self.context.address))
        digest = proposal_digest(current.number, self._accepted(snapshot), *proposal.content)
        correction = self._publish(snapshot, proposal)
        self.context.send(ContractCall("attest", (digest,)), *correction, *([finalize] if is_last else []))
        return "attested the new model"

    def _publish(self, snapshot: RoundSnapshot, proposal: Proposal) -> list[ContractCall]:
        """Put the model on the store, whatever its leader did; return the correction of a wrong CID."""
        result = self._compute(snapshot)
        if result is None or self.archive.publish_model(result) == proposal.cid:
            return []
        return [ContractCall("correct_cid", (result.cid,), optional=True)]

    def _accepted(self, snapshot: RoundSnapshot) -> bytes:
        """Return the digest of the accepted set, which a proposal is bound to."""
        return verification.tally_digest(snapshot.current.tally(self.context.ledger.domain))

    def _may_attest(self, snapshot: RoundSnapshot, proposal: Proposal) -> bool:
        """Whether this miner has voted, has not attested yet, and has not attested what was refuted."""
        address, current = self.context.address, snapshot.current
        if address in proposal.attested or address in current.slashed:
            return False
        return address in current.weights()

    def advance(self, snapshot: RoundSnapshot) -> str | None:
        """Open the next round after a void one."""
        if not self.context.my_turn(snapshot):
            return None
        self.context.send(ContractCall("advance"))
        return "opened the next round"

    def _compute(self, snapshot: RoundSnapshot) -> NewModel | None:
        """Compute the new model; None if an accepted update cannot be read, which is tried anew each time."""
        parent = snapshot.history.model_before(snapshot.round)
        try:
            return self.archive.next_model(parent, snapshot.current.accepted_submissions(), snapshot.history)
        except (PayloadError, StoreError):
            if self.archive.vault is not None:
                self.archive.vault.ask_again()
            return None

    def _is_right(self, snapshot: RoundSnapshot, proposal: Proposal) -> bool:
        """Return whether model and rows are what this miner computes."""
        result = self._compute(snapshot)
        return result is not None and (result.root, result.rows) == (proposal.root, proposal.rows)

    def _skip(self, snapshot: RoundSnapshot) -> str | None:
        """Pass the lead on, when the leader or its support did not come in time."""
        if not self.context.my_turn(snapshot):
            return None
        current = snapshot.current
        self.context.send(ContractCall("skip", verification.skip_args(current.votes)))
        return "passed the lead on"
