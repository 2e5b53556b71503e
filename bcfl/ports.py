"""Define what the roles depend on: a ledger, a store, a relay and a learner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from bcfl.protocol.accounts import Account
from bcfl.protocol.noise import Release
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Clock, Opening, SignedUpdate, Terms

if TYPE_CHECKING:
    from bcfl.protocol.requests import KeyRequest

Vector = npt.NDArray[np.float32]  # (parameters,)
Matrix = npt.NDArray[np.float32]  # (rows, parameters)


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of local training: the new local vector, and what it took."""

    vector: Vector  # (parameters,)
    samples: int
    microseconds: int  # CPU time of the training itself


@dataclass(frozen=True)
class Evaluation:
    """The quality of a model on held-out data."""

    loss: float  # the task's, mean over the samples; nan of a Flower app that tells none
    samples: int
    metrics: dict[str, float | None] = field(default_factory=dict)  # the task's, in order; None: undefined

    @property
    def accuracy(self) -> float | None:
        """Return the share of right answers, 0 to 1; None where the task has none."""
        return self.metrics.get("accuracy")


@dataclass(frozen=True)
class Slopes:
    """The loss of a model on held-out data, and its gradients on equal parts of the data."""

    loss: float  # mean over the samples
    gradients: Matrix  # (parts, parameters); of a learner that has none (0, parameters)
    samples: int


@dataclass(frozen=True)
class MarkSearch:
    """How to look for marks on the inputs, and what share of the samples that they turn to ask for."""

    samples: int  # held out, at most
    tries: int = 1  # classes that marks are tried for
    turned: int = 0  # of so many other classes, those that are turned most; 0: of the half turned least
    known: bool = True  # of what a model gets right unmarked; else of what it takes for another class then
    wide: bool = False  # whether large marks are tried too
    needs_wide: bool = False  # nothing where inputs are too few for a large mark
    random: bool = False  # one mark by chance instead, and how often it changes what a suspect says


class Learner(Protocol):
    """The private data of one party, and what the party can do with a model.

    A device trains on its data. A miner evaluates on its held-out data, and trains on the same or other data
    for a reference of its own; a miner without training data judges without that.
    """

    @property
    def samples(self) -> int:
        """Return the number of training samples."""
        ...

    def train(self, model: Vector, round_: int) -> TrainingResult:
        """Train locally from `model`, (parameters,); deterministic in data, model, round and seed."""
        ...

    def evaluate(self, model: Vector) -> Evaluation:
        """Return metrics and loss of `model`, (parameters,), on the held-out data."""
        ...

    def slopes(self, model: Vector, parts: int, samples: int) -> Slopes:
        """Return loss and gradients of `model`, (parameters,), on at most so many held-out samples.

        The samples are the same in every call, and the parts as alike as possible; where there are fewer
        samples than parts, there are fewer rows.
        """
        ...

    def losses(self, model: Vector, samples: int) -> Vector:
        """Return losses of `model`, (parameters,), on pieces of at most so many held-out samples, (pieces,).

        The pieces are the same in every call. A learner that knows but the mean of all returns none.
        """
        ...

    def class_slopes(self, model: Vector, samples: int) -> Matrix:
        """Return gradients of the loss of `model`, (parameters,), by class, (classes, parameters).

        Of at most so many held-out samples, of each class its share; many classes are taken together, and
        where labels are no classes, samples with labels alike. No rows without gradients.
        """
        ...

    def marks(self, without: Vector, suspects: Sequence[Vector], search: MarkSearch) -> Vector:
        """Return how often a mark on the inputs works on each suspect and not on `without`, (suspects,).

        `without`: a model, (parameters,). `suspects`: models, (suspects, parameters), for the first of which
        marks are looked for. A learner whose inputs cannot be marked returns none.
        """
        ...

    def mark_slopes(self, without: Vector, model: Vector, samples: int) -> Matrix:
        """Return gradients of `model` at which marks on the inputs are learned, (2 * marks, parameters).

        The marks are those to which `model`, (parameters,), listens more than `without`, (parameters,), found
        on at most so many held-out samples; no rows where inputs cannot be marked. For each mark the first
        row is of the loss that marked inputs of other classes have as the mark's class, the second of that of
        plain ones.
        """
        ...


