"""The word that an update leaves on chain, and what stands behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.submissions import Domain, opens, update_word
from bcfl.protocol.types import Engine, Update

DOMAIN = Domain(1, "0x" + "01" * 20)
UPDATE = Update(round=1, device=0, root=bytes(32), cid=bytes(32), samples=50, microseconds=900, salt=7)


@pytest.mark.parametrize("engine", Engine)
def test_an_update_opens_its_word_in_a_round_of_any_engine(engine: Engine) -> None:
    """The word holds a pace where resources count; the commitment alone tells what was handed in."""
    assert opens(DOMAIN, UPDATE, update_word(DOMAIN, UPDATE, engine))


@pytest.mark.parametrize("change", [{"salt": 8}, {"samples": 51}, {"round": 2}, {"root": b"1" * 32}])
def test_another_update_does_not(change: dict[str, object]) -> None:
    assert not opens(DOMAIN, UPDATE, update_word(DOMAIN, replace(UPDATE, **change)))  # type: ignore[arg-type]
