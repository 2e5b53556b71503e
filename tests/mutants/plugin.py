"""A plugin of pytest: `--survey FILE` notes what every test executes, `--mutant FOLDER` tests a mutant.

The mutant stands in a folder with `contracts/` (its sources), `artifact.json` (what they compile to) and
`tests.json` (which tests to run, in order). The product has no switch for it: the plugin changes what the
process of the tests has read, and where mocks are compiled from. Failing examples are not made smaller.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from tests.mutants.blocks import Execution, functions_of

JUMPDEST = 0x5B


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutant", type=Path, metavar="FOLDER", help="test the mutant in this folder")
    parser.addoption("--survey", type=Path, metavar="FILE", help="note here what every test executes")


def pytest_configure(config: pytest.Config) -> None:
    folder, file = config.getoption("mutant"), config.getoption("survey")
    if folder is not None:
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", settings.get_profile("gate"), phases=phases, database=None)
        settings.load_profile("mutants")
        load(folder)
        config.pluginmanager.register(Order(json.loads((folder / "tests.json").read_text())))
    elif file is not None:
        config.pluginmanager.register(Survey(file))


def load(folder: Path) -> None:
    """Let this process take the contracts of `folder` for those of the package."""
    from bcfl.ledger.artifact import artifact
    from testkit import mocks

    content = artifact()  # one object for all callers
    content.clear()
    content.update(json.loads((folder / "artifact.json").read_text()))
    assert artifact() is content
    mocks.CONTRACTS = folder / "contracts"
    mocks.compiled.cache_clear()


class Order:
    """Run the tests of a plan in its order, without those it skips; tests that it does not know run last."""

    def __init__(self, plan: dict[str, list[str]]) -> None:
        self.places = {name: place for place, name in enumerate(plan["order"])}
        self.skipped = set(plan["skip"])

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept = [item for item in items if item.nodeid not in self.skipped]
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in self.skipped])
        items[:] = sorted(kept, key=lambda item: self.places.get(item.nodeid, len(self.places)))


class Survey:
    """Note how long each test takes and which functions of the contracts it executes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = {}
        self.executions: dict[str, set[Execution]] = {}
        self.current: set[Execution] = set()

    def pytest_sessionstart(self) -> None:
        from eth.vm.forks.prague.computation import PragueComputation

        from bcfl.ledger.devnet.programs import QuickComputation

        for computation in (PragueComputation, QuickComputation):
            recorded = self.recorded(computation.opcodes[JUMPDEST])
            computation.opcodes = {**computation.opcodes, JUMPDEST: recorded}

    def recorded(self, jumpdest: Callable[..., Any]) -> Callable[..., Any]:
        """The label of a jump, recording that it was reached."""

        def record(computation: Any) -> None:
            code = computation.code
            self.current.add((code._raw_code_bytes, code.program_counter - 1))
            jumpdest(computation=computation)

        return record

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.current = self.executions[nodeid] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == 0:
            names = functions_of(set().union(*self.executions.values()))
            content = {
                nodeid: {
                    "seconds": round(self.seconds[nodeid], 3),
                    "functions": sorted({names[place] for place in places if place in names}),
                }
                for nodeid, places in self.executions.items()
            }
            self.file.write_text(json.dumps(content, indent=0) + "\n")
