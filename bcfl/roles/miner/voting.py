"""Step 4 at the miner: verify every update, commit to the verdicts, unveil them, count them."""

from __future__ import annotations

from collections.abc import Callable

from bcfl.errors import Corrupt, Oversized, PayloadError, StoreError, Unavailable
from bcfl.ports import ContractCall
from bcfl.protocol import verification
from bcfl.protocol.hashing import keccak
from bcfl.protocol.rounds import Round, Submission
from bcfl.protocol.types import Engine, Opening, Verdict
from bcfl.roles.common.snapshot import LONG, MIDDLE, SHORT, RoundSnapshot
from bcfl.roles.miner import findings
from bcfl.roles.miner.context import MinerContext, batcher_of
from bcfl.roles.miner.verifier import Verifier

RECORD = "vote.json"
Wishes = Callable[[int], Engine | None]  # the engine wished for after a round


def no_wish(round_: int) -> Engine | None:
    """Leaves the engine as it is."""
    del round_
    return None


class Voting:
    """What a miner says of the updates, hidden first."""

    def __init__(self, context: MinerContext, verifier: Verifier, wishes: Wishes = no_wish) -> None:
        self.context, self.inbox, self.verifier, self.wishes = context, context.inbox, verifier, wishes

    def vote(self, snapshot: RoundSnapshot) -> str | None:
        """Verify every update, write the verdicts down, commit to them."""
        electors = [member.account for member in snapshot.history.electors()]
        if self.context.address in snapshot.current.vote_commits or self.context.address not in electors:
            return None
        opening = self._written(snapshot)
        if opening is None:
            self.verifier.archive.collect(snapshot.current.submissions)
            verdicts = self._judge(snapshot)
            self.verifier.archive.clear_unavailable()
            findings.write(self.context.journal, snapshot.round, self.verifier.findings)
            opening = self._write(snapshot, verdicts, self.wishes(snapshot.round))
        self.context.send(ContractCall("commit_vote", (verification.vote_digest(opening),)))
        return "committed its verdicts"

    def unveil(self, snapshot: RoundSnapshot) -> str | None:
        """Open the verdicts: through the clerk if possible, else alone."""
        batcher = batcher_of(snapshot, snapshot.current.vote_commits)
        mine = self._to_unveil(snapshot)
        if batcher == self.context.address:
            return self._bring(snapshot, mine)
        if mine is None or batcher is None:
            return None
        if snapshot.share < MIDDLE:
            taken = self.context.hand(batcher, snapshot, lambda inbox: inbox.take_opening(mine))
            if taken is not False:
                return "handed its verdicts to the clerk" if taken else None
        return self._post(snapshot, [mine])

    def tally(self, snapshot: RoundSnapshot) -> str | None:
        """Count the votes, if whoever unveiled the last has not."""
        if not self.context.my_turn(snapshot):
            return None
        current = snapshot.current
        words = current.words(self.context.ledger.domain)
        self.context.send(
            ContractCall("tally", verification.tally_args(words, current.votes, current.engine))
        )
        return "counted the votes"

    def _bring(self, snapshot: RoundSnapshot, mine: Opening | None) -> str | None:
        """The clerk's part: all openings at once, and only its own when the others help themselves."""
        own = [] if mine is None else [mine]
        if snapshot.share >= MIDDLE:
            return self._post(snapshot, own) if own else None
        done = {vote.voter.account for vote in snapshot.current.votes}
        others = [opening for opening in self.inbox.openings.values() if opening.miner not in done]
        awaited = (
            set(snapshot.current.vote_commits) - done - set(self.inbox.openings) - {self.context.address}
        )
        if not others + own or (awaited and snapshot.share < SHORT):
            return None
        return self._post(snapshot, others + own)

    def _post(self, snapshot: RoundSnapshot, openings: list[Opening]) -> str:
        """Unveil votes, and count them in the same breath if they are the last."""
        current, history = snapshot.current, snapshot.history
        steps = [ContractCall("unveil", verification.unveil_args(item)) for item in openings]
        votes = [*current.votes, *map(history.vote, openings)]
        if len(votes) == len(current.vote_commits):
            words = current.words(self.context.ledger.domain)
            steps.append(ContractCall("tally", verification.tally_args(words, votes, current.engine)))
        self.context.send(*steps)
        return f"unveiled {len(openings)} votes"

    def _judge(self, snapshot: RoundSnapshot) -> tuple[Verdict, ...]:
        """The verdicts; raises StoreError while the miner's own store is to blame that it cannot judge.

        Late in the phase, a store that gives some updates and fails at others is not to blame: they are as
        good as unavailable. Without that, bytes that make a store fail would keep everybody from voting.
        """
        try:
            return self.verifier.verdicts(snapshot.history, snapshot.current)
        except StoreError:
            if snapshot.share < LONG:
                raise
            failing = [item for item in snapshot.current.submissions if not self._readable(item)]
            if len(failing) == len(snapshot.current.submissions):
                raise
            for item in failing:
                self.verifier.archive.mark_unavailable(item)
            return self.verifier.verdicts(snapshot.history, snapshot.current)

    def _readable(self, item: Submission) -> bool:
        """Whether the store gives something for an update, be it right or wrong."""
        try:
            self.verifier.archive.update(item)
        except (PayloadError, Corrupt, Oversized, Unavailable):
            return True
        except StoreError:
            return False
        return True

    def _to_unveil(self, snapshot: RoundSnapshot) -> Opening | None:
        """This miner's vote, if it has committed to it and not unveiled it."""
        me, current = self.context.address, snapshot.current
        if me not in current.vote_commits or any(vote.voter.account == me for vote in current.votes):
            return None
        mine = self._written(snapshot)
        if mine is None or verification.vote_digest(mine) != current.vote_commits[me]:
            return None
        return mine

    def _write(self, snapshot: RoundSnapshot, verdicts: tuple[Verdict, ...], wish: Engine | None) -> Opening:
        """Write the verdicts down before anybody hears of them."""
        said = {"verdicts": [int(verdict) for verdict in verdicts], "wish": verification.wish_code(wish)}
        record = {"round": snapshot.round, **said, "updates": _subject(snapshot.current)}
        self.context.journal.write_json(RECORD, record)
        return self._opening(snapshot, verdicts, wish)

    def _written(self, snapshot: RoundSnapshot) -> Opening | None:
        """The vote on just these updates that was written down."""
        record = self.context.journal.read_json(RECORD)
        with self.context.journal.reading(RECORD):
            if record is None or record["round"] != snapshot.round:
                return None
            if record["updates"] != _subject(snapshot.current):
                return None
            verdicts = tuple(Verdict(item) for item in record["verdicts"])
            return self._opening(snapshot, verdicts, verification.wish_of(record["wish"]))

    def _opening(
        self, snapshot: RoundSnapshot, verdicts: tuple[Verdict, ...], wish: Engine | None
    ) -> Opening:
        salt = self.context.account.secret("vote", self.context.ledger.domain.separator, snapshot.round)
        return Opening(snapshot.round, self.context.address, verdicts, salt, wish)


def _subject(current: Round) -> str:
    """What a vote is about: the round's updates in their order."""
    return keccak(b"".join(item.update.root + item.update.cid for item in current.submissions)).hex()
