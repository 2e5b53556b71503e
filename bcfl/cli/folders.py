"""Which run a command is about: --run, --runs, or the latest."""

from __future__ import annotations

from pathlib import Path

from bcfl.config import Config
from bcfl.federation.runs import FILE


def runs_folder(runs: Path | None) -> Path:
    """The folder of the runs, from --runs or where the options of `bcfl run` come from."""
    return Config.load({"runs": runs}).runs


def find_run(run: Path | None, runs: Path | None) -> Path | None:
    """The folder that --run names, also by its name alone; None where the latest is meant."""
    if run is None or (run / FILE).exists():
        return run
    named = runs_folder(runs) / run
    return named if (named / FILE).exists() else run
