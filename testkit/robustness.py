"""Play the cases of the robustness bench and record their results, one JSON line each.

A case whose result stands in the file is not played again, one that was interrupted is. A result holds for
the rules it was made with: when checks or adversaries change, its case is played again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from testkit.robustness_cases import FEDAVG, Case

ROOT = Path(__file__).parents[1]
RESULTS = Path("runs/robustness.jsonl")
JUDGED_BY = ("bcfl/roles/miner/*.py", "bcfl/roles/checks/*.py")
PLAYED_BY = ("bcfl/adversaries/*.py", "bcfl/learning/*.py", "bcfl/protocol/fixedpoint.py")


def play(case: Case) -> dict[str, Any]:
    """Play a case; return its result as it is written down."""
    from testkit.chainless import Chainless

    start = time.process_time()
    config = case.config()
    federation = Chainless.create(config, _data(config.model_copy(update={"adversary": ()})))
    rounds = [federation.play_round() for _ in range(config.rounds)]
    adversaries = set(federation.assignment.device_specs)
    honest = set(range(config.devices)) - adversaries
    senders = [outcome.accepted | set(outcome.rejected) for outcome in rounds]
    wages = {
        name: sum(federation.earned.get(device, 0) for device in devices) / max(1, len(devices))
        for name, devices in (("honest", honest), ("playing", adversaries))
    }
    reasons = Counter(
        f"{'honest' if device in honest else 'adversary'} {reason}"
        for outcome in rounds
        for device, reason in outcome.rejected.items()
    )
    return {
        "key": case.key,
        "rules": rules(case.pipeline),
        "accuracy": [round(outcome.accuracy or 0.0, 5) for outcome in rounds],
        "success": rounds[-1].attack_success,
        "honest": sum(len(devices & honest) for devices in senders),
        "false_rejects": sum(len(set(outcome.rejected) & honest) for outcome in rounds),
        "adversarial": sum(len(devices & adversaries) for devices in senders),
        "false_accepts": sum(len(outcome.accepted & adversaries) for outcome in rounds),
        "reasons": dict(sorted(reasons.items())),
        "earned": wages["playing"] / wages["honest"] if adversaries and wages["honest"] else None,
        "void": sum(outcome.void for outcome in rounds),
        "seconds": round(time.process_time() - start, 1),
    }


@lru_cache(maxsize=1)
def _data(config: Any) -> Any:
    """Return task and shares of a configuration; cases of one seed and partition follow each other."""
    from bcfl.federation.genesis import set_up_data

    return set_up_data(config)


@lru_cache
def rules(pipeline: str) -> str:
    """Return a digest of the sources that decide a case of this pipeline."""
    patterns = PLAYED_BY if pipeline == FEDAVG else (*PLAYED_BY, *JUDGED_BY)
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def read(path: Path) -> list[dict[str, Any]]:
    """Read the results in a file; a last line that was cut off is none."""
    if not path.exists():
        return []
    results = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            results.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return results


def last_results(path: Path, old: bool) -> dict[str, dict[str, Any]]:
    """Return the last result of each case; without `old`, only those of the rules as they are."""
    current = {rules(FEDAVG), rules("mean")}
    return {result["key"]: result for result in read(path) if old or result["rules"] in current}


def write(path: Path, result: dict[str, Any]) -> None:
    """Append a result on a line of its own, also after a line that was cut off; sync before returning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ends_line = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("" if ends_line else "\n") + json.dumps(result) + "\n")
        file.flush()
        os.fsync(file.fileno())


def results(cases: Sequence[Case], jobs: int) -> Iterator[dict[str, Any]]:
    """Play cases, in this process or in several."""
    if jobs == 1:
        yield from map(play, cases)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(play, case) for case in cases]):
            yield future.result()


def campaign(cases: Sequence[Case], path: Path, jobs: int, old: bool) -> None:
    """Play the cases that have no result, with a progress bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    results_by_key = last_results(path, old)
    pending_cases = [case for case in cases if case.key not in results_by_key]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        names = {
            case.key: f"{case.attack or 'nobody'} {case.partition} {case.pipeline}" for case in pending_cases
        }
        bar_task = bar.add_task("robustness", total=len(cases), completed=len(cases) - len(pending_cases))
        for result in results(pending_cases, jobs):
            write(path, result)
            bar.update(
                bar_task, advance=1, description=f"{names[result['key']]} {result['accuracy'][-1]:.1%}"
            )
