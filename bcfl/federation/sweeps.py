"""Run a training for every combination of a grid of options, side by side, and sum up over the seeds.

    rounds = 5                       # options of all runs, as in bcfl.toml

    [grid]
    seed = [0, 1, 2]                 # what is varied, each with its values
    rule = ["mean", "median"]

A folder keeps each trial: what has a result is not run again, what was stopped goes on.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final, TypedDict

from bcfl.config import Config
from bcfl.errors import ConfigError, RunError
from bcfl.federation.outcome import read_outcome
from bcfl.federation.trial import ERROR, OPTIONS, RESULT, replace_file
from bcfl.pages.texts import json_text
from bcfl.toml import read_toml

GRID: Final = "grid"
SEED: Final = "seed"
MOST_TRIALS: Final = 10_000
MOST_JOBS: Final = 256
WHERE: Final = frozenset({"runs", "run_dir"})  # options that a sweep decides itself
ERROR_BYTES: Final = 4_096
PREFIX: Final = "BCFL_"
NOTHING: Final = Path(os.devnull)  # in the place of bcfl.toml: a sweep is what its file says
Values = tuple[tuple[str, str], ...]  # of the options that are varied, as texts


class SpreadView(TypedDict):
    """A number over the seeds: mean, standard deviation (None of one) and how many there are."""

    mean: float
    deviation: float | None
    count: int


class CellView(TypedDict):
    """One combination but for the seed, over all its seeds: `figures` by name, `curves` by name and round."""

    values: dict[str, str]
    trials: int
    failed: int
    figures: dict[str, SpreadView]
    curves: dict[str, list[SpreadView | None]]


class TrialView(TypedDict):
    """One run of a sweep: `state` is done, failed or open, `error` one line."""

    values: dict[str, str]
    seed: int
    folder: str
    state: str
    error: str | None
    figures: dict[str, float | None]


class SweepView(TypedDict):
    """A sweep; `varied` are the options of the grid but the seed, `figures` the names of its numbers."""

    name: str
    varied: list[str]
    figures: list[str]
    cells: list[CellView]
    trials: list[TrialView]


@dataclass(frozen=True)
class Trial:
    """One run of a sweep."""

    values: Values
    config: Config
    folder: Path

    @property
    def result(self) -> dict[str, Any] | None:
        """Return what came of it; None while it has no result that can be read."""
        with suppress(RunError):
            return read_outcome(self.folder / RESULT)
        return None

    @property
    def oddity(self) -> str | None:
        """Return in one line why its result cannot be read; None where there is none, or it can."""
        try:
            read_outcome(self.folder / RESULT)
        except RunError as error:
            return str(error)
        return None

    @property
    def error(self) -> str | None:
        """Return in one line why it failed; None where it did not."""
        with suppress(OSError), (self.folder / ERROR).open("rb") as file:
            return " ".join(file.read(ERROR_BYTES).decode(errors="replace").split())
        return None


@dataclass(frozen=True)
class Sweep:
    """The trials of a grid, in the order of its options."""

    name: str
    varied: tuple[str, ...]  # but the seed
    trials: tuple[Trial, ...]

    @classmethod
    def load(cls, file: Path, folder: Path) -> Sweep:
        """Read a sweep; raises ConfigError for a combination that could not run, before any has."""
        base = read_toml(file, "write one key = value a line, and a table [grid]")
        grid = base.pop(GRID, None)
        if not isinstance(grid, dict) or not grid:
            raise ConfigError(
                f"{file} has no table [{GRID}]: write, for example, [grid] and seed = [0, 1, 2]"
            )
        choices = {_name(name): _choices(file, name, values) for name, values in grid.items()}
        count = 1
        for values in choices.values():
            count *= len(values)
        if count > MOST_TRIALS:
            raise ConfigError(f"{file} comes to {count:,} runs: at most {MOST_TRIALS:,} are one sweep")
        trials = list[Trial]()
        for combination in itertools.product(*choices.values()):
            varied = dict(zip(choices, combination, strict=True))
            trials.append(_trial(file, base, varied, folder))
        return cls(file.stem, tuple(name for name in choices if name != SEED), tuple(trials))

    def run(self, jobs: int, tell: Callable[[Trial, int], None] = lambda *_: None) -> None:
        """Run what has no result yet, so many at a time; `tell` gets each trial that ends and how many have.

        A trial that fails does not stop the others.
        """
        if not 1 <= jobs <= MOST_JOBS:
            raise ConfigError(f"--jobs {jobs}: 1 to {MOST_JOBS} runs go on side by side")
        todo = [trial for trial in self.trials if trial.result is None]
        done = len(self.trials) - len(todo)
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for trial in pool.map(_run, todo):
                    done += 1
                    tell(trial, done)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def view(self) -> SweepView:
        """Return what came of all trials so far."""
        trials = [_trial_view(trial) for trial in self.trials]
        names = list(dict.fromkeys(name for item in trials for name in item["figures"]))
        groups: dict[tuple[tuple[str, str], ...], list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(tuple(pair for pair in trial.values if pair[0] != SEED), []).append(trial)
        return {
            "name": self.name,
            "varied": list(self.varied),
            "figures": names,
            "cells": [_cell(dict(values), group, names) for values, group in groups.items()],
            "trials": trials,
        }


def spread(values: Sequence[float]) -> SpreadView | None:
    """Return mean and standard deviation of numbers; None of no number."""
    if not values:
        return None
    return {
        "mean": fmean(values),
        "deviation": stdev(values) if len(values) > 1 else None,
        "count": len(values),
    }


def figures_of(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a run that sweeps compare."""
    rounds = result["rounds"]
    updates = sum(len(item["accepted"]) + len(item["rejected"]) for item in rounds)
    rejected = sum(len(item["rejected"]) for item in rounds)
    figures: dict[str, float | None] = dict(result.get("final_metrics") or {})
    figures["loss"] = result.get("final_loss")
    figures["rejected"] = rejected / updates if updates else None
    for name in ("attack_success", "false_accepts", "false_rejects"):
        if result.get(name) is not None:
            figures[name] = result[name]
    figures["void"] = sum(item["status"] == "void" for item in rounds)
    figures["gas"] = result.get("gas_per_participant")
    figures["seconds"] = result.get("seconds")
    return figures


