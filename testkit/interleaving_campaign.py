"""Play many interleavings on several processors, and go on where a file of results ends.

A line of the file is a part: its first number, how many follow each other, and what was counted in them.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

from testkit.interleavings import MINERS, TERMS, Interleaving
from testkit.ledgers import BYTECODE
from testkit.proposal_fixture import ProposalFixture
from testkit.robustness import read, write

CALLS: Final = 40  # of each interleaving
PART: Final = 20  # interleavings of a part
ROOT: Final = Path(__file__).parents[1]
DECIDED_BY: Final = (
    "contracts/**/*.vy",
    "bcfl/protocol/*.py",
    "bcfl/ledger/*.py",
    "bcfl/ledger/artifacts/*",
    "bcfl/ledger/devnet/*.py",
    *(
        f"testkit/{name}.py"
        for name in (
            "accounts", "dispute_driver", "flat_chain", "flat_state", "forged_proposals", "harness",
            "interleaving_campaign", "interleavings", "ledgers", "proposal_fixture", "storage_slots",
            "terms",
        )
    ),
)  # fmt: skip

Numbers = range


@cache
def _fixture() -> ProposalFixture:
    return ProposalFixture(TERMS, miners=MINERS, kind=BYTECODE)


def play(numbers: Numbers) -> Counter[str]:
    """Play interleavings; return how often each call was taken or reverted, and each event.

    Raises AssertionError with the number of the first whose money does not add up.
    """
    counts: Counter[str] = Counter()
    for number in numbers:
        try:
            Interleaving(_fixture(), Random(number), counts).play(CALLS)
        except AssertionError as error:
            raise AssertionError(f"interleaving {number}: the money does not add up: {error}") from error
        counts["interleavings"] += 1
    return counts


@cache
def sources() -> str:
    """Return a digest of the files that decide what an interleaving comes to."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in DECIDED_BY for path in ROOT.glob(pattern)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class Campaign:
    """The interleavings that `file` has of the sources as they are; without a file, those played here."""

    def __init__(self, file: Path | None = None, play: Callable[[Numbers], Counter[str]] = play) -> None:
        self.file, self._play = file, play
        lines = [] if file is None else read(file)
        self.parts: list[dict[str, Any]] = [line for line in lines if line["sources"] == sources()]

    @property
    def total(self) -> Counter[str]:
        """What was counted in all parts."""
        return sum((Counter(part["counts"]) for part in self.parts), Counter())

    def missing(self, numbers: Numbers) -> list[Numbers]:
        """Return what is still to play of these numbers, in parts."""
        known = {n for part in self.parts for n in range(part["first"], part["first"] + part["count"])}
        parts: list[Numbers] = []
        for number in numbers:
            if number in known:
                continue
            if parts and parts[-1].stop == number and len(parts[-1]) < PART:
                parts[-1] = range(parts[-1].start, number + 1)
            else:
                parts.append(range(number, number + 1))
        return parts

    def run(self, numbers: Numbers, jobs: int, seconds: float = float("inf")) -> Iterator[int]:
        """Play what is missing, and yield how many were played so far here after each part.

        No part begins later than `seconds` from now. Raises AssertionError where the money does not add up.
        """
        end, rest, played = time.monotonic() + seconds, self.missing(numbers)[::-1], 0
        with ProcessPoolExecutor(jobs) as pool:
            running: dict[Future[Counter[str]], Numbers] = {}
            while True:
                while rest and len(running) < jobs and time.monotonic() < end:
                    part = rest.pop()
                    running[pool.submit(self._play, part)] = part
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    played += self._keep(running.pop(future), future.result())
                    yield played

    def _keep(self, part: Numbers, counts: Counter[str]) -> int:
        line = {"first": part.start, "count": len(part), "sources": sources(), "counts": dict(counts)}
        self.parts.append(line)
        if self.file is not None:
            write(self.file, line)
        return len(part)
