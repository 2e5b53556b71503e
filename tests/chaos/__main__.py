"""`make chaos`: many seeds one after the other, each written down: what was stopped goes on.

python -m tests.chaos [--seeds N] [--first N] [--folder DIR] [--store folder|ipfs|both] [--tls on|off|half]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

from bcfl.errors import BcflError
from tests.chaos.checks import Outcome
from tests.chaos.run import ROUNDS, run
from tests.ipfs import ipfs


def main() -> int:
    """Play what has not been played, print the table; 1 if anything was not as it should be."""
    options = _options()
    options.folder.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for seed in range(options.first, options.first + options.seeds):
        real = options.store == "ipfs" or (options.store == "both" and seed % 2 == 1)
        if real and (reason := ipfs.absence()):
            print(f"seed {seed}: on a folder, for there is {reason}", file=sys.stderr)
            real = False
        encrypted = options.tls == "on" or (options.tls == "half" and seed // 2 % 2 == 1)
        name = f"{seed}-{'ipfs' if real else 'folder'}{'-tls' if encrypted else ''}"
        outcome = _outcome(seed, options.folder / name, real, encrypted)
        outcomes.append(outcome)
        print(_line(outcome), flush=True)
    bad = sum(bool(outcome.faults) for outcome in outcomes)
    kills = sum(outcome.kills for outcome in outcomes)
    print(f"{len(outcomes)} runs, {kills} kills, {bad} with faults")
    return int(bad > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/chaos"))
    parser.add_argument("--store", choices=("folder", "ipfs", "both"), default="both")
    parser.add_argument("--tls", choices=("on", "off", "half"), default="half")
    return parser.parse_args()


def _outcome(seed: int, folder: Path, real: bool, encrypted: bool) -> Outcome:
    """What came of a seed: as written down, or played now; the folder of a good run is removed."""
    record = folder.with_suffix(".json")
    if record.exists():
        content = json.loads(record.read_text())
        content |= {name: tuple(content.get(name, ())) for name in ("faults", "unjudged")}
        return Outcome(**content)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        outcome = run(seed, folder, real=real, encrypted=encrypted)
    except (BcflError, OSError) as error:  # a run that does not end is a TimeoutError
        outcome = Outcome(seed, "ipfs" if real else "folder", 0, ROUNDS, 0, 0.0, 0, False, (str(error),))
    record.write_text(json.dumps(dataclasses.asdict(outcome)) + "\n")
    if not outcome.faults:
        shutil.rmtree(folder)
    return outcome


def _line(outcome: Outcome) -> str:
    verdict = "; ".join(outcome.faults) or "ok"
    why = "stakes not judged: the machine was too slow"
    if outcome.lag or outcome.outage:  # written down since this is
        why += f", the chain not seen for {outcome.lag} s, the store away for {outcome.outage} s"
    if outcome.unjudged:
        why += f"; {'; '.join(outcome.unjudged)}"
    return (
        f"seed {outcome.seed:3}  {outcome.store:10}  {outcome.blocks} blocks of {outcome.rounds} rounds  "
        f"{outcome.kills:2} kills  {outcome.refused:2} refused  {outcome.seconds:6.1f} s  "
        f"{verdict}{f' ({why})' if outcome.slow else ''}"
    )


if __name__ == "__main__":
    sys.exit(main())
