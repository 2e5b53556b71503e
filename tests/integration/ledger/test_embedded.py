"""The embedded chain: deterministic, lasting, readable from outside, and cheap to look back on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_typing import BlockNumber
from eth_utils.address import to_canonical_address

from bcfl.errors import LedgerError, RunError
from bcfl.ledger.contract import Contract, sign
from bcfl.ledger.devnet.database import Database
from bcfl.ledger.devnet.embedded import GENESIS_TIME, EmbeddedChain
from bcfl.ledger.devnet.evm import Evm, open_evm

from .conftest import Account, Artifact


def head(chain: EmbeddedChain) -> bytes:
    return bytes(chain.w3.eth.get_block("latest")["hash"])


def history(path: Path | None, device: Account, probe: Artifact, time: int = GENESIS_TIME) -> list[bytes]:
    """Block hashes of one fixed course of events."""
    chain = EmbeddedChain(path, accounts=[device.address], genesis_time=time)
    contract, receipt = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    contract.send(device, "store", 1, 2)
    chain.warp(time + 1_000)
    contract.send(device, "store", 2, 3)
    hashes = [bytes(chain.w3.eth.get_block(number)["hash"]) for number in range(4)]
    assert receipt.block == 1
    chain.close()
    return hashes


def test_same_inputs_same_block_hashes(tmp_path: Path, device: Account, probe: Artifact) -> None:
    hashes = history(tmp_path / "chain.sqlite", device, probe)
    assert hashes == history(None, device, probe)
    assert len({*hashes, *history(None, device, probe, GENESIS_TIME + 1)}) == 8


def test_blocks_are_those_of_py_evm(device: Account, probe: Artifact) -> None:
    """The short way to mine leaves out checks, nothing else: py-evm's own way gives the same hashes."""
    chain = EmbeddedChain(None, accounts=[device.address])
    contract, _ = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    database = Database(None)
    evm = open_evm(database, [to_canonical_address(device.address)], GENESIS_TIME, False)
    for number in range(1, 5):
        block = chain._evm.get_canonical_block_by_number(BlockNumber(number - 1 or 1))
        if number > 1:
            contract.send(device, "store", number, 7)
            block = chain._evm.get_canonical_block_by_number(BlockNumber(number))
        (transaction,) = block.transactions
        evm.apply_transaction(transaction)
        assert evm.mine_block().hash == block.hash
    chain.close()
    database.close()


def test_time_moves_by_blocks_and_warps_only(
    chain: EmbeddedChain, contract: Contract, device: Account
) -> None:
    assert chain.now() == GENESIS_TIME + 2  # one block was mined
    assert contract.send(device, "store", 1, 1).timestamp == GENESIS_TIME + 2
    chain.warp(GENESIS_TIME + 500)
    chain.warp(GENESIS_TIME + 400)
    assert chain.now() == GENESIS_TIME + 500
    assert contract.call("clock") == GENESIS_TIME + 500
    assert contract.send(device, "store", 1, 1).timestamp == GENESIS_TIME + 500
    assert chain.now() == contract.call("clock") == GENESIS_TIME + 501


def test_reopens_where_it_stood(tmp_path: Path, device: Account, probe: Artifact) -> None:
    path = tmp_path / "chain.sqlite"
    chain = EmbeddedChain(path, accounts=[device.address])
    contract, deploy_receipt = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    chain.warp(GENESIS_TIME + 700)
    receipt = contract.send(device, "store", 1, 5)
    head_hash = head(chain)
    chain.close()

    reopened_chain = EmbeddedChain(path, accounts=[device.address])
    contract = Contract(reopened_chain, probe.abi, contract.address)
    assert head(reopened_chain) == head_hash
    assert reopened_chain.now() == contract.call("clock") == GENESIS_TIME + 701
    assert contract.call("amounts", 1) == 5
    assert list(contract.events()) == list(receipt.events)
    assert contract.send(device, "store", 2, 6).block == receipt.block + 1 == deploy_receipt.block + 2
    reopened_chain.close()


