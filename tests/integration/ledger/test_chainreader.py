"""A chain's file says without an EVM what a node says with one; where it is odd, the EVM is asked."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import rlp  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from bcfl.errors import RunError
from bcfl.federation.query import open_run
from bcfl.ledger import artifact as artifacts
from bcfl.ledger.artifact import created_address, federation_at, stored_terms
from bcfl.ledger.devnet import chainreader
from bcfl.ledger.devnet.chainfile import HEAD
from bcfl.ledger.devnet.chainreader import ChainReader, Creation, Unusual
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.accounts import Account
from bcfl.protocol.addresses import checksummed
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Terms
from tests.local_federation import LocalFederation
from tests.played_run import play_run

OWNER = Account.derive(0, "owner").address
PROGRAM = """
import sys
from bcfl.cli import main
assert main(sys.argv[1:]) == 0
print("an EVM" if "eth" in sys.modules else "none", "all" if "bcfl.cli.app" in sys.modules else "one")
"""
PROBE = """
needless = {"numpy", "eth_utils", "eth_keys", "eth_abi", "rlp", "cryptography", "pyhpke", "ssl", "torch"}
print(sorted(needless & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    """A finished run."""
    return play_run(tmp_path_factory.mktemp("read") / "runs")


@pytest.fixture
def chain(played: LocalFederation) -> Iterator[EmbeddedChain]:
    """Its chain, opened for reading."""
    with closing(EmbeddedChain(played.path / "chain.sqlite", read_only=True)) as chain:
        yield chain


def copy_of(played: LocalFederation, folder: Path) -> Path:
    """Return a copy of the chain's file that may be changed."""
    path = folder / "chain.sqlite"
    with (
        closing(sqlite3.connect(played.path / "chain.sqlite")) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
    return path


def change(path: Path, words: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(words, values).rowcount == 1


def test_the_file_says_what_a_node_says(played: LocalFederation, chain: EmbeddedChain) -> None:
    assert chain.reader is not None
    address = str(played.contract)
    for query in (
        {"fromBlock": "0x0", "toBlock": "latest"},
        {"address": address, "fromBlock": 3, "toBlock": "pending"},
        {"address": [address], "fromBlock": "earliest", "topics": [None, "0x" + "00" * 31 + "02"]},
    ):
        logs = chain.request("eth_getLogs", query)
        assert logs == chain._node.respond("eth_getLogs", [query])["result"]
        assert logs
    assert chain.request("eth_blockNumber") == chain._node.respond("eth_blockNumber", [])["result"]
    for name in {log["transactionHash"] for log in chain.request("eth_getLogs", {"fromBlock": "0x0"})}:
        receipt = chain.request("eth_getTransactionReceipt", name)
        assert chain.gas_used(bytes.fromhex(name[2:])) == int(receipt["gasUsed"], 16)


def test_stored_terms_are_those_that_the_contract_answers(
    played: LocalFederation, chain: EmbeddedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chain.reader is not None
    with open_run(played.path) as query:
        assert query.terms == Terms(*query.contract.call("agreed"))
        assert query._collection().owner == query.contract.call("owner") == OWNER
    address = str(played.contract)
    terms = stored_terms(chain.reader, address, OWNER)
    assert terms == played.ledger.terms
    assert stored_terms(chain.reader, address, Account.derive(1, "owner").address) is None
    assert stored_terms(chain.reader, OWNER, OWNER) is None  # which has logged nothing
    created, block = chain.reader.created_in, chain.reader.creation(address).block
    elsewhere = replace(created(block), data=created(block).data[:-1] + b"\x01")  # another facet answers it
    with monkeypatch.context() as patch:
        patch.setattr(chain.reader, "creation", lambda _: elsewhere)
        assert stored_terms(chain.reader, address, OWNER) is None

    def other_terms(number: int) -> Creation:
        creation = created(number)
        at = len(creation.data) - 50
        data = creation.data[:at] + b"\x01" + creation.data[at + 1 :]
        return creation if number == block else replace(creation, data=data)

    monkeypatch.setattr(chain.reader, "created_in", other_terms)  # of the facets, one of which answers
    assert stored_terms(chain.reader, address, OWNER) is None


def test_another_versions_code_is_asked(
    played: LocalFederation, chain: EmbeddedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = artifacts.artifact()
    code = {name: text[:-2] + "00" for name, text in content["bytecode"].items()}
    monkeypatch.setattr(artifacts, "artifact", lambda: {**content, "bytecode": code})
    assert chain.reader is not None
    assert stored_terms(chain.reader, str(played.contract), OWNER) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["round", "3"], "none one"),
        (["votes", "3"], "none one"),
        (["ls"], "none one"),
        (["device", "1"], "an EVM one"),
    ],
)
def test_commands_load_no_evm_that_they_do_not_need(
    played: LocalFederation, words: list[str], expected: str
) -> None:
    place = ["--runs", str(played.path.parent)] if words == ["ls"] else ["--run", str(played.path)]
    program = [sys.executable, "-c", PROGRAM, *words, *place]
    output = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout
    assert output.splitlines()[-1] == expected


@pytest.mark.parametrize("words", [["round", "3"], ["votes", "3"], ["leader", "3"], ["model", "3"], ["ls"]])
def test_commands_load_no_library_that_they_do_not_need(played: LocalFederation, words: list[str]) -> None:
    place = ["--runs", str(played.path.parent)] if words == ["ls"] else ["--run", str(played.path)]
    program = [sys.executable, "-c", PROGRAM + PROBE, *words, *place]
    output = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout
    assert output.splitlines()[-1] == "[]"


def test_events_are_the_same_without_json(
    played: LocalFederation, chain: EmbeddedChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = federation_at(chain, str(played.contract))
    events = list(contract.events())
    names = list(contract.events(3, name="Voted"))
    assert names == [event for event in events if event.name == "Voted" and event.block >= 3] != []
    monkeypatch.setattr(EmbeddedChain, "read_logs", lambda *_: None)
    assert list(contract.events()) == events
    assert len({event.name for event in events}) > 10
    assert len({event.transaction for event in events}) > 20


@pytest.mark.parametrize("bound", [1, 7, 10**6])
def test_blocks_are_looked_up_in_pieces_and_forgotten(
    chain: EmbeddedChain, monkeypatch: pytest.MonkeyPatch, bound: int
) -> None:
    assert chain.reader is not None
    query = {"fromBlock": "0x0", "toBlock": "latest"}
    logs = chain._node.respond("eth_getLogs", [query])["result"]
    monkeypatch.setattr(chainreader, "AT_ONCE", min(bound, 500))
    monkeypatch.setattr(chainreader, "STAMPS", bound)
    for _ in range(2):
        assert chain.reader.methods["eth_getLogs"](query) == logs
        assert len(chain.reader._stamps) <= bound


@given(st.binary(max_size=120), st.integers(0, 12))
def test_one_item_of_a_list_is_the_last_of_so_many(data: bytes, index: int) -> None:
    for content in (data, bytes([0xC0 + min(len(data), 55)]) + data):
        try:
            expected = chainreader._items(content, index + 1)[index]
        except Unusual:
            with pytest.raises(Unusual):
                chainreader._item(content, index)
        else:
            assert chainreader._item(content, index) == expected


@given(
    st.binary(min_size=20, max_size=20),
    st.sampled_from([0, 1, 127, 128, 255, 256]) | st.integers(0, 2**64 - 2),
)
def test_a_created_address_is_that_of_the_library_for_rlp(sender: bytes, nonce: int) -> None:
    expected = checksummed(keccak(rlp.encode([sender, nonce]))[12:])
    assert created_address(checksummed(sender), nonce) == expected


def test_where_the_file_is_odd_an_evm_says_what_is_wrong(played: LocalFederation, tmp_path: Path) -> None:
    path = copy_of(played, tmp_path)
    change(path, "DELETE FROM entry WHERE key = ?", b"block-number-to-hash:7")
    with closing(ChainReader(path)) as reader:
        with pytest.raises(Unusual):
            reader.methods["eth_getLogs"]({"fromBlock": "0x7", "toBlock": "0x7"})
        assert reader.methods["eth_getLogs"]({"fromBlock": "0x8", "toBlock": "0x8"}) is not None
    change(path, "DELETE FROM entry WHERE key = ?", HEAD)
    with pytest.raises(RunError, match="holds no block yet"):
        EmbeddedChain(path, read_only=True)


def test_a_header_that_is_too_long_for_one_is_not_read(played: LocalFederation, tmp_path: Path) -> None:
    path = copy_of(played, tmp_path)
    long_one = bytes(chainreader.HEADER_BYTES + 1)
    key, query = b"block-number-to-hash:7", {"fromBlock": "0x7", "toBlock": "0x7"}
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO entry VALUES (?, ?)", (keccak(long_one), long_one))
    change(path, "UPDATE entry SET value = ? WHERE key = ?", b"\xa0" + keccak(long_one), key)
    with closing(ChainReader(path)) as reader:
        assert reader._entry(keccak(long_one)) == long_one
        with pytest.raises(Unusual):
            reader.methods["eth_getLogs"](query)
        with pytest.raises(Unusual):
            reader._entries([keccak(long_one)], chainreader.HEADER_BYTES)


@pytest.mark.parametrize("value", [b"", b"\xc0", b"\x80", b"\xf8\xff", b"\xc2\xc0\xc0", bytes(40)])
def test_headers_in_another_form_are_unusual(played: LocalFederation, tmp_path: Path, value: bytes) -> None:
    path = copy_of(played, tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        (head,) = connection.execute("SELECT value FROM entry WHERE key = ?", (HEAD,)).fetchone()
    change(path, "UPDATE entry SET value = ? WHERE key = ?", value, head)
    with closing(ChainReader(path)) as reader, pytest.raises(Unusual):
        _ = reader.height
