"""What all tests share: examples of hypothesis, a clean environment, the last output of processes."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.processes import last_outputs

TESTS = Path(__file__).parent
PROCESSES = TESTS / "integration" / "processes"
WALK = TESTS / "e2e" / "test_walk.py"

# Two test processes on two cores: more threads in each only wait for one another. torch reads it at import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell lets what it runs in the background ignore Ctrl-C, and processes of tests inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The gate tries the same examples every time; HYPOTHESIS_PROFILE=explore tries new ones, and longer.
slow_is_fine = (HealthCheck.too_slow,)
settings.register_profile("gate", derandomize=True, deadline=None, suppress_health_check=slow_is_fine)
settings.register_profile("explore", deadline=None, suppress_health_check=slow_is_fine, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test depends on the caller's BCFL_* variables, or keeps anything in the caller's cache."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BCFL_")]:
            patch.delenv(name)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays: to look through it takes a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failure the last output of the test's processes, from all its folders."""
    report = yield
    if report.failed:
        folders = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Path)]
        for folder in dict.fromkeys(folders):
            report.sections += [(f"last output in {name}", text) for name, text in last_outputs(folder)]
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give tests of real processes a second try (docs/decisions/0048), where its plugin is installed."""
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            if item.path == WALK or PROCESSES in item.path.parents:
                item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show why a first try failed, although the second one may have succeeded."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"first try of {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
        for name, text in report.sections:
            terminalreporter.write_line(f"--- {name}\n{text}")
