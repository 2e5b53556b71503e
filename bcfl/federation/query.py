"""A run as the queries see it: what its contract recorded and what its store holds, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bcfl.cli.folders import find_run, runs_folder
from bcfl.cli.options import round_number
from bcfl.errors import BcflError, ConfigError, RunError, Unavailable
from bcfl.federation.layouts import HEADER_BYTES, layout_in
from bcfl.federation.runs import Run
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.contract import Contract, Event
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.federation import FederationLedger
from bcfl.protocol import cid as cids
from bcfl.protocol import payload
from bcfl.protocol.events import take_in
from bcfl.protocol.rounds import History, Round
from bcfl.protocol.types import Block, Clock, Layout, Terms
from bcfl.storage import DirectoryStore

MODEL_BITS = 32
LANE_BYTES = 4
INDEX = re.compile(r"\d{1,6}", re.ASCII)


@dataclass(frozen=True)
class Transaction:
    """One transaction of a round, and what it logged."""

    hash: bytes
    block: int
    timestamp: int
    gas: int
    names: tuple[str, ...]  # of its events


class LocalQuery:
    """A run opened for reading; raises RunError when there is no contract to ask yet."""

    first_block = 0  # that can hold a log of the contract
    go_on = "bcfl run --resume"  # what brings the first round

    def __init__(self, run: Run) -> None:
        if run.contract is None:
            raise RunError(f"{run.path} has no contract yet: go on with `bcfl run --resume {run.path}`")
        self.path, self.journals = run.path, run.journal_path
        self.chain = EmbeddedChain(run.chain_path, read_only=True)
        self.ledger = FederationLedger(federation_at(self.chain, run.contract))
        self.store = DirectoryStore(run.store_path)

    @property
    def contract(self) -> Contract:
        """The federation's contract."""
        return self.ledger.contract

    @property
    def terms(self) -> Terms:
        """What the parties agreed on."""
        return self.ledger.terms

    @property
    def max_bytes(self) -> int:
        """More than any payload of this federation has."""
        return self.terms.parameters * LANE_BYTES + HEADER_BYTES

    @cached_property
    def events(self) -> list[Event]:
        """All events of the contract."""
        return list(self.contract.events())

    @cached_property
    def history(self) -> History:
        """What the events tell."""
        return take_in(History(self.terms.min_stake), self.events)

    @cached_property
    def clock(self) -> Clock:
        """Where the running round stands."""
        return self.ledger.clock()

    @cached_property
    def layout(self) -> Layout | None:
        """The layout of the terms, read from a model of the store; None where the store holds none."""
        for block in (self.history.blocks[0], self.history.head):
            with suppress(BcflError):
                return layout_in(self.model_bytes(block), self.terms.layout)
        return None

    def last_round(self) -> int:
        """The last round in which something happened; 0 before the first."""
        numbers = sorted(self.history.rounds, reverse=True)
        return next((n for n in numbers if begun(self.history.rounds[n]) or n == 1), 0)

    def round(self, text: str | None) -> Round:
        """The round that somebody named, the last when None; raises ConfigError when there is none."""
        known = self.history.rounds
        last = max(known, default=0)
        number = round_number(text, 1, last) if text is not None else self.last_round()
        if number not in known:
            raise ConfigError(f"the federation has no round yet: go on with `{self.go_on}`")
        return known[number]

    def model(self, text: str | None) -> tuple[int, Block]:
        """A round and the block whose model is in force after it; 0 is the genesis, None the latest."""
        ended = [n for n, found in self.history.rounds.items() if found.closed is not None]
        last = max(ended, default=0)
        number = last if text in (None, "latest") else round_number(str(text), 0, last)
        return number, self.history.model_before(number + 1)

    def device(self, text: str) -> int:
        """The index of a device that somebody named by address or index; raises ConfigError."""
        devices = self.history.devices
        if INDEX.fullmatch(text) and int(text) < len(devices):
            return int(text)
        return devices.index(_named("device", text, devices))

    def miner(self, text: str) -> str:
        """The address of a miner that somebody named by address or index; raises ConfigError."""
        miners = self.history.miners
        by_index = {str(member.index): account for account, member in miners.items()}
        return by_index.get(text) or _named("miner", text, list(miners))

    def cid_of(self, digest: bytes, lane_bits: int = MODEL_BITS) -> str:
        """The CID that a digest on chain stands for.

        Its codec follows from the payload's size. Without any model in the store the header's length is
        unknown and left out, which is right but for payloads within a header's length of one chunk.
        """
        if self.layout is not None:
            return cids.from_digest(digest, payload.size(self.layout, lane_bits))
        return cids.from_digest(digest, self.terms.parameters * lane_bits // 8)

    def model_bytes(self, block: Block) -> bytes:
        """The verified bytes of a block's model; raises Unavailable, Corrupt or another StoreError."""
        for codec in (cids.RAW, cids.DAG_PB):
            cid = str(cids.Cid(codec, block.cid))
            if self.store.has(cid):
                return self.store.get(cid, self.max_bytes)
        raise Unavailable(f"the store does not hold the model of round {block.round}")

    def transactions(self, found: Round) -> list[Transaction]:
        """The transactions of a round in their order, with their gas from their receipts."""
        grouped: dict[bytes, list[Event]] = {transaction: [] for transaction in found.transactions}
        for event in self.events:
            if event.transaction in grouped:
                grouped[event.transaction].append(event)
        return [self._transaction(events) for events in grouped.values()]

    def _transaction(self, events: list[Event]) -> Transaction:
        gas = self.contract.gas_of(events[0].transaction)
        names = tuple(event.name for event in events)
        return Transaction(events[0].transaction, events[0].block, events[0].timestamp, gas, names)


def _named(role: str, text: str, accounts: Sequence[str]) -> str:
    """The one account that an address, its beginning, or its shortened form names; raises ConfigError."""
    begin, _, end = text.lower().partition("…")
    found = [each for each in accounts if each.lower().startswith(begin) and each.lower().endswith(end)]
    if len(found) == 1:
        return found[0]
    if found and len(begin) > len("0x"):
        raise ConfigError(f"{len(found)} {role}s begin with {text}: write more of the address")
    known = f"{role}s 0 to {len(accounts) - 1}" if accounts else f"no {role}s"
    raise ConfigError(f"there is no {role} {text}: the federation has {known}")


def begun(found: Round) -> bool:
    """Whether anybody has done anything in a round; the contract opens the next one by itself."""
    return bool(found.commits) or found.closed is not None


@contextmanager
def opened(run: Path | None, runs: Path | None) -> Iterator[LocalQuery]:
    """The run that --run and --runs name, or the federation on --network, for one query."""
    from bcfl.federation.remote import elsewhere

    with elsewhere() as client:
        if client is not None:
            yield client
            return
    found = LocalQuery(Run.open(find_run(run, runs), runs_folder(runs), read_only=True))
    try:
        yield found
    finally:
        found.chain.close()
