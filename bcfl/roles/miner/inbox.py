"""Step 3 at the miner: what devices and other miners hand in, checked and bounded before it is kept.

Whatever passes here is taken by the contract: one bad item would make it refuse all that are brought with it.
"""

from __future__ import annotations

from bcfl.errors import RelayError
from bcfl.ports import Batch, Ledger, SignedCommitment
from bcfl.protocol import submissions, verification
from bcfl.protocol.accounts import signer
from bcfl.protocol.types import Opening, SignedUpdate, Update, Verdict
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot

DIGEST, SIGNATURE = 32, 64  # bytes
SALT_BITS = 128


class MinerInbox:
    """The messages of the running round for one miner; what cannot be of use is refused with RelayError."""

    def __init__(self, ledger: Ledger, miner: str) -> None:
        self.ledger, self.miner = ledger, miner
        self.round = 0
        self.commitments: dict[int, SignedCommitment] = {}
        self.updates: dict[bytes, SignedUpdate] = {}  # by commitment
        self.batches: dict[str, Batch] = {}
        self.openings: dict[str, Opening] = {}

    def turn(self, round_: int) -> None:
        """Forget an earlier round's messages."""
        if round_ != self.round:
            self.round = round_
            self.commitments, self.updates, self.batches, self.openings = {}, {}, {}, {}

    def take_commitment(self, message: SignedCommitment) -> None:
        """Keep a device's commitment, if it is this miner's to serve in this round and has signed it."""
        snapshot = self._moment(message.round)
        history, device = snapshot.history, message.device
        if not history.takes_part(device):
            raise RelayError(f"device {device} does not take part in round {message.round}")
        account = history.devices[device]
        if self.miner not in (history.bound(device), account):
            raise RelayError(f"device {device} is not bound to {self.miner} in round {message.round}")
        if signer(message.commitment, message.signature) != account:
            raise RelayError(f"the commitment of device {device} is not signed by it")
        self.commitments.setdefault(device, message)

    def take_update(self, message: SignedUpdate) -> None:
        """Keep an opened commitment, if it opens what was handed in and the contract would take it."""
        snapshot = self._moment(message.update.round)
        self._check_update(message, snapshot)
        known = self.commitments.get(message.update.device)
        commitment = submissions.commitment(self.ledger.domain, message.update)
        if known is None or known.commitment != commitment or known.signature != message.signature:
            raise RelayError(f"device {message.update.device} opens something else than it committed to")
        self.updates[commitment] = message

    def take_batch(self, message: Batch) -> None:
        """Keep another miner's opened batch, if it is what stands on chain and the contract would take it."""
        snapshot = self._moment(message.round)
        name = f"the batch of {message.submitter}"
        if (
            message.submitter not in snapshot.history.miners
            or len(message.commitments) > submissions.MAX_BATCH
        ):
            raise RelayError(f"{name} is not one of a miner, or too long")
        if len(message.updates) != len(message.commitments):
            raise RelayError(f"{name} has lists of different lengths")
        digest = submissions.batch_digest(message.commitments)
        if snapshot.current.commits.get(message.submitter) != digest:
            raise RelayError(f"{name} is not the one that it committed")
        for commitment, signed in zip(message.commitments, message.updates, strict=True):
            if signed is not None:
                self._check_opened(commitment, signed, snapshot)
        devices = [signed.update.device for signed in message.updates if signed is not None]
        if len(set(devices)) != len(devices):
            raise RelayError(f"{name} has a device twice")
        self.batches[message.submitter] = message

    def take_opening(self, message: Opening) -> None:
        """Keep another miner's opened vote, if it is what stands on chain and of the right length."""
        snapshot = self._moment(message.round)
        name = f"the vote of {message.miner}"
        if len(message.verdicts) != len(snapshot.current.submissions) or len(message.salt) != DIGEST:
            raise RelayError(f"{name} is not of the length of this round")
        if not all(isinstance(verdict, Verdict) for verdict in message.verdicts):
            raise RelayError(f"{name} says something else than verdicts")
        committed = snapshot.current.vote_commits.get(message.miner)
        if committed is None or committed != verification.vote_digest(message):
            raise RelayError(f"{name} is not the one that it committed")
        self.openings[message.miner] = message

    def _check_opened(self, commitment: bytes, signed: SignedUpdate, snapshot: RoundSnapshot) -> None:
        """Insist that an update opens `commitment` and is signed by its device."""
        self._check_update(signed, snapshot)
        device = signed.update.device
        if submissions.commitment(self.ledger.domain, signed.update) != commitment:
            raise RelayError(f"device {device} opens something else than it committed to")
        if signer(commitment, signed.signature) != snapshot.history.devices[device]:
            raise RelayError(f"the update of device {device} is not signed by it")

    @staticmethod
    def _check_update(message: SignedUpdate, snapshot: RoundSnapshot) -> None:
        """Insist on everything that the contract asks of a revealed update."""
        update = message.update
        if update.round != snapshot.round or not snapshot.history.takes_part(update.device):
            raise RelayError(f"device {update.device} does not take part in round {snapshot.round}")
        if not well_formed(update) or len(message.signature) != SIGNATURE:
            raise RelayError(f"the update of device {update.device} has a field of the wrong size")
        if not 0 < update.samples <= snapshot.terms.max_samples:
            raise RelayError(f"device {update.device} claims {update.samples} samples")
        if update.microseconds > snapshot.elapsed:
            raise RelayError(
                f"device {update.device} claims more time than has passed since the round opened"
            )

    def _moment(self, round_: int) -> RoundSnapshot:
        """The present moment; raises RelayError if the message is for another round."""
        snapshot = take_snapshot(self.ledger)
        if snapshot is None or round_ != snapshot.round:
            running = "none" if snapshot is None else f"round {snapshot.round}"
            raise RelayError(f"the message is for round {round_}, and {running} is running")
        self.turn(snapshot.round)
        return snapshot


def well_formed(update: Update) -> bool:
    """Whether the fields have the sizes that they are packed into."""
    digests = len(update.root) == DIGEST and len(update.cid) == DIGEST
    return digests and 0 <= update.microseconds < 1 << 64 and 0 <= update.salt < 1 << SALT_BITS
