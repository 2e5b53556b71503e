"""What it costs to refuse a node's answer, however large and wrong it is."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from bcfl.ledger import answers
from bcfl.ledger.answers import MalformedAnswer, TooLarge

HASH = "0x" + "11" * 32
BLOCK = {"number": "0x5", "hash": HASH, "timestamp": "0x1"}
MINED = {
    "transactionHash": HASH, "blockNumber": "0x5", "blockHash": HASH, "gasUsed": "0x1", "status": "0x1",
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "params", "wrong"),
    [
        ("eth_getLogs", ({},), [[]] * 300_000),
        ("eth_getLogs", ({},), [{"topics": [7] * 300_000}]),
        ("eth_getBlockByNumber", ("0x5", True), BLOCK | {"transactions": [7] * 300_000}),
        ("eth_getTransactionReceipt", (HASH,), MINED | {"logs": [7] * 300_000}),
    ],
)
def test_a_wrong_answer_costs_little_however_much_of_it_is_wrong(
    method: str, params: tuple[Any, ...], wrong: Any
) -> None:
    """An error for each of them would take a gigabyte, and minutes in which nothing else runs."""
    tracemalloc.start()
    try:
        with pytest.raises(MalformedAnswer, match="no such result at"):
            answers.check(method, params, wrong)
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    finally:
        tracemalloc.stop()


def test_an_answer_of_millions_of_values_is_not_decoded() -> None:
    """64 MiB of empty lists would take 1.4 GiB."""
    raw = b'{"result": [' + b"[]," * answers.MAX_PARTS + b"[]]}"
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="values"):
            answers.decode(raw)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    log = b'{"address": "0x", "topics": ["0x", "0x"], "data": "0x", "blockNumber": "0x5", "logIndex": "0x0"},'
    assert len(answers.decode(b'{"result": [' + log * 100_000 + b"{}]}")["result"]) == 100_001
