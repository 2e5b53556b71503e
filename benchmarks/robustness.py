"""How the model fares under each attack: accuracy, backdoors, mistakes of the miners, what attackers earn.

    python -m benchmarks.robustness                # the rows of the goals, 3 seeds
    python -m benchmarks.robustness --grid         # and every attack, share, partition and pipeline, one seed
    python -m benchmarks.robustness --quick        # a few minutes, on digits
    python -m benchmarks.robustness --show         # play nothing, print what has been measured

Every result is a line of `--results`; a case that stands there is not played again, one that was interrupted
is. A result holds for the rules it was made with: when checks or adversaries change, its case is played
again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.cases import FEDAVG, Case, grid, headline, quick

ROOT = Path(__file__).parents[1]
RESULTS = Path("runs/robustness.jsonl")
JUDGED_BY = ("bcfl/roles/verifier.py", "bcfl/roles/checks/*.py")
PLAYED_BY = ("bcfl/adversaries/*.py", "bcfl/learning/*.py", "bcfl/protocol/fixedpoint.py")


def play(case: Case) -> dict[str, Any]:
    """The result of a case, as it is written down."""
    from benchmarks.chainless import Chainless

    started = time.process_time()
    config = case.config()
    federation = Chainless.found(config, _material(config.model_copy(update={"adversary": ()})))
    rounds = [federation.play_round() for _ in range(config.rounds)]
    playing = set(federation.assignment.playing)
    honest = set(range(config.devices)) - playing
    sent = [played.accepted | set(played.rejected) for played in rounds]
    wages = {
        name: sum(federation.earned.get(device, 0) for device in who) / max(1, len(who))
        for name, who in (("honest", honest), ("playing", playing))
    }
    reasons = Counter(
        f"{'honest' if device in honest else 'adversary'} {reason}"
        for played in rounds
        for device, reason in played.rejected.items()
    )
    return {
        "key": case.key,
        "rules": rules(case.pipeline),
        "accuracy": [round(played.accuracy, 5) for played in rounds],
        "success": rounds[-1].attack_success,
        "honest": sum(len(who & honest) for who in sent),
        "false_rejects": sum(len(set(played.rejected) & honest) for played in rounds),
        "adversarial": sum(len(who & playing) for who in sent),
        "false_accepts": sum(len(played.accepted & playing) for played in rounds),
        "reasons": dict(sorted(reasons.items())),
        "earned": wages["playing"] / wages["honest"] if playing and wages["honest"] else None,
        "void": sum(played.void for played in rounds),
        "seconds": round(time.process_time() - started, 1),
    }


@lru_cache(maxsize=1)
def _material(config: Any) -> Any:
    """Task and shares of a configuration; cases of one seed and partition stand next to each other."""
    from bcfl.federation.simulation import material

    return material(config)


@lru_cache
def rules(pipeline: str) -> str:
    """A digest of the sources that decide a case of this pipeline."""
    patterns = PLAYED_BY if pipeline == FEDAVG else (*PLAYED_BY, *JUDGED_BY)
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def read(path: Path) -> list[dict[str, Any]]:
    """The results in a file; a last line that was cut off is none."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def known(path: Path, old: bool) -> dict[str, dict[str, Any]]:
    """The last result of each case; unless `old`, only of the rules as they are."""
    current = {rules(FEDAVG), rules("mean")}
    return {result["key"]: result for result in read(path) if old or result["rules"] in current}


def write(path: Path, result: dict[str, Any]) -> None:
    """Append a result, on disk when this returns; on a line of its own whatever stood there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("" if whole else "\n") + json.dumps(result) + "\n")
        file.flush()
        os.fsync(file.fileno())


def results(cases: Sequence[Case], jobs: int) -> Iterator[dict[str, Any]]:
    """Play cases, in this process or in several."""
    if jobs == 1:
        yield from map(play, cases)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(play, case) for case in cases]):
            yield done.result()


def campaign(cases: Sequence[Case], path: Path, jobs: int, old: bool) -> None:
    """Play what has not been played yet, with a bar that says how long it will take."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done = known(path, old)
    todo = [case for case in cases if case.key not in done]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        names = {case.key: f"{case.attack or 'nobody'} {case.partition} {case.pipeline}" for case in todo}
        shown = bar.add_task("robustness", total=len(cases), completed=len(cases) - len(todo))
        for result in results(todo, jobs):
            write(path, result)
            bar.update(shown, advance=1, description=f"{names[result['key']]} {result['accuracy'][-1]:.1%}")


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases that the command line asks for, each once."""
    cases: Iterable[Case] = quick() if options.quick else headline(options.seeds)
    found = list(cases) + (list(grid()) if options.grid else [])
    unique = {case.key + case.group: case for case in found if options.only in f"{case.key}|{case.attack}"}
    return list(unique.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a few minutes, on digits")
    parser.add_argument("--grid", action="store_true", help="and every attack, share, partition and pipeline")
    parser.add_argument("--seeds", type=int, default=3, help="of the headline rows")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="only cases whose key or attack holds TEXT"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--show", action="store_true", help="play nothing, print what has been measured")
    parser.add_argument("--old", action="store_true", help="take results of other rules too")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="an SVG; else beside the results")
    options = parser.parse_args(arguments)
    from benchmarks.robustness_report import plot, table

    cases = chosen(options)
    try:
        if not options.show:
            campaign(cases, options.results, options.jobs, options.old)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        return 130
    found = known(options.results, options.old)
    print(table(cases, found))
    picture = options.plot or options.results.with_suffix(".svg")
    picture.write_text(plot(cases, found), encoding="utf-8")
    print(f"\nplot: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
