"""A message is for one chain, contract, miner and path; after a change anywhere nobody has signed it."""

from __future__ import annotations

import pytest

from bcfl.protocol.accounts import Account
from bcfl.protocol.submissions import Domain
from bcfl.relay.envelope import seal, sender

DEVICE, MINER, OTHER = (Account.derive(0, name) for name in ("device", "miner", "other"))
DOMAIN = Domain(31337, Account.derive(0, "contract").address)
SEALED = (DOMAIN, MINER.address, "/v1/updates", b"{}")
VALUE = seal(DEVICE, *SEALED)


def test_the_sender_is_known() -> None:
    assert sender(*SEALED, VALUE) == DEVICE.address


@pytest.mark.parametrize(
    "message",
    [
        (Domain(1, DOMAIN.contract), *SEALED[1:]),
        (Domain(31337, OTHER.address), *SEALED[1:]),
        (DOMAIN, OTHER.address, *SEALED[2:]),
        (DOMAIN, MINER.address, "/v1/commitments", b"{}"),
        (*SEALED[:3], b"{ }"),
    ],
)
def test_for_anything_else_the_sender_is_another(message: tuple[Domain, str, str, bytes]) -> None:
    assert sender(*message, VALUE) != DEVICE.address


@pytest.mark.parametrize(
    "value", ["", "00" * 64, "ff" * 64, VALUE[:-1], VALUE + "0", "zz" * 64, VALUE.upper()]
)
def test_a_forged_seal_has_no_sender(value: str) -> None:
    assert sender(*SEALED, value) is None
