"""A role acts on one state of the chain, or waits for the node to show one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bcfl.protocol.types import Phase
from bcfl.roles.common.snapshot import take_snapshot


def ledger(phase: Phase, *, number: int = 3, proposals: int = 0) -> Any:
    """Return a ledger whose clock is in a phase of round 3, and whose events know so much of it."""
    current = SimpleNamespace(number=number, proposals=[object()] * proposals)
    return SimpleNamespace(
        clock=lambda: SimpleNamespace(round=3, phase=phase),
        history=lambda: SimpleNamespace(current=current),
        now=lambda: 7,
        terms=None,
    )


def test_the_clock_may_be_of_a_later_block_than_the_events() -> None:
    assert take_snapshot(ledger(Phase.ATTEST)) is None
    assert take_snapshot(ledger(Phase.COMMIT, number=2)) is None


@pytest.mark.parametrize(("phase", "proposals"), [(Phase.ATTEST, 1), (Phase.PROPOSE, 0), (Phase.COMMIT, 0)])
def test_a_state_that_fits_is_taken(phase: Phase, proposals: int) -> None:
    snapshot = take_snapshot(ledger(phase, proposals=proposals))
    assert snapshot is not None
    assert snapshot.clock.phase is phase
