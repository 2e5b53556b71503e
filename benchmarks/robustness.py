"""How the model fares under each attack: accuracy, backdoors, mistakes of the miners, what attackers earn.

    python -m benchmarks.robustness                # the rows of the goals, 3 seeds
    python -m benchmarks.robustness --grid         # and every attack, share, partition and pipeline, one seed
    python -m benchmarks.robustness --small        # federations of 3 to 20 devices, 3 seeds
    python -m benchmarks.robustness --adaptive     # adversaries that play the rules themselves, 3 seeds
    python -m benchmarks.robustness --quick        # a few minutes, on digits
    python -m benchmarks.robustness --show         # play nothing, print what has been measured

Every result is a line of `--results`; a case that stands there is not played again, one that was interrupted
is. A result holds for the rules it was made with: when checks or adversaries change, its case is played
again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from testkit.robustness import campaign, last_results
from testkit.robustness_cases import Case, adaptive, grid, headline, quick, small
from testkit.robustness_report import plot, table

RESULTS = Path("runs/robustness.jsonl")


def chosen(options: argparse.Namespace) -> list[Case]:
    """Return the cases that the command line asks for, each once."""
    chosen_cases = adaptive if options.adaptive else small if options.small else headline
    cases: Iterable[Case] = quick() if options.quick else chosen_cases(options.seeds)
    candidates = list(cases) + (list(grid()) if options.grid else [])
    unique = {
        case.key + case.group: case for case in candidates if options.only in f"{case.key}|{case.attack}"
    }
    return list(unique.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print, plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a few minutes, on digits")
    parser.add_argument("--small", action="store_true", help="federations of 3 to 20 devices")
    parser.add_argument("--adaptive", action="store_true", help="adversaries that play the rules themselves")
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
    cases = chosen(options)
    try:
        if not options.show:
            campaign(cases, options.results, options.jobs, options.old)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        return 130
    results = last_results(options.results, options.old)
    print(table(cases, results))
    picture = options.plot or options.results.with_suffix(".svg")
    picture.write_text(plot(cases, results), encoding="utf-8")
    print(f"\nplot: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
