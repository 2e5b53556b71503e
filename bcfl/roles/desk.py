"""Step 3 at the miner: what devices and other miners hand in, checked and bounded before it is kept."""

from __future__ import annotations

from eth_keys.datatypes import Signature
from eth_utils.address import to_checksum_address

from bcfl.errors import RelayError
from bcfl.ports import Batch, Ledger, SignedCommitment
from bcfl.protocol import submissions, verification
from bcfl.protocol.types import Opening, SignedUpdate


def signer(digest: bytes, signature: bytes) -> str | None:
    """The account behind a 64-byte signature, or None."""
    if len(digest) != 32 or len(signature) != 64:
        return None
    vs = int.from_bytes(signature[32:], "big")
    try:
        made = Signature(vrs=(vs >> 255, int.from_bytes(signature[:32], "big"), vs & (1 << 255) - 1))
        return str(to_checksum_address(made.recover_public_key_from_msg_hash(digest).to_address()))
    except Exception:  # whatever a forged signature makes the library raise
        return None


class Inbox:
    """The messages of the running round; what is for another round, unsigned or twice is refused."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
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
        """Keep a device's commitment; raises RelayError if it is not the device's or not for this round."""
        self._check_round(message.round)
        history = self.ledger.history()
        if message.device not in history.expected_devices():
            raise RelayError(f"device {message.device} does not take part in round {message.round}")
        if signer(message.commitment, message.signature) != history.devices[message.device]:
            raise RelayError(f"the commitment of device {message.device} is not signed by it")
        self.commitments.setdefault(message.device, message)

    def take_update(self, message: SignedUpdate) -> None:
        """Keep a device's opened commitment; raises RelayError if it opens nothing that was handed in."""
        self._check_round(message.update.round)
        commitment = submissions.commitment(self.ledger.domain, message.update)
        known = self.commitments.get(message.update.device)
        if known is None or known.commitment != commitment or known.signature != message.signature:
            raise RelayError(f"device {message.update.device} opens something else than it committed to")
        self.updates[commitment] = message

    def take_batch(self, message: Batch) -> None:
        """Keep another miner's opened batch; raises RelayError if it is not what stands on chain."""
        self._check_round(message.round)
        current = self.ledger.history().current
        digest = submissions.batch_digest(message.commitments)
        if current is None or current.commits.get(message.submitter) != digest:
            raise RelayError(f"the batch of {message.submitter} is not the one that it committed")
        if len(message.updates) != len(message.commitments):
            raise RelayError(f"the batch of {message.submitter} has lists of different lengths")
        for commitment, signed in zip(message.commitments, message.updates, strict=True):
            if signed is not None and submissions.commitment(self.ledger.domain, signed.update) != commitment:
                raise RelayError(f"the batch of {message.submitter} opens something else")
        self.batches[message.submitter] = message

    def take_opening(self, message: Opening) -> None:
        """Keep another miner's opened vote; raises RelayError if it is not what stands on chain."""
        self._check_round(message.round)
        current = self.ledger.history().current
        digest = verification.vote_digest(message)
        if current is None or current.vote_commits.get(message.miner) != digest:
            raise RelayError(f"the vote of {message.miner} is not the one that it committed")
        self.openings[message.miner] = message

    def _check_round(self, round_: int) -> None:
        self.turn(self.ledger.clock().round)
        if round_ != self.round:
            raise RelayError(f"the message is for round {round_}, and round {self.round} is running")
