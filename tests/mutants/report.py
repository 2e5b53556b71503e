"""The table of a campaign, its survivors, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tests.mutants.journal import Result, Status
from tests.mutants.rules import Mutant

Row = tuple[Mutant, Result]
LIVING = (Status.SURVIVED, Status.TIMEOUT)


def killed_percent(rows: Sequence[Row]) -> float:
    """Return the share killed of those that are valid and not accepted; 100 if there are none."""
    killed = sum(result.status is Status.KILLED for _, result in rows)
    living = sum(result.status in LIVING for _, result in rows)
    return 100 * killed / (killed + living) if killed + living else 100.0


def invalid_share(rows: Sequence[Row]) -> float:
    """Return the share of the mutants that are no contracts: of many nothing follows."""
    return sum(result.status is Status.INVALID for _, result in rows) / max(1, len(rows))


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each source, the sum, and each survivor with its place, before and after."""
    yield f"{'':28}{''.join(f'{status:>11}' for status in Status)}{'killed %':>10}"
    for path in sorted({mutant.path for mutant, _ in rows}):
        yield _line(path, [row for row in rows if row[0].path == path])
    yield _line("all", rows)
    for mutant, result in rows:
        if result.status in LIVING:
            place = f"contracts/{mutant.path}:{mutant.line} {mutant.function}".rstrip()
            yield f"\n{result.status}: {place} ({mutant.rule})"
            yield f"  - {mutant.before}\n  + {mutant.after}"


def content(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the campaign as JSON shows it."""
    return {
        "killed_percent": round(killed_percent(rows), 1),
        "counts": {status: sum(result.status is status for _, result in rows) for status in Status},
        "mutants": [{**asdict(mutant), **asdict(result)} for mutant, result in rows],
    }


def progress(mutant: Mutant, result: Result) -> str:
    """Return the line of one mutant."""
    times = f"{result.compile_seconds:6.1f} s + {result.test_seconds:6.1f} s"
    return f"{result.status:10} {times}  {mutant.path}:{mutant.line} {mutant.rule}  {result.detail}"


def _line(name: str, rows: Sequence[Row]) -> str:
    counts = [sum(result.status is status for _, result in rows) for status in Status]
    return f"{name:28}{''.join(f'{count:11}' for count in counts)}{killed_percent(rows):10.1f}"
