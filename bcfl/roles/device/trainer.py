"""Train once a round, and add to each update the residual that the lanes of earlier ones could not hold."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bcfl.errors import ConfigError, PayloadError, own_code
from bcfl.ports import Allowance, Learner, Ledger, TrainingResult
from bcfl.protocol import fixedpoint, payload, sealing
from bcfl.protocol.accounts import Account
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.hashing import keccak
from bcfl.protocol.noise import Noise
from bcfl.protocol.rounds import Round
from bcfl.protocol.sealing import Seal
from bcfl.protocol.types import Update
from bcfl.roles.common import norm_bound
from bcfl.roles.common.archive import Archive, PackedVector, StoredVector
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.device import fit
from bcfl.roles.device.noising import Noising

RECORD, SEALED, SETTLED, PENDING = "update.json", "update", "carry", "carry.pending"  # names on disk
ROUND_BYTES = 8  # of the round's number before a sealed update or a residual
KEPT = np.dtype("<f4")  # of a residual on disk: next to half a step of a lane, what that rounds is nothing
Residual = npt.NDArray[np.float64]  # (parameters,)

log = logging.getLogger(__name__)


class Trainer:
    """A device's update of a round, the same one however often it is asked for.

    With `clips`, an update whose norm is above `bound` is scaled down to it.
    """

    def __init__(
        self,
        account: Account,
        learner: Learner,
        ledger: Ledger,
        archive: Archive,
        journal: Journal,
        clips: bool = True,
    ) -> None:
        self.account, self.learner, self.ledger = account, learner, ledger
        self.archive, self.journal, self.clips = archive, journal, clips
        self.bound: norm_bound.Bound = norm_bound.device_bound
        self._published: bytes | None = None  # digest of the CID of the last update on the store
        self._lost: bytes | None = None  # that of the last update whose bytes nobody has
        self._forgotten = -1  # up to which round no bytes of an update are in the journal
        self.hide()

    def hide(self, secret: bytes | None = None, allowance: Allowance | None = None) -> None:
        """Draw the noise of the terms from `secret`, else of the account's, and count what updates tell.

        Raises ConfigError for a learner that cannot add the noise.
        """
        if secret is None:
            secret = self.account.secret("noise", self.ledger.domain.separator)
        self.noising = Noising(Noise.of(self.archive.layout), secret, allowance)
        self.noising.prepare(self.learner)

    def update(self, snapshot: RoundSnapshot, index: int) -> Update:
        """Return this round's update, recorded or newly trained; raises ConfigError if training fails."""
        update = self.recorded_update(snapshot, index)
        if update is not None:
            self.noising.spend(self.learner.samples, self._key(update.round, update.root))
            if self._is_sealed_for(snapshot.current) or (update := self._seal_again(snapshot, update)):
                return update
        self.noising.require(self.learner.samples, snapshot.terms)
        self._settle(snapshot, index)
        return self._train(snapshot, index)

    def _key(self, round_: int, root: bytes) -> str:
        """Return what an update is counted under: an equal one tells nothing new."""
        return f"{self.ledger.domain.separator.hex()}/{round_}/{root.hex()}"

    def recorded_update(self, snapshot: RoundSnapshot, index: int) -> Update | None:
        """Return the update in the journal, if it was trained from this round's model."""
        record = self.journal.read_json(RECORD)
        model = snapshot.history.model_before(snapshot.round).root.hex()
        with self.journal.reading(RECORD):
            if record is None or record["round"] != snapshot.round or record["device"] != index:
                return None
            if record["model"] != model:
                return None
            return _from_record(record)
        return None

    def _is_sealed_for(self, round_: Round) -> bool:
        """Whether the update in the journal is for the round's readers, which a reorganisation can change."""
        record = self.journal.read_json(RECORD)
        return record is None or bool(record.get("readers", "") == self._readers(round_))

    def _readers(self, round_: Round) -> str:
        """Return the digest of the readers that an update is sealed for; empty where it is public."""
        if not self.archive.privacy.confidential:
            return ""
        return keccak(repr(list(round_.readers.items())).encode()).hex()

    def _seal_again(self, snapshot: RoundSnapshot, update: Update) -> Update | None:
        """Seal the update in the journal for the round's readers; None if its bytes are lost.

        Another training would take as long as the first, and tell more where it comes to something else.
        """
        record, data = self.journal.read_json(RECORD) or {}, self.journal.read(SEALED)
        number = update.round.to_bytes(ROUND_BYTES, "big")
        if data is None or data[:ROUND_BYTES] != number:
            return None
        layout, bits = self.archive.layout, snapshot.terms.lane_bits
        seal = Seal(self.ledger.domain, update.round, update.device, update.root)
        digest = bytes.fromhex(record.get("payload", ""))
        try:
            plain = sealing.open_own(data, payload.size(layout, bits), seal, self.account, digest)
            lanes = payload.decode(plain, layout, bits)
        except PayloadError:
            return None
        vector = self.archive.pack_update(lanes, snapshot.current, update.device, self.account)
        update = replace(update, cid=vector.stored.cid)
        self.journal.write(SEALED, number + vector.data)
        changes = {"cid": update.cid.hex(), "readers": self._readers(snapshot.current)}
        self.journal.write_json(RECORD, record | changes)
        return update

    def publish(self, snapshot: RoundSnapshot, update: Update) -> bool:
        """Put the update on the store; call it after the commitment, or others could copy the update.

        Bytes that the journal has lost are made again by another training. False if that does not come to the
        same, or if the update is of another round, sealed for other readers or beyond the budget: what cannot
        be had must not be revealed.
        """
        if self._published == update.cid:
            return True
        is_for_others = update.round != snapshot.round or not self._is_sealed_for(snapshot.current)
        if self._lost == update.cid or is_for_others:
            return False
        data, number = self.journal.read(SEALED), update.round.to_bytes(ROUND_BYTES, "big")
        stored = StoredVector(update.root, update.cid)
        if data is not None and data[:ROUND_BYTES] == number:
            vector = PackedVector(stored, data[ROUND_BYTES:])
        else:
            log.warning("the journal has lost the update of round %d: it is trained again", update.round)
            remade = self._made_again(snapshot, update)
            if remade is None or remade.stored != stored:
                log.warning("no training comes to the update that is lost: it is not revealed")
                self._lost = update.cid
                return False
            vector = remade
            self.journal.write(SEALED, number + vector.data)
        try:  # where it was trained, another file may have counted, or none
            self.noising.spend(self.learner.samples, self._key(update.round, update.root))
        except ConfigError as error:
            log.warning("the update of round %d is not revealed: %s", update.round, error)
            self._lost = update.cid
            return False
        self.archive.publish(vector)
        self._published = update.cid
        return True

    def _made_again(self, snapshot: RoundSnapshot, update: Update) -> PackedVector | None:
        """Train once more, and return what that comes to, perhaps to something else; None where it fails."""
        try:
            _, lanes, _ = self._learn(snapshot)
        except ConfigError as error:
            log.warning("%s", error)
            return None
        return self.archive.pack_update(lanes, snapshot.current, update.device, self.account)

    def forget(self, snapshot: RoundSnapshot) -> None:
        """Remove the bytes of an update whose round is over from the journal: nobody asks for them any more.

        A device that is restarted before that has them. Where the chain takes the end of the round back, they
        are on the store, or made again by another training, as after the next one, which replaces them. Those
        of a later round stay: a node may be behind. Raises DiskError.
        """
        last = snapshot.round - 1
        if last == self._forgotten:
            return
        data = self.journal.read(SEALED)
        if data is None or int.from_bytes(data[:ROUND_BYTES], "big") <= last:
            self.journal.remove(SEALED)
        self._forgotten = last

    def _learn(self, snapshot: RoundSnapshot) -> tuple[TrainingResult, Lanes, Residual]:
        """Train from the last block's model; returns the lanes, and what they do not hold, (parameters,)."""
        terms, parent = snapshot.terms, snapshot.history.model_before(snapshot.round)
        model = self.archive.values(parent, snapshot.history)
        with own_code("training failed"):
            result = self.learner.train(model, snapshot.round)
        change = result.vector.astype(np.float64) - model
        if self.noising.hides_updates:
            lanes = self.noising.lanes(change, terms, snapshot.round, parent.root)
            return result, lanes, np.zeros(len(lanes))
        delta = self._clip(snapshot, change)
        lanes, residual = fixedpoint.encode_update(
            delta, None, terms.lane_bits, terms.scale_bits, terms.shift
        )
        return result, lanes, residual

    def _train(self, snapshot: RoundSnapshot, index: int) -> Update:
        """Train from the last block's model and write the update to the journal; nobody else sees it yet."""
        result, lanes, residual = self._learn(snapshot)
        vector = self.archive.pack_update(lanes, snapshot.current, index, self.account)
        self.noising.spend(self.learner.samples, self._key(snapshot.round, vector.stored.root))
        salt = self.account.secret("salt", self.ledger.domain.separator, snapshot.round)
        samples, microseconds = claim(result, snapshot.terms.max_samples)
        update = Update(
            round=snapshot.round,
            device=index,
            root=vector.stored.root,
            cid=vector.stored.cid,
            samples=samples,
            microseconds=microseconds,
            salt=int.from_bytes(salt[:16], "big"),
        )
        number = snapshot.round.to_bytes(ROUND_BYTES, "big")
        self.journal.write(SEALED, number + vector.data)
        self.journal.write(PENDING, number + residual.astype(KEPT).tobytes())
        parent = snapshot.history.model_before(snapshot.round)
        record = _to_record(update, parent.root) | {"readers": self._readers(snapshot.current)}
        if self.archive.privacy.confidential:
            record["payload"] = keccak(self.archive.encode(lanes)[0]).hex()
        self.journal.write_json(RECORD, record)
        self._count(snapshot, lanes, residual)
        return update

    def _count(self, snapshot: RoundSnapshot, lanes: Lanes, residual: Residual) -> None:
        """Note what of the update, (parameters,), the lanes could not hold, and log it."""
        bits = snapshot.terms.scale_bits - snapshot.terms.shift
        counts = fit.fit_of(self.archive.layout, lanes, residual, bits)
        fit.write(self.journal, snapshot.round, counts)
        whole = fit.total(counts.values())
        words = fit.excess(whole, fit.remarkable(counts))
        if whole.saturated or whole.vanished:
            text = f"of {whole.moved:,} changes {whole.saturated:,} saturate, {whole.vanished:,} vanish"
            advice = "" if words is None else f": {words}; the task may state other exponents"
            log.info("round %d: %s%s", snapshot.round, text, advice)

    def _clip(self, snapshot: RoundSnapshot, delta: Residual) -> Residual:
        """Add the settled residual to what was learnt, (parameters,), and scale the sum down to the bound.

        What clipping takes away is not part of the next residual: it would come back longer each round.
        """
        residual = self._residual(SETTLED, None)
        total = delta if residual is None else delta + residual
        if not self.clips:
            return total
        bound = self.bound(self.archive, snapshot.history, snapshot.round)
        factor = norm_bound.clip_factor(float(np.linalg.norm(total)), bound)
        if factor < 1:
            log.info(
                "round %d: longer than is usual: %.0f%% of its length is sent", snapshot.round, 100 * factor
            )
        return total * factor

    def _settle(self, snapshot: RoundSnapshot, index: int) -> None:
        """Keep the last update's residual if it went into the model; an update left out took nothing away.

        The residual replaces the one before, so that settling twice is settling once. The round in front of
        it tells the last update's residual from one whose record a crash has cut off.
        """
        record = self.journal.read_json(RECORD)
        if record is None:
            return
        round_ = None
        with self.journal.reading(RECORD):
            round_ = snapshot.history.rounds.get(record["round"])
        if round_ is None or round_.block is None:
            return
        residual = self._residual(PENDING, round_.number)
        pairs = zip(round_.submissions, round_.levels or (), strict=True)
        if residual is not None and any(level and item.update.device == index for item, level in pairs):
            number = round_.number.to_bytes(ROUND_BYTES, "big")
            self.journal.write(SETTLED, number + residual.astype(KEPT).tobytes())

    def _residual(self, name: str, round_: int | None) -> Residual | None:
        """Return a residual from the journal, (parameters,); with `round_` only if it is that round's."""
        data = self.journal.read(name)
        if data is None or len(data) != ROUND_BYTES + KEPT.itemsize * self.archive.layout.parameters:
            return None
        if round_ is not None and int.from_bytes(data[:ROUND_BYTES], "big") != round_:
            return None
        return np.frombuffer(data[ROUND_BYTES:], KEPT).astype(np.float64)


def claim(result: TrainingResult, max_samples: int) -> tuple[int, int]:
    """Return the samples and microseconds that a device may claim.

    Above the cap of the terms these are the cap, and the time that so many samples took.
    """
    samples = min(result.samples, max_samples)
    return samples, max(1, result.microseconds * samples // result.samples)


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
