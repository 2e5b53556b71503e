"""Write a whole training into one file: logs, transactions, receipts, headers, models and updates."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, cast

from bcfl.bundle.blocks import fetch_records
from bcfl.bundle.manifest import (
    KEYS_OF_A_FILE,
    MOST_KEY_FILES,
    MOST_STATEMENTS,
    Manifest,
    encode,
    encode_records,
)
from bcfl.bundle.store import write
from bcfl.errors import ConfigError, PayloadError, StoreError
from bcfl.federation import keyfile
from bcfl.federation.audits import layout_of
from bcfl.federation.statements import Collection
from bcfl.folders import check_replaceable
from bcfl.ledger.contract import Contract, Event
from bcfl.ledger.transcript import gather
from bcfl.ports import Store
from bcfl.protocol.cid import compute
from bcfl.protocol.events import take_in
from bcfl.protocol.hashing import keccak
from bcfl.protocol.rounds import History
from bcfl.protocol.sizes import Sizes
from bcfl.protocol.submissions import Domain
from bcfl.protocol.transcript import Transcript
from bcfl.roles.common.keys import Keys


@dataclass(frozen=True)
class BundleSummary:
    """What a bundle holds, and what it lacks."""

    size_bytes: int  # of the file
    contents: int  # vectors
    statements: int
    missing: list[str]  # CIDs of the vectors that the store did not give
    block: int  # number of the last block
    block_hash: bytes


def write_bundle(
    contract: Contract,
    store: Store,
    output: Path,
    first_block: int = 0,
    collection: Collection | None = None,
    keys: Keys | None = None,
) -> BundleSummary:
    """Write the bundle of a federation into the file `output`; `first_block` is that of its deployment.

    `collection`: what parties state of the models; of more than a bundle may have, the latest. With `keys`
    whoever has the file can read what they open, so that only its owner may read the file.
    Raises ConfigError where the file cannot be written; nothing is left of it then.
    """
    check_replaceable(output)
    transcript = gather(contract, first_block)
    events = cast(Sequence[Event], transcript.events)  # they come from this contract
    records = list(fetch_records(contract, events, transcript.storage_snapshot.block))
    parts = list(encode_records(records))
    statements = {} if collection is None else collection.latest(MOST_STATEMENTS)
    key_files = [] if keys is None else _key_files(keys, transcript.domain)
    manifest = encode(_manifest(contract, transcript, parts, tuple(statements), key_files))
    sizes, missing = _vector_sizes(transcript, store), list[str]()
    beside = (manifest, *parts, *statements.values(), *key_files)
    with _whole_file(output, 0o666 if keys is None else 0o600) as stream:
        contents = chain(beside, _vectors(store, sizes, missing))
        write(stream, compute(manifest), contents)
    return BundleSummary(
        size_bytes=output.stat().st_size,
        contents=len(sizes) - len(missing),
        statements=len(statements),
        missing=missing,
        block=transcript.storage_snapshot.block,
        block_hash=keccak(records[-1].header),
    )


def _key_files(keys: Keys, domain: Domain) -> list[bytes]:
    """Return keys as key files of KEYS_OF_A_FILE at most, as many as a bundle may name."""
    updates, models = sorted(keys.updates.items()), sorted(keys.models.items())
    count = max(len(updates), len(models))
    if count > MOST_KEY_FILES * KEYS_OF_A_FILE:
        raise ConfigError(f"there are {count:,} keys, more than a bundle carries: write it without them")
    return [
        keyfile.encode(Keys(dict(updates[start:end]), dict(models[start:end])), domain)
        for start in range(0, count, KEYS_OF_A_FILE)
        for end in (start + KEYS_OF_A_FILE,)
    ]


def _manifest(
    contract: Contract,
    transcript: Transcript,
    parts: Sequence[bytes],
    statements: tuple[str, ...],
    key_files: Sequence[bytes],
) -> Manifest:
    return Manifest(
        contract.address,
        transcript.domain.chain_id,
        contract.call("facets"),
        transcript.terms,
        transcript.storage_snapshot,
        tuple(compute(part) for part in parts),
        statements,
        tuple(compute(file) for file in key_files),
    )


def _vector_sizes(transcript: Transcript, store: Store) -> dict[str, int]:
    """Return the CID of every model and update, with the bytes that it has."""
    of = Sizes(layout_of(transcript, store), transcript.terms.lane_bits)
    sizes: dict[str, int] = {}
    history = take_in(History.under(transcript.terms), transcript.events)
    for round_ in history.rounds.values():
        sizes |= {of.update_cid(item): of.update(item.readers) for item in round_.submissions}
    models = {(block.round, digest) for block in history.blocks for digest in history.model_cids(block)}
    models |= {(round_.number, item.cid) for round_ in history.rounds.values() for item in round_.proposals}
    return sizes | {of.model_cid(number, digest): of.model(number) for number, digest in sorted(models)}


def _vectors(store: Store, sizes: Mapping[str, int], missing: list[str]) -> Iterator[bytes]:
    """Yield the bytes of the vectors, one at a time; adds those that cannot be had to `missing`."""
    for cid, size in sizes.items():
        try:
            yield store.get(cid, size)
        except (StoreError, PayloadError):
            missing.append(cid)


@contextmanager
def _whole_file(output: Path, mode: int) -> Iterator[BinaryIO]:
    """Open a file that appears whole or not at all, with these rights at most; raises ConfigError."""
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(output)
    except OSError as error:
        raise ConfigError(
            f"{output} cannot be written: {error.strerror}; name another file with -o"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
