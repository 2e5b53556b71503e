"""The watchtower: recompute every proposal from chain and store, and challenge the wrong ones in time.

A watchtower has no stake and no role, only the bonds of what it holds against a proposal. What it finds wrong
it announces sealed, and opens a quarter of the challenge window later (`Openings`). Where a challenge needs
what nobody has shown, it disputes the tree, picks the first wrong node time after time, and rules at the leaf
at the end; if nobody answers, that refutes the proposal. An accepted update that it cannot get is disputed
down to a leaf that only the watchtower knows beforehand: whoever made the model has it. Its bonds come back
when the proposal is refuted, by whomever.

Where a sealed update does not open, the update may be wrong, or this account's wrap alone, or nobody is
reached just now. So it asks for half of the challenge window, and disputes only what its account could not
open when it voted either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bcfl.errors import (
    ChallengeError,
    Corrupt,
    Oversized,
    PayloadError,
    Reverted,
    Sealed,
    StoreError,
    Unavailable,
)
from bcfl.ports import ContractCall, Ledger
from bcfl.protocol import merkle
from bcfl.protocol.accounts import Account
from bcfl.protocol.challenges import Challenge, Trees
from bcfl.protocol.disputes import Course, State, update_args
from bcfl.protocol.rounds import Proposal, Submission
from bcfl.protocol.types import Phase, Verdict
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import disputes_of, expires, expiry
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot
from bcfl.roles.watchtower.openings import Openings, digest_of, tally_of
from bcfl.roles.watchtower.recomputation import Judgement, Recomputation
from bcfl.roles.watchtower.spool import Spool

TRIES = 8  # in a challenge window, to read what a voter's keys should open
UNOPENED = frozenset({Verdict.UNAVAILABLE, Verdict.MALFORMED})  # votes of who has not opened an update
PRICE_ROOM = 8  # a dispute may cost an eighth more in the next block, where the gas of answers prices it
Step = Callable[[], str | None]


class Watchtower:
    """Judges each proposal once; `act` announces, challenges or disputes, and says what it did."""

    def __init__(self, account: Account, ledger: Ledger, archive: Archive) -> None:
        self.account, self.ledger, self.archive = account, ledger, archive
        self.openings = Openings(account, ledger.domain)
        self._judged: tuple[bytes, int, int] | None = (
            None  # the last proposal, its turn, what was shown of it
        )
        self._told_sealed = 0  # the last round of which it was said that no key opens it
        self._retry_at = 0  # when a proposal that no key opened is looked at again, on the chain's clock

    def act(self) -> str | None:
        """Do the first thing that is due; what fails keeps nothing else from being done.

        Raises Reverted where somebody else was quicker, and nothing else was due.
        """
        snapshot = take_snapshot(self.ledger)
        if snapshot is None:
            return None
        failure: Reverted | None = None
        for step in self._steps(snapshot):
            try:
                report = step()
            except Reverted as error:
                failure = error
                continue
            if report is not None:
                return report
        if failure is not None:
            raise failure
        return None

    def judge(self, snapshot: RoundSnapshot, proposal: Proposal) -> Judgement:
        """Recompute a proposal; a challenge is one that the contract upholds, by the twin's ruling."""
        with Spool() as spool:
            try:
                recomputation = self._recompute(snapshot, proposal, spool)
            except (PayloadError, StoreError) as error:
                lost_update = self._lost_update(snapshot)
                reason = f"the bytes of an accepted update cannot be had ({error})"
                is_sealed = lost_update is None and self._lacks_keys(error)
                return Judgement(False, None, reason, lost_update=lost_update, is_sealed=is_sealed)
            return recomputation.judge()

    def _steps(self, snapshot: RoundSnapshot) -> Iterator[Step]:
        """Yield what may be due: disputes that run on a clock, what is announced, a new proposal, bonds."""
        if snapshot.clock.phase is Phase.ATTEST and snapshot.current.proposals:
            proposal = snapshot.current.proposals[-1]
            for course in disputes_of(snapshot):
                if course.is_open and course.state.challenger == self.account.address:
                    yield lambda course=course: self._go_on(snapshot, proposal, course)  # type: ignore[misc]
            yield lambda: self._open(snapshot, proposal)
            yield lambda: self._look_at(snapshot, proposal)
        yield lambda: self._recover(snapshot)

    def _look_at(self, snapshot: RoundSnapshot, proposal: Proposal) -> str | None:
        """Judge a proposal that is new, or of which a dispute has shown more, and respond."""
        shown = sum(event.name in ("RowsShown", "LeafShown") for event in proposal.dispute_moves)
        key = digest_of(snapshot, self.ledger.domain), len(snapshot.current.proposals), shown
        if key == self._judged and not 0 < self._retry_at <= snapshot.now:
            return None
        if self.archive.vault is not None:
            self.archive.vault.ask_again()
        judgement = self.judge(snapshot, proposal)
        report = self._respond(snapshot, proposal, judgement)
        self._judged, self._retry_at = key, 0
        if judgement.is_sealed and self._is_reader(snapshot.round):  # miners that are away come back
            self._retry_at = snapshot.now + max(1, snapshot.terms.challenge_seconds // TRIES)
        return report

    def _recompute(self, snapshot: RoundSnapshot, proposal: Proposal, spool: Spool) -> Recomputation:
        return Recomputation(snapshot, proposal, self.ledger.domain, self.archive, spool)

    def _respond(self, snapshot: RoundSnapshot, proposal: Proposal, judgement: Judgement) -> str | None:
        """Announce a challenge of a wrong proposal, or dispute it, and say so."""
        if judgement.right:
            return "found the proposal right"
        if judgement.is_sealed:
            return self._say_sealed(snapshot)
        start = snapshot.clock.deadline - snapshot.terms.attest_seconds
        if snapshot.now >= start + snapshot.terms.challenge_seconds:
            return "found the proposal wrong, when it could not be challenged"
        if judgement.challenge is not None:
            return self._announce(snapshot, judgement.challenge)
        content, value = proposal.content, self._price(snapshot)
        if judgement.tree is not None:
            if self._has_disputed(snapshot, judgement.tree):
                return None
            self._send(ContractCall("dispute", (*content, int(judgement.tree)), value))
        elif judgement.lost_update is not None:
            position, update = judgement.lost_update.position, judgement.lost_update.update
            opening = update_args(*tally_of(snapshot, self.ledger.domain), position, update)
            accepted = self.openings.accepted(snapshot)
            self._send(ContractCall("dispute_update", (accepted, *content, *opening), value))
        else:
            return f"found the proposal wrong, without a challenge: {judgement.reason}"
        return f"disputed the proposal: {judgement.reason}"

    def _say_sealed(self, snapshot: RoundSnapshot) -> str | None:
        """Say once a round that it cannot be judged: who cannot read what is right challenges nothing."""
        if self._told_sealed == snapshot.round:
            return None
        number = self._told_sealed = snapshot.round
        if self._is_reader(number):
            return (
                f"round {number} does not open with this account's keys, and no miner gave others: trying on"
            )
        return f"the updates of round {number} are sealed: run it with a voter's account or --keys"

    def _lacks_keys(self, error: PayloadError | StoreError) -> bool:
        """Whether it may be that keys are missing, or wrong."""
        is_sealed = self.archive.privacy.confidential and isinstance(error, PayloadError)
        return is_sealed or isinstance(error, Sealed)

    def _is_reader(self, number: int) -> bool:
        return self.archive.vault is not None and self.archive.vault.is_reader(number)

    def _announce(self, snapshot: RoundSnapshot, challenge: Challenge) -> str | None:
        """Announce a challenge, unless that is done."""
        start = snapshot.clock.deadline - snapshot.terms.attest_seconds
        is_over = snapshot.now >= start + snapshot.terms.challenge_seconds
        if is_over or self.openings.announced(snapshot, challenge) is not None:
            return None
        sealed = self.openings.seal(snapshot, challenge)
        self._send(ContractCall("announce_challenge", (sealed,), snapshot.terms.challenge_bond))
        self.openings.keep(sealed, challenge)
        return f"announced a challenge of the proposal: {challenge.form.name.lower()}"

    def _open(self, snapshot: RoundSnapshot, proposal: Proposal) -> str | None:
        """Open what was announced of this proposal, once it is time; after a restart, judge it anew."""
        due = self.openings.due(snapshot)
        if not due:
            return None
        challenge = self.openings.challenge(due) or self.judge(snapshot, proposal).challenge
        if challenge is None:
            return None
        salt = self.openings.announced(snapshot, challenge)
        if salt is None:
            return None
        self._send(ContractCall(*challenge.call(salt)))
        return f"challenged the proposal: {challenge.form.name.lower()}"

    def _go_on(self, snapshot: RoundSnapshot, proposal: Proposal, course: Course) -> str | None:
        """Make the move that is due in a dispute of its own."""
        state = course.state
        if state.is_answerable and snapshot.now >= expires(snapshot, state):
            self._send(expiry(snapshot, state.number))
            return "ended a dispute that nobody answered"
        if state.is_answerable or snapshot.now >= state.deadline:
            return None
        if state.state is State.RULE or state.tree is Trees.UPDATE:
            ruling = self._rule(snapshot, proposal, course)
            if ruling is not None or state.state is State.RULE:
                return ruling
            return self._go_down(snapshot, course)
        with Spool() as spool:
            recomputation = self._recompute(snapshot, proposal, spool)
            place = recomputation.first_wrong_node(course)
        if place is None:  # then the weights are wrong, and they have been shown
            return self._rule(snapshot, proposal, course)
        self._pursue(course, place)
        return "asked for what is below a node that is wrong"

    def _rule(self, snapshot: RoundSnapshot, proposal: Proposal, course: Course) -> str | None:
        """Rule in a dispute by the challenge that is due there; else announce it, if there is one."""
        challenge, state = self.judge(snapshot, proposal).challenge, course.state
        if challenge is None:
            return None
        try:
            state.check_ruling(
                snapshot.terms, state.challenger, snapshot.now, challenge.form, challenge.place[0]
            )
        except ChallengeError:
            return self._announce(snapshot, challenge)
        self._send(ContractCall(*challenge.call(state.number)))
        return f"challenged the proposal: {challenge.form.name.lower()}"

    def _go_down(self, snapshot: RoundSnapshot, course: Course) -> str:
        """Pick a node above the secret leaf of a lost update."""
        state, terms = course.state, snapshot.terms
        leaf = self._secret_number(snapshot) % merkle.leaves(terms.parameters, terms.leaf_lanes)
        levels = state.levels
        self._pursue(course, (leaf >> (state.height - levels)) & ((1 << levels) - 1))
        return "asked for what is below a node of a lost update"

    def _pursue(self, course: Course, place: int) -> None:
        fields = (course.state.number, place, course.nodes[place], list(course.proof(place)))
        self._send(ContractCall("pursue", fields))

    def _recover(self, snapshot: RoundSnapshot) -> str | None:
        """Get back the bonds of what was held against a proposal that another has refuted."""
        address, history = self.account.address, snapshot.history
        if not history.announcements and not history.disputes:
            return None
        refuted = [
            proposal
            for round_ in history.rounds.values()
            for proposal in round_.proposals
            if proposal.refuted
        ]
        for proposal in refuted:
            for event in proposal.announcements:
                key = event.args["challenger"], event.args["sealed"]
                if key[0] == address and history.announcements.get(key) is event:
                    self._send(ContractCall("settle", key))
                    return "got back the bond of an announcement"
            for event in proposal.dispute_moves:
                number = event.args["number"]
                if event.args.get("challenger") == address and history.disputes.get(number) is event:
                    self._send(ContractCall("expire", (number, [], [])))
                    return "got back the bond of a dispute"
        return None

    def _send(self, call: ContractCall) -> None:
        self.ledger.send(self.account, [call])

    def _price(self, snapshot: RoundSnapshot) -> int:
        """Return what to pay for a dispute; what is paid too much comes back with the bond."""
        price = self.ledger.dispute_price()
        is_bond = price % snapshot.terms.challenge_bond == 0
        return price if is_bond else price + price // PRICE_ROOM

    def _has_disputed(self, snapshot: RoundSnapshot, tree: Trees) -> bool:
        states = (course.state for course in disputes_of(snapshot))
        return any(state.tree is tree and state.challenger == self.account.address for state in states)

    def _secret_number(self, snapshot: RoundSnapshot) -> int:
        """Return a number that nobody else knows beforehand, the same after a restart."""
        digest = digest_of(snapshot, self.ledger.domain)
        return int.from_bytes(self.account.secret("lost update", digest), "big")

    def _lost_update(self, snapshot: RoundSnapshot) -> Submission | None:
        """Return an accepted update that nobody gives; None if this proposal had such a dispute before."""
        if self._has_disputed(snapshot, Trees.UPDATE):
            return None
        accepted = snapshot.current.accepted_submissions()
        updates = [item for item in accepted if self._is_lost(snapshot, item)]
        return updates[self._secret_number(snapshot) % len(updates)] if updates else None

    def _is_lost(self, snapshot: RoundSnapshot, item: Submission) -> bool:
        """Whether the bytes of an update cannot be had, and neither store nor missing keys are to blame."""
        try:
            self.archive.update(item)
        except (PayloadError, StoreError) as error:
            if self._lacks_keys(error):
                return self._was_unopened(snapshot, item)
            return isinstance(error, PayloadError | Unavailable | Corrupt | Oversized)
        finally:
            self.archive.forget()
        return False

    def _was_unopened(self, snapshot: RoundSnapshot, item: Submission) -> bool:
        """Whether no key that opens an update came for the vote, nor since, though it was asked for."""
        start = snapshot.clock.deadline - snapshot.terms.attest_seconds
        has_asked = snapshot.now >= start + snapshot.terms.challenge_seconds // 2
        return has_asked and snapshot.current.verdicts(item.position).get(self.account.address) in UNOPENED
