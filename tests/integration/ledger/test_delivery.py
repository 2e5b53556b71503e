"""Transactions that a node drops or loses, or that another one replaces: on anvil, on a bad connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor as Pool
from typing import Any

import pytest

from bcfl.errors import LedgerError, Reverted, Unreachable
from bcfl.ledger import delivery
from bcfl.ledger.chain import SignedTransaction
from bcfl.ledger.contract import Contract, Receipt, sign
from bcfl.ledger.rpc import RpcChain
from tests.processes import ANSWER, STALL_SECONDS

from .conftest import Account, Artifact

ETHER = 10**18
GAS = 200_000


@pytest.fixture(autouse=True)
def fast_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "CHECK_SECONDS", 0.05)


@pytest.fixture
def node(anvil: str) -> Iterator[RpcChain]:
    """anvil with blocks of its own while a test is going on."""
    chain = RpcChain(anvil, poll=0.01, mining_timeout=20)
    yield chain
    chain.request("anvil_dropAllTransactions")
    chain.request("evm_setAutomine", True)
    chain.close()


@pytest.fixture
def contract(node: RpcChain, device: Account, probe: Artifact) -> Contract:
    return Contract.deploy(node, device, probe.abi, probe.bytecode, [1])[0]


def start_sending(contract: Contract, device: Account, pool: Pool) -> tuple[Future[Receipt], str]:
    """A transaction that waits in the node's pool, and its hash."""
    contract.chain.request("evm_setAutomine", False)
    future = pool.submit(contract.send, device, "store", 1, 7, gas=GAS)
    return future, wait_for(lambda: pooled_transaction(contract, device))


def pooled_transaction(contract: Contract, device: Account) -> str | None:
    """The hash of the account's transaction in the pool."""
    pool = contract.chain.request("txpool_content")["pending"]
    for account, transactions in pool.items():
        if account.lower() == device.address.lower():
            return str(next(iter(transactions.values()))["hash"])
    return None


