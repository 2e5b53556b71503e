"""A tally is read where it is handed in as bytes."""

from __future__ import annotations

from random import Random

import pytest

from bcfl.protocol.limits import GROUP, MAX_MINERS, TOP_LEVEL
from bcfl.protocol.types import Tally
from bcfl.protocol.verification import tally_bytes
from bcfl.specification import tallies


@pytest.mark.parametrize("updates", [1, 2, 63, 64, 65, 1024])
def test_what_is_read_is_what_was_encoded(updates: int) -> None:
    rng = Random(updates)
    voters = rng.randint(1, MAX_MINERS)
    tally = Tally(
        checkpoints=tuple(rng.randbytes(32) for _ in range(-(-updates // GROUP))),
        votes=rng.randbytes(32),
        voters=tuple(rng.getrandbits(208) for _ in range(voters)),
        matches=tuple(rng.randint(0, updates) for _ in range(voters)),
        levels=tuple(rng.randint(0, TOP_LEVEL) for _ in range(updates)),
        cap=rng.randint(1, 99),
        samples=rng.randint(1, 999),
    )
    data = tally_bytes(tally)
    assert len(data) <= tallies.MAX_TALLY
    read = tallies.read(data)
    assert read.levels[:updates] == tally.levels
    assert not any(read.levels[updates:])
    assert tally_bytes(read) == data
    assert (read.voters, read.matches, read.cap) == (tally.voters, tally.matches, tally.cap)
