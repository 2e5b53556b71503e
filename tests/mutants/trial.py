"""One mutant: compile it, run the tests that reach it, say what came of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.build import CONTRACTS, ROOT, Baseline, InvalidMutantError, build
from tests.mutants.journal import Result, Status
from tests.mutants.rules import Mutant

TESTS = ("tests/unit/contracts", "tests/differential", "tests/stateful")  # the slowest last
WITHOUT = ("test_gas.py",)  # every change of the code changes the gas: that says nothing about a rule
PLUGIN = ("-p", "tests.mutants.plugin", "-p", "no:cacheprovider")
FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
PASSED, FAILED = 0, 1  # exit codes of pytest

Survey = Mapping[str, Mapping[str, Any]]  # seconds and functions of each test


class CampaignError(Exception):
    """The tests cannot judge mutants; the message says what to do."""


@dataclass(frozen=True)
class Trial:
    """What the trials of a campaign share."""

    folder: Path
    sources: str
    tests: str
    baseline: Baseline
    survey: Survey
    timeout_seconds: float

    def run(self, mutant: Mutant) -> Result:
        """Try one mutant; raises CampaignError."""
        folder = self.folder / "mutant"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(CONTRACTS, folder / "contracts", ignore=shutil.ignore_patterns("__pycache__"))
        source = folder / "contracts" / mutant.path
        source.write_text(mutant.applied(source.read_text()))
        start = time.monotonic()
        try:
            artifact = build(mutant, folder / "contracts", self.baseline)
        except InvalidMutantError as error:
            return self.result(mutant, Status.INVALID, str(error), time.monotonic() - start)
        compile_seconds = time.monotonic() - start
        if artifact is None:
            return self.result(mutant, Status.EQUIVALENT, "", compile_seconds)
        (folder / "artifact.json").write_text(json.dumps(artifact))
        (folder / "tests.json").write_text(json.dumps(plan(mutant, self.survey)))
        start = time.monotonic()
        status, detail = run_tests(folder, self.timeout_seconds)
        return self.result(mutant, status, detail, compile_seconds, time.monotonic() - start)

    def result(
        self, mutant: Mutant, status: Status, detail: str, compile_seconds: float, test_seconds: float = 0.0
    ) -> Result:
        """Return the result with the digests of this campaign."""
        times = (round(compile_seconds, 1), round(test_seconds, 1))
        return Result(mutant.name, self.sources, self.tests, status, detail, *times)


def test_files() -> list[str]:
    """Return the files of the tests that judge mutants."""
    paths = [path for folder in TESTS for path in sorted((ROOT / folder).rglob("test_*.py"))]
    return [path.relative_to(ROOT).as_posix() for path in paths if path.name not in WITHOUT]


def plan(mutant: Mutant, survey: Survey) -> dict[str, list[str]]:
    """Return which tests come first and which need not run; a test that the survey does not know runs last.

    First those that execute the function, the module's own and quick ones before others. Then the rest of
    their files, which may use what a shared fixture did; for a constant, which all may use, all the rest.
    """
    place, stem = f"{mutant.path}:{mutant.function}", Path(mutant.path).stem

    def is_reaching(name: str) -> bool:
        functions = survey[name]["functions"]
        return place in functions if mutant.function else any(other.startswith(place) for other in functions)

    def rank(name: str) -> tuple[bool, bool, float]:
        return name.startswith(TESTS[-1]), stem not in name, survey[name]["seconds"]

    reaching = sorted(filter(is_reaching, survey), key=rank)
    files = {name.split("::")[0] for name in (reaching if mutant.function else survey)}
    others = [name for name in survey if name.split("::")[0] in files and name not in set(reaching)]
    order = [*reaching, *sorted(others, key=rank)]
    return {"order": order, "skip": sorted(set(survey) - set(order))}


def run_tests(folder: Path, timeout_seconds: float) -> tuple[Status, str]:
    """Run the tests of the mutant in `folder` until one fails."""
    code, output = pytest("-x", "--mutant", str(folder), timeout_seconds=timeout_seconds)
    if code is None:
        return Status.TIMEOUT, f"more than {timeout_seconds:g} s"
    failures = FAILURE.findall(output)
    if code == FAILED and failures:
        return Status.KILLED, failures[0]
    if code != PASSED:
        raise CampaignError(f"pytest ended with {code} for the mutant in {folder}:\n{output[-3000:]}")
    return Status.SURVIVED, ""


def make_survey(file: Path) -> Survey:
    """Return the survey kept in `file`, or run all tests once and note what they execute."""
    if not file.exists():
        print("running all tests once to see what they execute (some minutes)", file=sys.stderr, flush=True)
        code, output = pytest("-x", "--survey", str(file))
        if code != PASSED or not file.exists():
            raise CampaignError(f"make the tests pass first, without any mutant:\n{output[-3000:]}")
    content: Survey = json.loads(file.read_text())
    return content


def pytest(*options: str, timeout_seconds: float | None = None) -> tuple[int | None, str]:
    """Run pytest on the tests that judge mutants; the exit code is None if it took too long."""
    command = [sys.executable, "-m", "pytest", "-q", *PLUGIN, *options, *test_files()]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(environment()),
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        return None, output
    return process.returncode, output


def environment() -> Iterator[tuple[str, str]]:
    """Yield the caller's variables without the profile of hypothesis, which would make trials long."""
    for name, value in os.environ.items():
        if name != "HYPOTHESIS_PROFILE":
            yield name, value
