"""What one honest challenger can do, and what it costs: `python -m benchmarks.challenge [--quick]`.

The campaign: forged proposals, every one to be refuted by the challenge that the evidence gives, and right
ones, none to be refuted by a hostile challenge: all on the Python twin, a random part on the contract.
Then the gas and the bytes of a challenge, and beside it what the trees cost, for the choice of the leaf size.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from bcfl.protocol import merkle
from bcfl.protocol.limits import MAX_SHOWN
from bcfl.protocol.types import Rule
from testkit.challenges import (
    FORGED_CASES,
    against_honest,
    cost,
    lone_place,
    on_the_contract,
    on_the_twin,
    terms_of,
)
from testkit.proposal_fixture import ProposalFixture

HONEST, ON_CHAIN = 10_000, 300
UPDATES = (4, 20, 100, 400, 1000)
PARAMETERS = (10_000, 1_000_000, 10_000_000, 100_000_000)
LEAVES = (16, 32, 64, 128, 256)  # lanes
GOALS = {(20, 1_000_000): 260_000, (400, 1_000_000): 1_000_000, (1000, 100_000_000): 2_500_000}


def size_table() -> None:
    """Gas and bytes against updates and parameters, leaves of one word."""
    print("\nThe opening of a challenge of one lane, where 3 of 5 voters have attested: gas, bytes")
    print("Mean, lanes of 16 bits, leaves of one word")
    print(f"{'updates':>9}" + "".join(f"{f'{parameters:,} parameters':>26}" for parameters in PARAMETERS))
    for updates in UPDATES:
        cells = []
        for parameters in PARAMETERS:
            measure = cost(updates, parameters, 16)
            goal = GOALS.get((updates, parameters))
            mark = "" if goal is None else " ok" if measure.gas <= goal and measure.fits else " OVER"
            cells.append(f"{measure.gas:>13,}{measure.size:>9,}{mark:<4}")
        print(f"{updates:>9,}" + "".join(cells))


def rule_table() -> None:
    """Gas and bytes against rule and width of lanes."""
    print("\nThe same for 1,000,000 parameters by rule and width: gas, bytes")
    heads = [(updates, lane_bits) for updates in (20, 400) for lane_bits in (32, 16, 8)]
    print(f"{'':<14}" + "".join(f"{f'{u} updates, {b} bits':>22}" for u, b in heads))
    for rule in Rule:
        costs = [cost(updates, 1_000_000, 256 // bits, bits, rule) for updates, bits in heads]
        print(f"{rule.name.lower():<14}" + "".join(f"{c.gas:>13,}{c.size:>9,}" for c in costs))


def trees(leaf_lanes: int, parameters: int = 1_000_000, updates: int = 20) -> Iterator[float]:
    """Seconds to make the tree of an update, of a model, and of the rows."""
    rng = np.random.default_rng(0)
    lanes = [rng.integers(-(2**15), 2**15, parameters, np.int16) for _ in range(updates)]
    model = rng.integers(-(2**31), 2**31, parameters, np.int32)
    for vectors in ([lanes[0]], [model], lanes):
        start = time.perf_counter()
        merkle.rows_root(vectors, leaf_lanes)
        yield time.perf_counter() - start


def leaf_table() -> None:
    """Print what a leaf size costs: challenges on the one side, trees on the other."""
    print("\nLeaf sizes, 16-bit lanes, 1,000,000 parameters: seconds of a root, gas and bytes of a challenge")
    print(
        f"{'lanes':>6}{'update':>9}{'model':>9}{'20 rows':>9}"
        + "".join(f"{f'{u} updates':>23}" for u in (20, 100, 400))
    )
    for leaf_lanes in LEAVES:
        seconds = "".join(f"{value:>9.3f}" for value in trees(leaf_lanes))
        cells = []
        for updates in (20, 100, 400):
            if updates * (2 * leaf_lanes + 4) + 8 * leaf_lanes > MAX_SHOWN:
                cells.append(f"{'refused by the terms':>23}")
                continue
            measure = cost(updates, 1_000_000, leaf_lanes)
            cells.append(f"{measure.gas:>13,}{measure.size:>9,} ")
        print(f"{leaf_lanes:>6}{seconds}" + "".join(cells))


def announcement() -> None:
    """Gas of an announcement, which comes before, and of its settlement where another was quicker."""
    fixture = ProposalFixture(terms_of(20, 1_000_000, 16, 16, Rule.MEAN), 5)
    context, challenge = lone_place(fixture, 20)
    fixture.put_proposal(context)
    outsider, other = fixture.federation.outsider, fixture.federation.owner
    sealed = fixture.announce(challenge)
    first = fixture.federation.receipts["announce_challenge"][-1].gas_used
    fixture.announce(challenge, other)
    fixture.federation.wait(fixture.part)
    fixture.open(challenge, other)
    settled = fixture.federation.send(outsider, "settle", outsider.address, sealed).gas_used
    print(f"\nTo announce: {first:,} gas; to get the bond back where another refuted it: {settled:,} gas")


def campaign(forged_count: int, honest_count: int, on_chain: int) -> None:
    """Every forged proposal refuted, no right one."""
    print(f"Forged proposals refuted by one honest challenger, on the twin: {forged_count:,} of as many")
    for name, count in sorted(on_the_twin(forged_count).items()):
        print(f"  {name.replace('_', ' '):<36}{count:>7,}")
    print(f"Right proposals under a hostile challenge, none refuted: {honest_count:,}")
    for name, count in against_honest(honest_count).most_common():
        print(f"  {name:<48}{count:>7,}")
    print(f"On the contract: {on_chain} of each, as on the twin")
    for name, count in sorted(on_the_contract(on_chain).items()):
        print(f"  {name:<24}{count:>5}")


def main() -> None:
    """Play the campaign and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a hundredth of the campaign")
    parser.add_argument("--tables", action="store_true", help="the tables alone")
    options = parser.parse_args()
    if not options.tables:
        part = 100 if options.quick else 1
        campaign(FORGED_CASES // part, HONEST // part, 20 if options.quick else ON_CHAIN)
    size_table()
    announcement()
    rule_table()
    leaf_table()


if __name__ == "__main__":
    main()
