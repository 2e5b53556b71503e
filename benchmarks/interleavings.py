"""Play random orders of challenges, disputes, exits and suspensions, and check the money after every call.

    python -m benchmarks.interleavings --count 20000 --jobs 2

An interleaving follows from its number alone, so a campaign can be played in parts: `--first 5000`. The first
one whose money does not add up ends the campaign with its number and exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from random import Random

from testkit.interleavings import MINERS, TERMS, Interleaving
from testkit.proposal_fixture import ProposalFixture

CALLS = 40  # of each interleaving
PART = 250  # played on one chain, which grows


def play(first: int, count: int) -> Counter[str]:
    """Play interleavings on one chain; returns how often each call was taken or reverted, and each event."""
    counts: Counter[str] = Counter()
    fixture = ProposalFixture(TERMS, miners=MINERS)
    for number in range(first, first + count):
        try:
            Interleaving(fixture, Random(number), counts).play(CALLS)
        except AssertionError as error:
            raise AssertionError(f"interleaving {number}: the money does not add up: {error}") from error
        counts["interleavings"] += 1
    return counts


def main() -> int:
    """Play them all and print what was tried."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.interleavings", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--count", type=int, default=1_000, help="how many (default 1,000)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a chain of its own")
    options = parser.parse_args()
    total, start = Counter[str](), time.monotonic()
    end = options.first + options.count
    with ProcessPoolExecutor(options.jobs, max_tasks_per_child=1) as pool:
        parts = [
            pool.submit(play, first, min(PART, end - first)) for first in range(options.first, end, PART)
        ]
        for part in as_completed(parts):
            try:
                total += part.result()
            except AssertionError as error:
                print(error, file=sys.stderr, flush=True)
                pool.shutdown(wait=False, cancel_futures=True)
                return 1
            seconds = time.monotonic() - start
            print(f"{total['interleavings']:,} of {options.count:,}, {seconds:,.0f} s", flush=True)
    for name, count in sorted(total.items()):
        print(f"{name:<28}{count:>12,}")
    print("the money adds up after every call")
    return 0


if __name__ == "__main__":
    sys.exit(main())
