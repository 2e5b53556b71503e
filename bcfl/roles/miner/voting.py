"""Vote on a round's updates: verify them, commit to the verdicts, unveil them, count them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bcfl.errors import BcflError, ConfigError, Corrupt, Oversized, PayloadError, StoreError, Unavailable
from bcfl.ports import ContractCall
from bcfl.protocol import verification
from bcfl.protocol.hashing import keccak
from bcfl.protocol.rounds import Round, Submission
from bcfl.protocol.types import Engine, Opening, Verdict
from bcfl.roles.common.snapshot import LONG_SHARE, MIDDLE_SHARE, SHORT_SHARE, RoundSnapshot
from bcfl.roles.miner import findings
from bcfl.roles.miner.context import MinerContext, batcher_of
from bcfl.roles.miner.verifier import Verifier

RECORD = "vote.json"
log = logging.getLogger(__name__)
Wishes = Callable[[int], Engine | None]  # the engine wished for after a round


def no_wish(round_: int) -> Engine | None:
    """Return None, which leaves the engine as it is."""
    del round_
    return None


class Voting:
    """A miner's vote on the updates, hidden first."""

    def __init__(self, context: MinerContext, verifier: Verifier, wishes: Wishes = no_wish) -> None:
        self.context, self.inbox, self.verifier, self.wishes = context, context.inbox, verifier, wishes
        self._idle_round: int | None = None  # in which judging failed
        self._rebuilt_round: int | None = None  # in which the updates were judged again

    def prepare(self, snapshot: RoundSnapshot) -> None:
        """Have the updates judged before the vote, if the learner does so elsewhere: others judge, too."""
        if not self.verifier.is_remote or not self._is_due(snapshot) or self._recorded_vote(snapshot):
            return
        try:
            self.verifier.archive.collect(snapshot.current.submissions)
            self.verifier.begin(snapshot.history, snapshot.current)
        except BcflError as error:
            log.debug("nothing is judged before the vote, which tells what it is: %s", error)
        finally:
            self.verifier.archive.clear_unavailable()

    def vote(self, snapshot: RoundSnapshot) -> str | None:
        """Verify every update, write the verdicts to the journal, commit to them.

        A miner whose own learner fails does not vote in that round. Raises StoreError while the miner's own
        store is to blame that it cannot judge.
        """
        if not self._is_due(snapshot):
            return None
        opening = self._recorded_vote(snapshot)
        if opening is None:
            try:
                self.verifier.archive.collect(snapshot.current.submissions)
                verdicts = self._judge(snapshot)
            except ConfigError as error:
                self._idle_round = snapshot.round
                address = self.context.address
                log.warning("miner %s does not vote in round %d: %s", address, snapshot.round, error)
                return "sits out the vote"
            finally:  # also where it has to judge again: what was missing may be there by then
                self.verifier.archive.clear_unavailable()
            findings.write(self.context.journal, snapshot.round, self.verifier.findings)
            opening = self._record(snapshot, verdicts, self.verifier.levels)
        self.context.send(ContractCall("commit_vote", (self._digest(snapshot, opening),)))
        return "committed its verdicts"

    def _is_due(self, snapshot: RoundSnapshot) -> bool:
        """Whether this miner is to vote, and can."""
        electors = [member.account for member in snapshot.history.electors()]
        has_voted = self.context.address in snapshot.current.vote_commits
        return not has_voted and self.context.address in electors and self._idle_round != snapshot.round

    def knows_commitment(self, snapshot: RoundSnapshot) -> bool:
        """Return whether the journal holds the vote that the chain has a commitment to, if it has one."""
        digest = snapshot.current.vote_commits.get(self.context.address)
        opening = None if digest is None else self._recorded_vote(snapshot)
        return digest is None or (opening is not None and self._digest(snapshot, opening) == digest)

    def unveil(self, snapshot: RoundSnapshot) -> str | None:
        """Unveil the verdicts: through the batcher if possible, else alone."""
        batcher = batcher_of(snapshot, snapshot.current.vote_commits)
        opening = self._hidden_vote(snapshot)
        if batcher == self.context.address:
            return self._unveil_as_batcher(snapshot, opening)
        if opening is None or batcher is None:
            return None
        if snapshot.share < MIDDLE_SHARE:
            is_delivered = self.context.deliver(batcher, snapshot, lambda inbox: inbox.take_opening(opening))
            if is_delivered is not False:
                return "handed its verdicts to the batcher" if is_delivered else None
        return self._send_unveils(snapshot, [opening])

    def tally(self, snapshot: RoundSnapshot) -> str | None:
        """Count the votes, if the miner that unveiled the last one has not."""
        if not self.context.my_turn(snapshot):
            return None
        current = snapshot.current
        words = current.words(self.context.ledger.domain)
        self.context.send(ContractCall("tally", verification.tally_args(words, current.votes)))
        return "counted the votes"

    def _unveil_as_batcher(self, snapshot: RoundSnapshot, opening: Opening | None) -> str | None:
        """Unveil all votes at once, and only this miner's when the others help themselves."""
        openings = [] if opening is None else [opening]
        if snapshot.share >= MIDDLE_SHARE:
            return self._send_unveils(snapshot, openings) if openings else None
        voters = {vote.voter.account for vote in snapshot.current.votes}
        openings = [item for item in self.inbox.openings.values() if item.miner not in voters] + openings
        missing_miners = set(snapshot.current.vote_commits) - voters - set(self.inbox.openings)
        missing_miners.discard(self.context.address)
        if not openings or (missing_miners and snapshot.share < SHORT_SHARE):
            return None
        return self._send_unveils(snapshot, openings)

    def _send_unveils(self, snapshot: RoundSnapshot, openings: list[Opening]) -> str:
        """Unveil votes, and count them in the same transaction if they are the last."""
        current, history = snapshot.current, snapshot.history
        calls = [ContractCall("unveil", verification.unveil_args(item)) for item in openings]
        votes = [*current.votes, *map(history.vote, openings)]
        if len(votes) == len(current.vote_commits):
            words = current.words(self.context.ledger.domain)
            args = verification.tally_args(words, votes)
            calls.append(ContractCall("tally", args, optional=True))
        self.context.send(*calls)
        return f"unveiled {len(openings)} votes"

    def _judge(self, snapshot: RoundSnapshot) -> tuple[Verdict, ...]:
        """Return the verdicts; raises StoreError while the miner's own store is to blame.

        Late in the phase, a store that gives some updates and fails at others is not to blame: they are as
        good as unavailable. Without that, bytes that make a store fail would keep everybody from voting.
        """
        try:
            return self.verifier.verdicts(snapshot.history, snapshot.current)
        except StoreError:
            if snapshot.share < LONG_SHARE:
                raise
            failing = [item for item in snapshot.current.submissions if not self._is_readable(item)]
            if len(failing) == len(snapshot.current.submissions) or not self._store_answers(snapshot):
                raise
            for item in failing:
                self.verifier.archive.mark_unavailable(item)
            return self.verifier.verdicts(snapshot.history, snapshot.current)

    def _store_answers(self, snapshot: RoundSnapshot) -> bool:
        """Return whether the store gives again what it gave: what was read before it went is in memory."""
        archive = self.verifier.archive
        held = [item for item in snapshot.current.submissions if archive.holds(item)]
        return not held or any(archive.is_given(item) for item in held)

    def _is_readable(self, submission: Submission) -> bool:
        """Return whether the store gives something for an update, be it right or wrong."""
        try:
            self.verifier.archive.update(submission)
        except (PayloadError, Corrupt, Oversized, Unavailable):
            return True
        except StoreError:
            return False
        return True

    def _hidden_vote(self, snapshot: RoundSnapshot) -> Opening | None:
        """Return this miner's vote, if it has committed to it and not unveiled it."""
        address, current = self.context.address, snapshot.current
        is_open = any(vote.voter.account == address for vote in current.votes)
        if address not in current.vote_commits or is_open:
            return None
        for make in (self._recorded_vote, self._rebuilt_vote):
            opening = make(snapshot)
            if opening is not None and self._digest(snapshot, opening) == current.vote_commits[address]:
                return opening
        return None

    def _rebuilt_vote(self, snapshot: RoundSnapshot) -> Opening | None:
        """Judge again, once, where the journal has lost the vote that the chain has; None if that fails."""
        if self._rebuilt_round == snapshot.round:
            return None
        try:
            verdicts = self._judge(snapshot)
        except ConfigError:
            verdicts = None
        finally:
            self.verifier.archive.clear_unavailable()
        self._rebuilt_round = snapshot.round
        log.warning("the journal has lost the vote on round %d: the updates are judged again", snapshot.round)
        return None if verdicts is None else self._record(snapshot, verdicts, self.verifier.levels)

    def _digest(self, snapshot: RoundSnapshot, opening: Opening) -> bytes:
        return verification.vote_digest(opening, self._links(snapshot))

    def _links(self, snapshot: RoundSnapshot) -> bytes:
        """Return the digest of the chain of updates that a vote is bound to."""
        return snapshot.current.links(self.context.ledger.domain)

    def _record(
        self, snapshot: RoundSnapshot, verdicts: tuple[Verdict, ...], levels: tuple[int, ...]
    ) -> Opening:
        """Write the verdicts to the journal before anybody hears of them; return them as a vote."""
        opening = self._opening(snapshot, verdicts, levels, self.wishes(snapshot.round))
        record = {
            "round": snapshot.round,
            "verdicts": verification.verdict_codes(opening),
            "wish": verification.wish_code(opening.wish),
            "updates": _updates_digest(snapshot.current),
        }
        self.context.journal.write_json(RECORD, record)
        return opening

    def _recorded_vote(self, snapshot: RoundSnapshot) -> Opening | None:
        """Return the vote in the journal, if it is on just these updates."""
        record = self.context.journal.read_json(RECORD)
        with self.context.journal.reading(RECORD):
            if record is None or record["round"] != snapshot.round:
                return None
            if record["updates"] != _updates_digest(snapshot.current):
                return None
            judgement = verification.verdicts_of(record["verdicts"])
            return self._opening(snapshot, *judgement, verification.wish_of(record["wish"]))
        return None

    def _opening(
        self,
        snapshot: RoundSnapshot,
        verdicts: tuple[Verdict, ...],
        levels: tuple[int, ...],
        wish: Engine | None,
    ) -> Opening:
        salt = self.context.account.secret("vote", self.context.ledger.domain.separator, snapshot.round)
        return Opening(snapshot.round, self.context.address, verdicts, salt, wish, levels)


def _updates_digest(current: Round) -> str:
    """Return the digest of what a vote is about: the round's updates in their order."""
    return keccak(b"".join(item.update.root + item.update.cid for item in current.submissions)).hex()