def test_reopened_without_accounts_or_with_others(tmp_path: Path, device: Account, outsider: Account) -> None:
    path = tmp_path / "chain.sqlite"
    EmbeddedChain(path, accounts=[device.address]).close()
    chain = EmbeddedChain(path)
    assert chain.w3.eth.get_balance(device.address) == 10**24  # type: ignore[arg-type]
    chain.close()
    with pytest.raises(RunError, match="began with other accounts"):
        EmbeddedChain(path, accounts=[outsider.address])


def test_begun_and_killed_before_the_first_block(tmp_path: Path, device: Account) -> None:
    path = tmp_path / "chain.sqlite"
    Database(path).close()
    with pytest.raises(RunError, match="holds no block yet"):
        EmbeddedChain(path, read_only=True)
    chain = EmbeddedChain(path, accounts=[device.address])
    assert chain.w3.eth.block_number == 0
    chain.close()


def test_transaction_that_no_block_takes_changes_nothing(
    chain: EmbeddedChain, contract: Contract, device: Account, outsider: Account
) -> None:
    head_hash, time = head(chain), chain.now()
    with pytest.raises(LedgerError, match="invalid transaction"):
        contract.send(outsider, "store", 1, 1)  # has no funds
    earlier_transaction = sign(chain, device, contract.address, b"", 0, 100_000)
    contract.send(device, "store", 1, 1)
    with pytest.raises(LedgerError, match="nonce"):
        chain.request("eth_sendRawTransaction", "0x" + earlier_transaction.raw.hex())
    for payload in ("0x", "0x02", "0x02c0", "0xzz"):
        with pytest.raises(LedgerError, match="malformed transaction"):
            chain.request("eth_sendRawTransaction", payload)
    assert chain.w3.eth.get_block(2)["parentHash"] == head_hash
    assert chain.now() == time + 1


def test_failed_write_leaves_the_chain_at_its_last_block(
    chain: EmbeddedChain, contract: Contract, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Database) -> None:
        self.rollback()
        raise RunError("the disk is full")

    head_hash = head(chain)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "commit", full)
        with pytest.raises(RunError, match="full"):
            contract.send(device, "store", 1, 9)
    assert head(chain) == head_hash
    assert contract.call("amounts", 1) == 0
    assert contract.send(device, "store", 1, 9).block == 2


WRITER = """
    import sys
    from pathlib import Path
    from bcfl.ledger.contract import Contract
    from bcfl.ledger.devnet.embedded import EmbeddedChain
    from tests.integration.ledger.conftest import account

    device = account(bytes.fromhex(sys.argv[2]))
    chain = EmbeddedChain(Path(sys.argv[1]), accounts=[device.address])
    abi = [{"type": "function", "name": "store", "outputs": [],
            "inputs": [{"type": "uint256"}, {"type": "uint256"}]}]
    contract = Contract(chain, abi, sys.argv[3])
    for number in range(10_000):
        contract.send(device, "store", number, number + 1)
        print(number, flush=True)
"""


@contextmanager
def writer(path: Path, device: Account, contract: Contract) -> Iterator[Callable[[], str]]:
    """Another process that writes block after block, killed in the end; gives what it says next."""
    arguments = [str(path), device.key.hex(), contract.address]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def deployment(tmp_path: Path, device: Account, probe: Artifact) -> tuple[Path, Contract]:
    path = tmp_path / "chain.sqlite"
    chain = EmbeddedChain(path, accounts=[device.address])
    contract, _ = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    chain.close()
    return path, contract