class Allowance(Protocol):
    """What the owner of a device lets its updates tell of its data, and what they have told."""

    def require(self, release: Release) -> None:
        """Raise ConfigError where one release more is beyond the budget, DiskError where that is unknown."""
        ...

    def spend(self, key: str, release: Release) -> None:
        """Count a release under the key of its update, once, on disk; raises as `require`."""
        ...


class Store(Protocol):
    """A content-addressed store: a read returns the bytes of the CID or raises."""

    def put(self, data: bytes) -> str:
        """Store `data` and return its CID; the same bytes may be put any number of times."""
        ...

    def get(self, cid: str, max_bytes: int) -> bytes:
        """Return the verified bytes of `cid`; raises Unavailable, Corrupt, Oversized or StoreError."""
        ...

    def has(self, cid: str) -> bool:
        """Whether the store holds the bytes of `cid`."""
        ...


@dataclass(frozen=True)
class ContractCall:
    """One call of the contract that is due."""

    function: str
    args: tuple[Any, ...] = ()
    value: int = 0  # wei sent with it; a call with value is sent alone
    optional: bool = False  # somebody else may have done it before: then the others stand


class Ledger(Protocol):
    """The contract and its chain, as the roles see them."""

    @property
    def terms(self) -> Terms:
        """Return the terms of the federation."""
        ...

    @property
    def domain(self) -> Domain:
        """Return the chain and the contract that signatures are bound to."""
        ...

    def now(self) -> int:
        """Return the time of the chain, in seconds."""
        ...

    def clock(self) -> Clock:
        """Return where the round stands, with everything that is due counted in."""
        ...

    def overdue(self) -> bool:
        """Whether a transition is due by time that no transaction has made yet."""
        ...

    def target(self) -> int:
        """Return the number that a proof of work has to stay under."""
        ...

    def dispute_price(self) -> int:
        """Return what the next dispute of the proposal that stands costs, in wei, in the next block."""
        ...

    def history(self) -> History:
        """Return all rounds, blocks and members up to now."""
        ...

    def send(self, account: Account, steps: Sequence[ContractCall]) -> int:
        """Send calls in as few transactions as possible and return the gas used; raises Reverted."""
        ...

    def price(self, account: Account, steps: Sequence[ContractCall]) -> int:
        """Return the most that the calls would cost now, in wei; raises Reverted where one would fail."""
        ...


@dataclass(frozen=True)
class SignedCommitment:
    """A device's message to its miner in COMMIT; it reveals with the same signature."""

    round: int
    device: int
    commitment: bytes
    signature: bytes


@dataclass(frozen=True)
class Batch:
    """An opened batch, as miners exchange it: every commitment, and the updates behind them."""

    round: int
    submitter: str
    commitments: tuple[bytes, ...]
    updates: tuple[SignedUpdate | None, ...]  # None where the device did not reveal


class Inbox(Protocol):
    """The inbox of a miner: it checks every message; its methods raise RelayError where that fails."""

    def take_commitment(self, message: SignedCommitment) -> None:
        """Accept the commitment of a device, in COMMIT."""
        ...

    def take_update(self, message: SignedUpdate) -> None:
        """Accept the update behind a commitment, in REVEAL."""
        ...

    def take_batch(self, message: Batch) -> None:
        """Accept the opened batch of another miner, to reveal it where that miner fails to."""
        ...

    def take_opening(self, message: Opening) -> None:
        """Accept the opening of another miner's vote, to unveil it where that miner fails to."""
        ...

    def batch(self, round_: int) -> tuple[bytes, ...] | None:
        """Return the commitments of the miner's own batch in a round; None where it has none."""
        ...

    def answer(self, request: KeyRequest) -> bytes:
        """Return the sealed answer to a member's request for keys; raises RelayError for anybody else's."""
        ...


class Relay(Protocol):
    """The way of a message to a miner."""

    def inbox(self, miner: str) -> Inbox:
        """Return the inbox of a miner; its methods raise RelayError where it does not answer."""
        ...

    def ask(self, miners: Sequence[str], request: KeyRequest) -> Iterator[tuple[str, bytes]]:
        """Yield what miners answer to a request for keys, as it comes; who does not answer is left out."""
        ...
