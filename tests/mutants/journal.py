"""What came of each mutant, a line each, so that a stopped campaign goes on; and which may live."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from tests.mutants.rules import Mutant


class Status(StrEnum):
    """What came of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMEOUT = "timeout"  # its tests took too long: nothing noticed it, as far as we know
    INVALID = "invalid"
    EQUIVALENT = "equivalent"
    ACCEPTED = "accepted"


@dataclass(frozen=True)
class Result:
    """What came of one mutant, with which sources and tests."""

    name: str
    sources: str
    tests: str
    status: Status
    detail: str  # the test that failed, or why it is invalid or accepted
    compile_seconds: float
    test_seconds: float


@dataclass(frozen=True)
class Journal:
    """The file of results; a later line replaces an earlier one."""

    file: Path

    def read(self, sources: str, tests: str) -> dict[str, Result]:
        """Return the results that still hold: those that the tests let live only for the same tests."""
        if not self.file.exists():
            return {}
        results = {}
        for line in self.file.read_text().splitlines():
            content = json.loads(line)
            result = Result(**{**content, "status": Status(content["status"])})
            if result.sources == sources:
                results[result.name] = result
        return {
            name: result
            for name, result in results.items()
            if result.tests == tests or result.status not in (Status.SURVIVED, Status.TIMEOUT)
        }

    def write(self, result: Result) -> None:
        """Add a result."""
        with self.file.open("a") as stream:
            stream.write(json.dumps(asdict(result)) + "\n")


@dataclass(frozen=True)
class Accepted:
    """A mutant that may live, recognised by its text and not by its line, and why."""

    path: str
    function: str
    before: str
    after: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Return whether this is the mutant."""
        place = (mutant.path, mutant.function, mutant.before, mutant.after)
        return place == (self.path, self.function, self.before, self.after)


def read_accepted(file: Path) -> list[Accepted]:
    """Return the accepted mutants of a file; raises ValueError for one without a reason."""
    entries = [Accepted(**entry) for entry in tomllib.loads(file.read_text()).get("mutant", [])]
    for entry in entries:
        if not entry.reason.strip():
            raise ValueError(f"{file}: say why the mutant `{entry.after}` of {entry.path} may live")
    return entries


def outdated(accepted: Iterable[Accepted], mutants: Iterable[Mutant]) -> list[Accepted]:
    """Return the accepted mutants that no rule makes any more."""
    places = {(mutant.path, mutant.function, mutant.before, mutant.after) for mutant in mutants}
    return [
        entry for entry in accepted if (entry.path, entry.function, entry.before, entry.after) not in places
    ]
