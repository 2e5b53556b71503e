"""Play seed after seed, write each down, and say what all of them covered and found."""

from __future__ import annotations

import gc
import json
import os
import shlex
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.simulation.chains import CHAINS
from tests.simulation.episode import STORMY_ROUNDS, Outcome, play
from tests.simulation.faults import Weather
from tests.simulation.invariants import Violation
from tests.simulation.shrink import shrink

COLLECT_AFTER = 400_000  # new objects
ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    """Return the commit that is checked out, with a plus where files differ from it."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def play_seed(seed: int, chain: str, rounds: int, factor: float) -> dict[str, Any]:
    """Play an episode and return its line; a failed one is played again with fewer and fewer faults.

    One that cannot be played to its end breaks the rule `played`: that ends no campaign either.
    """
    try:
        outcome = play(seed, kind=CHAINS[chain](), rounds=rounds, weather=Weather(factor))
    except Exception as error:
        violation = Violation("played", f"the simulation fails: {error!r}"[:300], 0, "?")
        outcome = Outcome(seed, "?", 0, 0, 0.0, 0, {}, (), {}, (violation,))
    line = outcome.to_json() | ({} if chain == "specification" else {"chain": chain})
    line |= {} if factor == 1.0 else {"factor": factor}
    if outcome.faults and outcome.violations:
        line["shrunk"] = shrink_outcome(outcome, chain, rounds, factor)
    return line


def shrink_outcome(outcome: Outcome, chain: str, rounds: int, factor: float) -> tuple[str, ...]:
    """Return the fewest faults with which the first rule that was broken is broken again."""
    rule = outcome.violations[0].rule

    def fails(faults: frozenset[str]) -> bool:
        try:
            again = play(
                outcome.seed, only=faults, kind=CHAINS[chain](), rounds=rounds, weather=Weather(factor)
            )
        except Exception:  # that is another failure
            return False
        return any(violation.rule == rule for violation in again.violations)

    return shrink(outcome.faults, fails)


def read(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a campaign; one that was cut off is none."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def write(path: Path, line: dict[str, Any]) -> None:
    """Append a line and sync it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ends_line = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("" if ends_line else "\n") + json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def seeds_after(first: int, finished: Iterable[int]) -> Iterator[int]:
    """Yield the seeds from `first` on that are not finished."""
    done = set(finished)
    seed = first
    while True:
        if seed not in done:
            yield seed
        seed += 1


def run(
    path: Path,
    *,
    rounds: int,
    seconds: float,
    jobs: int,
    first: int,
    chain: str,
    factor: float,
    tell: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Play new seeds until there are so many rounds or the time is up; returns all lines of the file."""
    lines, end = read(path), time.monotonic() + seconds
    seeds, name, count = seeds_after(first, [line["seed"] for line in lines]), commit(), 0

    def take(line: dict[str, Any]) -> int:
        line["commit"] = name
        write(path, line)
        lines.append(line)
        tell(line)
        return max(1, int(line["rounds"]))

    if jobs == 1:
        while count < rounds and time.monotonic() < end:
            count += take(play_seed(next(seeds), chain, STORMY_ROUNDS, factor))
        return lines
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=collect_rarely) as pool:
        pending: set[Future[dict[str, Any]]] = set()
        while pending or (count < rounds and time.monotonic() < end):
            while len(pending) < 2 * jobs and count < rounds and time.monotonic() < end:
                pending.add(pool.submit(play_seed, next(seeds), chain, STORMY_ROUNDS, factor))
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            count += sum(take(future.result()) for future in done)
    return lines


def collect_rarely() -> None:
    """Let the collector of garbage run rarely in this process, and skip all modules: a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return what a campaign covered and found."""
    coverage: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    for line in lines:
        coverage.update(line["coverage"])
        checks.update(line["checks"])
    total = {
        key: sum(line[key] for line in lines) for key in ("rounds", "blocks", "virtual_seconds", "seconds")
    }
    failed = [line for line in lines if line["violations"]]
    text = [
        f"{len(lines)} episodes, {total['rounds']} rounds, {total['blocks']} blocks, "
        f"{sum(coverage.values())} faults, {total['virtual_seconds'] / 86_400:.1f} virtual days in "
        f"{total['seconds']:.0f} s ({1000 * total['seconds'] / max(1, total['rounds']):.0f} ms a round)",
        "checks: " + ", ".join(f"{name} {count}" for name, count in sorted(checks.items())),
        *_coverage_rows(coverage),
        f"{len(failed)} episodes broke a rule",
    ]
    return "\n".join([*text, *(describe(line) for line in failed)])


def _coverage_rows(coverage: Counter[str]) -> list[str]:
    """Return one row for each kind of fault: how often, by role, and in how many phases."""
    kinds: dict[str, Counter[str]] = {}
    phases: dict[str, set[str]] = {}
    for key, count in coverage.items():
        kind, phase, role = key.split(" ")
        kinds.setdefault(kind, Counter())[role] += count
        phases.setdefault(kind, set()).add(phase)
    roles = sorted({role for counts in kinds.values() for role in counts})
    rows = [f"{'fault':20}" + "".join(f"{role:>11}" for role in roles) + f"{'phases':>8}"]
    for kind, counts in sorted(kinds.items()):
        rows.append(f"{kind:20}" + "".join(f"{counts[role]:11}" for role in roles) + f"{len(phases[kind]):8}")
    return rows


def describe(line: dict[str, Any]) -> str:
    """Return a failure, and how to play it again."""
    violation = line["violations"][0]
    if not isinstance(violation, dict):
        violation = vars(violation)
    faults = ",".join(line.get("shrunk", ())) or "none"
    only = f" --only {shlex.quote(faults)}" if "shrunk" in line else ""
    options = "".join(f" --{name} {line[name]}" for name in ("chain", "factor") if name in line)
    return (
        f"seed {line['seed']} at commit {line.get('commit', '?')}: {violation['rule']}: {violation['text']} "
        f"(round {violation['round']}, {violation['phase']}; {line['label']})\n"
        f"  fewest faults: {faults}\n"
        f"  again: python -m tests.simulation --seed {line['seed']}{options}{only}"
    )
