"""A bundle that its writer made up from end to end is refused in one line, and takes no memory."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import rlp  # type: ignore[import-untyped]

from bcfl.bundle import encodings, manifest
from bcfl.bundle import store as car
from bcfl.bundle.blocks import BlockRecord
from bcfl.bundle.reader import open_bundle
from bcfl.bundle.store import BundleStore
from bcfl.bundle.writer import BundleSummary
from bcfl.errors import BundleError, Oversized
from bcfl.protocol import cid as cids
from bcfl.protocol.types import Terms
from tests.integration.test_bundle import local, read, rebuild_bundle, records, whole_bundle
from tests.local_federation import LocalFederation

__all__ = ["local", "records", "whole_bundle"]
TERMS = [field.name for field in fields(Terms)]


def test_a_block_that_repeats_does_not_fill_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its terms may be those of a model of terabytes, and the file small."""
    monkeypatch.setattr(car, "LARGEST", 1 << 20)
    zeros, path = bytes(40 * 262_144), tmp_path / "zeros.car"
    with path.open("wb") as stream:
        car.write(stream, cids.compute(zeros), [zeros])
    assert path.stat().st_size < 300_000
    with BundleStore(path) as store, pytest.raises(Oversized):
        store.get(cids.compute(zeros), 1 << 43)


def repack(record: BlockRecord, place: int, value: bytes) -> BlockRecord:
    """Return a record whose header has another field; its hash is no longer what the next block names."""
    header = list(encodings.decode(record.header))
    header[place] = value
    return replace(record, header=rlp.encode(header))


def test_numbers_that_no_chain_has_are_refused(local: LocalFederation, records: list[BlockRecord]) -> None:
    """Python prints none of over 4,300 digits: pages and tables would end with an error."""
    huge = b"\x01" * 2_000
    for place in (encodings.HEADER.index("timestamp"), encodings.HEADER.index("number")):
        with pytest.raises(BundleError, match="a number of 2,000 bytes"):
            read(local, [repack(records[0], place, huge), *records[1:]])
    receipt = next(record for record in records if record.receipts).receipts[0]
    kind = receipt[:1] if receipt[0] < 0x80 else b""
    body = encodings.decode(receipt[len(kind) :])
    with pytest.raises(BundleError, match="a number of 2,000 bytes"):
        encodings.gas_of(kind + rlp.encode([body[0], huge, *body[2:]]))
    call = [b"", b"", b"", b"", huge, b"", b"", b"", b""]
    with pytest.raises(BundleError, match="a number of 2,000 bytes"):
        encodings.call_of(rlp.encode(call))


@pytest.mark.parametrize("field", ["mode", "engine", "rule", "parameters"])
def test_terms_that_no_contract_takes_are_refused(
    whole_bundle: tuple[Path, BundleSummary], tmp_path: Path, field: str
) -> None:
    with BundleStore(whole_bundle[0]) as store:
        terms = json.loads(store.get(str(store.root), manifest.MOST))["terms"]
    terms[TERMS.index(field)] = 2**40
    path = rebuild_bundle(whole_bundle[0], tmp_path / "terms.car", terms=terms)
    with pytest.raises(BundleError, match="no contract takes"), open_bundle(path):
        pass
