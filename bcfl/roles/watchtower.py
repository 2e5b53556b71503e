"""Step 6 for anybody: recompute every proposal from chain and store, and challenge the wrong ones in time.

A watchtower has no stake and no role, only the bond of a challenge. Vectors go to files as they come, so that
memory holds a few models, whatever the number of updates.
"""

from __future__ import annotations

from dataclasses import dataclass

from bcfl.errors import BcflError, PayloadError, StoreError
from bcfl.ports import Ledger, Step
from bcfl.protocol import aggregation, merkle, verification
from bcfl.protocol.accounts import Account
from bcfl.protocol.challenges import Candidate, Challenge, Docket, rows_digest, weights_digest
from bcfl.protocol.evidence import Evidence, Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.rounds import Proposal, Submission
from bcfl.protocol.types import Phase
from bcfl.roles.archive import Archive
from bcfl.roles.lead import proposal_digest
from bcfl.roles.moment import Moment, look
from bcfl.roles.spool import Spool


@dataclass(frozen=True)
class Judgement:
    """What a watchtower thinks of a proposal; `reason` says why there is no challenge of a wrong one."""

    right: bool
    challenge: Challenge | None = None
    reason: str = ""


class Watchtower:
    """Looks at each proposal once; `act` challenges a wrong one and says what it did."""

    def __init__(self, account: Account, ledger: Ledger, archive: Archive) -> None:
        self.account, self.ledger, self.archive = account, ledger, archive
        self._seen: bytes | None = None  # digest of the proposal that was looked at last

    def act(self) -> str | None:
        """Judge the proposal that stands, if it is new. Raises Reverted where somebody else was quicker."""
        moment = look(self.ledger)
        if moment is None or moment.clock.phase is not Phase.ATTEST or not moment.current.proposals:
            return None
        proposal = moment.current.proposals[-1]
        digest = proposal_digest(moment.round, proposal)
        if digest == self._seen:
            return None
        found = self.judge(moment, proposal)
        self._seen = digest
        if found.right:
            return "found the proposal right"
        if found.challenge is None:
            return f"found the proposal wrong, without a challenge: {found.reason}"
        function, args = found.challenge.call()
        self.ledger.send(self.account, [Step(function, args, moment.terms.challenge_bond)])
        return f"challenged the proposal: {found.challenge.form.name.lower()}"

    def judge(self, moment: Moment, proposal: Proposal) -> Judgement:
        """Recompute a proposal; a challenge is one that the contract upholds, by the twin's ruling."""
        with Spool() as spool:
            try:
                lanes = [self._update(item, spool) for item in moment.current.taken()]
                before = self.archive.model(moment.history.model_before(moment.round), moment.history)
            except (PayloadError, StoreError) as error:
                return Judgement(False, None, f"the bytes of an accepted update cannot be had ({error})")
            finally:
                self.archive.forget()
            return self._compare(moment, proposal, lanes, before, spool)

    def _compare(
        self, moment: Moment, proposal: Proposal, lanes: list[Lanes], before: Lanes, spool: Spool
    ) -> Judgement:
        """What the accepted updates come to, beside what is proposed."""
        leaf_lanes, samples = moment.terms.leaf_lanes, [i.update.samples for i in moment.current.taken()]
        weights, rows = weights_digest(samples), merkle.rows_root(lanes, leaf_lanes)
        if rows_digest(weights, rows) != proposal.rows:
            return Judgement(False, None, "nobody has shown what its rows are made of")
        proposed = self._proposed(proposal, spool)
        if proposed is None:
            return self._withheld(proposal, lanes, samples, before)
        candidate = Candidate(proposal.root, proposal.cid, weights, rows, proposal.layer)
        evidence = self._evidence(moment, candidate, lanes, before, proposed)
        challenge = evidence.find()
        if challenge is None:
            return Judgement(True)
        if not challenge.rule(evidence.docket):
            raise BcflError(
                f"round {moment.round}: the challenge of a wrong proposal would fail; report this"
            )
        return Judgement(False, challenge)

    def _evidence(
        self, moment: Moment, candidate: Candidate, lanes: list[Lanes], before: Lanes, proposed: Lanes
    ) -> Evidence:
        """Everything behind a proposal whose rows are right."""
        terms, current, domain = moment.terms, moment.current, self.ledger.domain
        words = current.words(domain)
        count = verification.tally(words, current.votes, current.engine)
        docket = Docket(
            terms=terms,
            domain=domain,
            round=moment.round,
            proposal=candidate.digest(moment.round),
            before=moment.history.model_before(moment.round).root,
            accepted=verification.tally_digest(count),
        )
        updates = [item.update for item in current.submissions]
        model, rows = (Vectors(vectors, terms.leaf_lanes) for vectors in ([proposed], lanes))
        return Evidence(docket, candidate, count, words, updates, lanes, before, model, rows)

    def _withheld(
        self, proposal: Proposal, lanes: list[Lanes], samples: list[int], before: Lanes
    ) -> Judgement:
        """The proposed model's bytes cannot be had, so the root alone says whether it is right."""
        terms = self.archive.terms
        step = aggregation.aggregate(terms.rule, lanes, samples, terms.shift, terms.trim)
        if merkle.root(aggregation.apply(before, step), terms.leaf_lanes) == proposal.root:
            return Judgement(True)
        return Judgement(False, None, "nobody has shown the bytes of its model")

    def _update(self, item: Submission, spool: Spool) -> Lanes:
        """An accepted update, checked, in a file."""
        kept = spool.keep(self.archive.update(item))
        self.archive.forget()
        return kept

    def _proposed(self, proposal: Proposal, spool: Spool) -> Lanes | None:
        """The proposed model, if the store gives bytes that have the proposed root."""
        try:
            kept = spool.keep(self.archive.fetch_model(proposal.root, proposal.cid))
        except (PayloadError, StoreError):
            return None
        self.archive.forget()
        return kept
