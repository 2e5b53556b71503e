"""What goes over the wire comes back the same, and nothing else is taken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcfl.errors import RelayError
from bcfl.ports import Batch, SignedCommitment
from bcfl.protocol.types import Opening, SignedUpdate, Update, Verdict
from bcfl.relay.messages import MAX_BYTES, BatchMessage, CommitmentMessage, OpeningMessage, UpdateMessage

MINER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
number, digest = st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32)
signature = st.binary(min_size=64, max_size=64)
updates = st.builds(
    SignedUpdate,
    st.builds(
        Update, number, number, digest, digest, number, st.integers(0, 2**64 - 1), st.integers(0, 2**128 - 1)
    ),
    signature,
)


@given(st.builds(SignedCommitment, number, number, digest, signature))
def test_a_commitment_comes_back(message: SignedCommitment) -> None:
    assert CommitmentMessage.parse(CommitmentMessage.of(message).encode()).unwrap() == message


@given(updates)
def test_an_update_comes_back(message: SignedUpdate) -> None:
    assert UpdateMessage.parse(UpdateMessage.of(message).encode()).unwrap() == message


@given(number, st.lists(st.tuples(digest, st.none() | updates), max_size=5))
def test_a_batch_comes_back(round_: int, items: list[tuple[bytes, SignedUpdate | None]]) -> None:
    message = Batch(round_, MINER, tuple(d for d, _ in items), tuple(u for _, u in items))
    assert BatchMessage.parse(BatchMessage.of(message).encode()).unwrap() == message


@given(number, st.lists(st.sampled_from(Verdict)), digest)
def test_verdicts_come_back(round_: int, verdicts: list[Verdict], salt: bytes) -> None:
    message = Opening(round_, MINER, tuple(verdicts), salt)
    assert OpeningMessage.parse(OpeningMessage.of(message).encode()).unwrap() == message


def test_the_largest_batch_fits() -> None:
    one = SignedUpdate(
        Update(2**32 - 1, 2**32 - 1, bytes(32), bytes(32), 2**32 - 1, 2**64 - 1, 2**128 - 1), bytes(64)
    )
    message = Batch(2**32 - 1, MINER, (bytes(32),) * 64, (one,) * 64)
    assert len(BatchMessage.of(message).encode()) < MAX_BYTES


GOOD = {"round": 1, "device": 2, "commitment": "ab" * 32, "signature": "cd" * 64}


@pytest.mark.parametrize(
    "content",
    [
        {**GOOD, "round": "1"},
        {**GOOD, "round": 1.0},
        {**GOOD, "round": True},
        {**GOOD, "round": -1},
        {**GOOD, "device": 2**32},
        {**GOOD, "commitment": "ab" * 31},
        {**GOOD, "commitment": "AB" * 32},
        {**GOOD, "commitment": " " * 64},
        {**GOOD, "signature": None},
        {**GOOD, "extra": 1},
        {key: GOOD[key] for key in ("round", "device")},
        [GOOD],
        None,
    ],
)
def test_nothing_else_is_a_commitment(content: object) -> None:
    with pytest.raises(RelayError):
        CommitmentMessage.parse(json.dumps(content).encode())


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"NaN", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 100_000]
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(RelayError):
        CommitmentMessage.parse(data)
