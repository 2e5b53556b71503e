"""Step 2 at the device: train once a round and carry on what the lanes could not say."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bcfl.ports import Learner, Ledger, Trained
from bcfl.protocol import fixedpoint
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Update
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive, Packed, Stored
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import RoundSnapshot

RECORD, SEALED, SETTLED, PENDING = "update.json", "update", "carry", "carry.pending"
ROUND = 8  # bytes of the round's number before a carry
Carry = npt.NDArray[np.float64]  # (parameters,)


class Trainer:
    """Makes a device's update of a round, the same one however often it is asked.

    `shortens`: an update that is longer than miners take is shortened to what they take.
    """

    def __init__(
        self,
        account: Account,
        learner: Learner,
        ledger: Ledger,
        archive: Archive,
        journal: Journal,
        shortens: bool = True,
    ) -> None:
        self.account, self.learner, self.ledger = account, learner, ledger
        self.archive, self.journal, self.shortens = archive, journal, shortens
        self._published: bytes | None = None

    def update(self, snapshot: RoundSnapshot, index: int) -> Update:
        """This round's update, as written down or newly trained; raises ConfigError if training fails."""
        known = self.written(snapshot, index)
        if known is not None:
            return known
        self._settle(snapshot, index)
        return self._train(snapshot, index)

    def written(self, snapshot: RoundSnapshot, index: int) -> Update | None:
        """The update that was trained from this round's model and written down."""
        record = self.journal.read_json(RECORD)
        with self.journal.reading(RECORD):
            if record is None or record["round"] != snapshot.round or record["device"] != index:
                return None
            if record["model"] != snapshot.history.model_before(snapshot.round).root.hex():
                return None
            return _from_record(record)

    def publish(self, update: Update) -> None:
        """Put the update on the store: not before it is committed to, or others could copy it."""
        data = self.journal.read(SEALED)
        if (
            self._published == update.root
            or data is None
            or data[:ROUND] != update.round.to_bytes(ROUND, "big")
        ):
            return
        self.archive.publish(Packed(Stored(update.root, update.cid), data[ROUND:]))
        self._published = update.root

    def _train(self, snapshot: RoundSnapshot, index: int) -> Update:
        """Train from the last block's model and write down what was made; nobody else sees it yet."""
        terms, before = snapshot.terms, snapshot.history.model_before(snapshot.round)
        model = self.archive.values(before, snapshot.history)
        trained = self.learner.train(model, snapshot.round)
        delta = self._shortened(snapshot, trained.vector.astype(np.float64) - model)  # (parameters,)
        lanes, carry = fixedpoint.encode_update(delta, None, terms.lane_bits, terms.scale_bits, terms.shift)
        packed = self.archive.packed(lanes)
        salt = self.account.secret("salt", self.ledger.domain.separator, snapshot.round)
        samples, microseconds = claimed(trained, terms.max_samples)
        update = Update(
            round=snapshot.round,
            device=index,
            root=packed.stored.root,
            cid=packed.stored.cid,
            samples=samples,
            microseconds=microseconds,
            salt=int.from_bytes(salt[:16], "big"),
        )
        number = snapshot.round.to_bytes(ROUND, "big")
        self.journal.write(SEALED, number + packed.data)
        self.journal.write(PENDING, number + carry.tobytes())
        self.journal.write_json(RECORD, _to_record(update, before.root))
        return update

    def _shortened(self, snapshot: RoundSnapshot, delta: Carry) -> Carry:
        """What was learnt and what earlier updates could not say, no longer than miners take.

        What shortening takes away is not carried on: it would come back longer each round.
        """
        carry = self._carry(SETTLED, None)
        whole = delta if carry is None else delta + carry
        if not self.shortens:
            return whole
        limit = norm_bound.reference(self.archive, snapshot.history, snapshot.round)
        return whole * norm_bound.shortening(float(np.linalg.norm(whole)), limit)

    def _settle(self, snapshot: RoundSnapshot, index: int) -> None:
        """Keep the last update's remainder if it went into the model; an update left out took nothing away.

        The remainder replaces the one before, so that settling twice is settling once; the round in
        front of it tells the last update's from one whose record a crash has cut off.
        """
        record = self.journal.read_json(RECORD)
        if record is None:
            return
        with self.journal.reading(RECORD):
            last = snapshot.history.rounds.get(record["round"])
        if last is None or last.block is None:
            return
        carry = self._carry(PENDING, last.number)
        if carry is not None and any(item.update.device == index for item in last.taken()):
            self.journal.write(SETTLED, last.number.to_bytes(ROUND, "big") + carry.tobytes())

    def _carry(self, name: str, round_: int | None) -> Carry | None:
        """What earlier updates could not say; with a round, only if it is that round's."""
        data = self.journal.read(name)
        if data is None or len(data) != ROUND + 8 * self.archive.layout.parameters:
            return None
        if round_ is not None and int.from_bytes(data[:ROUND], "big") != round_:
            return None
        return np.frombuffer(data[ROUND:], dtype=np.float64)


def claimed(trained: Trained, max_samples: int) -> tuple[int, int]:
    """Samples and microseconds that a device may claim: above the cap, the cap and the time of as many."""
    samples = min(trained.samples, max_samples)
    return samples, max(1, trained.microseconds * samples // trained.samples)


def _to_record(update: Update, model: bytes) -> dict[str, Any]:
    return {
        "round": update.round,
        "device": update.device,
        "model": model.hex(),
        "root": update.root.hex(),
        "cid": update.cid.hex(),
        "samples": update.samples,
        "microseconds": update.microseconds,
        "salt": str(update.salt),
    }


def _from_record(record: dict[str, Any]) -> Update:
    return Update(
        round=int(record["round"]),
        device=int(record["device"]),
        root=bytes.fromhex(record["root"]),
        cid=bytes.fromhex(record["cid"]),
        samples=int(record["samples"]),
        microseconds=int(record["microseconds"]),
        salt=int(record["salt"]),
    )
