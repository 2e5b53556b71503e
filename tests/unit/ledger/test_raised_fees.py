"""A transaction on its way through a node that loses blocks, begins anew, or mines nothing for the fee."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger import delivery
from bcfl.ledger.chain import SignedTransaction
from bcfl.ledger.contract import raised, transact
from bcfl.ledger.delivery import MAX_RAISES, Delivery
from bcfl.ledger.rpc import MAX_TIP, RpcChain
from bcfl.protocol.accounts import Account

SENDER = Account.derive(0, "miner")


class SlowNode:
    """A node that holds what it gets, by its fee, and mines the next one when it pays `price`."""

    chain_id, view = 31337, "latest"

    def __init__(self, nonce: int = 0, price: int = 10**9) -> None:
        self.nonce, self.price, self.mined = nonce, price, ""
        self.pool: dict[str, int] = {}  # hash -> fee
        self.fees_seen: list[int] = []
        self.is_away = False

    def fees(self) -> tuple[int, int]:
        return 100, 10

    def gas(self, _: object) -> int:
        return 21_000

    def request(self, method: str, *params: Any) -> Any:
        if method == "eth_getTransactionCount":
            return hex(self.nonce)
        if method == "eth_getTransactionByHash":
            return {"hash": params[0]} if params[0] in self.pool else None
        if method == "eth_getTransactionReceipt":
            return {"status": "0x1", "hash": params[0], "gasUsed": "0x1"} if params[0] == self.mined else None
        assert method == "eth_sendRawTransaction"
        return self.take(bytes.fromhex(params[0][2:]))

    def take(self, raw: bytes) -> str:
        import rlp  # type: ignore[import-untyped]

        fields = rlp.decode(raw[1:])
        nonce, tip, fee = (int.from_bytes(field, "big") for field in fields[1:4])
        if nonce > self.nonce:
            raise LedgerError("the node refused: nonce too high")
        old = max(self.fees_seen, default=0)
        if self.fees_seen and (fee * 8 < old * 9 or tip > fee):
            raise LedgerError("the node refused: replacement transaction underpriced")
        name = SignedTransaction(raw, SENDER.address, nonce).hash
        self.fees_seen.append(fee)
        self.pool = {name: fee}
        if fee >= self.price:
            self.mined, self.nonce = name, nonce + 1
        return name

    def deliver(self, transaction: SignedTransaction, raise_fee: Any = None) -> Any:
        return Delivery(self.request, "node", transaction, raise_fee).receipt(2.0, 0.001)


@pytest.fixture(autouse=True)
def fast_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "CHECK_SECONDS", 0.005)
    monkeypatch.setattr(delivery, "RAISE_SECONDS", 0.01)


def test_a_fee_is_raised_until_the_transaction_is_mined() -> None:
    node = SlowNode(price=190)
    assert transact(node, SENDER, SENDER.address, b"")["status"] == "0x1"  # type: ignore[arg-type]
    assert node.fees_seen == [100, 126, 158, 198]
    assert node.nonce == 1


def test_a_fee_is_raised_so_often_and_no_more() -> None:
    node = SlowNode()
    with pytest.raises(Unreachable, match="was not mined in 2 s"):
        transact(node, SENDER, SENDER.address, b"")  # type: ignore[arg-type]
    assert len(node.fees_seen) == 1 + MAX_RAISES
    assert node.fees_seen[-1] < 320


def test_a_version_with_a_lower_fee_may_be_mined_after_all() -> None:
    node = SlowNode()

    def mine_the_first(method: str, *params: Any) -> Any:
        if len(node.fees_seen) == 3 and not node.mined:
            node.mined, node.nonce = first.hash, 1
        return node.request(method, *params)

    from bcfl.ledger.contract import sign

    chain: Any = node
    first = sign(chain, SENDER, SENDER.address, b"", 0, 21_000)
    on_its_way = Delivery(
        mine_the_first,
        "node",
        first,
        lambda n: sign(chain, SENDER, SENDER.address, b"", 0, 21_000, 0, raised((100, 10), (0, 0), n)),
    )
    assert on_its_way.receipt(2.0, 0.001)["hash"] == first.hash


def test_fees_of_now_count_where_they_are_higher() -> None:
    assert raised((100, 0), (90, 3), 1) == (126, 3)
    assert raised((100, 0), (400, 0), 2) == (400, 2)


def test_a_chain_that_begins_anew_does_not_leave_a_sender_waiting() -> None:
    """The node has held it, then all nonces are gone, and it refuses the old one from then on."""
    node = SlowNode(nonce=7)

    def begin_anew(method: str, *params: Any) -> Any:
        if node.pool and method == "eth_getTransactionByHash":
            node.pool, node.nonce = {}, 0
        return node.request(method, *params)

    from bcfl.ledger.contract import sign

    chain: Any = node
    transaction = sign(chain, SENDER, SENDER.address, b"", 0, 21_000)
    began = time.monotonic()
    with pytest.raises(LedgerError, match=r"waits for an earlier one .* the chain has lost"):
        Delivery(begin_anew, "node", transaction).receipt(60.0, 0.001)
    assert time.monotonic() - began < 10


def test_a_node_cannot_have_an_account_pay_all_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain takes the tip in full: a node that suggests it may share it with who makes the blocks."""
    answers = {
        "eth_chainId": "0x1",
        "web3_clientVersion": "Geth/v1.16",
        "eth_maxPriorityFeePerGas": hex(10**18),
        "eth_getBlockByNumber": {"number": "0x1", "timestamp": "0x1", "baseFeePerGas": hex(10**9)},
    }
    monkeypatch.setattr(RpcChain, "request", lambda _, method, *__: answers[method])
    chain = RpcChain("http://node.example")
    assert chain.fees() == (2 * 10**9 + MAX_TIP, MAX_TIP)
    highest = raised(chain.fees(), chain.fees(), MAX_RAISES)
    assert highest[1] < 4 * MAX_TIP
    answers["eth_maxPriorityFeePerGas"] = hex(10**9)
    assert chain.fees() == (3 * 10**9, 10**9)
    chain.close()
