"""The watchtower: recompute every proposal from chain and store, and challenge the wrong ones in time.

A watchtower has no stake and no role, only the bond of a challenge. Where a challenge needs what nobody has
shown, it disputes the tree, picks the first wrong node time after time, and challenges the leaf at the end;
if nobody answers, that refutes the proposal. An accepted update that it cannot get is disputed down to a leaf
that only the watchtower knows beforehand: whoever made the model has it.
"""

from __future__ import annotations

from bcfl.errors import Corrupt, Oversized, PayloadError, StoreError, Unavailable
from bcfl.ports import ContractCall, Ledger
from bcfl.protocol import merkle
from bcfl.protocol.accounts import Account
from bcfl.protocol.challenges import Trees
from bcfl.protocol.disputes import Course, update_args
from bcfl.protocol.rounds import Proposal, Submission
from bcfl.protocol.types import Phase
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import disputes_of, expiry, proposal_digest
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from bcfl.roles.watchtower.recomputation import Judgement, Recomputation, tally_of
from bcfl.roles.watchtower.spool import Spool


class Watchtower:
    """Judges each proposal once; `act` challenges or disputes a wrong one and says what it did."""

    def __init__(self, account: Account, ledger: Ledger, archive: Archive) -> None:
        self.account, self.ledger, self.archive = account, ledger, archive
        self._judged: tuple[bytes, int] | None = None  # the last proposal, and how many disputes it had

    def act(self) -> str | None:
        """Judge the proposal that stands, if it is new, or go on with a dispute about it.

        Raises Reverted where somebody else was quicker.
        """
        snapshot = take_snapshot(self.ledger)
        if snapshot is None or snapshot.clock.phase is not Phase.ATTEST or not snapshot.current.proposals:
            return None
        proposal, courses = snapshot.current.proposals[-1], disputes_of(snapshot)
        if courses and courses[-1].end_time is None:
            return self._go_on(snapshot, proposal, courses[-1])
        key = proposal_digest(snapshot.round, proposal), len(courses)
        if key == self._judged:
            return None
        report = self._respond(snapshot, proposal, self.judge(snapshot, proposal))
        self._judged = key
        return report

    def judge(self, snapshot: RoundSnapshot, proposal: Proposal) -> Judgement:
        """Recompute a proposal; a challenge is one that the contract upholds, by the twin's ruling."""
        with Spool() as spool:
            try:
                recomputation = self._recompute(snapshot, proposal, spool)
            except (PayloadError, StoreError) as error:
                reason = f"the bytes of an accepted update cannot be had ({error})"
                return Judgement(False, None, reason, lost_update=self._lost_update(snapshot))
            return recomputation.judge()

    def _recompute(self, snapshot: RoundSnapshot, proposal: Proposal, spool: Spool) -> Recomputation:
        return Recomputation(snapshot, proposal, self.ledger.domain, self.archive, spool)

    def _respond(self, snapshot: RoundSnapshot, proposal: Proposal, judgement: Judgement) -> str:
        """Challenge or dispute a wrong proposal, and say so."""
        bond = snapshot.terms.challenge_bond
        if judgement.right:
            return "found the proposal right"
        if judgement.challenge is not None:
            function, args = judgement.challenge.call()
            self._send(ContractCall(function, args, bond))
            return f"challenged the proposal: {judgement.challenge.form.name.lower()}"
        fields = (proposal.root, proposal.cid, proposal.rows, proposal.layer)
        if judgement.tree is not None:
            self._send(ContractCall("dispute", (*fields, int(judgement.tree)), bond))
        elif judgement.lost_update is not None:
            position, update = judgement.lost_update.position, judgement.lost_update.update
            opening = update_args(*tally_of(snapshot, self.ledger.domain), position, update)
            self._send(ContractCall("dispute_update", (*fields, *opening), bond))
        else:
            return f"found the proposal wrong, without a challenge: {judgement.reason}"
        return f"disputed the proposal: {judgement.reason}"

    def _go_on(self, snapshot: RoundSnapshot, proposal: Proposal, course: Course) -> str | None:
        """Make the move that is due in a dispute: end it when its time is over, or pick a node."""
        state = course.state
        if snapshot.now >= state.due:
            self._send(expiry(snapshot))
            return "ended a dispute that nobody went on with"
        if state.answerable or state.challenger != self.account.address:
            return None
        if state.tree is Trees.UPDATE:
            return self._go_down(snapshot, proposal, course)
        with Spool() as spool:
            recomputation = self._recompute(snapshot, proposal, spool)
            place = recomputation.first_wrong_node(course)
            if place is None:  # then the weights are wrong, and they have been shown
                judgement = recomputation.judge()
                return self._respond(snapshot, proposal, judgement) if judgement.challenge else None
        self._pursue(course, place)
        return "asked for what is below a node that is wrong"

    def _go_down(self, snapshot: RoundSnapshot, proposal: Proposal, course: Course) -> str:
        """Pick a node above the secret leaf of a lost update, or challenge if the update has turned up."""
        judgement = self.judge(snapshot, proposal)
        if judgement.challenge is not None:
            return self._respond(snapshot, proposal, judgement)
        state, terms = course.state, snapshot.terms
        leaf = self._secret_number(snapshot) % merkle.leaves(terms.parameters, terms.leaf_lanes)
        levels = state.shown - 1
        self._pursue(course, (leaf >> (state.height - levels)) & ((1 << levels) - 1))
        return "asked for what is below a node of a lost update"

    def _pursue(self, course: Course, place: int) -> None:
        self._send(ContractCall("pursue", (place, course.nodes[place], list(course.proof(place)))))

    def _send(self, call: ContractCall) -> None:
        self.ledger.send(self.account, [call])

    def _secret_number(self, snapshot: RoundSnapshot) -> int:
        """Return a number that nobody else knows beforehand, the same after a restart."""
        digest = proposal_digest(snapshot.round, snapshot.current.proposals[-1])
        return int.from_bytes(self.account.secret("lost update", digest), "big")

    def _lost_update(self, snapshot: RoundSnapshot) -> Submission | None:
        """Return an accepted update that nobody gives; None if this proposal had such a dispute before."""
        states = (course.state for course in disputes_of(snapshot))
        if any(s.tree is Trees.UPDATE and s.challenger == self.account.address for s in states):
            return None
        updates = [item for item in snapshot.current.accepted_submissions() if self._is_lost(item)]
        return updates[self._secret_number(snapshot) % len(updates)] if updates else None

    def _is_lost(self, item: Submission) -> bool:
        """Whether the bytes of an update cannot be had, and the store is not to blame."""
        try:
            self.archive.update(item)
        except (PayloadError, Unavailable, Corrupt, Oversized):
            return True
        except StoreError:
            return False
        finally:
            self.archive.forget()
        return False
