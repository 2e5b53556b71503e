"""The receipt of a new transaction is kept: it is the one that the chain has."""

from __future__ import annotations

from eth_utils.address import to_canonical_address

from bcfl.ledger.contract import sign
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.devnet.node import KEPT_RECEIPTS
from bcfl.protocol.accounts import Account
from tests.differential.test_flat_chain import GADGETS, deployment

SENDER = Account.derive(0, "owner")


def test_a_kept_receipt_is_that_of_the_chain() -> None:
    """Of a creation, of one with logs, of one that reverts; and what one does to it harms nobody."""
    chain = EmbeddedChain(None, accounts=[SENDER.address])
    node = chain._node
    hashes = []
    for code in (*GADGETS[:2], GADGETS[-1]):
        transaction = sign(chain, SENDER, None, deployment(code), 0, 2_000_000)
        address = chain.deliver(transaction)["contractAddress"]
        assert len(to_canonical_address(address)) == 20
        call = sign(chain, SENDER, address, b"", 0, 200_000)
        chain.deliver(call)["logs"].append("rubbish")
        hashes += [transaction.hash, call.hash]
    kept = [chain.request("eth_getTransactionReceipt", digest) for digest in hashes]
    node._receipts.clear()
    assert kept == [chain.request("eth_getTransactionReceipt", digest) for digest in hashes]
    assert {receipt["status"] for receipt in kept} == {"0x0", "0x1"}
    assert any(receipt["logs"] for receipt in kept)
    chain.close()


def test_few_are_kept() -> None:
    chain = EmbeddedChain(None, accounts=[SENDER.address])
    first = sign(chain, SENDER, SENDER.address, b"", 1, 21_000)
    receipt = chain.deliver(first)
    for _ in range(KEPT_RECEIPTS):
        chain.deliver(sign(chain, SENDER, SENDER.address, b"", 1, 21_000))
    assert len(chain._node._receipts) == KEPT_RECEIPTS
    assert chain.request("eth_getTransactionReceipt", first.hash) == receipt
    chain.close()
