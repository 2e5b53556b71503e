"""Disputes whose challenger falls silent: ending them must not take a block each."""

from __future__ import annotations

from pathlib import Path

from bcfl.federation.schedule import MINERS
from bcfl.protocol.challenges import Trees
from tests.griefer import Griefer
from tests.integration.test_watchtower import WINDOW_TERMS
from tests.local_federation import LocalFederation


def test_disputes_that_lapse_together_end_together(tmp_path: Path) -> None:
    """A miner ended one in a move: where a transaction takes a block of 12 seconds, 120 took 24 minutes."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    griefer = Griefer(local, Trees.MODEL, moves=0, count=12)
    local.schedule.parties[MINERS].append(griefer)  # type: ignore[arg-type]
    round_ = local.play()
    assert (round_.status, round_.refutations) == ("finalized", [])
    ends = list(local.ledger.contract.events(name="DisputeEnded"))
    assert len(ends) == 12
    assert len({event.transaction for event in ends}) < 12
