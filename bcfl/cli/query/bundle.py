"""`bcfl bundle`: a whole training in one file, for whoever audits it without chain and store."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl.cli.options import JsonOption, RunOption, RunsOption
from bcfl.cli.output.printing import plural, print_fields, print_json
from bcfl.cli.query.audit import Source, layout_of
from bcfl.errors import BundleError, CidError, ConfigError, PayloadError, StoreError

if TYPE_CHECKING:
    from bcfl.bundle.blocks import Read
    from bcfl.bundle.store import BundleStore
    from bcfl.federation.query import LocalQuery
    from bcfl.protocol.transcript import Transcript

LANE_BITS: Final = 32
STORAGE: Final = "what the contract's storage said at the last block: ledger, model, seed, balances"
CODE: Final = "that the code of the annex, {}, and of its court are this version's (`bcfl verify-contract`)"


def bundle(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    run: RunOption = None,
    runs: RunsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a training into one file: logs, transactions, receipts, headers, every model and every update."""
    from bcfl.federation.query import opened

    with opened(run, runs) as client:
        facts = bundled(client, output)
    if as_json:
        print_json(facts)
        return
    print_fields(
        [
            ("file", f"{output}, {plural(facts['bytes'], 'byte')}"),
            ("contents", plural(facts["contents"], "vector")),
            *(("missing", each) for each in facts["missing"]),
            ("block", f"{facts['block']}, 0x{facts['block_hash'].hex()}"),
            ("check it", f"`bcfl audit {output} --block-hash 0x{facts['block_hash'].hex()}`"),
        ]
    )


def bundled(client: LocalQuery, output: Path) -> dict[str, Any]:
    """Write the bundle of a federation; returns what is in it. Raises ConfigError, with nothing left."""
    from bcfl.bundle.blocks import records
    from bcfl.bundle.manifest import Manifest, encode, encode_records
    from bcfl.bundle.store import write
    from bcfl.ledger.transcript import gather
    from bcfl.protocol import cid

    transcript = gather(client.contract, client.first_block)
    found = list(records(client.contract, transcript.events, transcript.storage_snapshot.block))  # type: ignore[arg-type]
    parts = list(encode_records(found))
    manifest = Manifest(
        client.contract.address,
        transcript.domain.chain_id,
        client.contract.call("annex"),
        transcript.terms,
        transcript.storage_snapshot,
        tuple(cid.compute(part) for part in parts),
    )
    head = encode(manifest)
    missing: list[str] = []
    count = 0

    def contents() -> Iterator[bytes]:
        nonlocal count
        yield head
        yield from parts
        for data in _vectors(client, transcript, missing):
            count += 1
            yield data

    with _written(output) as stream:
        write(stream, cid.compute(head), contents())
    from eth_utils.crypto import keccak

    return {
        "file": str(output),
        "bytes": output.stat().st_size,
        "contents": count,
        "missing": missing,
        "block": transcript.storage_snapshot.block,
        "block_hash": keccak(found[-1].header),
    }


@contextmanager
def unbundled(path: Path, trusted: str | None = None) -> Iterator[Source]:
    """The testimony in a bundle; `trusted` is the hash that its last block must have. Raises BundleError."""
    from bcfl.bundle.store import BundleStore

    with BundleStore(path) as store:
        yield _source(store, trusted)


def _source(store: BundleStore, trusted: str | None) -> Source:
    from bcfl.bundle.blocks import read
    from bcfl.bundle.manifest import MOST, decode, decode_records
    from bcfl.ledger.abi import Abi
    from bcfl.ledger.artifact import artifact, creation
    from bcfl.ledger.transcript import calls_in
    from bcfl.protocol.submissions import Domain
    from bcfl.protocol.transcript import Transcript

    manifest = decode(_content(store, str(store.root), MOST))
    parts = (_content(store, cid, MOST) for cid in manifest.records)
    abi = Abi(artifact()["abi"])
    found = read(abi, manifest.contract, (record for part in parts for record in decode_records(part)))
    if found.number != manifest.storage_snapshot.block:
        raise BundleError(
            f"the records end at block {found.number}, the manifest at {manifest.standing.block}"
        )
    if trusted is not None and found.head != _hash(trusted):
        raise BundleError(
            f"the bundle's last block is 0x{found.head.hex()}, not {trusted}: it is of another chain"
        )
    born = found.events[0]
    created = found.transactions[born.transaction]
    if created["to"] is not None or created["input"] != creation(
        manifest.terms, born.args["root"], born.args["cid"], manifest.annex
    ):
        raise BundleError(
            "the contract was created by another transaction than this version of bcfl sends for its terms: "
            "use the version that deployed it, or do not trust it"
        )
    transcript = Transcript(
        domain=Domain(manifest.chain_id, manifest.contract),
        terms=manifest.terms,
        events=found.events,
        calls=calls_in(abi, manifest.contract, found.transactions),
        endowment=int(created["value"], 16),
        storage_snapshot=manifest.storage_snapshot,
    )
    return Source(transcript, store, (*_believed(found, trusted), CODE.format(manifest.annex)))


def _believed(found: Read, trusted: str | None) -> Iterator[str]:
    """What a bundle alone cannot prove."""
    if trusted is None:
        yield (
            f"that block {found.number} of the chain is 0x{found.head.hex()}: ask anybody who follows it, "
            "and name the hash with --block-hash"
        )
    if found.gaps:
        yield f"that the contract logged nothing in the {plural(found.gaps, 'stretch')} of blocks left out"
    yield STORAGE


def _content(store: BundleStore, cid: str, most: int) -> bytes:
    try:
        return store.get(cid, most)
    except (CidError, StoreError) as error:
        raise BundleError(f"{store.path} is not a whole bundle: {error}") from error


def _hash(text: str) -> bytes:
    digits = text.removeprefix("0x")
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise ConfigError(f"--block-hash {text[:70]} is not the hash of a block: 0x and 64 digits")
    return value


def _vectors(client: LocalQuery, transcript: Transcript, missing: list[str]) -> Iterator[bytes]:
    """The bytes of every model and update, one at a time; those that cannot be had are added to `missing`."""
    from bcfl.protocol.cid import from_digest
    from bcfl.protocol.payload import size

    layout = layout_of(transcript, client.store)
    sizes = {bits: size(layout, bits) for bits in (LANE_BITS, transcript.terms.lane_bits)}
    names: dict[str, int] = {}
    for event in transcript.events:
        digests = event.args.get("cids", ()) if event.name == "Revealed" else ()
        for digest in digests:
            bits = transcript.terms.lane_bits
            names[from_digest(digest, sizes[bits])] = sizes[bits]
        if event.name in ("Genesis", "Proposed", "Finalized"):
            names[from_digest(event.args["cid"], sizes[LANE_BITS])] = sizes[LANE_BITS]
    for name, most in names.items():
        try:
            yield client.store.get(name, most)
        except (StoreError, PayloadError):
            missing.append(name)


@contextmanager
def _written(output: Path) -> Iterator[Any]:
    """A file that appears whole or not at all; raises ConfigError."""
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
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
