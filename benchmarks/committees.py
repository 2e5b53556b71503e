"""How often a coalition captures or stops a committee, by size and share: the tables of docs/committees.md.

    python -m benchmarks.committees
    python -m benchmarks.committees --size 9 --coalition 2,1,1,1,1,1,1 --others 6,3,3,3,3

The second line is for one federation, given by its weights.

A coalition captures a committee if its members alone are more than two thirds of all. Figures of equal stakes
are exact, others are bounded from both sides to better than 1%; tables show the upper bound.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from bcfl.federation.capture import (
    Parties,
    at_least_once,
    committees,
    deciding,
    equal_probability,
    most_committees,
    probability,
)
from bcfl.federation.views.committee import joined_by
from bcfl.protocol.limits import MAX_MINERS

Table = Iterator[tuple[str, ...]]

SHARES = (10, 20, 33, 45)  # percent
SIZES = (1, 3, 5, 7, 9, 15, 21, 31, 43)
FEW = 20  # miners of a small federation
HONEST, MANY = 18, 24  # miners beside a coalition, and accounts among which it splits its stake
LARGE, HEAVY = (4, 5, 8, 10, 20), 10  # numbers of honest miners with so many whole stakes each
ROUNDS = (100, 1000, 10_000)
RARE = (1e-3, 1e-6)  # captures a round


def split(share: int, accounts: int, honest: int = HONEST) -> Parties:
    """Return a coalition with a share of the weight in equal accounts, beside others that are equal too."""
    return Parties((share * honest,) * accounts, ((100 - share) * accounts,) * honest)


def equal(share: int, miners: int) -> Parties:
    """Return a coalition of so many percent of equal miners, rounded down."""
    coalition = share * miners // 100
    return Parties((1,) * coalition, (1,) * (miners - coalition))


def captures() -> Table:
    """Yield how often a committee is captured, by size and share."""
    cases = [equal(share, miners) for miners in (MAX_MINERS, FEW) for share in SHARES]
    cases += [split(share, MANY) for share in SHARES[:3]]
    headings = [
        *map(_named, cases[: 2 * len(SHARES)]),
        *(f"{share}% in {MANY} accounts" for share in SHARES[:3]),
    ]
    yield "members", "decide", *headings
    for size in SIZES:
        yield str(size), str(deciding(size)), *(_cell(parties, size) for parties in cases)


def large_stakes() -> Table:
    """Yield how often small accounts with a third of the weight capture a committee beside large ones."""
    crowds = [joined_by(count, HEAVY) for count in LARGE]
    yield "members", *(f"{len(each.coalition)} accounts beside {len(each.others)}" for each in crowds)
    for size in SIZES[2:]:
        yield str(size), *(_cell(parties, size) for parties in crowds)


def stops() -> Table:
    """Yield how often a coalition has so many members that the others cannot decide without it."""
    cases = [equal(share, MAX_MINERS) for share in SHARES]
    yield "members", "stop it", *map(_named, cases)
    for size in SIZES:
        need = size - deciding(size) + 1
        yield str(size), str(need), *(_cell(parties, size, need) for parties in cases)


def trainings() -> Table:
    """Yield how likely there is a capture in a training, and how many salts captured members would try."""
    headings = (heading for rounds in ROUNDS for heading in (f"{rounds:,} rounds", "openings kept back"))
    yield "members", "a committee", *headings, "salts to try"
    for size in SIZES:
        chance = probability(equal(33, MAX_MINERS), size).high
        cells = (
            _percent(at_least_once(chance, draws))
            for rounds in ROUNDS
            for draws in (committees(rounds), most_committees(rounds))
        )
        yield str(size), _percent(chance), *cells, f"{1 / chance:,.0f}" if chance else "-"


def sizes() -> Table:
    """Yield the smallest sizes, multiples of three, from which on a capture is rare."""
    yield "captured", *(_named(equal(share, MAX_MINERS)) for share in SHARES)
    for rare in RARE:
        cells = []
        for share in SHARES:
            parties = equal(share, MAX_MINERS)
            often = [size for size in range(3, MAX_MINERS + 1, 3) if probability(parties, size).high > rare]
            cells.append(str(max(often, default=0) + 3))
        yield f"at most {rare:g}", *cells


def print_table(title: str, rows: Table) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n")
    for number, row in enumerate(rows):
        print("| " + " | ".join(row) + " |", flush=True)
        if number == 0:
            print("|---" * len(row) + "|")


def print_federation(size: int, parties: Parties) -> None:
    """Print how often one coalition captures committees."""
    members, bounds = min(size, parties.miners), probability(parties, size)
    print(f"{parties.share:.1%} of the weight, {len(parties.coalition)} of {parties.miners} miners")
    print(f"{deciding(members)} of {members} members decide; captured {bounds.low:.4g} to {bounds.high:.4g}")
    if parties.are_equal:
        counts = len(parties.coalition), len(parties.others)
        print(f"exactly {equal_probability(members, *counts, deciding(members))}")


def main() -> int:
    """Print the tables, or one federation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=5, help="members of a committee")
    for name in ("coalition", "others"):
        parser.add_argument(f"--{name}", type=_weights, help="weights of accounts, with commas")
    arguments = parser.parse_args()
    if arguments.coalition and arguments.others:
        print_federation(arguments.size, Parties(arguments.coalition, arguments.others))
        return 0
    print_table("Captured", captures())
    print_table(f"Captured by accounts of one or few stakes beside others of {HEAVY}", large_stakes())
    print_table("Stopped", stops())
    print_table(f"In a training, {_named(equal(33, MAX_MINERS))}", trainings())
    print_table("Sizes", sizes())
    return 0


def _weights(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _named(parties: Parties) -> str:
    return f"{len(parties.coalition)} of {parties.miners}"


def _cell(parties: Parties, size: int, need: int | None = None) -> str:
    """Return how often a coalition has what it needs; a size that is more than all miners has no cell."""
    if size > parties.miners:
        return "-"
    bounds = probability(parties, size, need)
    return "always" if bounds.low == 1 else "never" if bounds.high == 0 else _percent(bounds.high)


def _percent(chance: float) -> str:
    """Return a probability in percent, or as a power of ten where it is small."""
    if chance > 0.99:
        return "> 99%"
    return f"{100 * chance:.2g}%" if chance >= 1e-5 else f"{chance:.0e}" if chance else "never"


if __name__ == "__main__":
    sys.exit(main())
