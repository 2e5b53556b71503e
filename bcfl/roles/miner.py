"""Steps 3 to 7: a miner brings its devices' updates, verifies all of them, votes, leads and attests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bcfl.errors import BcflError, RelayError
from bcfl.ports import Batch, Ledger, Relay, SignedCommitment, Step
from bcfl.protocol import election, submissions, verification
from bcfl.protocol.accounts import Account
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.rounds import History, Member, Proposal, Round
from bcfl.protocol.types import Clock, Opening, Phase, SignedUpdate, Verdict
from bcfl.protocol.verification import Vote
from bcfl.roles.archive import Archive
from bcfl.roles.desk import Inbox
from bcfl.roles.journal import Journal
from bcfl.roles.patience import MIDDLE, SHORT, TURN_SECONDS, elapsed_share
from bcfl.roles.verifier import Verifier

BATCH, VOTE = "batch.json", "vote.json"
TRIES = 4096  # proofs of work tried in one turn
NOTHING = bytes(32)  # the digest of an empty batch


class Miner:
    """One miner; `act` does whatever is due for it and says what it did."""

    def __init__(
        self,
        account: Account,
        ledger: Ledger,
        relay: Relay,
        archive: Archive,
        verifier: Verifier,
        journal: Journal,
    ) -> None:
        self.account, self.ledger, self.relay = account, ledger, relay
        self.archive, self.verifier, self.journal = archive, verifier, journal
        self.inbox = Inbox(ledger)
        self.take_update = self.inbox.take_update
        self.take_batch = self.inbox.take_batch
        self.take_opening = self.inbox.take_opening
        self._handed: tuple[int, Phase] | None = None
        self._nonce = 0

    # The desk.

    def take_commitment(self, message: SignedCommitment) -> None:
        """Keep a device's commitment, as long as the batch is open."""
        if self.batch(message.round) is not None:
            raise RelayError(f"the batch of round {message.round} is closed")
        self.inbox.take_commitment(message)

    def batch(self, round_: int) -> tuple[bytes, ...] | None:
        """The commitments of the batch that this miner committed in a round."""
        record = self.journal.read_json(BATCH)
        if record is None or record["round"] != round_:
            return None
        return tuple(bytes.fromhex(item["commitment"]) for item in record["commitments"])

    # The round.

    def act(self) -> str | None:
        """Do what is due; None if nothing is."""
        clock, history = self.ledger.clock(), self.ledger.history()
        me, current = history.miners.get(self.account.address), history.current
        if me is None or not me.weight or current is None or clock.round != current.number:
            return None
        self.inbox.turn(clock.round)
        due: dict[Phase, Callable[[Clock, History, Round], str | None]] = {
            Phase.COMMIT: self._commit,
            Phase.REVEAL: self._reveal,
            Phase.VOTE: self._vote,
            Phase.UNVEIL: self._unveil,
            Phase.TALLY: self._tally,
            Phase.ELECT: self._race,
            Phase.PROPOSE: self._propose,
            Phase.ATTEST: self._attest,
            Phase.VOID: self._advance,
        }
        step = due.get(clock.phase)
        return None if step is None else step(clock, history, current)

    def _commit(self, clock: Clock, history: History, current: Round) -> str | None:
        """Commit the batch when all devices that are bound to this miner have handed in, or time presses."""
        if self.account.address in current.commits:
            return None
        bound = [d for d in history.expected_devices() if history.bound(d) == self.account.address]
        waiting = [d for d in bound if d not in self.inbox.commitments]
        if self.batch(clock.round) is None:
            if waiting and elapsed_share(clock, self.ledger) < MIDDLE:
                return None
            ready = [self.inbox.commitments[d] for d in sorted(self.inbox.commitments)]
            self._keep_batch(clock.round, ready[: submissions.MAX_BATCH])
        batch = self.batch(clock.round) or ()
        self._send(Step("commit", (submissions.batch_digest(batch),)))
        return f"committed {len(batch)} updates"

    def _keep_batch(self, round_: int, messages: list[SignedCommitment]) -> None:
        record = [
            {"device": m.device, "commitment": m.commitment.hex(), "signature": m.signature.hex()} for m in messages
        ]
        self.journal.write_json(BATCH, {"round": round_, "commitments": record})

    def _recall_batch(self, round_: int) -> None:
        """After a restart: the commitments that the committed batch was made of."""
        record = self.journal.read_json(BATCH)
        if record is not None and record["round"] == round_ and not self.inbox.commitments:
            for item in record["commitments"]:
                fields = bytes.fromhex(item["commitment"]), bytes.fromhex(item["signature"])
                self.inbox.commitments[item["device"]] = SignedCommitment(round_, item["device"], *fields)

    def _reveal(self, clock: Clock, history: History, current: Round) -> str | None:
        """Bring what the devices opened: through the clerk if possible, else alone."""
        self._recall_batch(clock.round)
        share = elapsed_share(clock, self.ledger)
        clerk = self._clerk(history, [a for a, digest in current.commits.items() if digest != NOTHING])
        mine = self._opened_batch(current)
        if mine is not None and self._missing(mine, current):
            if None not in mine.updates and self._pass_on(clerk, Phase.REVEAL, "take_batch", mine):
                return "handed its batch to the clerk"
            alone = share >= MIDDLE or (None not in mine.updates and self._handed is None)
            if alone and self.account.address != clerk:
                return self._post_batches([mine], current)
        if self.account.address == clerk:
            ready = [b for b in self.inbox.batches.values() if self._missing(b, current)]
            awaited = [
                a
                for a, digest in current.commits.items()
                if a in history.miners and digest != NOTHING and a not in self.inbox.batches
            ]
            if ready and (not awaited or share >= SHORT):
                return self._post_batches(ready, current)
            if mine is not None and share >= MIDDLE and self._missing(mine, current):
                return self._post_batches([mine], current)
        return None

    def _opened_batch(self, current: Round) -> Batch | None:
        """This miner's batch with what its devices have opened so far."""
        batch = self.batch(current.number)
        if not batch or current.commits.get(self.account.address) != submissions.batch_digest(batch):
            return None
        return Batch(
            current.number, self.account.address, batch, tuple(self.inbox.updates.get(item) for item in batch)
        )

    @staticmethod
    def _missing(batch: Batch, current: Round) -> list[SignedUpdate]:
        """The opened updates of a batch that are not on chain yet."""
        shown = {item.update.device for item in current.submissions}
        return [item for item in batch.updates if item is not None and item.update.device not in shown]

    def _post_batches(self, batches: list[Batch], current: Round) -> str:
        steps = []
        for batch in sorted(batches, key=lambda item: item.submitter):
            missing = self._missing(batch, current)
            opened = [item if item in missing else None for item in batch.updates]
            steps.append(Step("reveal", submissions.reveal_args(batch.submitter, batch.commitments, opened)))
        self._send(*steps)
        return f"revealed {len(steps)} batches"

    def _vote(self, clock: Clock, history: History, current: Round) -> str | None:
        """Verify every update, write the verdicts down, commit to them."""
        if self.account.address in current.vote_commits:
            return None
        opening = self._opening(clock.round)
        if opening is None:
            verdicts = self.verifier.verdicts(history, current)
            self.journal.write_json(VOTE, {"round": clock.round, "verdicts": [int(v) for v in verdicts]})
            opening = self._opening(clock.round)
        assert opening is not None
        self._send(Step("commit_vote", (verification.vote_digest(opening),)))
        return "committed its verdicts"

    def _opening(self, round_: int) -> Opening | None:
        """The verdicts that were written down for a round."""
        record = self.journal.read_json(VOTE)
        if record is None or record["round"] != round_:
            return None
        verdicts = tuple(Verdict(item) for item in record["verdicts"])
        salt = self.account.secret("vote", self.ledger.domain.separator, round_)
        return Opening(round_, self.account.address, verdicts, salt)

    def _unveil(self, clock: Clock, history: History, current: Round) -> str | None:
        """Open the verdicts: through the clerk if possible, else alone."""
        done = {vote.voter.account for vote in current.votes}
        clerk = self._clerk(history, list(current.vote_commits))
        share = elapsed_share(clock, self.ledger)
        mine = self._opening(clock.round)
        committed = mine is not None and self.account.address in current.vote_commits
        if mine is not None and committed and self.account.address not in done:
            if self._pass_on(clerk, Phase.UNVEIL, "take_opening", mine):
                return "handed its verdicts to the clerk"
            if self.account.address != clerk and (share >= MIDDLE or self._handed is None):
                return self._post_openings([mine], history, current)
        if self.account.address == clerk:
            ready = [o for o in self.inbox.openings.values() if o.miner not in done]
            awaited = set(current.vote_commits) - done - set(self.inbox.openings)
            if ready and (not awaited or share >= SHORT):
                return self._post_openings(ready, history, current)
        return None

    def _post_openings(self, openings: list[Opening], history: History, current: Round) -> str:
        """Unveil votes, and count them in the same breath if they are the last."""
        steps = [Step("unveil", verification.unveil_args(item)) for item in openings]
        votes = [*current.votes, *(Vote(history.voter(item.miner), item) for item in openings)]
        if len(votes) == len(current.vote_commits):
            steps.append(Step("tally", verification.tally_args(self._words(current), votes)))
        self._send(*steps)
        return f"unveiled {len(openings)} votes"

    def _tally(self, clock: Clock, history: History, current: Round) -> str | None:
        if not self._turn(clock, history, current):
            return None
        args = verification.tally_args(self._words(current), current.votes)
        self._send(Step("tally", args))
        return "counted the votes"

    def _race(self, clock: Clock, history: History, current: Round) -> str | None:
        """Try some proofs of work; whoever is asked again after another's solution finds no race."""
        voted = {vote.voter.account for vote in current.votes}
        if self.account.address not in voted or self.account.address in current.skipped:
            return None
        if clock.deadline <= self.ledger.now() or current.seed is None:
            return None
        start, self._nonce = self._nonce, self._nonce + TRIES
        found = election.search(
            current.seed, len(current.skipped), self.account.address, self.ledger.target(), start, TRIES
        )
        if found is None:
            return None
        self._send(Step("solve", (found,)))
        return "won the race"

    def _propose(self, clock: Clock, history: History, current: Round) -> str | None:
        if self.ledger.now() >= clock.deadline:
            return self._skip(clock, history, current)
        if current.leader != self.account.address:
            return None
        made = self.archive.next_model(history.model_before(current.number), current.taken())
        self.archive.put(made.model)
        self._send(Step("propose", (made.root, made.cid, made.rows)))
        return "proposed the new model"

    def _attest(self, clock: Clock, history: History, current: Round) -> str | None:
        """Recompute the proposal and attest it; make it final as soon as that is possible."""
        proposal = current.proposals[-1]
        terms = self.ledger.terms
        over = self.ledger.now() >= clock.deadline - terms.attest_seconds + terms.challenge_seconds
        voted = {vote.voter.account for vote in current.votes}
        if self._enough(current, proposal.attested):
            if over and self._turn(clock, history, current):
                self._send(Step("finalize", (proposal.root, proposal.cid, proposal.rows)))
                return "made the model final"
            return None
        if self.ledger.now() >= clock.deadline:
            return self._skip(clock, history, current)
        if self.account.address in proposal.attested or self.account.address not in voted:
            return None
        if not self._agrees(history, current, proposal):
            return None
        steps = [Step("attest", (proposal_digest(current.number, proposal),))]
        if over and self._enough(current, (*proposal.attested, self.account.address)):
            steps.append(Step("finalize", (proposal.root, proposal.cid, proposal.rows)))
        self._send(*steps)
        return "attested the new model"

    def _agrees(self, history: History, current: Round, proposal: Proposal) -> bool:
        """Whether the proposal is what this miner computes, and its bytes can be had."""
        try:
            made = self.archive.next_model(history.model_before(current.number), current.taken())
            self.archive.fetch_model(proposal.root, proposal.cid)
        except BcflError:
            return False
        return (made.root, made.cid, made.rows) == (proposal.root, proposal.cid, proposal.rows)

    def _skip(self, clock: Clock, history: History, current: Round) -> str | None:
        if not self._turn(clock, history, current):
            return None
        self._send(Step("skip", verification.skip_args(current.votes)))
        return "passed the lead on"

    def _advance(self, clock: Clock, history: History, current: Round) -> str | None:
        if not self._turn(clock, history, current):
            return None
        self._send(Step("advance"))
        return "opened the next round"

    # Who does what anybody may do.

    def _clerk(self, history: History, accounts: list[str]) -> str | None:
        """The miner that brings the others' openings this round: they take turns."""
        members = [m.account for m in history.voters() if m.account in accounts]
        current = history.current
        return members[current.number % len(members)] if members and current is not None else None

    def _turn(self, clock: Clock, history: History, current: Round) -> bool:
        """Whether it is this miner's turn to do what anybody may do: one after the other."""
        members: list[Member] = history.voters()
        place = next(i for i, member in enumerate(members) if member.account == self.account.address)
        wait = (place - clock.round) % len(members) * TURN_SECONDS
        return self.ledger.now() >= current.latest + wait

    def _pass_on(self, clerk: str | None, phase: Phase, method: str, message: Any) -> bool:
        """Hand something to the clerk, once; False if it was handed before or the clerk does not answer."""
        round_ = self.inbox.round
        if clerk is None or self._handed == (round_, phase):
            return False
        desk = self.inbox if clerk == self.account.address else self.relay.desk(clerk)
        try:
            getattr(desk, method)(message)
        except RelayError:
            self._handed = None
            return False
        self._handed = (round_, phase)
        return True

    def _words(self, current: Round) -> list[int]:
        return [submissions.update_word(self.ledger.domain, item.update) for item in current.submissions]

    @staticmethod
    def _enough(current: Round, attested: tuple[str, ...]) -> bool:
        """Whether more than two thirds of the round's voting weight attested."""
        weights = {vote.voter.account: vote.voter.weight for vote in current.votes}
        return sum(weights.get(account, 0) for account in attested) * 3 > sum(weights.values()) * 2

    def _send(self, *steps: Step) -> None:
        self.ledger.send(self.account, steps)


def proposal_digest(round_: int, proposal: Proposal) -> bytes:
    """What an attestation attests."""
    return keccak(word(round_) + proposal.root + proposal.cid + proposal.rows)

