"""The largest tallies fit a transaction, and take the gas that the snapshot says."""

from __future__ import annotations

import json

import pytest

from bcfl.protocol.limits import MAX_MINERS, TRANSACTION_GAS
from testkit import gas
from testkit.largest_tally import CASES, Case, LargestTally

SNAPSHOT = json.loads(gas.SNAPSHOT.read_text())["largest tally"]
MUTANTS = "tests.mutants.plugin"  # every change of the code changes the gas: that says nothing about a rule


@pytest.mark.evm("gas")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fits_a_transaction(case: Case, pytestconfig: pytest.Config) -> None:
    used, events = LargestTally(case).send()
    assert used < TRANSACTION_GAS
    if not pytestconfig.pluginmanager.has_plugin(MUTANTS):
        assert used == SNAPSHOT[str(case)], gas.HINT
    away = MAX_MINERS - case.voters
    assert events.count("Penalized") == events.count("Suspended") == away
    assert ("Voided" in events) == case.is_void
    assert ("RoundOpened" in events) == case.is_void
