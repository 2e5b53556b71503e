"""Steps 5 to 7 at the miner: compete for the lead, propose, recompute what another proposes, finalize."""

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
        self._shown: tuple[bytes, bytes | None] | None = None  # the layer last shown, and the next one

    def race(self, snapshot: RoundSnapshot) -> str | None:
        """Try some proofs of work; whoever is asked again after another's solution finds no race."""
        me, current = self.context.address, snapshot.current
        if me not in _weights(current) or me in current.skipped or current.puzzle is None or snapshot.due:
            return None
        turn = len(current.skipped)
        if self._race != (snapshot.round, turn):
            self._race, self._nonce = (snapshot.round, turn), 0
        start, self._nonce = self._nonce, self._nonce + TRIES
        found = election.search(current.puzzle, turn, me, self.context.ledger.target(), start, TRIES)
        if found is None:
            return None
        self.context.send(ContractCall("solve", (found,)))
        return "won the race"

    def propose(self, snapshot: RoundSnapshot) -> str | None:
        """The leader's part: aggregate, put the model on the store, propose it; silence is passed over."""
        if snapshot.due:
            return self._skip(snapshot)
        if snapshot.current.leader != self.context.address:
            return None
        made, layer = self._compute(snapshot), self._layer(snapshot)
        if made is None or layer is None:
            return None
        self.archive.put(made.model)
        self.context.send(ContractCall("propose", (made.root, made.cid, made.rows, layer)))
        return "proposed the new model"

    def attest(self, snapshot: RoundSnapshot) -> str | None:
        """Recompute the proposal and attest it; make it final as soon as that is possible."""
        current, proposal = snapshot.current, snapshot.current.proposals[-1]
        disputed = open_dispute(snapshot)
        if disputed is not None:
            return self.answers.act(snapshot, disputed.state)
        begun = snapshot.clock.deadline - snapshot.terms.attest_seconds
        over = snapshot.now >= begun + snapshot.terms.challenge_seconds
        final = ContractCall("finalize", (proposal.root, proposal.cid, proposal.rows, proposal.layer))
        if _enough(current, proposal.attested):
            if not over or not self.context.my_turn(snapshot):
                return None
            self.context.send(final)
            return "made the model final"
        if snapshot.due:
            return self._skip(snapshot)
        me = self.context.address
        if me in proposal.attested or me not in _weights(current) or not self._agrees(snapshot, proposal):
            return None
        enough = over and _enough(current, (*proposal.attested, me))
        attestation = ContractCall("attest", (proposal_digest(current.number, proposal),))
        self.context.send(attestation, *([final] if enough else []))
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
        """The next layer of this miner's hash chain; None when it is used up."""
        history, account = snapshot.history, self.context.account
        shown = history.tails[account.address]
        if self._shown is None or self._shown[0] != shown:
            number = history.chains[account.address] - 1
            innermost = beacon.secret(account, self.context.ledger.domain, number)
            self._shown = shown, beacon.next_layer(innermost, shown)
        return self._shown[1]

    def _compute(self, snapshot: RoundSnapshot) -> NewModel | None:
        """What the accepted updates come to; None if the bytes of one of them cannot be had any more."""
        before = snapshot.history.model_before(snapshot.round)
        try:
            return self.archive.next_model(before, snapshot.current.taken(), snapshot.history)
        except (PayloadError, StoreError):
            return None

    def _is_right(self, snapshot: RoundSnapshot, proposal: Proposal) -> bool:
        """Whether model and rows are what this miner computes."""
        made = self._compute(snapshot)
        return made is not None and (made.root, made.rows) == (proposal.root, proposal.rows)

    def _agrees(self, snapshot: RoundSnapshot, proposal: Proposal) -> bool:
        """Whether the proposal is what this miner computes, and its bytes can be had."""
        made = self._compute(snapshot)
        if made is None or (made.root, made.cid, made.rows) != (proposal.root, proposal.cid, proposal.rows):
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
    """The voting weight of the round: who unveiled a vote."""
    return {vote.voter.account: vote.voter.weight for vote in current.votes}


def _enough(current: Round, attested: tuple[str, ...]) -> bool:
    """Whether so many attested that the proposal can become final."""
    weights = _weights(current)
    return election.enough(
        current.engine, sum(weights.get(account, 0) for account in attested), sum(weights.values())
    )
