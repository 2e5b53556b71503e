"""Record in numbers why a miner rejected an update: its own findings, which are not on chain.

One line of JSON a round in the file `notes.jsonl` of the miner's journal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bcfl.protocol.types import Verdict
from bcfl.roles.common.journal import Journal, all_appended, appended

if TYPE_CHECKING:
    from bcfl.protocol.rounds import Submission
    from bcfl.roles.checks.pipeline import PipelineResult
    from bcfl.roles.checks.scores import Scores

FILE = "notes.jsonl"
DIGITS = 6


@dataclass(frozen=True)
class Finding:
    """One rule that an update failed: its score and the bound that it did not keep to.

    Or, of what is accepted, its merit, with its standard error, and the level that this comes to; and its
    gain, which is what it was worth to the model. The names of the fields are the keys on disk.
    """

    position: int
    device: int
    reason: str  # a Verdict, in lower case; accepted: a level
    rule: str
    score: float | None = None
    least: float | None = None
    most: float | None = None
    error: float | None = None
    level: int | None = None
    gain: float | None = None
    gain_error: float | None = None

    @property
    def text(self) -> str:
        """Return the finding as a table shows it: `length 2.31, at most 1.8`, `merit -0.3 ± 0.1`."""
        if self.score is None:
            return self.rule
        if self.error is not None:
            gain = "" if self.gain is None else f", gain {self.gain:.4g} ± {self.gain_error or 0.0:.2g}"
            return f"{self.rule} {self.score:.4g} ± {self.error:.2g}{gain}"
        bounds = [f"at least {self.least:.4g}"] if self.least is not None else []
        bounds += [f"at most {self.most:.4g}"] if self.most is not None else []
        return ", ".join([f"{self.rule} {self.score:.4g}", *bounds])


def failures(submissions: Sequence[Submission], reason: Verdict, scores: Scores) -> list[Finding]:
    """Return a finding for each update that a rule rejects; the scores are in the order of `submissions`."""
    passed = scores.passed  # made anew each time that it is asked for
    return [
        Finding(
            item.position,
            item.update.device,
            reason.name.lower(),
            scores.rule,
            _number(scores.values[place]),
            _number(scores.minimum[place]),
            _number(scores.maximum[place]),
        )
        for place, item in enumerate(submissions)
        if not passed[place]
    ]


def contributions(submissions: Sequence[Submission], result: PipelineResult) -> list[Finding]:
    """Return a finding for each update that has a level, if its miner has found levels."""
    if result.weights is None:
        return []
    weights = result.weights
    return [
        Finding(
            item.position,
            item.update.device,
            Verdict.ACCEPTED.name.lower(),
            "merit",
            _number(weights.merits[place]),
            error=_number(weights.errors[place]),
            level=level,
            gain=_number(weights.gains[place]),
            gain_error=_number(weights.gain_errors[place]),
        )
        for place, (item, level) in enumerate(zip(submissions, result.levels, strict=True))
        if level
    ]


def plain(submission: Submission, reason: Verdict, text: str) -> Finding:
    """Return a finding without a number, such as bytes that are not there."""
    return Finding(submission.position, submission.update.device, reason.name.lower(), text)


def write(journal: Journal, number: int, findings: Iterable[Finding]) -> None:
    """Add the findings of a round to the journal."""
    journal.append(FILE, {"round": number, "findings": [asdict(item) for item in findings]})


def read(folder: Path) -> dict[int, list[Finding]]:
    """Return a miner's findings from the folder of its journal, by round, as far as they are readable."""
    findings = {}
    for number, record in all_appended(folder / FILE).items():
        with suppress(TypeError, KeyError):
            findings[number] = [Finding(**item) for item in record["findings"]]
    return findings


def read_round(folder: Path, number: int) -> list[Finding] | None:
    """Return a miner's findings of one round; None where none are readable."""
    record = appended(folder / FILE, number)
    with suppress(TypeError, KeyError):
        return None if record is None else [Finding(**item) for item in record["findings"]]
    return None


def _number(value: float) -> float | None:
    """Return a number that JSON has; None where there is no bound."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
