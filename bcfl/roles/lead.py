"""Steps 5 to 7 at the miner: compete for the lead, propose, recompute what another proposes, finalize."""

from __future__ import annotations

from bcfl.errors import PayloadError, StoreError
from bcfl.ports import Step
from bcfl.protocol import beacon, election, verification
from bcfl.protocol.rounds import Proposal, Round
from bcfl.roles.archive import Archive, NewModel
from bcfl.roles.clerk import Office
from bcfl.roles.disputes import Answers, open_dispute, proposal_digest
from bcfl.roles.moment import Moment

TRIES = 4096  # proofs of work tried in one turn


class Lead:
    """What a miner does about the new model."""

    def __init__(self, office: Office, archive: Archive) -> None:
        self.office, self.archive = office, archive
        self.answers = Answers(office, archive, self._is_right)
        self._race: tuple[int, int] | None = None  # round and turn
        self._nonce = 0
        self._shown: tuple[bytes, bytes | None] | None = None  # the layer last shown, and the next one

    def race(self, moment: Moment) -> str | None:
        """Try some proofs of work; whoever is asked again after another's solution finds no race."""
        me, current = self.office.address, moment.current
        if me not in _weights(current) or me in current.skipped or current.puzzle is None or moment.due:
            return None
        turn = len(current.skipped)
        if self._race != (moment.round, turn):
            self._race, self._nonce = (moment.round, turn), 0
        start, self._nonce = self._nonce, self._nonce + TRIES
        found = election.search(current.puzzle, turn, me, self.office.ledger.target(), start, TRIES)
        if found is None:
            return None
        self.office.send(Step("solve", (found,)))
        return "won the race"

    def propose(self, moment: Moment) -> str | None:
        """The leader's part: aggregate, put the model on the store, propose it; silence is passed over."""
        if moment.due:
            return self._skip(moment)
        if moment.current.leader != self.office.address:
            return None
        made, layer = self._compute(moment), self._layer(moment)
        if made is None or layer is None:
            return None
        self.archive.put(made.model)
        self.office.send(Step("propose", (made.root, made.cid, made.rows, layer)))
        return "proposed the new model"

    def attest(self, moment: Moment) -> str | None:
        """Recompute the proposal and attest it; make it final as soon as that is possible."""
        current, proposal = moment.current, moment.current.proposals[-1]
        disputed = open_dispute(moment)
        if disputed is not None:
            return self.answers.act(moment, disputed.state)
        begun = moment.clock.deadline - moment.terms.attest_seconds
        over = moment.now >= begun + moment.terms.challenge_seconds
        final = Step("finalize", (proposal.root, proposal.cid, proposal.rows, proposal.layer))
        if _enough(current, proposal.attested):
            if not over or not self.office.my_turn(moment):
                return None
            self.office.send(final)
            return "made the model final"
        if moment.due:
            return self._skip(moment)
        me = self.office.address
        if me in proposal.attested or me not in _weights(current) or not self._agrees(moment, proposal):
            return None
        enough = over and _enough(current, (*proposal.attested, me))
        attestation = Step("attest", (proposal_digest(current.number, proposal),))
        self.office.send(attestation, *([final] if enough else []))
        return "attested the new model"

    def advance(self, moment: Moment) -> str | None:
        """Open the next round after a void one."""
        if not self.office.my_turn(moment):
            return None
        self.office.send(Step("advance"))
        return "opened the next round"

    def renew(self, moment: Moment) -> str | None:
        """Register the tail of a new hash chain when the old one is used up."""
        if self._layer(moment) is not None:
            return None
        account, domain = self.office.account, self.office.ledger.domain
        tail = beacon.chain_tail(account, domain, moment.history.chains[account.address])
        self.office.send(Step("renew", (tail,)))
        return "renewed its hash chain"

    def _layer(self, moment: Moment) -> bytes | None:
        """The next layer of this miner's hash chain; None when it is used up."""
        history, account = moment.history, self.office.account
        shown = history.tails[account.address]
        if self._shown is None or self._shown[0] != shown:
            number = history.chains[account.address] - 1
            innermost = beacon.secret(account, self.office.ledger.domain, number)
            self._shown = shown, beacon.next_layer(innermost, shown)
        return self._shown[1]

    def _compute(self, moment: Moment) -> NewModel | None:
        """What the accepted updates come to; None if the bytes of one of them cannot be had any more."""
        before = moment.history.model_before(moment.round)
        try:
            return self.archive.next_model(before, moment.current.taken(), moment.history)
        except (PayloadError, StoreError):
            return None

    def _is_right(self, moment: Moment, proposal: Proposal) -> bool:
        """Whether model and rows are what this miner computes."""
        made = self._compute(moment)
        return made is not None and (made.root, made.rows) == (proposal.root, proposal.rows)

    def _agrees(self, moment: Moment, proposal: Proposal) -> bool:
        """Whether the proposal is what this miner computes, and its bytes can be had."""
        made = self._compute(moment)
        if made is None or (made.root, made.cid, made.rows) != (proposal.root, proposal.cid, proposal.rows):
            return False
        try:
            self.archive.fetch_model(proposal.root, proposal.cid)
        except (PayloadError, StoreError):
            return False
        return True

    def _skip(self, moment: Moment) -> str | None:
        """Pass the lead on, when the leader or its support did not come in time."""
        if not self.office.my_turn(moment):
            return None
        current = moment.current
        self.office.send(Step("skip", verification.skip_args(current.votes, current.engine)))
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