def wait_for(probe: Callable[[], Any], seconds: float = STALL_SECONDS) -> Any:
    """Return what `probe` returns, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while (value := probe()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def test_a_dropped_transaction_is_handed_over_again(contract: Contract, device: Account) -> None:
    with Pool(1) as pool:
        future, name = start_sending(contract, device, pool)
        for _ in range(2):
            contract.chain.request("anvil_dropTransaction", name)
            assert wait_for(lambda: pooled_transaction(contract, device)) == name  # the very same
        contract.chain.request("evm_mine")
        assert future.result(STALL_SECONDS).hash.hex() == name[2:]
    assert contract.call("count") == 1


@pytest.mark.parametrize("is_dropped", [True, False])
def test_a_replaced_transaction_is_given_up(contract: Contract, device: Account, is_dropped: bool) -> None:
    """Somebody with the same key takes its place: by a higher fee, or in a block while it was lost."""
    with Pool(1) as pool:
        future, name = start_sending(contract, device, pool)
        nonce = int(contract.chain.request("eth_getTransactionByHash", name)["nonce"], 16)
        if is_dropped:
            contract.chain.request("anvil_dropTransaction", name)
        rival = outbid(contract, device, nonce)
        contract.chain.request("eth_sendRawTransaction", "0x" + rival.raw.hex())
        contract.chain.request("evm_mine")
        with pytest.raises(LedgerError, match=r"was replaced: another one of .* does something else use"):
            future.result(STALL_SECONDS)
    assert contract.call("count") == 0
    assert contract.call("amounts", 2) == 0
    contract.chain.request("evm_setAutomine", True)
    contract.send(device, "store", 1, 1)  # and the next one goes through
    assert contract.call("count") == 1


def test_the_fee_of_a_transaction_that_waits_is_raised(
    contract: Contract, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node takes each version in place of the one before, and mines the last one."""
    monkeypatch.setattr(delivery, "RAISE_SECONDS", 0.2)
    with Pool(1) as pool:
        future, name = start_sending(contract, device, pool)
        second = wait_for(lambda: pooled_other_than(contract, device, {name}))
        third = wait_for(lambda: pooled_other_than(contract, device, {name, second}))
        first_fee = 2 * int(
            contract.chain.request("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16
        )
        fee = int(contract.chain.request("eth_getTransactionByHash", third)["maxFeePerGas"], 16)
        assert fee > first_fee * 3 // 2
        contract.chain.request("evm_mine")
        future.result(STALL_SECONDS)
    assert contract.call("count") == 1


def pooled_other_than(contract: Contract, device: Account, names: set[str]) -> str | None:
    """The hash of the account's transaction in the pool, once it is another one."""
    name = pooled_transaction(contract, device)
    return None if name in names else name


def outbid(contract: Contract, device: Account, nonce: int) -> SignedTransaction:
    """A transaction with a nonce that is taken, and four times the fee."""

    class Rich:
        chain_id = contract.chain.chain_id

        def fees(self) -> tuple[int, int]:
            max_fee, tip = contract.chain.fees()
            return 4 * max_fee, 4 * tip

        def request(self, *_: object) -> str:
            return hex(nonce)

    return sign(Rich(), device, device.address, b"", 0, 21_000)  # type: ignore[arg-type]


def test_a_transaction_behind_one_that_was_lost_is_given_up(contract: Contract, device: Account) -> None:
    """A block with the account's last transaction is taken back while the next one is on its way."""
    contract.send(device, "store", 1, 7)
    data = contract.encode("store", 2, 7)
    successor = sign(contract.chain, device, contract.address, data, 0, GAS)
    contract.chain.request("anvil_reorg", 1, [])
    with pytest.raises(LedgerError, match=r"waits for an earlier one of .* send what is due"):
        contract.chain.deliver(successor)
    contract.send(device, "store", 5, 7)  # fills the gap
    contract.send(device, "store", 6, 7)
    assert [contract.call("amounts", slot) for slot in (1, 2, 5, 6)] == [0, 7, 7, 7]


def test_a_transaction_that_no_block_takes_ends_in_a_clear_error(contract: Contract, device: Account) -> None:
    chain = RpcChain(contract.chain.url, poll=0.01, mining_timeout=0.3)  # type: ignore[attr-defined]
    contract.chain.request("evm_setAutomine", False)
    with pytest.raises(Unreachable, match=r"was not mined in 0\.3 s; it may still be: look at the chain"):
        chain.deliver(sign(chain, device, contract.address, b"", 0, GAS))
    chain.close()


def test_what_the_contract_refuses_is_refused_at_once(contract: Contract, device: Account) -> None:
    with pytest.raises(Reverted, match="amount is zero"):
        contract.send(device, "store", 1, 0)
    with pytest.raises(LedgerError, match="nonce too low"):
        contract.chain.deliver(outbid(contract, device, 0))


class FailingRequest:
    """A connection that fails so often at the methods of `failures`, before or after the node has heard."""

    def __init__(self, chain: RpcChain, failures: dict[str, int], is_heard: bool, error: LedgerError) -> None:
        self._request, self._fails, self._heard, self._error = chain.request, failures, is_heard, error
        self.sent = 0

    def __call__(self, method: str, *params: Any) -> Any:
        self.sent += method == "eth_sendRawTransaction"
        if self._fails.get(method, 0) > 0:
            self._fails[method] -= 1
            if self._heard:
                self._request(method, *params)
            raise self._error
        return self._request(method, *params)


AWAY = Unreachable("http://node: HTTP status 503; is the node running and the URL right?")


@pytest.mark.parametrize("is_heard", [True, False])
@pytest.mark.parametrize(
    "failures",
    [
        {"eth_sendRawTransaction": 2},
        {"eth_getTransactionReceipt": 3},
        {"eth_sendRawTransaction": 1, "eth_getTransactionReceipt": 2, "eth_getTransactionByHash": 1},
    ],
)
def test_a_node_that_errs_in_between(
    contract: Contract,
    device: Account,
    monkeypatch: pytest.MonkeyPatch,
    failures: dict[str, int],
    is_heard: bool,
) -> None:
    """It takes the bytes and the answer is lost, or it hears nothing: either way they take effect once."""
    failing_request = FailingRequest(contract.chain, dict(failures), is_heard, AWAY)  # type: ignore[arg-type]
    monkeypatch.setattr(contract.chain, "request", failing_request)
    contract.send(device, "store", 1, 7, gas=GAS)
    monkeypatch.undo()
    assert contract.call("count") == 1
    assert failing_request.sent <= 3


def test_a_node_that_stays_away_is_told_soon(
    contract: Contract, device: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENCE_SECONDS", 0.1)
    failing_request = FailingRequest(contract.chain, {"eth_getTransactionReceipt": 10**6}, False, AWAY)  # type: ignore[arg-type]
    monkeypatch.setattr(contract.chain, "request", failing_request)
    with pytest.raises(Unreachable, match="503"):
        contract.send(device, "store", 1, 7, gas=GAS)


def test_two_senders_with_one_key_never_take_one_another_for_themselves(
    contract: Contract, device: Account
) -> None:
    """Both choose the same nonce: one transaction is mined, the other's sender hears that."""
    gate = threading.Barrier(2)

    def request(method: str, *params: Any) -> Any:
        result = send_request(method, *params)
        if method == "eth_getTransactionCount" and threading.current_thread() not in threads:
            threads.add(threading.current_thread())
            gate.wait(ANSWER)
        return result

    threads: set[threading.Thread] = set()
    send_request = contract.chain.request
    contract.chain.request = request  # type: ignore[method-assign]
    with Pool(2) as pool:
        futures = [pool.submit(contract.send, device, "store", slot, 7, gas=GAS) for slot in (1, 2)]
        errors = [future.exception(STALL_SECONDS) for future in futures]
    assert sum(error is None for error in errors) == 1
    assert isinstance(next(error for error in errors if error is not None), LedgerError)
    assert contract.call("count") == 1
