"""A chain behind a socket: what web3 asks, on ours and on anvil; its clock; many clients; sudden death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_account import Account as Signer
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, TransactionNotFound, Web3RPCError

from bcfl.errors import ConfigError, LedgerError, RunError
from bcfl.ledger.contract import Contract, transact
from bcfl.ledger.devnet.server import serve
from bcfl.ledger.rpc import RpcChain

from .conftest import Account, Artifact, ask, post

ETHER = 10**18
ROOT = Path(__file__).parents[3]
SERVE = """
import sys, threading
from pathlib import Path
from typing import Any
from bcfl.ledger.devnet.server import serve
with serve(Path(sys.argv[1]), [sys.argv[2]], port=0) as server:
    print(server.url, flush=True)
    threading.Event().wait()
"""


@pytest.fixture(params=["embedded", "anvil"])
def url(request: pytest.FixtureRequest) -> str:
    address: str = request.getfixturevalue("embedded_url" if request.param == "embedded" else "anvil")
    return address


@pytest.fixture
def w3(url: str) -> Iterator[Web3]:
    session = requests.Session()
    yield Web3(HTTPProvider(url, session=session))
    session.close()


@pytest.fixture
def chain(url: str) -> Iterator[RpcChain]:
    chain = RpcChain(url, poll=0.01)
    yield chain
    chain.close()


# What clients ask


def test_transfer_and_everything_about_it(w3: Any, device: Account, outsider: Account) -> None:
    balance = w3.eth.get_balance(outsider.address)
    transaction = {
        "to": outsider.address,
        "value": 5,
        "gas": 21_000,
        "nonce": w3.eth.get_transaction_count(device.address),
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 0,
        "chainId": w3.eth.chain_id,
    }
    signed_transaction = Signer.sign_transaction(transaction, device.key)
    receipt = w3.eth.wait_for_transaction_receipt(
        w3.eth.send_raw_transaction(signed_transaction.raw_transaction), 5, 0.01
    )
    block = w3.eth.get_block(receipt["blockNumber"], full_transactions=True)
    assert w3.eth.get_balance(outsider.address) == balance + 5
    assert (receipt["status"], receipt["gasUsed"], receipt["from"]) == (1, 21_000, device.address)
    assert block["hash"] == receipt["blockHash"] == w3.eth.get_block(block["hash"])["hash"]
    assert [t["hash"] for t in block["transactions"]] == [receipt["transactionHash"]]
    assert w3.eth.get_block(block["number"])["transactions"] == [receipt["transactionHash"]]
    mined_transaction = w3.eth.get_transaction(receipt["transactionHash"])
    assert dict(block["transactions"][0]).items() <= dict(mined_transaction).items()
    assert (mined_transaction["value"], mined_transaction["to"], mined_transaction["blockNumber"]) == (
        5,
        outsider.address,
        block["number"],
    )
    assert w3.eth.get_transaction_count(device.address) == transaction["nonce"] + 1


def test_legacy_transaction_creates_a_contract(w3: Any, device: Account) -> None:
    transaction = {
        "data": "0x602a60005260206000f3",  # returns 32 bytes, the last of them 0x2a
        "value": 0,
        "gas": 100_000,
        "gasPrice": 10**10,
        "nonce": w3.eth.get_transaction_count(device.address),
        "chainId": 31337,
    }
    signed_transaction = Signer.sign_transaction(transaction, device.key)
    receipt = w3.eth.wait_for_transaction_receipt(
        w3.eth.send_raw_transaction(signed_transaction.raw_transaction), 5, 0.01
    )
    mined_transaction = w3.eth.get_transaction(receipt["transactionHash"])
    assert (mined_transaction["type"], mined_transaction["gasPrice"], mined_transaction.get("to")) == (
        0,
        10**10,
        None,
    )
    assert w3.eth.get_code(receipt["contractAddress"]) == bytes(31) + b"\x2a"


def test_blocks(w3: Any) -> None:
    head = w3.eth.get_block("latest")
    pending = w3.eth.get_block("pending")
    assert head["number"] == w3.eth.block_number == pending["number"] - 1
    assert pending["parentHash"] == head["hash"]
    assert pending["timestamp"] >= head["timestamp"]
    assert w3.eth.get_block("earliest")["number"] == 0
    for missing in (10**6, "0x" + "77" * 32):
        with pytest.raises(Exception, match="not found"):
            w3.eth.get_block(missing)
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction("0x" + "77" * 32)
    with pytest.raises(TransactionNotFound):
        w3.eth.get_transaction_receipt("0x" + "77" * 32)


def test_contract_through_web3(w3: Any, chain: RpcChain, device: Account, probe: Artifact) -> None:
    adapter, receipt = Contract.deploy(chain, device, probe.abi, probe.bytecode, [9])
    contract = w3.eth.contract(adapter.address, abi=probe.abi)
    assert contract.functions.start().call() == 9
    assert contract.functions.start().call(block_identifier=receipt.block) == 9
    with pytest.raises(ContractLogicError, match="store: amount is zero"):
        contract.functions.store(1, 0).call()
    with pytest.raises(ContractLogicError, match="store: amount is zero"):
        contract.functions.store(1, 0).estimate_gas({"from": device.address})
    adapter.send(device, "store", 4, 11)
    slots = [int.from_bytes(w3.eth.get_storage_at(adapter.address, slot), "big") for slot in range(4)]
    assert {1, 9} <= set(slots)  # count and start
    assert w3.eth.get_storage_at(adapter.address, 2**200) == bytes(32)


def test_estimates_are_enough_and_close(chain: RpcChain, device: Account, probe: Artifact) -> None:
    contract, _ = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    for function, arguments in (("store", (1, 7)), ("burn", (40,)), ("enlist", ("a", [], [], b"\x01" * 64))):
        call = {"from": device.address, "to": contract.address, "data": "0x"}
        call["data"] = "0x" + contract.encode(function, *arguments).hex()
        estimate = int(chain.request("eth_estimateGas", call), 16)
        gas = contract.send(device, function, *arguments, gas=estimate).gas_used
        assert gas <= estimate <= gas * 1.3, function


def test_nothing_is_sent_without_ether(chain: RpcChain, outsider: Account, device: Account) -> None:
    with pytest.raises(LedgerError):
        transact(chain, outsider, device.address, b"", ETHER, 21_000)


def test_estimate_is_refused_without_ether(embedded_url: str, outsider: Account, device: Account) -> None:
    call = {"from": outsider.address, "to": device.address, "value": hex(ETHER)}
    assert ask(embedded_url, "eth_estimateGas", call) == -32000


def test_logs_by_range_and_block_hash(chain: RpcChain, device: Account, probe: Artifact) -> None:
    contract, _ = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    receipts = [contract.send(device, "store", slot, 1) for slot in range(3)]
    first, last = hex(receipts[0].block), hex(receipts[1].block)
    logs = chain.request("eth_getLogs", {"address": contract.address, "fromBlock": first, "toBlock": last})
    assert [log["transactionHash"] for log in logs] == ["0x" + r.hash.hex() for r in receipts[:2]]
    block_logs = chain.request(
        "eth_getLogs", {"address": contract.address, "blockHash": logs[1]["blockHash"]}
    )
    assert block_logs == logs[1:]
    topics = [None, ["0x" + device.address[2:].lower().rjust(64, "0")], "0x" + "02".rjust(64, "0")]
    (second_log,) = chain.request(
        "eth_getLogs", {"address": contract.address, "fromBlock": "0x0", "topics": topics}
    )
    assert second_log["transactionHash"] == "0x" + receipts[2].hash.hex()


def test_filters(w3: Any, chain: RpcChain, device: Account, probe: Artifact) -> None:
    contract, _ = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    contract.send(device, "store", 1, 1)
    events, blocks = w3.eth.filter({"address": contract.address}), w3.eth.filter("latest")
    assert events.get_new_entries() == []
    receipt = contract.send(device, "store", 2, 1)
    assert [bytes(entry["transactionHash"]) for entry in events.get_new_entries()] == [receipt.hash]
    assert events.get_new_entries() == []
    assert w3.eth.get_block(receipt.block)["hash"] in blocks.get_new_entries()
    assert w3.eth.uninstall_filter(events.filter_id)
    assert not w3.eth.uninstall_filter(events.filter_id)
    with pytest.raises(Web3RPCError):
        w3.eth.get_filter_changes(events.filter_id)


def test_fees(w3: Any) -> None:
    history = w3.eth.fee_history(3, "latest", [10, 90])
    count = len(history["gasUsedRatio"])
    assert len(history["baseFeePerGas"]) == count + 1
    assert [len(tips) for tips in history["reward"]] == [2] * count
    assert history["oldestBlock"] == w3.eth.block_number - count + 1
    assert w3.eth.gas_price >= history["baseFeePerGas"][-1]
    assert w3.eth.max_priority_fee >= 0


def test_small_questions(w3: Any, device: Account) -> None:
    assert w3.is_connected()
    assert (w3.eth.chain_id, w3.net.version, w3.net.listening) == (31337, "31337", True)
    assert w3.eth.syncing is False
    assert device.address in w3.eth.accounts
    assert w3.eth.get_code(device.address) == b""


def test_batches(url: str) -> None:
    requests_: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": key, "method": "eth_chainId", "params": []} for key in ("a", 2)
    ]
    requests_.append({"jsonrpc": "2.0", "id": 3, "method": "eth_nothing", "params": []})
    answers = {answer["id"]: answer for answer in post(url, json.dumps(requests_), headers=JSON).json()}
    assert answers["a"]["result"] == answers[2]["result"] == "0x7a69"
    assert answers[3]["error"]["code"] == -32601


JSON = {"Content-Type": "application/json"}


# The clock


def test_clock_is_the_walls_and_can_be_moved(device: Account) -> None:
    with serve(None, [device.address], port=0) as server:
        chain = RpcChain(server.url, poll=0.01)
        assert abs(chain.now() - time.time()) < 5
        timestamp = int(time.time()) + 10_000
        chain.warp(timestamp)
        assert chain.now() == timestamp
        chain.request("evm_mine")
        assert int(chain.request("eth_getBlockByNumber", "latest", False)["timestamp"], 16) == timestamp
        chain.request("evm_increaseTime", 500)
        assert 500 <= chain.now() - timestamp < 510
        with pytest.raises(LedgerError, match="comes after the last"):
            chain.request("evm_setNextBlockTimestamp", timestamp)
        for seconds in (-1, 2**40):
            with pytest.raises(LedgerError, match="time goes forward"):
                chain.request("evm_increaseTime", seconds)
        chain.close()


def test_simulated_clock_stands_still(device: Account) -> None:
    with serve(None, [device.address], port=0, simulated=True) as server:
        chain = RpcChain(server.url, poll=0.01)
        start = chain.now()
        chain.request("evm_mine")
        assert chain.now() == start + 1
        chain.request("evm_increaseTime", 60)
        assert chain.now() == start + 61
        chain.close()


def test_time_goes_on_where_it_was_after_a_restart(tmp_path: Path, device: Account) -> None:
    timestamp = int(time.time()) + 10_000
    for _ in range(2):
        with serve(tmp_path / "chain", [device.address], port=0) as server:
            chain = RpcChain(server.url, poll=0.01)
            chain.warp(timestamp)
            chain.request("evm_mine")
            assert timestamp <= chain.now() < timestamp + 10
            chain.close()


# Folder and socket


def test_port_that_is_taken(embedded_url: str, device: Account) -> None:
    port = int(embedded_url.rsplit(":", 1)[1])
    with (
        pytest.raises(ConfigError, match=rf"port {port} of 127\.0\.0\.1 is taken"),
        serve(None, [], port=port),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="no-such-host is not an address"),
        serve(None, [], "no-such-host", 0),
    ):
        pass
    assert ask(embedded_url, "eth_accounts") == [device.address]


def test_folder_of_something_else(tmp_path: Path, device: Account, outsider: Account) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="something else"), serve(tmp_path, [device.address], port=0):
        pass
    folder = tmp_path / "chain"
    with (
        serve(folder, [device.address], port=0),
        pytest.raises(RunError, match="another process is writing"),
        serve(folder, [device.address], port=0),
    ):
        pass
    with pytest.raises(RunError, match="other accounts"), serve(folder, [outsider.address], port=0):
        pass
    (folder / "chain.json").write_text("{}")
    with pytest.raises(RunError, match="damaged"), serve(folder, [device.address], port=0):
        pass


def test_killed_at_any_moment_it_goes_on_with_all_it_said(
    tmp_path: Path, device: Account, outsider: Account
) -> None:
    names: list[str] = []
    for _ in range(2):
        with running(tmp_path / "chain", device) as (process, url):
            chain = RpcChain(url, poll=0.01)
            count, killer = len(names), threading.Timer(0.2, process.kill)
            with suppress(LedgerError):
                while True:
                    names.append(transact(chain, device, outsider.address, b"", 1, 21_000)["transactionHash"])
                    if len(names) == count + 2:
                        killer.start()
            killer.join()
            chain.close()
    with serve(tmp_path / "chain", [device.address], port=0) as server:
        assert all(ask(server.url, "eth_getTransactionReceipt", name)["status"] == "0x1" for name in names)
        nonce = int(ask(server.url, "eth_getTransactionCount", device.address), 16)
        assert len(names) <= nonce <= len(names) + 2  # the last of each life may have been mined and not said
    assert len(set(names)) == len(names) > 3


@contextmanager
def running(folder: Path, device: Account) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A served chain in a process of its own, which is killed in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(folder), device.address],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_many_clients_at_once(device: Account, outsider: Account) -> None:
    with serve(None, [device.address], port=0) as server:
        errors: list[Exception] = []

        def client() -> None:
            try:
                chain = RpcChain(server.url, poll=0.01)
                for _ in range(10):
                    assert chain.request("eth_getBalance", device.address) != "0x0"
                    chain.request("eth_getBlockByNumber", "pending", True)
                chain.close()
            except Exception as error:
                errors.append(error)

        clients = [threading.Thread(target=client) for _ in range(6)]
        for thread in clients:
            thread.start()
        chain = RpcChain(server.url, poll=0.01)
        for _ in range(10):
            transact(chain, device, outsider.address, b"", 1, 21_000)
        for thread in clients:
            thread.join()
        assert not errors
        assert chain.request("eth_getBalance", outsider.address) == "0xa"
        chain.close()


def test_chain_keeps_its_genesis(tmp_path: Path, device: Account) -> None:
    """The folder remembers when the chain began, so that it opens later as the same chain."""
    with serve(tmp_path / "chain", [device.address], port=0) as server:
        genesis = ask(server.url, "eth_getBlockByNumber", "0x0", False)["hash"]
    content = json.loads((tmp_path / "chain" / "chain.json").read_text())
    content["began"] -= 1
    (tmp_path / "chain" / "chain.json").write_text(json.dumps(content))
    with pytest.raises(RunError), serve(tmp_path / "chain", [device.address], port=0):
        pass
    content["began"] += 1
    (tmp_path / "chain" / "chain.json").write_text(json.dumps(content))
    with serve(tmp_path / "chain", [device.address], port=0) as server:
        assert ask(server.url, "eth_getBlockByNumber", "0x0", False)["hash"] == genesis
