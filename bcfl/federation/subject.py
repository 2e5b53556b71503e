"""Name what a summary is about: a run, a deployed federation or a bundle, each read in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any, Final

from bcfl.errors import LedgerError, PayloadError, StoreError
from bcfl.federation import statements
from bcfl.federation.attackers import adversaries_of
from bcfl.federation.audits import AuditSource, layout_of
from bcfl.federation.query import LocalQuery, Query, RemoteQuery
from bcfl.federation.reports import Adversary
from bcfl.federation.statements import Collection, StatementTally
from bcfl.federation.views.figures import StatementView
from bcfl.federation.views.privacy import noise_in
from bcfl.federation.views.source import history_of
from bcfl.ledger.contract import Contract
from bcfl.protocol.event import LogEvent
from bcfl.protocol.noise import Noise
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Terms

STATED_ROUNDS: Final = 200  # the latest, of which inboxes are asked; what was read before is kept
MOST_RECEIPTS: Final = 2_000  # of a node across a network, that one summary asks for
Commands = tuple[tuple[str, str], ...]  # what a command shows, and the command


class GasMeter:
    """The gas of transactions, from their receipts, each asked for once; at most `most` of them a summary."""

    def __init__(self, contract: Contract, most: int | None = None) -> None:
        self._contract, self._most = contract, most
        self._gas: dict[bytes, int] = {}
        self._left = most

    def begin(self) -> None:
        """Let as many receipts be asked for as before the first."""
        self._left = self._most

    def __call__(self, transaction: bytes) -> int | None:
        """Return the gas of a transaction; None where no more receipts are asked for, or it is not there."""
        if transaction not in self._gas:
            if self._left == 0:
                return None
            self._left = None if self._left is None else self._left - 1
            try:
                self._gas[transaction] = self._contract.gas_of(transaction)
            except LedgerError:
                return None
        return self._gas[transaction]


@dataclass(frozen=True)
class Subject:
    """What a summary is about. `adversaries` is None where nobody knows who misbehaves."""

    kind: str  # run, network or bundle
    name: str
    contract: str
    chain_id: int
    block: int  # the last one
    block_hash: str | None
    terms: Terms
    history: History
    events: Sequence[LogEvent]
    gas_of: Callable[[bytes], int | None]
    checks: Commands  # with which anybody can verify it
    adversaries: tuple[Adversary, ...] | None = None
    statements: Mapping[int, Sequence[StatementView]] = field(default_factory=dict)  # by round
    unreachable: tuple[str, ...] = ()  # miners whose statements could not be asked for
    options: Mapping[str, Any] = field(default_factory=dict)  # what is learned, as far as it is known
    noise: Noise | None = None  # that hides what devices learn from, as far as a model is at hand


def of_run(query: LocalQuery) -> Subject:
    """Return the run that a query is about."""
    path, config = query.path, query.config
    checks = (
        ("audit every round", f"bcfl audit --run {quote(str(path))}"),
        ("write it into one file", f"bcfl bundle --run {quote(str(path))} -o training.car"),
    )
    return _of_query(
        query,
        kind="run",
        name=path.name,
        gas_of=GasMeter(query.contract),
        checks=checks,
        adversaries=adversaries_of(config),
        statements=query.statements().by_round(),
        options={"task": config.subject, "seed": config.seed, "partition": config.partition},
    )


def of_deployment(
    query: RemoteQuery, meter: GasMeter | None = None, collection: Collection | None = None
) -> Subject:
    """Return the deployed federation of a query; `meter`: what has been read of its gas before.

    `collection`: statements that have been collected; None: the miners' inboxes are asked, which takes time.
    """
    client = query.client
    if meter is None:
        meter = GasMeter(query.contract, MOST_RECEIPTS)
    meter.begin()
    place = f"--network {quote(client.network.name)} --deployment {quote(client.name)}"
    checks = (
        ("audit every round", f"bcfl audit {place}"),
        ("write it into one file", f"bcfl bundle {place} -o training.car"),
    )
    options = {name: client.options[name] for name in ("task", "flower") if client.options.get(name)}
    if collection is None:
        collection = query.statements(first_stated(query))
    return _of_query(
        query,
        kind="network",
        name=client.name,
        gas_of=meter,
        checks=checks,
        options=options,
        statements=collection.by_round(),
        unreachable=tuple(item["miner"] for item in collection.unreachable),
    )


def first_stated(query: Query) -> int:
    """Return the first of the rounds of which inboxes are asked."""
    return max(1, query.history.number - STATED_ROUNDS)


def stated_in(source: AuditSource, history: History) -> Collection:
    """Return the statements that a bundle carries, checked; of another source, none."""
    collection = collection_of(source, history)
    statements.of_bundle(source.statements or (), source.store, collection)
    return collection


def tally_of(source: AuditSource) -> StatementTally | None:
    """Return how many of the statements that a bundle carries are right; None of another source."""
    if source.statements is None:
        return None
    try:
        history = history_of(source.transcript.terms, source.transcript.events)
    except LedgerError:  # then nobody is a member
        return {"members": 0, "others": len(source.statements), "missing": 0}
    return statements.of_bundle(source.statements, source.store, collection_of(source, history))


def collection_of(source: AuditSource, history: History) -> Collection:
    """Return no statements yet, and what they are checked against: the owner is the deployer, or the next."""
    return Collection(source.transcript.domain, history, history.owner or source.deployer)


def of_bundle(name: str, source: AuditSource, collection: Collection | None = None) -> Subject:
    """Return the training in a bundle; `name` is that of its file.

    `collection`: its statements, where they have been checked.
    """
    transcript, block_hash = source.transcript, None if source.head is None else "0x" + source.head.hex()
    history = history_of(transcript.terms, transcript.events)
    if collection is None:
        collection = stated_in(source, history)
    check = f"bcfl audit {quote(name)}" + (f" --block-hash {block_hash}" if block_hash else "")
    return Subject(
        kind="bundle",
        name=name,
        contract=transcript.domain.contract,
        chain_id=transcript.domain.chain_id,
        block=transcript.storage_snapshot.block,
        block_hash=block_hash,
        terms=transcript.terms,
        history=history,
        events=transcript.events,
        gas_of=source.gas.get,
        statements=collection.by_round(),
        noise=_noise_of(source),
        checks=(("audit every round of this file", check),),
    )


def _of_query(query: Query, **values: Any) -> Subject:
    """Return a subject whose logs are on a chain."""
    request = query.contract.chain.request
    number = int(request("eth_blockNumber"), 16)
    block = request("eth_getBlockByNumber", hex(number), False)
    return Subject(
        contract=query.contract.address,
        chain_id=query.contract.chain.chain_id,
        block=number,
        block_hash=None if block is None else block["hash"],
        terms=query.terms,
        history=query.history,
        events=query.events,
        noise=noise_in(query.layout),
        **values,
    )


def _noise_of(source: AuditSource) -> Noise | None:
    """Return the noise that a bundle's models name."""
    try:
        return noise_in(layout_of(source.transcript, source.store))
    except (StoreError, PayloadError):
        return None
