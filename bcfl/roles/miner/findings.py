"""Why a miner rejected an update, in numbers (step 4): its own notes, which are not on chain.

One line of JSON a round in the file `notes.jsonl` of the miner's journal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bcfl.protocol.rounds import Submission
from bcfl.protocol.types import Verdict
from bcfl.roles.checks.scores import Scores
from bcfl.roles.common.journal import Journal

FILE = "notes.jsonl"
DIGITS = 6


@dataclass(frozen=True)
class Finding:
    """One rule that an update failed: its score and the bound that it did not keep to."""

    position: int
    device: int
    reason: str  # a Verdict, in lower case
    rule: str
    score: float | None = None
    least: float | None = None
    most: float | None = None

    @property
    def words(self) -> str:
        """As a table has it: `merit -0.31, at least -0.02`."""
        if self.score is None:
            return self.rule
        bounds = [f"at least {self.least:.4g}"] if self.least is not None else []
        bounds += [f"at most {self.most:.4g}"] if self.most is not None else []
        return ", ".join([f"{self.rule} {self.score:.4g}", *bounds])


def failed(items: Sequence[Submission], reason: Verdict, found: Scores) -> list[Finding]:
    """What a rule has against which of a round's updates; its scores are in the order of `items`."""
    return [
        Finding(
            item.position,
            item.update.device,
            reason.name.lower(),
            found.rule,
            _number(found.values[place]),
            _number(found.least[place]),
            _number(found.most[place]),
        )
        for place, item in enumerate(items)
        if not found.passed[place]
    ]


def plain(item: Submission, reason: Verdict, words: str) -> Finding:
    """A finding without a number, such as bytes that are not there."""
    return Finding(item.position, item.update.device, reason.name.lower(), words)


def write(journal: Journal, number: int, findings: Iterable[Finding]) -> None:
    """Note what was found in a round."""
    journal.append(FILE, {"round": number, "findings": [asdict(item) for item in findings]})


def read(folder: Path, number: int) -> list[Finding] | None:
    """What the miner with that journal noted of a round; None if it noted nothing, or nothing readable."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in reversed(lines):
        try:
            record = json.loads(line)
            if record["round"] == number:
                return [Finding(**item) for item in record["findings"]]
        except (ValueError, TypeError, KeyError):
            continue  # the end of a line that a crash has cut off
    return None


def _number(value: float) -> float | None:
    """A number that JSON has; None where there is no bound."""
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
