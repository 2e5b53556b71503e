"""Step 4 at the miner: verify every update, commit to the verdicts, unveil them, count them."""

from __future__ import annotations

from bcfl.ports import Step
from bcfl.protocol import verification
from bcfl.protocol.hashing import keccak
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Opening, Verdict
from bcfl.protocol.verification import Vote
from bcfl.roles import notes
from bcfl.roles.clerk import Office, clerk_of
from bcfl.roles.moment import MIDDLE, SHORT, Moment
from bcfl.roles.verifier import Verifier

RECORD = "vote.json"


class Ballots:
    """What a miner says of the updates, hidden first."""

    def __init__(self, office: Office, verifier: Verifier) -> None:
        self.office, self.inbox, self.verifier = office, office.inbox, verifier

    def vote(self, moment: Moment) -> str | None:
        """Verify every update, write the verdicts down, commit to them."""
        if self.office.address in moment.current.vote_commits:
            return None
        opening = self._written(moment)
        if opening is None:
            verdicts = self.verifier.verdicts(moment.history, moment.current)
            notes.write(self.office.journal, moment.round, self.verifier.findings)
            opening = self._write(moment, verdicts)
        self.office.send(Step("commit_vote", (verification.vote_digest(opening),)))
        return "committed its verdicts"

    def unveil(self, moment: Moment) -> str | None:
        """Open the verdicts: through the clerk if possible, else alone."""
        clerk = clerk_of(moment, moment.current.vote_commits)
        mine = self._to_unveil(moment)
        if clerk == self.office.address:
            return self._bring(moment, mine)
        if mine is None or clerk is None:
            return None
        if moment.share < MIDDLE:
            taken = self.office.hand(clerk, moment, lambda desk: desk.take_opening(mine))
            if taken is not False:
                return "handed its verdicts to the clerk" if taken else None
        return self._post(moment, [mine])

    def tally(self, moment: Moment) -> str | None:
        """Count the votes, if whoever unveiled the last has not."""
        if not self.office.my_turn(moment):
            return None
        args = verification.tally_args(moment.current.words(self.office.ledger.domain), moment.current.votes)
        self.office.send(Step("tally", args))
        return "counted the votes"

    def _bring(self, moment: Moment, mine: Opening | None) -> str | None:
        """The clerk's part: all openings at once, and only its own when the others help themselves."""
        own = [] if mine is None else [mine]
        if moment.share >= MIDDLE:
            return self._post(moment, own) if own else None
        done = {vote.voter.account for vote in moment.current.votes}
        others = [opening for opening in self.inbox.openings.values() if opening.miner not in done]
        awaited = set(moment.current.vote_commits) - done - set(self.inbox.openings) - {self.office.address}
        if not others + own or (awaited and moment.share < SHORT):
            return None
        return self._post(moment, others + own)

    def _post(self, moment: Moment, openings: list[Opening]) -> str:
        """Unveil votes, and count them in the same breath if they are the last."""
        current, history = moment.current, moment.history
        steps = [Step("unveil", verification.unveil_args(item)) for item in openings]
        votes = [*current.votes, *(Vote(history.voter(item.miner), item) for item in openings)]
        if len(votes) == len(current.vote_commits):
            words = current.words(self.office.ledger.domain)
            steps.append(Step("tally", verification.tally_args(words, votes)))
        self.office.send(*steps)
        return f"unveiled {len(openings)} votes"

    def _to_unveil(self, moment: Moment) -> Opening | None:
        """This miner's vote, if it has committed to it and not unveiled it."""
        me, current = self.office.address, moment.current
        if me not in current.vote_commits or any(vote.voter.account == me for vote in current.votes):
            return None
        mine = self._written(moment)
        if mine is None or verification.vote_digest(mine) != current.vote_commits[me]:
            return None
        return mine

    def _write(self, moment: Moment, verdicts: tuple[Verdict, ...]) -> Opening:
        """Write the verdicts down before anybody hears of them."""
        said = {"verdicts": [int(verdict) for verdict in verdicts], "updates": _subject(moment.current)}
        self.office.journal.write_json(RECORD, {"round": moment.round, **said})
        return self._opening(moment, verdicts)

    def _written(self, moment: Moment) -> Opening | None:
        """The vote on just these updates that was written down."""
        record = self.office.journal.read_json(RECORD)
        with self.office.journal.reading(RECORD):
            if record is None or record["round"] != moment.round:
                return None
            if record["updates"] != _subject(moment.current):
                return None
            return self._opening(moment, tuple(Verdict(item) for item in record["verdicts"]))

    def _opening(self, moment: Moment, verdicts: tuple[Verdict, ...]) -> Opening:
        salt = self.office.account.secret("vote", self.office.ledger.domain.separator, moment.round)
        return Opening(moment.round, self.office.address, verdicts, salt)


def _subject(current: Round) -> str:
    """What a vote is about: the round's updates in their order."""
    return keccak(b"".join(item.update.root + item.update.cid for item in current.submissions)).hex()
