"""How much an attacker gains, in leaderships and in money, by withholding what the next draw is made of.

    python -m benchmarks.beacon                 the tables of docs/randomness.md, some minutes
    python -m benchmarks.beacon --draws 100000  only how often whom the twin's lottery puts first

The attacker plays the best response with unlimited lookahead: it knows its own next layers, so it knows the
draw of every round that one of them leads to, and of those that follow. Honest layers are unknown to it until
they are shown. An attacker with many identities splits its weight evenly among them. Money is in wei.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, product

from scipy.stats import chisquare  # type: ignore[import-untyped]

from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.lottery import LEAD, Entrant, order
from testkit.withholding import DEFAULTS, LEADER, MANY, Scenario, blocking_rate, outcomes, race, salts

Table = Iterator[tuple[str, ...]]

SHARES = (0.10, 0.20, 0.33)
COMMITTEE = 5
SIZES = (1, 3, 5, 7, 10)
AHEAD = (0, 1, 5, 30)  # seconds
WEIGHTS = ((1, 1, 1, 1, 1), (1, 2, 3, 4), (1, 10, 100, 1000), (65_535, 1, 32_768))
DRAWS = 100_000
ETHER = 10**18
VERDICTS = DEFAULTS.reward * DEFAULTS.miner_share  # what all verdicts of a round are worth together


def withheld_turns() -> Table:
    """Refusing to lead, which costs the leader's penalty, and not voting, which costs a share of verdicts.

    For each what is left of the gain, in ether a round, to whoever takes all of it, and to whoever withholds
    only where that pays.
    """
    heads = ("turn: all", "turn: where it pays", "vote: all", "vote: where it pays")
    yield "engine", "weight", "identities", "leads", "gain, points", *heads
    for committee in (None, COMMITTEE):
        for share, identities in product(SHARES, (1, MANY)):
            scenario = Scenario(share, identities, committee)
            outcome = outcomes(scenario)
            gain = outcome.best - outcome.honest
            costs = (DEFAULTS.leader_penalty, VERDICTS / scenario.voters)
            yield (
                "stake, resource" if committee is None else f"committee of {committee}",
                f"{share:.0%}",
                str(identities),
                f"{outcome.honest:.1%}",
                f"{100 * gain:+.2f}",
                *chain.from_iterable(
                    (_ether(gain * LEADER - outcome.refusals * cost), _profit(scenario, cost))
                    for cost in costs
                ),
            )


def _ether(wei: float) -> str:
    return f"{wei / ETHER:+.5f}"


def _profit(scenario: Scenario, refusal: float) -> str:
    """Return what withholding earns per round for an attacker that wants money alone."""
    outcome = outcomes(replace(scenario, value=LEADER, refusal=refusal))
    return f"{_ether(outcome.best - outcome.honest)} ({outcome.best / outcome.honest - 1:+.2%})"


def withheld_attestations() -> Table:
    """Measure committees in which the attacker has enough members to keep a proposal from becoming final."""
    yield "members", "to make final", "weight", "can stop a proposal", "gain, points"
    for size, threshold, share in product(SIZES, (2 / 3, 1 / 2), SHARES):
        outcome = outcomes(Scenario(share, MANY, size, threshold, blocks=True))
        final = f"{int(size * threshold) + 1} of {size}"
        chance = blocking_rate(share, size, threshold)
        yield (
            str(size),
            final,
            f"{share:.0%}",
            f"{chance:.1%}",
            f"{100 * (outcome.best - outcome.honest):+.2f}",
        )


def head_starts() -> Table:
    """Measure races whose puzzle one miner knows before the others do."""
    yield "hash rate", *(f"{ahead} s ahead" for ahead in AHEAD)
    for share in SHARES:
        yield f"{share:.0%}", *(f"{100 * (race(share, ahead) - share):+.1f}" for ahead in AHEAD)


def before() -> Table:
    """Measure the beacon that was replaced."""
    yield "weight", "identities", "gain, points", "gain in ether a round"
    for share, identities in product(SHARES, (1, 4, MANY)):
        points = 100 * (salts(share, identities, 1, 0) - share)
        ether = salts(share, identities, LEADER, DEFAULTS.vote_penalty) - share * LEADER
        yield f"{share:.0%}", str(identities), f"{points:+.1f}", f"{ether / ETHER:+.3f}"


def frequencies(draws: int) -> Table:
    """How often whom the twin's lottery puts first, against the weights."""
    yield "weights", "leads", "expected", "chi-squared", "p"
    for weights in WEIGHTS:
        entrants = [Entrant(account + 1, weight) for account, weight in enumerate(weights)]
        leads = dict.fromkeys(range(1, len(weights) + 1), 0)
        for number in range(draws):
            leads[order(keccak(word(number)), LEAD, entrants)[0].account] += 1
        expected = [draws * weight / sum(weights) for weight in weights]
        test = chisquare(list(leads.values()), expected)
        cells = [
            ", ".join(f"{value:.0f}" for value in values) for values in (weights, leads.values(), expected)
        ]
        yield *cells, f"{test.statistic:.2f}", f"{test.pvalue:.3f}"


def print_table(title: str, rows: Table) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n")
    for number, row in enumerate(rows):
        print("| " + " | ".join(row) + " |", flush=True)
        if number == 0:
            print("|---" * len(row) + "|")


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, help="only the frequencies, over so many draws")
    draws = parser.parse_args().draws
    if draws is None:
        print_table("Turns refused and votes not cast", withheld_turns())
        print_table("Attestations withheld", withheld_attestations())
        print_table("A race's puzzle known early: gain, points", head_starts())
        print_table("Before: the exclusive or of revealed salts", before())
    print_table("Who leads", frequencies(draws or DRAWS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
