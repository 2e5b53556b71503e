"""Attack the privacy of training data: reconstruct samples, and tell who was trained on.

    python -m benchmarks.privacy                       # all tables, and the pictures of the page
    python -m benchmarks.privacy --small               # under a minute
    python -m benchmarks.privacy --only membership     # one section

Everything follows from seeds. Progress goes to stderr, tables go to stdout.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.privacy import memberships, pictures, rows
from testkit.privacy import cases
from testkit.privacy.cases import Case, Outcome
from testkit.privacy.settings import CIPHERTEXT, GLOBAL_MODELS

SHOWN = 8  # victims in a picture
SIDES = {"digits": 64, "fashion-mnist": 56}  # dots of a picture's side
DRAWN = {"digits": "privacy-digits.png", "fashion-mnist": "privacy-fashion.png"}


class Bench:
    """One run of the bench: what it plays, and what it has drawn so far."""

    def __init__(self, is_small: bool, folder: Path | None) -> None:
        self.is_small, self.folder, self.start = is_small, folder, time.monotonic()
        self.outcomes: list[Outcome] = []

    def say(self, text: str) -> None:
        """Write a line of progress with the seconds since the start."""
        memberships.say_to_stderr(f"{time.monotonic() - self.start:6.0f} s  {text}")

    def play(self, chosen: list[Case], columns: rows.Columns) -> str:
        """Play cases, and return their table."""
        outcomes = []
        for number, case in enumerate(chosen, 1):
            outcomes.append(cases.run(case))
            line = rows.table(columns, outcomes[-1:]).splitlines()[-1]
            self.say(f"{number}/{len(chosen)}  {line}")
        self.outcomes += outcomes
        return rows.table(columns, outcomes)

    def inversion(self) -> str:
        """Return the table of adversaries and settings."""
        return self.play(rows.adversaries(self.is_small), rows.ADVERSARIES)

    def circumstances(self) -> str:
        """Return the table of tasks, models, steps, lanes and rounds."""
        return self.play(rows.circumstances(self.is_small), rows.CIRCUMSTANCES)

    def membership(self) -> str:
        """Return the table of membership inference."""
        extent = memberships.SMALL if self.is_small else memberships.Extent()
        return memberships.table(memberships.rows(extent, self.say))

    def draw(self) -> None:
        """Draw what was reconstructed of the first victims of each task."""
        if self.folder is None:
            return
        for task, name in DRAWN.items():
            drawn = [o for o in self.outcomes if o.case.task == task and _is_shown(o.case)]
            if drawn:
                known = cases.blind_pictures(task, SHOWN)
                lines = [("original", drawn[0].truths[:SHOWN]), ("blind: the mean picture", known)]
                lines += [(_label(o.case), o.pictures[:SHOWN]) for o in drawn]
                path = self.folder / name
                pictures.write(path, pictures.sheet(lines, SIDES[task]))
                self.say(f"picture: {path}")


def _is_shown(case: Case) -> bool:
    """Whether a case goes into the picture: of the first model, one step, and the same victims."""
    if case.setting.is_sealed and case.adversary == "miner":
        return False  # the same as in the clear
    is_usual = case.steps == 1 and case.lane_bits == 16 and not case.is_trained and case.model == "mlp"
    if not is_usual or case.batch * case.trials < SHOWN:
        return False
    if case.source == GLOBAL_MODELS:
        return case.batch == SHOWN and case.adversary == "device"
    is_plain = case.setting.multiplier is None and case.source != CIPHERTEXT
    return case.batch == 1 or is_plain


def _label(case: Case) -> str:
    if case.source == CIPHERTEXT:
        return "sealed: ciphertext"
    samples = f"{case.batch} sample{'s' * (case.batch > 1)}"
    if case.source == GLOBAL_MODELS:
        return f"sealed: model, {case.devices} devices"
    if case.setting.multiplier is not None:
        return f"DP noise {case.setting.multiplier}: {samples}"
    return f"update of {samples}"


SECTIONS: dict[str, tuple[str, Callable[[Bench], str]]] = {  # by name: title, and what returns the table
    "inversion": ("Reconstruction, by adversary and setting", Bench.inversion),
    "circumstances": ("Reconstruction, by task, model and training", Bench.circumstances),
    "membership": ("Membership", Bench.membership),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack, print, draw."""
    title = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.privacy", description=title)
    parser.add_argument("--small", action="store_true", help="few cases, under a minute, no pictures")
    parser.add_argument("--only", choices=[*SECTIONS], action="append", help="a section; may be repeated")
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"), metavar="DIR")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # matrices here are small, and figures the same on every machine
    bench = Bench(options.small, None if options.small else options.pictures)
    for name in options.only or SECTIONS:
        heading, section = SECTIONS[name]
        bench.say(heading)
        print(f"\n### {heading}\n\n{section(bench)}", flush=True)
    bench.draw()
    return 0


if __name__ == "__main__":
    sys.exit(main())
