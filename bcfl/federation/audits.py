"""Gather what an audit examines, of a run or a deployed federation, and judge it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from bcfl.errors import ConfigError
from bcfl.federation.keyring import Keyring
from bcfl.federation.layouts import stored_layout
from bcfl.ledger.contract import Contract
from bcfl.ledger.transcript import gather
from bcfl.ports import Store
from bcfl.protocol.transcript import Transcript
from bcfl.protocol.types import Layout
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.auditor.verdict import RoundVerdict, Verdict
from bcfl.roles.common.archive import Archive

NODE_ASSUMPTIONS: Final = (
    "that the node tells all logs of the contract, and its storage, as they are on the chain",
    "that the code at the address is a federation's (`bcfl verify-contract`)",
)

Tracker = Callable[[Iterator[RoundVerdict], int], Iterable[RoundVerdict]]


@dataclass(frozen=True)
class AuditSource:
    """The transcript and the store of a training, and what an audit of them has to believe."""

    transcript: Transcript
    store: Store
    assumptions: tuple[str, ...]
    head: bytes | None = None  # hash of the last block, where the source proves it
    gas: Mapping[bytes, int] = field(default_factory=dict)  # of transactions, where the source proves it
    statements: tuple[str, ...] | None = None  # CIDs of those that a bundle carries; None: nobody lists any
    deployer: str | None = None  # address, where the source proves it: the first owner
    keyring: Keyring = field(default_factory=Keyring)  # what opens sealed updates and models


def source_of(
    contract: Contract, store: Store, first_block: int = 0, keyring: Keyring | None = None
) -> AuditSource:
    """Gather what the node and the store have of a federation; `first_block` is that of its deployment.

    `keyring` opens what is sealed.
    """
    return AuditSource(gather(contract, first_block), store, NODE_ASSUMPTIONS, keyring=keyring or Keyring())


def judge(
    source: AuditSource, first: int | None = None, last: int | None = None, track: Tracker | None = None
) -> Verdict:
    """Audit the rounds `first` to `last`, all where None; raises ConfigError when there are none.

    `track` passes the verdicts on as they come, given how many there will be: a bar on a terminal, say.
    """
    transcript, layout = source.transcript, layout_of(source.transcript, source.store)
    vault = source.keyring.vault(transcript.domain, lambda: audit.replay.history)
    audit = Audit(transcript, Archive(source.store, layout, transcript.terms, vault=vault))
    newest = audit.rounds[-1]
    low, high = first or 0, newest if last is None else last
    if not low <= high <= newest:
        raise ConfigError(f"there are no rounds {low} to {high}: this federation has rounds 0 to {newest}")
    verdicts = audit.verdicts(low, high)
    return Verdict(list(verdicts if track is None else track(verdicts, high - low + 1)))


def layout_of(transcript: Transcript, store: Store) -> Layout:
    """Return the layout of the terms, from any model of the store; raises StoreError when it has none."""
    models = [event.args["cid"] for event in transcript.events if event.name in ("Genesis", "Finalized")]
    return stored_layout(store, transcript.terms, models)
