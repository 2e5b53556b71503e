"""Compare random whole rounds on bytecode and specification: `python -m benchmarks.specification --seeds 4`.

Prints how many rounds and calls came to the same, and the CPU time of an honest round on each ledger.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bcfl.protocol.types import Engine, Mode
from testkit.harness import TERMS, Federation
from testkit.ledgers import BYTECODE, SPECIFICATION
from testkit.pair import Pair
from testkit.random_rounds import RandomRounds


def compare(first: int, seeds: int, steps: int) -> str:
    """Play federations of every engine and mode on both; returns what was compared."""
    counts: Counter[str] = Counter()
    federations = rounds = calls = 0
    for seed in range(first, first + seeds):
        for engine in Engine:
            for mode in Mode:
                played = RandomRounds(seed, engine, mode, counts=counts)
                played.play(steps)
                contract = played.f.contract
                assert isinstance(contract, Pair)
                contract.compare("at the end")
                contract.compare_views(1)
                federations += 1
                rounds += played.f.clock.round
                calls += contract.calls
    refusals = {name for name in counts if name.startswith("reverted: ")}
    return (
        f"{federations} federations, {rounds} rounds ({counts['Finalized']} final, {counts['Voided']} void), "
        f"{calls:,} calls, {sum(counts[name] for name in refusals):,} of them reverted for {len(refusals)} "
        f"reasons, {sum(name[:1].isupper() for name in counts)} kinds of events: the same on both"
    )


def seconds_of(kind: str, engine: Engine, rounds: int) -> float:
    """Return the CPU seconds of an honest round of 4 miners and 6 devices, the harness included."""
    terms = replace(TERMS, engine=engine, pow_target=2**255, pow_seconds=1)
    federation = Federation(6, 4, terms, kind=kind).open().finish()
    begin = time.process_time()
    for _ in range(rounds):
        federation.finish()
    return (time.process_time() - begin) / rounds


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, each for all engines and modes")
    parser.add_argument("--steps", type=int, default=150, help="things that are done in each federation")
    options = parser.parse_args(arguments)
    for engine in Engine:
        quick, slow = seconds_of(SPECIFICATION, engine, 20), seconds_of(BYTECODE, engine, 2)
        print(f"{engine.name.lower()}: {1000 * quick:.1f} ms of CPU a round, bytecode {1000 * slow:.0f} ms")
    if options.seeds:
        print(compare(options.first, options.seeds, options.steps))


if __name__ == "__main__":
    main()