def _name(name: str) -> str:
    return name.replace("-", "_")


def _choices(file: Path, name: str, values: object) -> list[object]:
    """Return the values of an option of the grid; raises ConfigError."""
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{file}: {GRID}.{name} is not a list of values, such as {name} = [1, 2]")
    if len({json.dumps(value, default=str) for value in values}) != len(values):
        raise ConfigError(f"{file}: {GRID}.{name} has a value twice")
    return values


def _trial(file: Path, base: Mapping[str, object], varied: Mapping[str, object], folder: Path) -> Trial:
    """Return the trial of a combination; raises ConfigError that names it."""
    options = {_name(name): value for name, value in base.items()} | dict(varied)
    where = WHERE & set(options)
    if where:
        raise ConfigError(f"{file}: {min(where)} is the sweep's own: name its folder with --dir")
    try:
        config = Config.load(options, toml=NOTHING, env={})
    except ConfigError as error:
        words = ", ".join(f"{name}={value}" for name, value in varied.items())
        raise ConfigError(f"{file}, {words}: {error}") from None
    content = config.model_dump(mode="json", exclude=set(WHERE))
    name = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return Trial(tuple((key, _text(value)) for key, value in varied.items()), config, folder / name)


def _text(value: object) -> str:
    """Return a value of the grid as a table shows it."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _run(trial: Trial) -> Trial:
    """Run a trial in a process of its own."""
    content = trial.config.model_dump(mode="json", exclude=set(WHERE))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    try:
        trial.folder.mkdir(parents=True, exist_ok=True)
        replace_file(trial.folder / OPTIONS, json_text(content, indent=1))
        with (trial.folder / "log.txt").open("w", encoding="utf-8") as log:
            command = [sys.executable, "-m", "bcfl.federation.trial", str(trial.folder)]
            code = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False).returncode
        if code and trial.error is None:
            words = f"the process ended with {code}, see {trial.folder / 'log.txt'}"
            replace_file(trial.folder / ERROR, words + "\n")
    except OSError as error:
        raise RunError(f"{trial.folder} cannot be written: {error.strerror}") from error
    return trial


def _trial_view(trial: Trial) -> TrialView:
    result = trial.result
    error = None if result is not None else trial.error
    return {
        "values": dict(trial.values),
        "seed": trial.config.seed,
        "folder": str(trial.folder),
        "state": "done" if result is not None else "open" if error is None else "failed",
        "error": error,
        "figures": {} if result is None else figures_of(result),
    }


def _cell(values: dict[str, str], trials: Sequence[Trial], names: Sequence[str]) -> CellView:
    """Return one combination over its seeds."""
    results = [result for trial in trials if (result := trial.result) is not None]
    figures = [figures_of(result) for result in results]
    spreads = {
        name: spread([value for item in figures if (value := item.get(name)) is not None]) for name in names
    }
    return {
        "values": values,
        "trials": len(trials),
        "failed": sum(trial.result is None and trial.error is not None for trial in trials),
        "figures": {name: item for name, item in spreads.items() if item is not None},
        "curves": dict(_curves(results)),
    }


def _curves(results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[SpreadView | None]]]:
    """Yield metrics and loss by round, over the seeds."""
    rounds = max((len(result["rounds"]) for result in results), default=0)
    metrics = dict.fromkeys(n for result in results for item in result["rounds"] for n in item["metrics"])
    for name in (*metrics, "loss"):
        points: list[SpreadView | None] = []
        for place in range(rounds):
            items = [result["rounds"][place] for result in results if place < len(result["rounds"])]
            values = [item["loss"] if name == "loss" else item["metrics"].get(name) for item in items]
            points.append(spread([value for value in values if value is not None]))
        yield name, points
