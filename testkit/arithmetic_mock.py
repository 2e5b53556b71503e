"""Have the contract's arithmetic rule on many lanes in one call, and compare it with the twin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bcfl.ledger.chain import Chain
from bcfl.ledger.contract import Contract
from bcfl.protocol.challenges import pack_samples
from bcfl.protocol.types import Rule, Terms
from testkit.arithmetic import (
    LEAF_BYTES,
    Count,
    Ints,
    Probes,
    Row,
    draw_old,
    draw_probes,
    draw_row,
    plan,
)
from testkit.harness import Account
from testkit.mocks import compiled

CALL_GAS = 20_000_000  # what `parts` lets one call take
MAX_PROBES = 512  # of one call
WORD = 32


def deploy(chain: Chain, owner: Account, terms: Terms) -> Contract:
    """Deploy the mock under some terms."""
    from vyper.compiler.output import build_abi_output

    data = compiled("mocks/AggregationMock.vy")
    return Contract.deploy(chain, owner, build_abi_output(data), data.bytecode, (terms,))[0]


def compare(
    chain: Chain,
    owner: Account,
    rule: Rule,
    lane_bits: int,
    cases: int,
    seed: int,
    leaf_bytes: int = LEAF_BYTES,
) -> Count:
    """Compare contract and twin on at least so many cases of a rule and a width.

    Raises SystemExit at the first ruling that differs.
    """
    count, end = Count(), 0
    rng = np.random.default_rng([seed, rule, lane_bits])
    for terms, part in plan(rng, rule, lane_bits, cases, leaf_bytes):
        contract = deploy(chain, owner, terms)
        end += part
        while count.cases < end:
            row = draw_row(rng, terms)
            old = draw_old(rng, row)
            probes = draw_probes(rng, row, old)
            check(contract, row, probes, rng)
            count.add(row, old, probes)
    return count


def check(contract: Contract, row: Row, probes: Probes, rng: np.random.Generator) -> None:
    """Insist that both twins and the contract agree on a row; raises SystemExit where they differ."""
    if not np.array_equal(row.delta, row.lane_deltas):
        raise SystemExit(f"the twins differ: {row}")
    answers = np.concatenate([ask(contract, row, part, rng) for part in parts(row, probes)])
    differ = np.flatnonzero(answers != probes.answer)
    if len(differ):
        first = int(differ[0])
        probe = {name: int(value[first]) for name, value in vars(probes).items()}
        values = row.table[:, probe["lane"]].tolist()
        raise SystemExit(
            f"contract {answers[first]}, twin {probe}: values {values}, samples {row.samples}, {row.terms}"
        )


def parts(row: Row, probes: Probes) -> Iterator[Probes]:
    """Split rulings into those of one call."""
    gas = 25_000 + 900 * len(row.samples) + 4 * row.table.nbytes  # of one ruling, at most
    size = max(1, min(MAX_PROBES, CALL_GAS // gas))
    for start in range(0, len(probes.lane), size):
        yield probes.part(start, start + size)


def ask(contract: Contract, row: Row, probes: Probes, rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    """Return the contract's rulings, (cases,), as the mock encodes them."""
    call = {"to": contract.address, "data": "0x" + encode(contract, row, probes, rng).hex()}
    output = bytes.fromhex(contract.chain.request("eth_call", call, contract.chain.view)[2:])
    return np.frombuffer(output, ">u8", offset=2 * WORD).reshape(-1, 4)[:, 3].astype(np.uint64)


def encode(contract: Contract, row: Row, probes: Probes, rng: np.random.Generator) -> bytes:
    """Encode a call of `rulings`: by hand, because a general encoder takes longer than the call.

    The lanes of both models stand behind random bytes, as between others in a leaf.
    """
    words = rng.integers(0, 255, (len(probes.lane), 5, WORD), np.uint8, endpoint=True)
    for place, values in enumerate((probes.lane, probes.low, probes.high)):
        words[:, place, :24] = np.where(values < 0, 255, 0)[:, None]
        words[:, place, 24:] = _big_endian(values, ">i8")
    for place, values in enumerate((probes.before, probes.after), 3):
        words[:, place, 28:] = _big_endian(values, ">i4")
    leaf = b"\x00" + row.table.astype(f">i{row.table.itemsize}").tobytes()
    tails = [_word(len(words)) + words.tobytes(), _tail(pack_samples(row.samples)), _tail(leaf)]
    offsets = np.cumsum([3 * WORD, len(tails[0]), len(tails[1])])
    selector = contract.encode("rulings", [], b"", b"")[:4]
    return selector + b"".join([*(_word(int(offset)) for offset in offsets), *tails])


def _big_endian(values: Ints, dtype: str) -> npt.NDArray[np.uint8]:
    data = values.astype(dtype)
    return data.view(np.uint8).reshape(len(values), data.itemsize)


def _word(value: int) -> bytes:
    return value.to_bytes(WORD, "big")


def _tail(data: bytes) -> bytes:
    return _word(len(data)) + data + bytes(-len(data) % WORD)
