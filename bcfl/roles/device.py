"""Steps 2, 3 and 8: a device trains, commits to its update, reveals it, and downloads the next model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict

import numpy as np

from bcfl.errors import RelayError
from bcfl.ports import Learner, Ledger, Relay, SignedCommitment, Step
from bcfl.protocol import fixedpoint, submissions
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Clock, Phase, SignedUpdate, Update
from bcfl.roles.archive import Archive
from bcfl.roles.journal import Journal
from bcfl.roles.patience import LONG, elapsed_share

RECORD, SETTLED, PENDING = "update.json", "carry", "carry.pending"


class Device:
    """One device; `act` does whatever is due for it and says what it did."""

    def __init__(
        self,
        account: Account,
        learner: Learner,
        ledger: Ledger,
        relay: Relay,
        archive: Archive,
        journal: Journal,
    ) -> None:
        self.account, self.learner, self.ledger = account, learner, ledger
        self.relay, self.archive, self.journal = relay, archive, journal
        self._handed: tuple[int, Phase] | None = None

    def act(self) -> str | None:
        """Do what is due; None if nothing is."""
        clock = self.ledger.clock()
        history = self.ledger.history()
        index = history.device_index(self.account.address)
        if history.current is None or index is None or index not in history.expected_devices():
            return None
        if clock.round != history.current.number:
            return None
        if clock.phase is Phase.COMMIT:
            return self._commit(clock, history.current, index)
        if clock.phase is Phase.REVEAL:
            return self._reveal(clock, history.current, index)
        return None

    def update_of(self, round_: int, index: int) -> Update:
        """This round's update: the journalled one, or a newly trained one."""
        record = self.journal.read_json(RECORD)
        if record is not None and record["round"] == round_:
            return _from_record(record)
        self._settle(record, index)
        return self._train(round_, index)

    def _train(self, round_: int, index: int) -> Update:
        """Train from the last block's model, put the update on the store and write down what was made."""
        terms = self.ledger.terms
        model = self.archive.values(self.ledger.history().head)
        trained = self.learner.train(model, round_)
        delta = trained.vector.astype(np.float64) - model  # (parameters,)
        lanes, carry = fixedpoint.encode_update(
            delta, self._carry(), terms.lane_bits, terms.scale_bits, terms.shift
        )
        stored = self.archive.put(lanes)
        salt = self.account.secret("salt", self.ledger.domain.separator, round_)
        update = Update(
            round=round_,
            device=index,
            root=stored.root,
            cid=stored.cid,
            samples=min(trained.samples, terms.max_samples),
            microseconds=trained.microseconds,
            salt=int.from_bytes(salt[:16], "big"),
        )
        self.journal.write(PENDING, carry.tobytes())
        self.journal.write_json(RECORD, _to_record(update))
        return update

    def _carry(self) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
        """What earlier updates could not say, (parameters,)."""
        data = self.journal.read(SETTLED)
        if data is None or len(data) != 8 * self.archive.layout.parameters:
            return None
        return np.frombuffer(data, dtype=np.float64)

    def _settle(self, record: dict[str, object] | None, index: int) -> None:
        """Keep the last update's remainder if it went into the model; an update left out took nothing away."""
        last = None if record is None else self.ledger.history().rounds.get(int(str(record["round"])))
        if last is None or last.block is None:
            return
        if any(item.update.device == index for item in last.taken()):
            pending = self.journal.read(PENDING)
            if pending is not None:
                self.journal.write(SETTLED, pending)

    def _commit(self, clock: Clock, current: Round, index: int) -> str | None:
        """Hand the commitment to the miner; commit alone if it is left out or nobody answers."""
        if self.account.address in current.commits:
            return None
        update = self.update_of(clock.round, index)
        commitment = submissions.commitment(self.ledger.domain, update)
        miner = self.ledger.history().bound(index)
        if self._batch(current, miner, commitment) is not None:
            return None
        if miner in current.commits or elapsed_share(clock, self.ledger) >= LONG or miner is None:
            self.ledger.send(self.account, [Step("commit", (submissions.batch_digest([commitment]),))])
            return "committed alone"
        if self._handed == (clock.round, Phase.COMMIT):
            return None
        message = SignedCommitment(clock.round, index, commitment, self.account.sign(commitment))
        with suppress(RelayError):
            self.relay.desk(miner).take_commitment(message)
            self._handed = (clock.round, Phase.COMMIT)
            return "handed in its commitment"
        return None

    def _batch(self, current: Round, miner: str | None, commitment: bytes) -> tuple[bytes, ...] | None:
        """The miner's batch, if what stands on chain contains this commitment."""
        if miner is None or miner not in current.commits:
            return None
        with suppress(RelayError):
            batch = self.relay.desk(miner).batch(current.number)
            if (
                batch is not None
                and commitment in batch
                and submissions.batch_digest(batch) == current.commits[miner]
            ):
                return batch
        return None

    def _reveal(self, clock: Clock, current: Round, index: int) -> str | None:
        """Hand the opening to the miner; reveal alone if it does not bring it in time."""
        if any(item.update.device == index for item in current.submissions):
            return None
        record = self.journal.read_json(RECORD)
        if record is None or record["round"] != clock.round:
            return None
        update = _from_record(record)
        commitment = submissions.commitment(self.ledger.domain, update)
        signed = SignedUpdate(update, self.account.sign(commitment))
        if self.account.address in current.commits:
            return self._reveal_alone(signed, self.account.address, (commitment,))
        miner = self.ledger.history().bound(index)
        batch = self._batch(current, miner, commitment)
        if miner is None or batch is None:
            return None
        if elapsed_share(clock, self.ledger) >= LONG:
            return self._reveal_alone(signed, miner, batch)
        if self._handed == (clock.round, Phase.REVEAL):
            return None
        with suppress(RelayError):
            self.relay.desk(miner).take_update(signed)
            self._handed = (clock.round, Phase.REVEAL)
            return "handed in its update"
        return None

    def _reveal_alone(self, signed: SignedUpdate, submitter: str, batch: tuple[bytes, ...]) -> str:
        """Open one's own place of a committed batch."""
        commitment = submissions.commitment(self.ledger.domain, signed.update)
        opened = tuple(signed if item == commitment else None for item in batch)
        self.ledger.send(self.account, [Step("reveal", submissions.reveal_args(submitter, batch, opened))])
        return "revealed alone"


def _to_record(update: Update) -> dict[str, object]:
    fields = asdict(update)
    return {
        key: value.hex() if isinstance(value, bytes) else str(value) if key == "salt" else value
        for key, value in fields.items()
    }


def _from_record(record: dict[str, object]) -> Update:
    return Update(
        round=int(str(record["round"])),
        device=int(str(record["device"])),
        root=bytes.fromhex(str(record["root"])),
        cid=bytes.fromhex(str(record["cid"])),
        samples=int(str(record["samples"])),
        microseconds=int(str(record["microseconds"])),
        salt=int(str(record["salt"])),
    )
