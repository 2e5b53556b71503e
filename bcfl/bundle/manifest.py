"""Encode what stands in a bundle besides vectors, and decode it: JSON that a stranger may have written.

manifest  {"format", "contract", "chain_id", "facets", "terms", "snapshot", "records": [CID of a part, ...],
           "statements": [CID, ...], "keys": [CID of a key file, ...]}
          statements are not in the former format, which is read as before; keys only where it carries some
part      [{"header", "receipts": [...], "logged": [[index, [node, ...]], ...]}, ...]    a MiB or so each
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any, Final

from bcfl.bundle.blocks import BlockRecord, ProvenTransaction
from bcfl.errors import BundleError
from bcfl.ledger.abi import address_of
from bcfl.protocol.transcript import StorageSnapshot
from bcfl.protocol.turns import LEAST
from bcfl.protocol.turns import MOST as MOST_CREDIT
from bcfl.protocol.types import Engine, Mode, Rule, Terms

FORMAT: Final = "bcfl bundle 3"
WITHOUT_STATEMENTS: Final = "bcfl bundle 2"
FORMER: Final = re.compile(r"bcfl bundle \d+", re.ASCII)
MOST: Final = 1 << 24  # bytes of the manifest, or of one part
PART: Final = 1 << 20  # bytes after which a part is full
MOST_STATEMENTS: Final = 5_000
MOST_KEY_FILES: Final = 64
KEYS_OF_A_FILE: Final = 20_000  # updates, and models, as they are written: 8 MiB at most
DEEPEST: Final = 6
BRACKETS: Final = re.compile(rb"[\[\]{}]")
HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*", re.ASCII)
ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
WORD: Final = 32  # bytes
MOST_PARAMETERS: Final = 2**40  # as the contract has it
SNAPSHOT_FIELDS: Final = tuple(field.name for field in fields(StorageSnapshot))
Json = Any


@dataclass(frozen=True)
class Manifest:
    """Which federation a bundle is of, what its contract said of itself, and where the records are."""

    contract: str
    chain_id: int
    facets: tuple[str, str]  # their addresses, as the contract names them: settlement, membership
    terms: Terms
    storage_snapshot: StorageSnapshot
    records: tuple[str, ...]  # CIDs
    statements: tuple[str, ...] = ()  # CIDs
    keys: tuple[str, ...] = ()  # CIDs of key files


def encode(manifest: Manifest) -> bytes:
    """Encode a manifest as JSON."""
    snapshot = manifest.storage_snapshot
    content = {
        "format": FORMAT,
        "contract": manifest.contract,
        "chain_id": manifest.chain_id,
        "facets": list(manifest.facets),
        "terms": [_json(value) for value in astuple(manifest.terms)],
        "snapshot": {name: _json(getattr(snapshot, name)) for name in SNAPSHOT_FIELDS},
        "records": list(manifest.records),
        "statements": list(manifest.statements),
        **({"keys": list(manifest.keys)} if manifest.keys else {}),
    }
    return json.dumps(content, separators=(",", ":")).encode("ascii")


def decode(data: bytes) -> Manifest:
    """Decode a manifest from JSON; raises BundleError."""
    content = _parse(data)
    newer = () if _format(content) == WITHOUT_STATEMENTS else ("statements",)
    keys = ("keys",) if "keys" in content else ()
    names = ("format", "contract", "chain_id", "facets", "terms", "snapshot", "records", *newer, *keys)
    content = _object(content, *names)
    statements, key_files = _list(content.get("statements", [])), _list(content.get("keys", []))
    if len(statements) > MOST_STATEMENTS:
        raise BundleError(f"the bundle names more than {MOST_STATEMENTS:,} statements")
    if len(key_files) > MOST_KEY_FILES:
        raise BundleError(f"the bundle names more than {MOST_KEY_FILES:,} files of keys")
    if len(set(map(_text, key_files))) < len(key_files):
        raise BundleError("the bundle names a file of keys twice")
    return Manifest(
        contract=_address(content["contract"]),
        chain_id=_number(content["chain_id"]),
        facets=_facets(content["facets"]),
        terms=_terms(content["terms"]),
        storage_snapshot=_storage_snapshot(content["snapshot"]),
        records=tuple(_text(cid) for cid in _list(content["records"])),
        statements=tuple(_text(cid) for cid in statements),
        keys=tuple(_text(cid) for cid in key_files),
    )


def encode_records(records: Iterable[BlockRecord]) -> Iterator[bytes]:
    """Encode records as parts of a MiB or so."""
    part: list[str] = []
    for record in records:
        content = {
            "header": _json(record.header),
            "receipts": [_json(receipt) for receipt in record.receipts],
            "logged": [[each.index, [_json(node) for node in each.proof]] for each in record.transactions],
        }
        part.append(json.dumps(content, separators=(",", ":")))
        if sum(map(len, part)) > PART:
            yield f"[{','.join(part)}]".encode("ascii")
            part = []
    if part:
        yield f"[{','.join(part)}]".encode("ascii")


def decode_records(data: bytes) -> Iterator[BlockRecord]:
    """Decode the records of a part; raises BundleError."""
    for item in _list(_parse(data)):
        content = _object(item, "header", "receipts", "logged")
        receipts = tuple(_bytes(receipt) for receipt in _list(content["receipts"]))
        transactions = tuple(_transaction(item) for item in _list(content["logged"]))
        yield BlockRecord(_bytes(content["header"]), receipts, transactions)


def _transaction(item: Json) -> ProvenTransaction:
    if len(_list(item)) != 2:
        raise BundleError("a transaction of the bundle is not an index and a proof")
    return ProvenTransaction(_number(item[0]), tuple(_bytes(node) for node in _list(item[1])))


def _format(content: Json) -> str:
    """Return the format; raises BundleError for one of another version, before anything else is read."""
    text = content.get("format") if isinstance(content, dict) else None
    if text in (FORMAT, WITHOUT_STATEMENTS):
        return str(text)
    if isinstance(text, str) and FORMER.fullmatch(text):
        raise BundleError(
            f"it is a {text[:40]!r}, and this version of bcfl reads {FORMAT!r} and {WITHOUT_STATEMENTS!r}: "
            "use the version that wrote it, or write it again"
        )
    raise BundleError(f"it states the format {str(text)[:40]!r}, this bcfl reads {FORMAT!r}")


def _facets(content: Json) -> tuple[str, str]:
    if len(_list(content)) != 2:
        raise BundleError("the bundle does not name two facets")
    return _address(content[0]), _address(content[1])


def _terms(content: Json) -> Terms:
    values = _list(content)
    if len(values) != len(fields(Terms)):
        raise BundleError("the bundle's terms are those of another version of bcfl")
    terms = Terms(_bytes(values[0], WORD), *(_number(value) for value in values[1:]))
    known = terms.mode in set(Mode) and terms.engine in set(Engine) and terms.rule in set(Rule)
    if not known or not 0 < terms.parameters < MOST_PARAMETERS:
        raise BundleError("no contract takes the bundle's terms")
    return terms


def _storage_snapshot(content: Json) -> StorageSnapshot:
    values = _object(content, *SNAPSHOT_FIELDS)
    return StorageSnapshot(**{name: _snapshot_value(name, value) for name, value in values.items()})


def _snapshot_value(name: str, value: Json) -> Any:
    if name == "ledger":
        return {_key(number): _bytes(digest, WORD) for number, digest in _mapping(value)}
    if name in ("credits", "stakes", "scores"):
        return {_address(account): _number(amount) for account, amount in _mapping(value)}
    if name == "turn_credits":
        return tuple(_credit(credit) for credit in _list(value))
    return _bytes(value, WORD) if name in ("root", "cid") else _number(value)


def _parse(data: bytes) -> Json:
    """Parse JSON of no great depth: its nesting is checked before a parser recurses into it."""
    depth = 0
    for bracket in BRACKETS.finditer(data):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > DEEPEST:
            raise BundleError("the bundle's records are nested too deep")
    try:
        return json.loads(data)
    except ValueError:
        raise BundleError("the bundle's records are not JSON") from None


def _json(value: Any) -> Json:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return int(value)


def _object(content: Json, *names: str) -> dict[str, Json]:
    if not isinstance(content, dict) or set(content) != set(names):
        raise BundleError(f"the bundle lacks one of {', '.join(names)}, or has more")
    return content


def _mapping(content: Json) -> Iterable[tuple[str, Json]]:
    if not isinstance(content, dict):
        raise BundleError("a list or a value stands in the bundle where an object belongs")
    return content.items()


def _list(content: Json) -> list[Json]:
    if not isinstance(content, list):
        raise BundleError("something stands in the bundle where a list belongs")
    return content


def _text(content: Json) -> str:
    if not isinstance(content, str):
        raise BundleError("something stands in the bundle where a text belongs")
    return content


def _bytes(content: Json, size: int | None = None) -> bytes:
    text = _text(content)
    if not HEX.fullmatch(text) or size not in (None, len(text) // 2 - 1):
        raise BundleError(f"{text[:40]!r} stands in the bundle where bytes belong")
    return bytes.fromhex(text[2:])


def _address(content: Json) -> str:
    if not ADDRESS.fullmatch(_text(content)):
        raise BundleError(f"{content[:40]!r} stands in the bundle where an address belongs")
    return address_of(content.lower())


def _key(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 10:
        raise BundleError(f"{text[:40]!r} stands in the bundle where a round belongs")
    return int(text)


def _number(content: Json) -> int:
    if type(content) is not int or not 0 <= content < 2**256:
        raise BundleError(f"{str(content)[:40]!r} stands in the bundle where a number belongs")
    return content


def _credit(content: Json) -> int:
    if type(content) is not int or not LEAST <= content <= MOST_CREDIT:
        raise BundleError(f"{str(content)[:40]!r} stands in the bundle where a credit belongs")
    return content