def check_whole(chain: EmbeddedChain, contract: Contract) -> int:
    """Each block up to the last is there with its receipt, its logs and its state; the number stored."""
    last = int(chain.request("eth_blockNumber"), 16)  # while others write, all is asked as of one block
    count = int(contract.call("count", block=last))
    events = list(contract.events(0, last))
    assert [event.args["amount"] for event in events] == list(range(1, count + 1))
    assert [event.block for event in events] == list(range(2, count + 2))
    for event in events[-2:]:
        receipt = chain.request("eth_getTransactionReceipt", "0x" + event.transaction.hex())
        assert int(receipt["blockNumber"], 16) == event.block
        assert contract.call("amounts", event.args["slot"], block=event.block) == event.args["amount"]
        assert contract.call("amounts", event.args["slot"], block=event.block - 1) == 0
    return count


@pytest.mark.parametrize("statement", ["BEGIN", "INSERT OR REPLACE INTO entry", "INSERT INTO log", "COMMIT"])
def test_killed_inside_a_commit(
    deployment: tuple[Path, Contract], device: Account, probe: Artifact, statement: str
) -> None:
    path, first = deployment
    child = os.fork()
    if child == 0:
        chain = EmbeddedChain(path)
        chain.database._connection.set_trace_callback(
            lambda sql: os.kill(os.getpid(), signal.SIGKILL) if sql.startswith(statement) else None
        )
        Contract(chain, probe.abi, first.address).send(device, "store", 0, 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    chain = EmbeddedChain(path, accounts=[device.address])
    contract = Contract(chain, probe.abi, first.address)
    assert check_whole(chain, contract) == 0
    contract.send(device, "store", 0, 1)
    assert check_whole(chain, contract) == 1
    chain.close()


def test_killed_while_writing(deployment: tuple[Path, Contract], device: Account, probe: Artifact) -> None:
    path, first = deployment
    counts = [0]
    for kill in range(2):
        with writer(path, device, first) as read_line:
            lines = [read_line() for _ in range(20)]
            time.sleep(0.0013 * kill)  # killed somewhere inside a block
        chain = EmbeddedChain(path, accounts=[device.address])
        contract = Contract(chain, probe.abi, first.address)
        count = int(contract.call("count"))
        assert count >= counts[-1] + len(lines)  # whatever it said that it had written is there
        assert int(chain.request("eth_blockNumber"), 16) == count + 1
        assert len(list(contract.events())) == count
        counts.append(count)
        chain.close()


def test_read_from_another_process_while_writing(
    deployment: tuple[Path, Contract], device: Account, probe: Artifact
) -> None:
    path, first = deployment
    with writer(path, device, first) as read_line:
        read_line()
        reader = EmbeddedChain(path, read_only=True)
        contract = Contract(reader, probe.abi, first.address)
        counts = [check_whole(reader, contract) for _ in range(5)]
        while counts[-1] < counts[0] + 5:
            assert read_line()
            counts.append(int(contract.call("count")))
        with pytest.raises(LedgerError, match="reading only"):
            contract.send(device, "store", 1, 1)
        with pytest.raises(RunError, match="another process is writing"):
            EmbeddedChain(path)
    check_whole(reader, contract)
    reader.close()


def test_history_costs_what_is_read(tmp_path: Path, device: Account, probe: Artifact) -> None:
    """eth-tester walks back from the head, so that a receipt costs more the older it is."""
    path = tmp_path / "chain.sqlite"
    chain = EmbeddedChain(path, accounts=[device.address])
    contract, deploy_receipt = Contract.deploy(chain, device, probe.abi, probe.bytecode, [1])
    contract.send(device, "enlist", "early", [], [], b"")

    def reads(ask: str) -> int:
        reader = EmbeddedChain(path, read_only=True)
        early = Contract(reader, probe.abi, contract.address)
        start = reader.database.reads
        if ask == "receipt":
            receipt = reader.request("eth_getTransactionReceipt", "0x" + deploy_receipt.hash.hex())
            assert receipt["blockNumber"] == "0x1"
        else:
            assert len(list(early.events(name=None if ask == "all" else ask))) == (
                total if ask == "all" else 1
            )
        reads = reader.database.reads - start
        reader.close()
        return reads

    costs, total = [], 1
    for count in (5, 60):
        for number in range(count):
            contract.send(device, "store", number, 1)
        total += count
        costs.append({ask: reads(ask) for ask in ("receipt", "Listed", "all")})
    young, old = costs
    assert old["receipt"] == young["receipt"] < 15
    assert old["Listed"] == young["Listed"] < 10
    assert old["all"] - young["all"] <= 60 * 3
    chain.close()


def test_web3_sees_the_same_chain(chain: EmbeddedChain, contract: Contract, device: Account) -> None:
    receipt = contract.send(device, "store", 4, 5)
    w3: Any = chain.w3
    assert w3.eth.chain_id == chain.chain_id
    assert w3.eth.block_number == receipt.block == 2
    assert w3.eth.get_transaction_count(device.address) == 2
    assert w3.eth.get_code(contract.address)
    block = w3.eth.get_block(receipt.block)
    assert block["timestamp"] == receipt.timestamp
    assert bytes(block["transactions"][0]) == receipt.hash
    transaction = w3.eth.get_transaction(receipt.hash)
    assert (transaction["from"], transaction["to"]) == (device.address, contract.address)
    web3_receipt = w3.eth.get_transaction_receipt(receipt.hash)
    assert (web3_receipt["status"], web3_receipt["gasUsed"], len(web3_receipt["logs"])) == (
        1,
        receipt.gas_used,
        1,
    )
    logs = w3.eth.get_logs({"fromBlock": 0, "toBlock": "latest", "address": contract.address})
    assert [bytes(log["transactionHash"]) for log in logs] == [receipt.hash]
    assert w3.eth.get_logs({"fromBlock": 1, "toBlock": 1}) == []
    function = w3.eth.contract(address=contract.address, abi=[AMOUNTS]).functions.amounts
    assert (function(4).call(), function(4).call(block_identifier=1)) == (5, 0)


def test_logs_say_hash_and_time_of_their_blocks_without_their_headers(
    chain: EmbeddedChain, contract: Contract, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.warp(GENESIS_TIME + 5_000)
    for number in range(3):
        contract.send(device, "store", number, 5)
    blocks = [chain.request("eth_getBlockByNumber", hex(number)) for number in (2, 3, 4)]
    monkeypatch.setattr(Evm, "get_canonical_block_header_by_number", None)
    logs = chain.request("eth_getLogs", {"fromBlock": "0x0", "toBlock": "0x4"})
    assert [(log["blockHash"], log["blockTimestamp"]) for log in logs] == [
        (block["hash"], block["timestamp"]) for block in blocks
    ]


AMOUNTS = {
    "type": "function",
    "name": "amounts",
    "stateMutability": "view",
    "inputs": [{"type": "uint256", "name": "slot"}],
    "outputs": [{"type": "uint256", "name": ""}],
}


def test_web3_says_what_is_withheld(chain: EmbeddedChain) -> None:
    from web3.exceptions import Web3RPCError

    with pytest.raises(Web3RPCError, match="not offered by the embedded chain"):
        chain.w3.eth.filter({"fromBlock": 0})
    with pytest.raises(LedgerError, match="no block 9"):
        chain.request("eth_call", {}, "0x9")
    with pytest.raises(LedgerError, match="through web3 only"):
        chain.request("eth_gasPrice")


def test_web3_mines_in_our_time(tmp_path: Path, device: Account) -> None:
    path = tmp_path / "chain.sqlite"
    chain = EmbeddedChain(path, accounts=[device.address])
    chain.w3.provider.make_request("evm_mine", [2])  # type: ignore[arg-type]
    assert chain.now() == GENESIS_TIME + 3
    head_hash = head(chain)
    chain.close()
    reopened_chain = EmbeddedChain(path)
    assert (reopened_chain.w3.eth.block_number, head(reopened_chain)) == (2, head_hash)
    reopened_chain.close()
