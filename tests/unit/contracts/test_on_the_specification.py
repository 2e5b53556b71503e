"""A quick selection of the contract's tests, on the specification.

All of them: `BCFL_LEDGER=specification pytest tests/unit/contracts tests/stateful`, and each call on both
with `BCFL_LEDGER=both`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
QUICK = (
    "absence",
    "disputes",
    "docket",
    "proposals",
    "rewards",
    "rounds",
    "submissions",
    "treasury",
    "verification",
)


MUTANTS = "tests.mutants.plugin"  # a change of the bytecode says nothing about the specification


@pytest.mark.skipif(MUTANTS in sys.modules, reason="the specification is as it was")
@pytest.mark.evm("the tests themselves run on it")
def test_a_quick_selection_passes_on_the_specification() -> None:
    files = [str(HERE / f"test_{name}.py") for name in QUICK]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    environment = {**os.environ, "BCFL_LEDGER": "specification"}
    run = subprocess.run(
        command, env=environment, cwd=HERE.parents[2], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout
    assert "a fact of the EVM" in run.stdout  # left out: so the specification was chosen
