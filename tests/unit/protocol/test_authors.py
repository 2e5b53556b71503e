"""Who is the author of content that comes back: the twin follows the contract, also around a refutation."""

from __future__ import annotations

import pytest

from bcfl.protocol.rounds import Proposal, Round

A, B = (b"a" * 32, b"r" * 32), (b"b" * 32, b"r" * 32)


def proposal(content: tuple[bytes, bytes], refuted: bool = False) -> Proposal:
    return Proposal("0x1", "0x1", content[0], b"", content[1], refuted=refuted)


@pytest.mark.parametrize(
    ("proposals", "was_replaced"),
    [
        ([], False),
        ([proposal(A)], False),
        ([proposal(A), proposal(B)], True),
        ([proposal(A, refuted=True), proposal(B)], False),  # it stood no more when the other came
        ([proposal(A), proposal(A, refuted=True), proposal(B)], False),
        ([proposal(A), proposal(B), proposal(A, refuted=True), proposal(B)], True),
        ([proposal(B), proposal(B)], False),
    ],
)
def test_content_keeps_its_author_if_something_else_was_proposed_while_it_stood(
    proposals: list[Proposal], was_replaced: bool
) -> None:
    assert Round(1, 0, proposals=proposals).was_replaced(A) == was_replaced
