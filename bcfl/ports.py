"""What the roles speak through: a ledger, a store, a relay and a learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Clock, Opening, SignedUpdate, Terms

Vector = npt.NDArray[np.float32]  # (parameters,)
Matrix = npt.NDArray[np.float32]  # (rows, parameters)


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of local training: the new local vector and what it took."""

    vector: Vector  # (parameters,)
    samples: int
    microseconds: int  # CPU time of the training itself


@dataclass(frozen=True)
class Evaluation:
    """How a model does on held-out data."""

    accuracy: float  # share of right answers, 0 to 1
    loss: float  # mean cross-entropy, nats
    samples: int


class Learner(Protocol):
    """Private data of one party, and what it can do with a model.

    A device trains on its data. A miner evaluates on what it holds out, and trains on the same or other data
    to see for itself where training leads; one that has none to train on judges without that.
    """

    @property
    def samples(self) -> int:
        """Number of training samples held."""
        ...

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train locally from `model`; deterministic in (data, model, round_, the learner's seed)."""
        ...

    def evaluate(self, model: Vector) -> Evaluation:
        """Accuracy and loss of `model` on the held-out data."""
        ...

    def gradients(self, model: Vector, parts: int) -> Matrix:
        """Gradients, (parts, parameters), at `model` of the mean loss of equal parts of the held-out data.

        The parts are as like each other as can be; fewer come back where the data is less than that.
        """
        ...


class Store(Protocol):
    """A content-addressed store; whoever reads gets the bytes of the CID or an error."""

    def put(self, data: bytes) -> str:
        """Keep `data` and return its CID; the same bytes may be put any number of times."""
        ...

    def get(self, cid: str, max_bytes: int) -> bytes:
        """The verified bytes of `cid`; raises Unavailable, Corrupt, Oversized or StoreError."""
        ...

    def has(self, cid: str) -> bool:
        """Whether the bytes of `cid` are held."""
        ...


@dataclass(frozen=True)
class ContractCall:
    """One call of the contract that is due."""

    function: str
    args: tuple[Any, ...] = ()
    value: int = 0  # wei that go with it; such a step goes alone


class Ledger(Protocol):
    """The control plane as the roles see it."""

    @property
    def terms(self) -> Terms:
        """What the parties agreed on."""
        ...

    @property
    def domain(self) -> Domain:
        """What signatures are bound to."""
        ...

    def now(self) -> int:
        """The time of the chain, in seconds."""
        ...

    def clock(self) -> Clock:
        """Where the round stands, with everything that is due counted in."""
        ...

    def overdue(self) -> bool:
        """Whether time has brought about something that nobody has written down yet."""
        ...

    def target(self) -> int:
        """What a proof of work has to stay under."""
        ...

    def history(self) -> History:
        """All that has happened, up to now."""
        ...

    def send(self, account: Account, steps: Sequence[ContractCall]) -> int:
        """Take steps, in as few transactions as possible; returns the gas; raises Reverted."""
        ...

    def price(self, account: Account, steps: Sequence[ContractCall]) -> int:
        """The most that steps would cost now, in wei; raises Reverted where one would fail."""
        ...


@dataclass(frozen=True)
class SignedCommitment:
    """What a device hands its miner in the first phase; the signature is the one it reveals with."""

    round: int
    device: int
    commitment: bytes
    signature: bytes


@dataclass(frozen=True)
class Batch:
    """An opened batch, as one miner hands it to another: every commitment, and the updates behind them."""

    round: int
    submitter: str
    commitments: tuple[bytes, ...]
    updates: tuple[SignedUpdate | None, ...]  # None where the device did not reveal


class Inbox(Protocol):
    """What a miner takes in; everything is checked, nothing is believed."""

    def take_commitment(self, message: SignedCommitment) -> None: ...
    def take_update(self, message: SignedUpdate) -> None: ...
    def take_batch(self, message: Batch) -> None: ...
    def take_opening(self, message: Opening) -> None: ...
    def batch(self, round_: int) -> tuple[bytes, ...] | None: ...


class Relay(Protocol):
    """How a message reaches a miner."""

    def inbox(self, miner: str) -> Inbox:
        """The desk of a miner; its methods raise RelayError when it does not answer."""
        ...
