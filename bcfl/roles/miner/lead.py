"""Compete for the lead, propose the new model, recompute what another miner proposes, and make it final."""

from __future__ import annotations

from bcfl.errors import PayloadError, StoreError
from bcfl.ports import ContractCall
from bcfl.protocol import beacon, election, verification
from bcfl.protocol.rounds import Proposal, Round
from bcfl.roles.common.aggregation import NewModel
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import open_dispute, proposal_digest
from bcfl.roles.common.snapshot import RoundSnapshot
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
        self._layers: tuple[bytes, bytes | None] | None = None  # the layer last shown, and the next one

    def race(self, snapshot: RoundSnapshot) -> str | None:
        """Try some proofs of work, and send one that wins; None without one, or where the race is over."""
        address, current = self.context.address, snapshot.current
        is_out = address not in _weights(current) or address in current.skipped
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
        result, layer = self._compute(snapshot), self._layer(snapshot)
        if result is None or layer is None:
            return None
        self.archive.put(result.model)
        self.context.send(ContractCall("propose", (result.root, result.cid, result.rows, layer)))
        return "proposed the new model"

    def attest(self, snapshot: RoundSnapshot) -> str | None:
        """Recompute the proposal and attest it; make it final as soon as that is possible."""
        current, proposal = snapshot.current, snapshot.current.proposals[-1]
        dispute = open_dispute(snapshot)
        if dispute is not None:
            return self.answers.act(snapshot, dispute.state)
        start = snapshot.clock.deadline - snapshot.terms.attest_seconds
        is_over = snapshot.now >= start + snapshot.terms.challenge_seconds  # of the challenge window
        finalize = ContractCall("finalize", (proposal.root, proposal.cid, proposal.rows, proposal.layer))
        if _has_quorum(current, proposal.attested):
            if not is_over or not self.context.my_turn(snapshot):
                return None
            self.context.send(finalize)
            return "made the model final"
        if snapshot.due:
            return self._skip(snapshot)
        address = self.context.address
        if address in proposal.attested or address not in _weights(current):
            return None
        if not self._agrees(snapshot, proposal):
            return None
        is_last = is_over and _has_quorum(current, (*proposal.attested, address))
        attestation = ContractCall("attest", (proposal_digest(current.number, proposal),))
        self.context.send(attestation, *([finalize] if is_last else []))
        return "attested the new model"

    def advance(self, snapshot: RoundSnapshot) -> str | None:
        """Open the next round after a void one."""
        if not self.context.my_turn(snapshot):
            return None
        self.context.send(ContractCall("advance"))
        return "opened the next round"

    def renew(self, snapshot: RoundSnapshot) -> str | None:
        """Register the tail of a new hash chain when the old one is used up."""
        if self._layer(snapshot) is not None:
            return None
        account, domain = self.context.account, self.context.ledger.domain
        tail = beacon.chain_tail(account, domain, snapshot.history.chains[account.address])
        self.context.send(ContractCall("renew", (tail,)))
        return "renewed its hash chain"

    def _layer(self, snapshot: RoundSnapshot) -> bytes | None:
        """Return the next layer of this miner's hash chain; None when it is used up."""
        history, account = snapshot.history, self.context.account
        last = history.tails[account.address]
        if self._layers is None or self._layers[0] != last:
            number = history.chains[account.address] - 1
            innermost = beacon.secret(account, self.context.ledger.domain, number)
            self._layers = last, beacon.next_layer(innermost, last)
        return self._layers[1]

    def _compute(self, snapshot: RoundSnapshot) -> NewModel | None:
        """Compute the new model; None if the bytes of an accepted update cannot be had any more."""
        parent = snapshot.history.model_before(snapshot.round)
        try:
            return self.archive.next_model(parent, snapshot.current.accepted_submissions(), snapshot.history)
        except (PayloadError, StoreError):
            return None

    def _is_right(self, snapshot: RoundSnapshot, proposal: Proposal) -> bool:
        """Return whether model and rows are what this miner computes."""
        result = self._compute(snapshot)
        return result is not None and (result.root, result.rows) == (proposal.root, proposal.rows)

    def _agrees(self, snapshot: RoundSnapshot, proposal: Proposal) -> bool:
        """Return whether the proposal is what this miner computes, and its bytes can be had."""
        result = self._compute(snapshot)
        if result is None:
            return False
        if (result.root, result.cid, result.rows) != (proposal.root, proposal.cid, proposal.rows):
            return False
        try:
            self.archive.fetch_model(proposal.root, proposal.cid)
        except (PayloadError, StoreError):
            return False
        return True

    def _skip(self, snapshot: RoundSnapshot) -> str | None:
        """Pass the lead on, when the leader or its support did not come in time."""
        if not self.context.my_turn(snapshot):
            return None
        current = snapshot.current
        self.context.send(ContractCall("skip", verification.skip_args(current.votes, current.engine)))
        return "passed the lead on"


def _weights(current: Round) -> dict[str, int]:
    """Return the weight of every account that unveiled a vote in the round."""
    return {vote.voter.account: vote.voter.weight for vote in current.votes}


def _has_quorum(current: Round, attesters: tuple[str, ...]) -> bool:
    """Return whether so many attested that the proposal can become final."""
    weights = _weights(current)
    return election.is_attested(
        current.engine, sum(weights.get(account, 0) for account in attesters), sum(weights.values())
    )
