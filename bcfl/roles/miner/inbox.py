"""Take in what devices and other miners send to a miner: check every message before it is kept.

Whatever passes here the contract accepts: one bad item would make it refuse all that are sent with it.
"""

from __future__ import annotations

from bcfl.errors import RelayError
from bcfl.ports import Batch, Ledger, SignedCommitment
from bcfl.protocol import submissions, verification
from bcfl.protocol.accounts import signer
from bcfl.protocol.limits import MAX_BATCH
from bcfl.protocol.types import Mode, Opening, SignedUpdate, Update, Verdict
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot

DIGEST, SIGNATURE = 32, 64  # bytes
SALT_BITS = 128


class MinerInbox:
    """The messages of the running round for one miner; a message of no use is refused with RelayError."""

    def __init__(self, ledger: Ledger, miner: str) -> None:
        self.ledger, self.miner = ledger, miner
        self.round = 0
        self.commitments: dict[int, SignedCommitment] = {}
        self.updates: dict[bytes, SignedUpdate] = {}  # by commitment
        self.batches: dict[str, Batch] = {}
        self.openings: dict[str, Opening] = {}

    def start_round(self, round_: int) -> None:
        """Drop the messages of an earlier round."""
        if round_ != self.round:
            self.round = round_
            self.commitments, self.updates, self.batches, self.openings = {}, {}, {}, {}

    def take_commitment(self, message: SignedCommitment) -> None:
        """Keep a device's commitment, if it is this miner's to serve in this round and has signed it."""
        snapshot = self._snapshot(message.round)
        history, device = snapshot.history, message.device
        if not history.takes_part(device):
            raise RelayError(f"device {device} does not take part in round {message.round}")
        account = history.devices[device]
        if self.miner not in (history.binding(device), account):
            raise RelayError(f"device {device} is not bound to {self.miner} in round {message.round}")
        if signer(message.commitment, message.signature) != account:
            raise RelayError(f"the commitment of device {device} is not signed by it")
        self.commitments.setdefault(device, message)

    def take_update(self, message: SignedUpdate) -> None:
        """Keep a revealed update, if it opens what was handed in and the contract would take it."""
        snapshot = self._snapshot(message.update.round)
        self._check_update(message, snapshot)
        commitment_message = self.commitments.get(message.update.device)
        commitment = submissions.commitment(self.ledger.domain, message.update)
        if (
            commitment_message is None
            or commitment_message.commitment != commitment
            or commitment_message.signature != message.signature
        ):
            raise RelayError(f"device {message.update.device} opens something else than it committed to")
        self.updates[commitment] = message

    def take_batch(self, message: Batch) -> None:
        """Keep another miner's opened batch, if it is what stands on chain and the contract would take it."""
        snapshot = self._snapshot(message.round)
        name = f"the batch of {message.submitter}"
        if message.submitter not in snapshot.history.miners or len(message.commitments) > MAX_BATCH:
            raise RelayError(f"{name} is not one of a miner, or too long")
        if len(message.updates) != len(message.commitments):
            raise RelayError(f"{name} has lists of different lengths")
        digest = submissions.batch_digest(message.commitments)
        if snapshot.current.commits.get(message.submitter) != digest:
            raise RelayError(f"{name} is not the one that it committed")
        for commitment, signed_update in zip(message.commitments, message.updates, strict=True):
            if signed_update is not None:
                self._check_opened(commitment, signed_update, snapshot)
        devices = [
            signed_update.update.device for signed_update in message.updates if signed_update is not None
        ]
        if len(set(devices)) != len(devices):
            raise RelayError(f"{name} has a device twice")
        self.batches[message.submitter] = message

    def take_opening(self, message: Opening) -> None:
        """Keep another miner's opened vote, if it is what stands on chain and of the right length."""
        snapshot = self._snapshot(message.round)
        name = f"the vote of {message.miner}"
        if len(message.verdicts) != len(snapshot.current.submissions) or len(message.salt) != DIGEST:
            raise RelayError(f"{name} is not of the length of this round")
        if not all(isinstance(verdict, Verdict) for verdict in message.verdicts):
            raise RelayError(f"{name} says something else than verdicts")
        if message.wish is not None and snapshot.terms.mode != Mode.HYBRID:
            raise RelayError(f"{name} wishes for an engine, and these terms allow no wishes")
        commit_digest = snapshot.current.vote_commits.get(message.miner)
        links = snapshot.current.links(self.ledger.domain)
        if commit_digest is None or commit_digest != verification.vote_digest(message, links):
            raise RelayError(f"{name} is not the one that it committed")
        self.openings[message.miner] = message

    def _check_opened(self, commitment: bytes, signed_update: SignedUpdate, snapshot: RoundSnapshot) -> None:
        """Raise RelayError unless an update opens `commitment` and is signed by its device."""
        self._check_update(signed_update, snapshot)
        device = signed_update.update.device
        if submissions.commitment(self.ledger.domain, signed_update.update) != commitment:
            raise RelayError(f"device {device} opens something else than it committed to")
        if signer(commitment, signed_update.signature) != snapshot.history.devices[device]:
            raise RelayError(f"the update of device {device} is not signed by it")

    @staticmethod
    def _check_update(message: SignedUpdate, snapshot: RoundSnapshot) -> None:
        """Raise RelayError unless an update has everything that the contract asks for."""
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

    def _snapshot(self, round_: int) -> RoundSnapshot:
        """Read the running round; raises RelayError if the message is for another one."""
        snapshot = take_snapshot(self.ledger)
        if snapshot is None or round_ != snapshot.round:
            running = "none" if snapshot is None else f"round {snapshot.round}"
            raise RelayError(f"the message is for round {round_}, and {running} is running")
        self.start_round(snapshot.round)
        return snapshot


def well_formed(update: Update) -> bool:
    """Return whether the fields of an update have the sizes that they are packed into."""
    digests = len(update.root) == DIGEST and len(update.cid) == DIGEST
    return digests and 0 <= update.microseconds < 1 << 64 and 0 <= update.salt < 1 << SALT_BITS
