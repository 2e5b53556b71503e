"""Measure what the embedded chain costs: a transaction, a query, and reopening; beside plain eth-tester.

Run: python -m benchmarks.ledger [BLOCKS ...]     (default: 50 500 2000; about a minute)

A transaction is a call that writes one storage slot and one event, from signing to decoded receipt. Both
sides do the same through their ordinary interface: bcfl's Contract on a file, web3's contract on memory.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import vyper
from eth_account import Account
from eth_tester import EthereumTester, PyEVMBackend  # type: ignore[import-untyped]
from web3 import EthereumTesterProvider, Web3

from bcfl.ledger.contract import Contract
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.protocol.limits import TRANSACTION_GAS
from benchmarks.measurement import best_seconds

SOURCE = """
# pragma version 0.4.3
event Stored:
    slot: indexed(uint256)
    amount: uint256

amounts: public(HashMap[uint256, uint256])

@external
def store(slot: uint256, amount: uint256):
    assert amount != 0, "store: amount is zero"
    self.amounts[slot] = amount
    log Stored(slot=slot, amount=amount)
"""
KEY = Account.from_key(b"\x00" * 31 + b"\x01")  # the first account of eth-tester
OLD = 2  # a block near the beginning
SPAN = 100  # blocks of the longer query


def main(sizes: list[int]) -> None:
    """Grow both chains to each size in turn and print what everything costs there."""
    artifact = vyper.compile_code(SOURCE, output_formats=["abi", "bytecode"])
    abi, bytecode = artifact["abi"], bytes.fromhex(artifact["bytecode"][2:])
    print(f"{'blocks':>7}  {'':34}{'bcfl':>10}{'eth-tester':>12}{'ratio':>8}")
    with TemporaryDirectory() as directory:
        path = Path(directory) / "chain.sqlite"
        chain = EmbeddedChain(path, accounts=[KEY.address])
        contract, _ = Contract.deploy(chain, KEY, abi, bytecode)
        stock = Stock(abi, bytecode)
        height = 1
        for size in sizes:
            count = size - height
            seconds = mean_seconds(partial(store, contract), height, count)
            show(size, "a transaction", seconds, mean_seconds(stock.store, height, count))
            query(size, contract, stock)
            chain.close()
            start = time.perf_counter()
            chain = EmbeddedChain(path, accounts=[KEY.address])
            show(size, "to reopen", time.perf_counter() - start)
            contract = Contract(chain, abi, contract.address)
            height = size
        chain.close()
        print(f"{path.stat().st_size / height / 1000:.1f} kB of file a block")


def store(contract: Contract, number: int) -> None:
    """Write one slot and one event."""
    contract.send(KEY, "store", number, 1)


def query(size: int, contract: Contract, stock: Stock) -> None:
    """Time receipts and logs near the beginning of a chain of `size` blocks."""
    transaction = "0x" + next(contract.events(OLD, OLD)).transaction.hex()
    seconds = best_seconds(lambda: contract.chain.request("eth_getTransactionReceipt", transaction))
    show(size, "the receipt of an old transaction", seconds, best_seconds(stock.receipt))
    for last, name in (
        (OLD, "the events of an old block"),
        (OLD + SPAN - 1, f"the events of {SPAN} old blocks"),
    ):
        if last < size:
            seconds = best_seconds(partial(read_events, contract, last))
            show(size, name, seconds, mean_seconds(stock.events, last, 1))


def read_events(contract: Contract, last: int) -> None:
    """Decode the events of the old blocks up to `last`."""
    for _ in contract.events(OLD, last):
        pass


class Stock:
    """web3 on eth-tester as they come."""

    def __init__(self, abi: Any, bytecode: bytes) -> None:
        self.w3 = Web3(EthereumTesterProvider(EthereumTester(PyEVMBackend())))
        self.nonce = 0
        receipt = self.send({"to": b"", "data": bytecode})
        self.contract = self.w3.eth.contract(address=receipt["contractAddress"], abi=abi)
        self.early: Any = None

    def send(self, call: dict[str, Any]) -> Any:
        """Sign and send one transaction and read its receipt."""
        fees = {"maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 0}
        fields = {"value": 0, "gas": TRANSACTION_GAS, "chainId": self.w3.eth.chain_id, "nonce": self.nonce}
        self.nonce += 1
        raw = KEY.sign_transaction({**fields, **fees, **call}).raw_transaction
        return self.w3.eth.get_transaction_receipt(self.w3.eth.send_raw_transaction(raw))

    def store(self, number: int) -> None:
        """Do what Contract.send does."""
        data = self.contract.encode_abi("store", [number, 1])
        receipt = self.send({"to": self.contract.address, "data": data})
        self.contract.events.Stored().process_receipt(receipt)
        self.early = self.early or receipt["transactionHash"]

    def receipt(self) -> None:
        """Read the receipt of the first transaction."""
        self.w3.eth.get_transaction_receipt(self.early)

    def events(self, last: int) -> None:
        """Decode the events of the old blocks up to `last`."""
        assert self.contract.events.Stored().get_logs(from_block=OLD, to_block=last)


def mean_seconds(action: Callable[[int], Any], first: int, count: int) -> float:
    """Return the mean seconds of `count` actions, which get the numbers from `first`."""
    start = time.perf_counter()
    for number in range(first, first + count):
        action(number)
    return (time.perf_counter() - start) / count


def show(size: int, name: str, seconds: float, stock_seconds: float | None = None) -> None:
    """Print a line of the table in milliseconds; the ratio is how many times longer eth-tester takes."""
    comparison = (
        "" if stock_seconds is None else f"{stock_seconds * 1e3:>9.2f} ms{stock_seconds / seconds:>8.1f}"
    )
    print(f"{size:>7}  {name:34}{seconds * 1e3:>7.2f} ms{comparison}", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [50, 500, 2000])
