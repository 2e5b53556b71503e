"""A federation put on a network, its record, and whether what is at an address is of this version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from bcfl.config import Config
from bcfl.errors import ConfigError, LedgerError, Reverted, RunError
from bcfl.federation.terms import terms_of
from bcfl.ledger.abi import Abi
from bcfl.ledger.artifact import FACETS, artifact, federation_at
from bcfl.ledger.contract import Contract, transact
from bcfl.ledger.deployment import inspection, records
from bcfl.ledger.deployment.addresses import read_addresses
from bcfl.ledger.deployment.deploy import DEPLOY_GAS, deploy_federation, register
from bcfl.ledger.deployment.networks import Network
from bcfl.ledger.deployment.records import Deployment
from bcfl.ledger.devnet.server import serve
from bcfl.ledger.rpc import RpcChain
from bcfl.protocol.types import Layout, TensorSpec, Terms

from .conftest import Account, Artifact

ETHER = 10**18
ROOT, CID = b"\x11" * 32, b"\x22" * 32


@pytest.fixture(scope="module")
def terms() -> Terms:
    return terms_of(Config(), Layout((TensorSpec("weight", (10, 64)),)), 100)


@pytest.fixture(scope="module")
def embedded_url(device: Account) -> Iterator[str]:
    with serve(None, [device.address], port=0) as server:
        yield server.url


@pytest.fixture(scope="module", params=["embedded", "anvil"])
def url(request: pytest.FixtureRequest) -> str:
    address: str = request.getfixturevalue("embedded_url" if request.param == "embedded" else "anvil")
    return address


@pytest.fixture(scope="module")
def chain(url: str) -> Iterator[RpcChain]:
    chain = RpcChain(url, poll=0.01)
    yield chain
    chain.close()


@pytest.fixture(scope="module")
def network(chain: RpcChain) -> Network:
    return Network("lab", chain.url, chain.chain_id)


@pytest.fixture(scope="module")
def demo(
    chain: RpcChain, network: Network, device: Account, terms: Terms, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Deployment]:
    folder = tmp_path_factory.mktemp("deployments")
    options = {"task": "digits"}
    return folder, deploy_federation(
        chain, device, network, "demo", terms, ROOT, CID, ETHER, options, folder
    )[1]


def test_record_tells_all(
    demo: tuple[Path, Deployment], chain: RpcChain, device: Account, terms: Terms
) -> None:
    folder, deployment = demo
    assert records.read(folder, "lab", "demo").address == deployment.address
    content = json.loads((folder / "lab" / "demo.json").read_text())
    contract = Contract(chain, content["abi"], content["address"])
    assert Terms(*contract.call("agreed")) == terms
    facets = content["facets"]
    assert contract.call("facets") == (facets["SettlementFacet"], facets["MembershipFacet"])
    assert contract.call("owner") == content["owner"] == device.address
    assert contract.call("pool") == ETHER == int(content["constructor"]["pool"])
    assert contract.call("model") == (ROOT, CID)
    assert content["constructor"]["root"] == "0x" + ROOT.hex()
    assert int(content["constructor"]["terms"]["pow_target"]) == terms.pow_target
    receipt = chain.request("eth_getTransactionReceipt", content["transaction"])
    assert int(receipt["blockNumber"], 16) == content["block"]
    for name, address in facets.items():
        code = bytes.fromhex(chain.request("eth_getCode", address, "latest")[2:])
        assert content["code_keccak256"][name] == "0x" + keccak(code).hex()
    assert content["sources_sha256"] == artifact()["sources_sha256"]
    assert (content["chain_id"], content["options"]) == (31337, {"task": "digits"})
    assert [path.name for path in (folder / "lab").iterdir()] == ["demo.json"]


def test_gas_is_what_is_reckoned_with(demo: tuple[Path, Deployment], chain: RpcChain) -> None:
    names = (demo[1].transaction, *demo[1].facet_transactions.values())
    gas = sum(int(chain.request("eth_getTransactionReceipt", name)["gasUsed"], 16) for name in names)
    assert gas < DEPLOY_GAS < 1.3 * gas


def test_twice_under_one_name(
    demo: tuple[Path, Deployment], chain: RpcChain, network: Network, device: Account, terms: Terms
) -> None:
    folder, _ = demo
    nonce = chain.request("eth_getTransactionCount", device.address, "latest")
    with pytest.raises(ConfigError, match="demo is deployed on lab already"):
        deploy_federation(chain, device, network, "demo", terms, ROOT, CID, ETHER, folder=folder)
    with (
        records.reserve(folder, network, "other"),
        pytest.raises(ConfigError, match="is being deployed"),
    ):
        deploy_federation(chain, device, network, "other", terms, ROOT, CID, ETHER, folder=folder)
    assert chain.request("eth_getTransactionCount", device.address, "latest") == nonce


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 41, "a\n"])
def test_names_that_are_no_file(name: str, network: Network, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a deployment"):
        records.free_place(tmp_path, network, name)


def test_folder_that_cannot_be_written(
    chain: RpcChain, network: Network, device: Account, terms: Terms, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    nonce = chain.request("eth_getTransactionCount", device.address, "latest")
    with pytest.raises(RunError, match="cannot be written"):
        deploy_federation(chain, device, network, "x", terms, ROOT, CID, 0, folder=tmp_path / "file")
    assert chain.request("eth_getTransactionCount", device.address, "latest") == nonce


def test_record_that_cannot_be_written_after_all(demo: tuple[Path, Deployment], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=demo[1].address):
        records.write(tmp_path / "absent" / "x.json", demo[1])


def test_too_little_ether(
    chain: RpcChain, network: Network, outsider: Account, terms: Terms, tmp_path: Path
) -> None:
    with pytest.raises(LedgerError, match=r"has 0 ether and needs 1\.\d+ ether, 1 ether of it for the pool"):
        deploy_federation(chain, outsider, network, "x", terms, ROOT, CID, ETHER, folder=tmp_path)
    assert [*tmp_path.rglob("*.json")] == []


def test_terms_that_the_contract_refuses(
    chain: RpcChain, network: Network, device: Account, terms: Terms, tmp_path: Path
) -> None:
    wrong = replace(terms, min_updates=0)
    with pytest.raises(Reverted, match="terms: no updates"):
        deploy_federation(chain, device, network, "x", wrong, ROOT, CID, 0, folder=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# Records


def test_record_that_is_not_there(demo: tuple[Path, Deployment], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is demo"):
        records.read(demo[0], "lab", "absent")
    with pytest.raises(ConfigError, match="there is nothing"):
        records.read(tmp_path, "lab", "demo")


@pytest.mark.parametrize(
    "change",
    [None, [], {"format": 1}, {"address": "0x12"}, {"block": "4"}, {"chain_id": None}, {"options": []}],
)
def test_damaged_record(demo: tuple[Path, Deployment], tmp_path: Path, change: Any) -> None:
    content = json.loads((demo[0] / "lab" / "demo.json").read_text())
    (tmp_path / "lab").mkdir()
    record = content | change if isinstance(change, dict) else change
    (tmp_path / "lab" / "demo.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="damaged"):
        records.read(tmp_path, "lab", "demo")


def test_record_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    for text in ("", "{", "[" * 20_000):
        (tmp_path / "lab" / "demo.json").write_text(text)
        with pytest.raises(RunError, match="damaged"):
            records.read(tmp_path, "lab", "demo")


# Devices


def test_devices_are_registered_once(
    demo: tuple[Path, Deployment], chain: RpcChain, device: Account, outsider: Account
) -> None:
    contract = federation_at(chain, demo[1].address)
    addresses = ["0x" + f"{number:040x}" for number in range(1, 71)]
    assert register(contract, device, addresses[:3]) == 3
    assert register(contract, device, addresses) == 67
    assert register(contract, device, addresses) == 0
    assert contract.call("device_of", addresses[69]) == 69
    with pytest.raises(Reverted, match="not the owner"):
        register(contract, outsider, ["0x" + "77" * 20])


def test_addresses_of_a_file(tmp_path: Path, device: Account, outsider: Account) -> None:
    file = tmp_path / "devices"
    file.write_text(f"# who\n{device.address.lower()}  # the first\n\n {outsider.address}\n")
    assert read_addresses(file) == [device.address, outsider.address]
    file.write_text(f"{device.address}\n{device.address.lower()}\n")
    with pytest.raises(ConfigError, match=r"line 2: .* is on line 1 already"):
        read_addresses(file)
    wrong = device.address.replace("f39F", "f39f").replace("d6e5", "D6e5")
    for text, words in (("0x12", "not an address"), ("alice", "not an address"), (wrong, "checksum")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_addresses(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_addresses(tmp_path / "absent")


# Inspection


def test_our_contract_is_ours(
    demo: tuple[Path, Deployment], chain: RpcChain, device: Account, terms: Terms
) -> None:
    deployment = demo[1]
    federation = inspection.inspect(chain, deployment.address)
    assert (federation.facets, federation.owner) == (deployment.facets, device.address)
    assert (federation.terms, federation.root, federation.cid) == (terms, ROOT, CID)
    assert (federation.block, "0x" + federation.transaction.hex()) == (
        deployment.block,
        deployment.transaction,
    )


def test_no_code(chain: RpcChain, outsider: Account) -> None:
    with pytest.raises(LedgerError, match=f"no contract at {outsider.address} on chain 31337"):
        inspection.inspect(chain, outsider.address)


def test_another_contract(
    demo: tuple[Path, Deployment], chain: RpcChain, device: Account, probe: Artifact
) -> None:
    other, _ = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    for address in (other.address, *demo[1].facets.values()):
        with pytest.raises(LedgerError, match="does not answer as a federation"):
            inspection.inspect(chain, address)


def put(chain: RpcChain, key: Account, part: str, arguments: list[Any], code: bytes | None = None) -> str:
    """Deploy one part of a federation by itself, as a forger would."""
    content = artifact()
    creation = bytes.fromhex(content["bytecode"][part][2:]) if code is None else code
    abi = Abi(content["abi"] if part == "Federation" else content["constructors"][part])
    receipt = transact(chain, key, None, creation + abi.constructor(arguments))
    return str(receipt["contractAddress"])


def put_facets(chain: RpcChain, key: Account, terms: Terms, **others: Any) -> dict[str, str]:
    """Deploy all facets; `others` has the terms of single ones, or their code."""
    addresses: dict[str, str] = {}
    for name, following in FACETS:
        other = others.get(name, terms)
        code, own_terms = (other, terms) if isinstance(other, bytes) else (None, other)
        arguments = [own_terms, *([addresses[following]] if following else [])]
        addresses[name] = put(chain, key, name, arguments, code)
    return addresses


def put_federation(
    chain: RpcChain, key: Account, terms: Terms, facets: dict[str, str], code: bytes | None = None
) -> str:
    named = [facets["SettlementFacet"], facets["MembershipFacet"]]
    return put(chain, key, "Federation", [terms, ROOT, CID, *named], code)


def test_one_byte_of_the_code_changed(chain: RpcChain, device: Account, terms: Terms) -> None:
    creation = bytearray.fromhex(artifact()["bytecode"]["Federation"][2:])
    place = creation.rindex(b"federation: lengths do not add up"[:20])
    creation[place] ^= 1
    address = put_federation(chain, device, terms, put_facets(chain, device, terms), bytes(creation))
    with pytest.raises(LedgerError, match="created by another transaction"):
        inspection.inspect(chain, address)


@pytest.mark.parametrize("name", [name for name, _ in FACETS])
def test_a_facet_of_other_terms(chain: RpcChain, device: Account, terms: Terms, name: str) -> None:
    other = replace(terms, min_updates=1)
    address = put_federation(chain, device, terms, put_facets(chain, device, terms, **{name: other}))
    words = "created by another" if name == "MembershipFacet" else f"code of its {name} differs"
    with pytest.raises(LedgerError, match=words):
        inspection.inspect(chain, address)


@pytest.mark.parametrize("name", [name for name, _ in FACETS])
def test_a_facet_with_one_byte_changed(chain: RpcChain, device: Account, terms: Terms, name: str) -> None:
    creation = bytearray.fromhex(artifact()["bytecode"][name][2:])
    place = len(creation) - 500  # in its code, behind the constructor and before what describes it
    creation[place] ^= 1
    facets = put_facets(chain, device, terms, **{name: bytes(creation)})
    address = put_federation(chain, device, terms, facets)
    with pytest.raises(LedgerError, match=f"code of its {name} differs"):
        inspection.inspect(chain, address)


def test_facets_that_hand_on_to_others(chain: RpcChain, device: Account, terms: Terms) -> None:
    facets, others = (put_facets(chain, device, terms) for _ in range(2))
    mixed = facets | {"MembershipFacet": others["MembershipFacet"]}
    with pytest.raises(LedgerError, match="its SettlementFacet hands on to another MembershipFacet"):
        inspection.inspect(chain, put_federation(chain, device, terms, mixed))


def test_facets_of_another_make(chain: RpcChain, device: Account, terms: Terms, probe: Artifact) -> None:
    """One does not know what it is asked; the other answers 1 to whatever it is asked."""
    answers_one = bytes.fromhex("600160005260206000f3")
    creation = bytes.fromhex("69") + answers_one + bytes.fromhex("600052600a6016f3")
    other, _ = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    for facet in (other.address, str(transact(chain, device, None, creation)["contractAddress"])):
        named = {"SettlementFacet": facet, "MembershipFacet": facet}
        with pytest.raises(LedgerError, match="does not answer as a federation"):
            inspection.inspect(chain, put_federation(chain, device, terms, named))


def test_no_facets(chain: RpcChain, device: Account, terms: Terms, outsider: Account) -> None:
    nobody = {"SettlementFacet": outsider.address, "MembershipFacet": outsider.address}
    with pytest.raises(Reverted, match="no facets"):
        put_federation(chain, device, terms, nobody)
