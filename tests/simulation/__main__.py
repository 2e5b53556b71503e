"""`make simulate`: play seeds, or one again, or find planted faults.

python -m tests.simulation [--rounds N] [--seconds N] [--jobs N] [--chain NAME] [--file FILE]
python -m tests.simulation --seed N [--only FAULT,FAULT|none]
python -m tests.simulation --plants | --plant NAME [--first N] [--rounds N]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tests.simulation import campaign
from tests.simulation.chains import CHAINS
from tests.simulation.episode import STORMY_ROUNDS, play
from tests.simulation.faults import Weather


def main() -> int:
    """Do what the options say; 1 if a rule was broken, or a planted fault was not found."""
    options = _options()
    if options.seed is not None:
        return _again(options)
    if options.plants or options.plant:
        from tests.simulation.hunt import hunt

        return hunt(options)
    lines = campaign.run(
        options.file, rounds=options.rounds, seconds=options.seconds, jobs=options.jobs, first=options.first,
        chain=options.chain, factor=options.factor, tell=_tell,
    )  # fmt: skip
    print(campaign.table(lines))
    return int(any(line["violations"] for line in lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument(
        "--rounds", type=int, default=1_000, help="to play now; with --plants, at most for each"
    )
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="after which no new episode begins"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--file", type=Path, default=Path("runs/simulation/episodes.jsonl"))
    parser.add_argument("--chain", choices=sorted(CHAINS), default="specification")
    parser.add_argument("--factor", type=float, default=1.0, help="on the chance of every fault")
    parser.add_argument("--seed", type=int, help="play one episode and print everything")
    parser.add_argument("--only", help="names of the faults that happen in it; none: no fault")
    parser.add_argument("--plants", action="store_true", help="find planted faults")
    parser.add_argument("--plant", action="append", default=[], help="this one only; may be given again")
    return parser.parse_args()


def _again(options: argparse.Namespace) -> int:
    """Play one episode and print what happened."""
    only = None
    if options.only is not None:
        only = frozenset(() if options.only == "none" else options.only.split(","))
    outcome = play(
        options.seed,
        only=only,
        kind=CHAINS[options.chain](),
        rounds=STORMY_ROUNDS,
        weather=Weather(options.factor),
    )
    print(f"seed {outcome.seed} at commit {campaign.commit()}: {outcome.label}")
    print(f"{outcome.rounds} rounds, {outcome.blocks} blocks, {outcome.virtual_seconds} virtual s")
    for fault in outcome.faults:
        print(" ", fault)
    for item in outcome.violations:
        print(f"{item.rule}: {item.text} (round {item.round}, {item.phase})")
    return int(bool(outcome.violations))


def _tell(line: dict[str, Any]) -> None:
    if line["violations"]:
        print(campaign.describe(line), flush=True)


if __name__ == "__main__":
    campaign.collect_rarely()
    sys.exit(main())
