"""A small contract with every kind of value, event and refusal, on an embedded chain and on anvil."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from eth_account import Account as Signer
from eth_keys.datatypes import PrivateKey

from bcfl.ledger.contract import Contract
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.devnet.server import serve
from bcfl.ledger.rpc import RpcChain
from tests import foundry
from tests.processes import ANSWER

SOURCE = """
# pragma version 0.4.3
event Stored:
    device: indexed(address)
    slot: indexed(uint256)
    amount: uint256
    note: String[32]

event Listed:
    label: indexed(String[16])
    members: DynArray[address, 8]
    digests: DynArray[bytes32, 8]
    blob: Bytes[64]
    delta: int128
    last: bool

struct Item:
    root: bytes32
    samples: uint256
    owner: address

amounts: public(HashMap[uint256, uint256])
count: public(uint256)
start: public(uint256)

@deploy
@payable
def __init__(start: uint256):
    assert start != 0, "probe: start is zero"
    self.start = start

@external
@payable
def store(slot: uint256, amount: uint256, note: String[32] = "none"):
    assert amount != 0, "store: amount is zero"
    self.amounts[slot] = amount
    self.count += 1
    log Stored(device=msg.sender, slot=slot, amount=amount, note=note)

@external
def enlist(label: String[16], members: DynArray[address, 8], digests: DynArray[bytes32, 8], blob: Bytes[64]):
    log Listed(label=label, members=members, digests=digests, blob=blob, delta=-5, last=True)

@external
@view
def mirror(items: DynArray[Item, 8], scale: int256) -> (DynArray[Item, 8], int256, String[8]):
    return items, scale, "mirror"

@external
@view
def first(item: Item) -> Item:
    return item

@external
@view
def clock() -> uint256:
    return block.timestamp

@external
def after_deadline(deadline: uint256):
    assert block.timestamp >= deadline, "clock: too early"
    self.count += 1

@external
def before_deadline(deadline: uint256):
    assert block.timestamp < deadline, "clock: too late"
    self.count += 1

@external
def no_reason():
    raise

@external
def overflow(value_: uint256) -> uint256:
    return value_ * max_value(uint256)

@external
def unreachable():
    assert self.count == max_value(uint256), UNREACHABLE

@external
def custom():
    raw_revert(method_id("Refused(uint256)"))

@external
def control():
    raise "two\\nlines"

@external
def burn(rounds: uint256):
    for i: uint256 in range(rounds, bound=100_000):
        self.amounts[i] += 1

@external
@payable
def keep():
    pass
"""


@dataclass(frozen=True)
class Account:
    """An address and its secret, as little as a Contract asks of a signer."""

    address: str
    key: bytes


@dataclass(frozen=True)
class Artifact:
    """A compiled contract."""

    abi: list[dict[str, Any]]
    bytecode: bytes


def account(secret: bytes) -> Account:
    return Account(PrivateKey(secret).public_key.to_checksum_address(), secret)


@pytest.fixture(scope="session")
def device() -> Account:
    return account(bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"))


@pytest.fixture(scope="session")
def outsider() -> Account:
    """Owns nothing."""
    return account(b"\x77" * 32)


@pytest.fixture(scope="session")
def probe() -> Artifact:
    import vyper

    output = vyper.compile_code(SOURCE, output_formats=["abi", "bytecode"])
    return Artifact(output["abi"], bytes.fromhex(output["bytecode"][2:]))


@pytest.fixture
def chain(device: Account) -> Iterator[EmbeddedChain]:
    chain = EmbeddedChain(None, accounts=[device.address])
    yield chain
    chain.close()


@pytest.fixture
def contract(chain: EmbeddedChain, device: Account, probe: Artifact) -> Contract:
    return Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])[0]


@pytest.fixture(scope="module")
def embedded_url(device: Account) -> Iterator[str]:
    """The URL of the embedded chain behind a socket."""
    with serve(None, [device.address], port=0) as server:
        yield server.url


def post(url: str, body: bytes | str, **options: Any) -> requests.Response:
    """The answer to some bytes."""
    return requests.post(url, data=body, timeout=ANSWER, **options)


def ask(url: str, method: str, *params: Any) -> Any:
    """The result, or the error's code, of one call."""
    answer = post(url, json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).json()
    assert answer["id"] == 7
    return answer["result"] if "result" in answer else answer["error"]["code"]


@pytest.fixture(scope="session")
def anvil() -> Iterator[str]:
    """The URL of a node of another make; skips where anvil is not installed."""
    with foundry.anvil("--timestamp", "1700000000") as url:
        yield url


def raw(url: str, data: bytes, seconds: float = ANSWER) -> bytes:
    """What the server says to these bytes before it ends the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(data)
        answer = b""
        with suppress(ConnectionError):
            while piece := connection.recv(65_536):
                answer += piece
        return answer


def transfer(chain: RpcChain, signer: Account, to: Account, **changes: Any) -> str:
    """A signed transaction that sends one wei, bent by `changes`."""
    nonce = int(chain.request("eth_getTransactionCount", signer.address, "latest"), 16)
    fields = {"to": to.address, "value": 1, "gas": 21_000, "nonce": nonce, "chainId": chain.chain_id}
    fields |= {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 0, **changes}
    return str(Signer.sign_transaction(fields, signer.key).raw_transaction.to_0x_hex())


@pytest.fixture
def node(embedded_url: str) -> Iterator[RpcChain]:
    chain = RpcChain(embedded_url, poll=0.01)
    yield chain
    chain.close()
