"""A bundle that its writer made up from end to end is refused in one line, and takes no memory."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from bcfl.bundle import encodings, manifest
from bcfl.bundle import store as car
from bcfl.bundle.blocks import BlockRecord
from bcfl.bundle.proofs import root_of
from bcfl.bundle.reader import open_bundle
from bcfl.bundle.store import BundleStore
from bcfl.bundle.writer import BundleSummary
from bcfl.errors import BundleError, LedgerError, Oversized
from bcfl.explorer.facts import Statements
from bcfl.explorer.reader import Reader
from bcfl.explorer.target import bundle_target
from bcfl.explorer.views.overview import overview
from bcfl.ledger.abi import Abi
from bcfl.ledger.artifact import artifact
from bcfl.protocol import cid as cids
from bcfl.protocol.types import Terms
from tests.integration.test_bundle import bcfl, local, read, rebuild_bundle, records, whole_bundle
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


def forge(path: Path, target: Path, records: list[BlockRecord], name: str) -> Path:
    """Write a bundle again without the events of a name, and with headers that name what is left."""
    topic, forged, head = Abi(artifact()["abi"]).event(name).topic, list[BlockRecord](), b""
    for record in records:
        header, receipts = list(encodings.decode(record.header)), list[bytes]()
        for receipt in record.receipts:
            kind = receipt[:1] if receipt[0] < 0x80 else b""
            body = encodings.decode(receipt[len(kind) :])
            logs = [log for log in body[3] if log[1][0] != topic]
            receipts.append(kind + rlp.encode([*body[:3], logs]))
        if receipts:
            header[encodings.HEADER.index("receiptsRoot")] = root_of(receipts)
        header[0] = head or header[0]
        forged.append(replace(record, header=rlp.encode(header), receipts=tuple(receipts)))
        head = keccak(forged[-1].header)
    return rebuild_bundle(path, target, parts=list(manifest.encode_records(forged)))


@pytest.mark.parametrize("name", ["RoundOpened", "MinerRegistered", "DeviceRegistered", "Proposed"])
def test_events_that_no_contract_logs_are_told_in_one_line(
    whole_bundle: tuple[Path, BundleSummary],
    records: list[BlockRecord],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """A file without a trusted hash may hold whatever its writer made up."""
    path = forge(whole_bundle[0], tmp_path / "forged.car", records, name)
    code, out, err = bcfl(capsys, "report", path, "--format", "json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "events are those of no federation" in err
    reader = Reader(bundle_target(path, None))
    try:
        with pytest.raises((BundleError, LedgerError), match="events are those of no federation"):
            reader.look(lambda query: overview(query, reader.cache, Statements()))
    finally:
        reader.close()
