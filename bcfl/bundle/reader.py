"""Read a bundle back: its transcript, checked against the headers it holds, and its store of vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bcfl.bundle.blocks import ProvenLogs, read_records
from bcfl.bundle.manifest import KEYS_OF_A_FILE, MOST, MOST_KEY_FILES, Manifest, decode, decode_records
from bcfl.bundle.store import BundleStore
from bcfl.errors import BundleError, CidError, ConfigError, StoreError
from bcfl.federation import keyfile
from bcfl.federation.audits import AuditSource
from bcfl.federation.keyring import Keyring
from bcfl.ledger.abi import Abi
from bcfl.ledger.artifact import artifact, creation
from bcfl.ledger.transcript import calls_in
from bcfl.protocol.submissions import Domain
from bcfl.protocol.transcript import Transcript
from bcfl.roles.common.keys import Keys

STORAGE: Final = "what the contract's storage said at the last block: ledger, model, credits, balances"
CODE: Final = "that the code of its facets, from {} and {} on, is this version's (`bcfl verify-contract`)"


@contextmanager
def open_bundle(path: Path, block_hash: str | None = None) -> Iterator[AuditSource]:
    """Open a bundle for an audit; `block_hash` is what its last block must have, in hexadecimal.

    Raises BundleError for a file that is no whole bundle or contradicts itself, ConfigError for a
    `block_hash` that is none.
    """
    with BundleStore(path) as store:
        yield _source(store, block_hash)


def _source(store: BundleStore, block_hash: str | None) -> AuditSource:
    manifest = decode(_content(store, str(store.root)))
    parts = (_content(store, cid) for cid in manifest.records)
    abi = Abi(artifact()["abi"])
    logs = read_records(abi, manifest.contract, (record for part in parts for record in decode_records(part)))
    _check_head(logs, manifest, block_hash)
    creator = logs.transactions[logs.events[0].transaction]
    _check_creator(logs, manifest, creator)
    transcript = Transcript(
        domain=Domain(manifest.chain_id, manifest.contract),
        terms=manifest.terms,
        events=logs.events,
        calls=calls_in(abi, manifest.contract, logs.transactions),
        endowment=int(creator["value"], 16),
        storage_snapshot=manifest.storage_snapshot,
    )
    assumptions = (*_assumptions(logs, block_hash), CODE.format(*manifest.facets))
    sender, keyring = creator["from"], _keyring(store, manifest, transcript.domain)
    proven = (assumptions, logs.head, logs.gas, manifest.statements, sender)
    return AuditSource(transcript, store, *proven, keyring=keyring)


def _keyring(store: BundleStore, manifest: Manifest, domain: Domain) -> Keyring:
    """Return the keys that a bundle carries; raises BundleError for what is no key file of its federation."""
    keys = Keys()
    for cid in manifest.keys:
        try:
            more = keyfile.decode(_content(store, cid), domain, f"{store.path}, {cid},")
        except ConfigError as error:
            raise BundleError(str(error)) from None
        keys.updates.update(more.updates)
        keys.models.update(more.models)
        if max(len(keys.updates), len(keys.models)) > MOST_KEY_FILES * KEYS_OF_A_FILE:
            raise BundleError(f"{store.path} has more keys than any bundle carries")
    return Keyring(given=keys)


def _check_head(logs: ProvenLogs, manifest: Manifest, block_hash: str | None) -> None:
    """Raise BundleError unless the last block is the manifest's, and has the trusted hash."""
    if logs.number != manifest.storage_snapshot.block:
        raise BundleError(
            f"the records end at block {logs.number}, the manifest at {manifest.storage_snapshot.block}"
        )
    if block_hash is not None and logs.head != _parse_hash(block_hash):
        raise BundleError(
            f"the bundle's last block is 0x{logs.head.hex()}, not {block_hash}: it is of another chain"
        )


def _check_creator(logs: ProvenLogs, manifest: Manifest, creator: Mapping[str, Any]) -> None:
    """Raise BundleError unless this version would create the contract by just that transaction."""
    genesis = logs.events[0].args
    data = creation(manifest.terms, genesis["root"], genesis["cid"], *manifest.facets)
    if creator["to"] is not None or creator["input"] != data:
        raise BundleError(
            "the contract was created by another transaction than this version of bcfl sends for its terms: "
            "use the version that deployed it, or do not trust it"
        )


def _assumptions(logs: ProvenLogs, block_hash: str | None) -> Iterator[str]:
    """Say what a bundle alone cannot prove."""
    if block_hash is None:
        yield (
            f"that block {logs.number} of the chain is 0x{logs.head.hex()}: ask anybody who follows it, "
            "and name the hash with --block-hash"
        )
    if logs.gaps:
        stretches = "1 stretch" if logs.gaps == 1 else f"{logs.gaps:,} stretches"
        yield f"that the contract logged nothing in the {stretches} of blocks left out"
    yield STORAGE


def _content(store: BundleStore, cid: str) -> bytes:
    try:
        return store.get(cid, MOST)
    except (CidError, StoreError) as error:
        raise BundleError(f"{store.path} is not a whole bundle: {error}") from error


def _parse_hash(text: str) -> bytes:
    digits = text.removeprefix("0x")
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise ConfigError(f"--block-hash {text[:70]} is not the hash of a block: 0x and 64 digits")
    return value
