"""Play random orders of challenges, disputes, exits and suspensions, and check the money after every call.

    python -m benchmarks.interleavings --count 20000 --jobs 2 --file interleavings.jsonl

An interleaving follows from its number alone. What is in the file, of the same sources, is not played again.
The first one whose money does not add up ends the campaign with its number and exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from testkit.interleaving_campaign import Campaign


def main() -> int:
    """Play them all and print what was tried."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.interleavings", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--count", type=int, default=1_000, help="how many (default 1,000)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with a chain of its own")
    parser.add_argument("--file", type=Path, help="where finished parts are kept, and not played again")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no part begins")
    options = parser.parse_args()
    campaign, start = Campaign(options.file), time.monotonic()
    numbers = range(options.first, options.first + options.count)
    due = sum(map(len, campaign.missing(numbers)))
    try:
        for played in campaign.run(numbers, options.jobs, options.seconds):
            print(f"{played:,} of {due:,}, {time.monotonic() - start:,.0f} s", flush=True)
    except AssertionError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    for name, count in sorted(campaign.total.items()):
        print(f"{name:<28}{count:>12,}")
    print("the money adds up after every call")
    return 0


if __name__ == "__main__":
    sys.exit(main())
