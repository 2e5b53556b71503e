"""`make mutants`: try mutants of the contracts in turn, each written down: what was stopped goes on.

python -m tests.mutants [--count N] [--seeds N] [--first N] [--module NAME] [--least PERCENT]
                        [--timeout SECONDS] [--json] [--list]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bcfl.ledger.artifact import artifact
from tests.mutants import report
from tests.mutants.build import CONTRACTS, ROOT, baseline, digest_of, source_texts
from tests.mutants.choice import candidates, choose
from tests.mutants.journal import Accepted, Journal, Result, Status, outdated, read_accepted
from tests.mutants.rules import Mutant
from tests.mutants.trial import TESTS, CampaignError, Trial, make_survey

MOST_INVALID = 0.25
ACCEPTED = Path(__file__).parent / "accepted.toml"


def main() -> int:
    """Try what has not been tried and print the table; 1 if too few are killed, 2 if that cannot be told."""
    options = _options()
    try:
        groups = candidates(source_texts(), options.module)
        seeds = range(options.first, options.first + options.seeds)
        chosen = list(dict.fromkeys(m for seed in seeds for m in choose(groups, options.count, seed)))
        if options.list:
            print("\n".join(f"{mutant.name}\n  - {mutant.before}" for mutant in chosen))
            return 0
        accepted = [entry for entry in read_accepted(ACCEPTED) if entry.path in groups]
        for entry in outdated(accepted, (mutant for group in groups.values() for mutant in group)):
            print(
                f"{ACCEPTED.name}: no rule makes `{entry.after}` of {entry.path}; remove it", file=sys.stderr
            )
        rows = _campaign(options, chosen, accepted)
    except (CampaignError, ValueError) as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("mutants: stopped; the same command goes on", file=sys.stderr)
        return 130
    print(json.dumps(report.content(rows), indent=1) if options.json else "\n".join(report.table(rows)))
    if report.invalid_share(rows) > MOST_INVALID:
        print(
            f"mutants: more than {MOST_INVALID:.0%} do not compile: the table says nothing", file=sys.stderr
        )
        return 2
    return int(report.killed_percent(rows) < options.least)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--count", type=int, default=154, help="how many mutants a seed chooses")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds choose")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--module", help="mutants of this source alone, e.g. rounds")
    parser.add_argument("--least", type=float, default=95, help="percent to be killed")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds for the tests of one mutant")
    parser.add_argument("--folder", type=Path, default=Path("runs/mutants"))
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--list", action="store_true", help="print the mutants without trying them")
    return parser.parse_args()


def _campaign(
    options: argparse.Namespace, chosen: Sequence[Mutant], accepted: Sequence[Accepted]
) -> list[report.Row]:
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sources = digest_of(path for path in CONTRACTS.rglob("*") if path.suffix in (".vy", ".vyi", ".py"))
    roots = [ROOT / name for name in (*TESTS, "testkit", "bcfl")]
    tests = digest_of(path for root in roots for path in root.rglob("*.py"))
    journal = Journal(folder / "journal.jsonl")
    results = journal.read(sources, tests)
    trial: Trial | None = None
    rows = []
    for mutant in chosen:
        reason = next((entry.reason for entry in accepted if entry.covers(mutant)), None)
        result = results.get(mutant.name)
        if reason is not None:
            result = Result(mutant.name, sources, tests, Status.ACCEPTED, reason, 0.0, 0.0)
        elif result is None:
            if trial is None:
                before = baseline(folder, sources)
                if before.bytecode != artifact()["bytecode"]:
                    raise CampaignError(
                        "the artifact is not what the sources compile to; run `make contracts`"
                    )
                survey = make_survey(folder / f"survey-{sources}.json")
                trial = Trial(folder, sources, tests, before, survey, options.timeout)
            result = trial.run(mutant)
            journal.write(result)
        rows.append((mutant, result))
        print(f"{len(rows)}/{len(chosen)} {report.progress(mutant, result)}", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
