"""A bundle is checked with no chain and no store, and a bad one is refused in one line."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.bundle import encodings, manifest
from bcfl.bundle import store as car
from bcfl.bundle.blocks import BlockRecord, ProvenLogs, fetch_records, read_records
from bcfl.bundle.proofs import may_log, prove, root_of, verified_item
from bcfl.bundle.reader import open_bundle
from bcfl.bundle.store import BundleStore
from bcfl.bundle.writer import BundleSummary, write_bundle
from bcfl.cli import main
from bcfl.errors import BundleError, ConfigError, StoreError
from bcfl.ledger.abi import Abi
from bcfl.ledger.artifact import artifact
from bcfl.ledger.transcript import gather
from bcfl.protocol import cid as cids
from bcfl.protocol import turns
from bcfl.protocol.limits import MAX_MINERS
from bcfl.roles.auditor.audit import Audit
from bcfl.roles.common.archive import Archive
from bcfl.storage.ipld.blocks import blocks_of
from tests.local_federation import LAYOUT, LocalFederation

ROUNDS = 2


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    local = LocalFederation(tmp_path_factory.mktemp("bundle"), devices=3, miners=3)
    local.play(ROUNDS)
    return local


@pytest.fixture(scope="module")
def whole_bundle(local: LocalFederation) -> tuple[Path, BundleSummary]:
    path = local.path / "run.car"
    return path, write_bundle(local.ledger.contract, local.store, path)


@pytest.fixture(scope="module")
def records(local: LocalFederation) -> list[BlockRecord]:
    contract = local.ledger.contract
    transcript = gather(contract)
    return list(fetch_records(contract, transcript.events, transcript.storage_snapshot.block))  # type: ignore[arg-type]


def read(local: LocalFederation, records: list[BlockRecord]) -> ProvenLogs:
    return read_records(Abi(artifact()["abi"]), local.ledger.contract.address, records)


def rebuild_bundle(path: Path, target: Path, **changes: Any) -> Path:
    """Write the bundle at `path` again with another manifest, and `more` contents; None takes a key out."""
    with BundleStore(path) as store:
        content = json.loads(store.get(str(store.root), manifest.MOST))
        parts = [store.get(name, manifest.MOST) for name in content["records"]]
        extra = changes.pop("parts", parts)
        more = changes.pop("more", []) if isinstance(changes.get("more"), list) else []
        content |= {"records": [cids.compute(part) for part in extra]} | changes
        head = json.dumps({name: value for name, value in content.items() if value is not None}).encode()
        others = [store.get(str(cid), manifest.MOST) for cid in store.cids if cid != store.root]
        with target.open("wb") as stream:
            car.write(stream, cids.compute(head), [head, *extra, *more, *others])
    return target


def test_default_behavior(local: LocalFederation, whole_bundle: tuple[Path, BundleSummary]) -> None:
    path, summary = whole_bundle
    assert summary.missing == []
    assert summary.contents == 3 * ROUNDS + ROUNDS + 1
    with open_bundle(path, "0x" + summary.block_hash.hex()) as source:
        verdicts = list(Audit(source.transcript, Archive(source.store, LAYOUT, local.terms)).verdicts())
        assert [verdict.findings for verdict in verdicts] == [()] * (ROUNDS + 2)
        assert source.transcript == replace(
            gather(local.ledger.contract),
            events=source.transcript.events,
            calls=source.transcript.calls,
        )
        assert list(source.transcript.events) == list(local.ledger.contract.events())
        assert not any("ask anybody" in assumption for assumption in source.assumptions)
    with open_bundle(path) as source:
        assert any(summary.block_hash.hex() in assumption for assumption in source.assumptions)


def test_missing_contents_are_reported_and_found(local: LocalFederation, tmp_path: Path) -> None:
    missing = cids.from_digest(local.history.blocks[1].cid, 1)

    class ForgetfulStore:
        def get(self, cid: str, max_bytes: int) -> bytes:
            if cid == missing:
                raise StoreError("gone", cid)
            return local.store.get(cid, max_bytes)

    summary = write_bundle(local.ledger.contract, ForgetfulStore(), tmp_path / "less.car")  # type: ignore[arg-type]
    assert summary.missing == [missing]
    with open_bundle(tmp_path / "less.car") as source:
        verdicts = list(Audit(source.transcript, Archive(source.store, LAYOUT, local.terms)).verdicts())
    first = next(finding for verdict in verdicts for finding in verdict.findings)
    assert (first.round, first.field) == (1, "model.bytes")


def test_another_chain_is_not_trusted(whole_bundle: tuple[Path, BundleSummary]) -> None:
    with pytest.raises(BundleError, match="of another chain"), open_bundle(whole_bundle[0], "0x" + "11" * 32):
        pass
    with pytest.raises(ConfigError, match="--block-hash"), open_bundle(whole_bundle[0], "0x11"):
        pass


def test_no_log_can_be_left_out_added_or_changed(local: LocalFederation, records: list[BlockRecord]) -> None:
    assert read(local, records).gaps == 0
    place = next(i for i, record in enumerate(records) if i > 3 and record.receipts)
    record = records[place]
    receipt = record.receipts[0][:-1] + bytes([record.receipts[0][-1] ^ 1])
    for forgery, reason in (
        (replace(record, receipts=()), "its receipts are left out"),
        (replace(record, receipts=(receipt,)), "not those that its header names"),
        (replace(record, receipts=record.receipts * 2), "not those that its header names"),
        (replace(record, transactions=()), "logged something and is left out"),
        (replace(record, transactions=(replace(record.transactions[0], proof=()),)), "not proven"),
        (
            replace(record, transactions=(replace(record.transactions[0], proof=(b"\xc2\x80\x80",)),)),
            "not proven",
        ),
        (replace(record, header=record.header + b"\x00"), "bytes follow"),
        (replace(record, header=record.header[:-1]), "cut off"),
        (replace(record, header=b"\xc0"), "other fields"),
        (replace(record, header=b"\xf7" * 56), "cut off|too deep"),
    ):
        with pytest.raises(BundleError, match=reason):
            read(local, [*records[:place], forgery, *records[place + 1 :]])
    with pytest.raises(BundleError, match="stands after"):
        read(local, [*records, record])
    with pytest.raises(BundleError, match="deployment"):
        read(local, records[place:])


def test_a_header_follows_the_one_before(local: LocalFederation, records: list[BlockRecord]) -> None:
    fields = encodings.decode(records[5].header)
    fields[0] = bytes(32)
    import rlp  # type: ignore[import-untyped]

    record = replace(records[5], header=rlp.encode(fields))
    with pytest.raises(BundleError, match="does not follow"):
        read(local, [*records[:5], record, *records[6:]])
    assert read(local, [*records[:5], *records[6:]]).gaps == 1  # it is reported, not refused


def test_records_survive_their_encoding(records: list[BlockRecord]) -> None:
    parts = list(manifest.encode_records(records))
    assert [record for part in parts for record in manifest.decode_records(part)] == records


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "bcfl bundle 1"}, "use the version that wrote it"),
        ({"format": "bcfl bundle 4"}, "use the version that wrote it"),
        ({"format": "a bundle"}, "states the format"),
        ({"format": None}, "states the format"),
        ({"contract": "0x12"}, "an address belongs"),
        ({"chain_id": -1}, "a number belongs"),
        ({"chain_id": True}, "a number belongs"),
        ({"terms": []}, "another version"),
        ({"facets": ["0x" + "12" * 20] * 2}, "another transaction"),
        ({"facets": ["0x" + "12" * 20]}, "does not name two facets"),
        ({"facets": ["0x12", "0x12"]}, "an address belongs"),
        ({"snapshot": {}}, "lacks one"),
        ({"records": {}}, "a list belongs"),
        ({"records": ["x"]}, "not a CID"),
        ({"more": 1}, "or has more"),
        ({"parts": [b"[" * 100_000]}, "too deep"),
        ({"parts": [b"[{}]"]}, "lacks one"),
        ({"parts": [b"nothing"]}, "not JSON"),
        ({"parts": []}, "deployment"),
        ({"parts": [b'[{"header":"0xzz","receipts":[],"logged":[]}]']}, "bytes belong"),
    ],
)
def test_a_hostile_manifest_is_refused(
    whole_bundle: tuple[Path, BundleSummary], tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    path = rebuild_bundle(whole_bundle[0], tmp_path / "bad.car", **changes)
    with pytest.raises(BundleError, match=reason), open_bundle(path):
        pass


def test_a_credit_that_is_none_is_refused(whole_bundle: tuple[Path, BundleSummary], tmp_path: Path) -> None:
    with BundleStore(whole_bundle[0]) as store:
        snapshot = json.loads(store.get(str(store.root), manifest.MOST))["snapshot"]
    assert len(snapshot["turn_credits"]) == MAX_MINERS
    for credit in (turns.LEAST - 1, turns.MOST + 1, True, "1"):
        changes = {"snapshot": snapshot | {"turn_credits": [credit]}}
        path = rebuild_bundle(whole_bundle[0], tmp_path / "bad.car", **changes)
        with pytest.raises(BundleError, match="a credit belongs"), open_bundle(path):
            pass


def test_a_bundle_of_the_former_version_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It named an annex, and what the contract's storage said was called otherwise and had other fields."""
    former = {
        "format": "bcfl bundle 1", "contract": "0x" + "11" * 20, "chain_id": 1, "annex": "0x" + "12" * 20,
        "terms": [], "standing": {"seed": "0x", "tails": {}}, "records": [],
    }  # fmt: skip
    path, head = tmp_path / "former.car", json.dumps(former).encode()
    with path.open("wb") as stream:
        car.write(stream, cids.compute(head), [head])
    code, out, err = bcfl(capsys, "audit", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'bcfl bundle 1'" in err
    assert "use the version that wrote it" in err


@pytest.mark.parametrize("size", [0, 1, 40, 100, 5000, -1])
def test_a_file_that_is_cut_off_is_refused(
    whole_bundle: tuple[Path, BundleSummary], tmp_path: Path, size: int
) -> None:
    path = tmp_path / "cut.car"
    path.write_bytes(whole_bundle[0].read_bytes()[:size])
    with pytest.raises(BundleError), open_bundle(path):
        pass


def test_a_block_whose_bytes_are_others_is_noticed(
    local: LocalFederation, whole_bundle: tuple[Path, BundleSummary], tmp_path: Path
) -> None:
    data = bytearray(whole_bundle[0].read_bytes())
    data[-3] ^= 1  # in the last vector
    path = tmp_path / "flipped.car"
    path.write_bytes(data)
    with open_bundle(path) as source:
        archive = Archive(source.store, LAYOUT, local.terms)
        findings = [f for verdict in Audit(source.transcript, archive).verdicts() for f in verdict.findings]
    assert findings[0].field.endswith("bytes")


def test_no_folder_and_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(BundleError, match=r"cannot be read|is not a bundle"), open_bundle(path):
            pass


def test_too_many_blocks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(car, "MOST_BLOCKS", 2)
    path = tmp_path / "many.car"
    with path.open("wb") as stream:
        car.write(stream, cids.compute(b"a"), [b"a", b"b", b"c"])
    with pytest.raises(BundleError, match="more than 2 blocks"), BundleStore(path):
        pass


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 174 * 262_144 + 1])
def test_the_blocks_of_a_file_are_those_of_its_cid(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    assert str(list(blocks_of(data))[-1][0]) == cids.compute(data)
    path = tmp_path / "one.car"
    with path.open("wb") as stream:
        car.write(stream, cids.compute(data), [data])
    with BundleStore(path) as store:
        assert store.get(cids.compute(data), size) == data
        assert store.has(cids.compute(data))


@pytest.mark.parametrize("count", [1, 2, 17, 130])
def test_every_item_of_a_block_is_verified_item(count: int) -> None:
    items = [bytes([index % 256]) * (1 + 7 * index % 90) for index in range(count)]
    root = root_of(items)
    for index in {0, count // 2, count - 1}:
        assert verified_item(root, index, prove(items, index)) == items[index]
        with pytest.raises(BundleError):
            verified_item(bytes(32), index, prove(items, index))


def test_a_bloom_filter_never_hides_a_log(local: LocalFederation, records: list[BlockRecord]) -> None:
    address = bytes.fromhex(local.ledger.contract.address[2:])
    for record in records:
        bloom = encodings.header_of(record.header)["logsBloom"]
        assert may_log(bloom, address) == bool(record.receipts)
    assert not may_log(bytes(256), address)


CommandOutput = tuple[int, str, str]


def bcfl(capsys: pytest.CaptureFixture[str], *arguments: object) -> CommandOutput:
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_the_command_says_yes_no_or_why_not(
    whole_bundle: tuple[Path, BundleSummary], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = bcfl(capsys, "audit", whole_bundle[0])
    assert (code, err) == (0, "")
    assert "all of it holds" in out
    assert "believed" in out
    code, out, err = bcfl(capsys, "audit", whole_bundle[0], "--json", "--from", 1, "--to", 2)
    assert (code, err) == (0, "")
    view = json.loads(out)
    assert (view["passed"], view["first"], [item["round"] for item in view["rounds"]]) == (True, None, [1, 2])
    with BundleStore(whole_bundle[0]) as store:
        storage_snapshot = json.loads(store.get(str(store.root), manifest.MOST))["snapshot"]
    forgery = copy_bundle(
        whole_bundle[0],
        tmp_path / "wrong.car",
        snapshot=storage_snapshot | {"pool": storage_snapshot["pool"] + 1},
    )
    code, out, err = bcfl(capsys, "audit", forgery, "--json")
    view = json.loads(out)
    assert (code, err, view["passed"]) == (1, "", False)
    assert (view["first"]["round"], view["first"]["field"]) == (ROUNDS + 1, "contract.pool")
    code, out, err = bcfl(capsys, "audit", forgery)
    assert code == 1
    assert f"WRONG, first in round {ROUNDS + 1}: contract.pool" in out
    for arguments in (
        (tmp_path / "none.car",),
        (whole_bundle[0], "--from", 9),
        (whole_bundle[0], "--run", "x"),
        (whole_bundle[0], "--block-hash", "0x12"),
        ("--block-hash", "0x12"),
    ):
        code, out, err = bcfl(capsys, "audit", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), arguments
        assert err.startswith("error: ")


def copy_bundle(path: Path, target: Path, **changes: Any) -> Path:
    """Write the bundle at `path` again with another manifest and all its contents."""
    with BundleStore(path) as store:
        content = json.loads(store.get(str(store.root), manifest.MOST))
        head = json.dumps(content | changes).encode()
        contents = [store.get(str(cid), manifest.MOST) for cid in store.cids if cid != store.root]
        with target.open("wb") as stream:
            car.write(stream, cids.compute(head), [head, *contents])
    return target
