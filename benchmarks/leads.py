"""What an attacker can do to lead more often than its share of the weight.

    python -m benchmarks.leads              the tables of docs/turns.md, about half an hour
    python -m benchmarks.leads --rounds 500  the same, quickly and roughly

Small federations: the best of all that an attacker can do, which knows everything and moves last. Large ones,
with 18 honest miners: known tricks, and what evolution makes of them. Points are percent of all leads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from bcfl.protocol.turns import Credits, take_turn
from testkit.lead_search import HONEST, MANY, ROUNDS, TRICKS, Outcome, Scenario, outcome, search
from testkit.leads import Federation, best_gain, followed_gain

Table = Iterator[tuple[str, ...]]

SHARES = (0.10, 0.20, 0.33)
IDENTITIES = (1, 4, MANY)
AWAY = (0.0, 0.1, 0.2)
TRIAL = 800  # rounds by which the search judges a policy
GENERATIONS = 12
RARE = ("withholds, and lets the honest lead then", "withholds, other content, new seats")
SMALL = (
    (Federation((1,), (1, 1, 1)), 10),
    (Federation((1,), (1, 1, 1), lower_seats=False), 10),
    (Federation((1,), (1, 1, 1), reserve=1), 8),
    (Federation((1, 1), (2, 2)), 5),
    (Federation((1, 1), (1, 1, 1)), 4),
    (Federation((1, 1), (1, 2, 3), lower_seats=False), 4),
    (Federation((1, 1, 1), (2, 2)), 3),
    (Federation((2,), (1, 1, 1), away=0.2), 3),
    (Federation((1, 1), (1, 1, 1), away=0.2), 2),
)
HALF_AWAY = ((Federation((1,), (1, 1), idle=1), 6), (Federation((1, 1), (1, 1), idle=1), 5))
WEIGHTS = ((1, 2, 3, 4), (1, 10, 100, 1000), (1, 65_535, 32_768), (1, *[65_535] * 51))


def exact(cases: tuple[tuple[Federation, int], ...], rules: tuple[bool, ...]) -> Table:
    """Compute the best that an attacker can expect, whatever it does, in leads above its share."""
    longest = max(rounds for _, rounds in cases)
    yield (
        "attacker + honest",
        "lower seats",
        "honest away",
        "content keeps its author",
        *(f"after {rounds}" for rounds in range(1, longest + 1)),
    )
    for (federation, rounds), keeps in product(cases, rules):
        played = replace(federation, keeps_author=keeps)
        yield (
            _names(federation),
            "the attacker" if federation.lower_seats else "the honest",
            f"weight {federation.idle}" if federation.idle else f"{federation.away:.0%}",
            "yes" if keeps else "no",
            *(_expected(played, count) if count <= rounds else "" for count in range(1, longest + 1)),
        )


def _names(federation: Federation) -> str:
    sides = (federation.attackers, federation.honest)
    own, honest = (", ".join(str(weight) for weight in side) for side in sides)
    return f"{own} + {honest}" + (f", {federation.reserve} in reserve" if federation.reserve else "")


def _expected(federation: Federation, rounds: int) -> str:
    best = f"{best_gain(federation, rounds):+.2f}"
    if federation.away or federation.idle:
        return best
    return f"{best} ({followed_gain(federation, rounds):+.2f})"


def tricks(rounds: int) -> Table:
    """Measure known tricks, everybody honest there."""
    columns = list(product(SHARES, IDENTITIES))
    yield "everybody there", *(f"{share:.0%}, {identities}" for share, identities in columns)
    for name, trick in TRICKS.items():
        yield name, *(f"{outcome(Scenario(*column, rounds=rounds), trick).gain:+.2f}" for column in columns)


def searched(rounds: int, generations: int) -> Table:
    """Measure the best policy that a search has found, by how many of the honest are away."""
    yield (
        "honest away",
        "content keeps its author",
        "weight",
        "identities",
        "its share of the voting weight",
        "gain, points of rounds",
        "leads above its share at any time",
        "in a row",
        "most blocks: points of blocks",
        "rounds void then",
        "credits",
    )
    for away, keeps, share, identities in product(AWAY, (False, True), SHARES, IDENTITIES):
        if not away and keeps:
            continue  # nothing can be blocked: the same
        scenario = Scenario(share, identities, away, keeps, rounds=rounds)
        by_rounds = _best(scenario, generations, by_blocks=False)
        by_blocks = _best(scenario, generations, by_blocks=True) if away else by_rounds
        low, high = (min(by_rounds.lowest, by_blocks.lowest), max(by_rounds.highest, by_blocks.highest))
        yield (
            f"{away:.0%}",
            "yes" if keeps else "no",
            f"{share:.0%}",
            str(identities),
            f"{by_rounds.fair / by_rounds.rounds:.2%}",
            f"{by_rounds.gain:+.2f}",
            f"{by_rounds.most:.1f}",
            str(by_rounds.streak),
            f"{by_blocks.gain_of_blocks:+.2f}",
            f"{1 - by_blocks.blocks / by_blocks.rounds:.1%}",
            f"{low:.2f} to {high:.2f}",
        )


def _best(scenario: Scenario, generations: int, by_blocks: bool) -> Outcome:
    """Play the best policy that a search finds, and tricks whose gain a short trial may not show."""
    policies = [search(scenario, generations, min(TRIAL, scenario.rounds), by_blocks)]
    policies += [TRICKS[name] for name in RARE] if scenario.away else []
    outcomes = (outcome(scenario, policy) for policy in policies)
    return max(outcomes, key=lambda each: each.gain_of_blocks if by_blocks else each.gain)


def horizons(rounds: int, generations: int) -> Table:
    """Measure what there is to gain within a short time from the start, everybody there."""
    spans = tuple(span for span in (50, 200, 1000) if span <= rounds)
    yield "weight", "identities", "one for each seat", *(f"leads above its share in {span}" for span in spans)
    for share, identities in product(SHARES, IDENTITIES):
        outcomes = (
            outcome(scenario, search(scenario, generations, span))
            for span in spans
            for scenario in (Scenario(share, identities, rounds=span),)
        )
        yield (
            f"{share:.0%}",
            str(identities),
            str(identities + HONEST),
            *(f"{each.leads - each.fair:+.1f} (at most {each.most:+.1f})" for each in outcomes),
        )


def changes(rounds: int, generations: int) -> Table:
    """Measure weights that change from round to round, and honest seats that are left and taken anew."""
    yield "what changes", "weight", "identities", "follows the protocol", "a new seat each lead", "searched"
    cases = {"scores, in every round": Scenario(0, 1, scores=True)}
    cases |= {f"an honest seat, every {churn}": Scenario(0, 1, churn=churn) for churn in (1000, 100)}
    for (name, case), share, identities in product(cases.items(), SHARES, (1, MANY)):
        scenario = replace(case, share=share, identities=identities, rounds=rounds)
        names = ("follows the protocol", "a new seat after each lead")
        yield (
            name,
            f"{share:.0%}",
            str(identities),
            *(f"{outcome(scenario, TRICKS[trick]).gain:+.2f}" for trick in names),
            f"{_best(scenario, generations, by_blocks=False).gain:+.2f}",
        )


def proportions(rounds: int) -> Table:
    """Count how often whom the rule lets lead, against the weights."""
    yield "weights", "leads of the first four", "expected", "lowest credit", "highest"
    for weights in WEIGHTS:
        seats, leads = dict(enumerate(weights)), [0] * len(weights)
        credits: Credits = {}
        count = sum(weights) if sum(weights) < rounds else rounds
        for _ in range(count):
            leader, credits = take_turn(credits, seats)
            leads[leader] += 1
        expected = [count * weight / sum(weights) for weight in weights[:4]]
        bounds = (min(credits.values()), max(credits.values()))
        yield (
            ", ".join(str(weight) for weight in weights[:4]) + (", ..." if len(weights) > 4 else ""),
            ", ".join(str(lead) for lead in leads[:4]),
            ", ".join(f"{value:.1f}" for value in expected),
            *(f"{value / (1 << 24):.2f}" for value in bounds),
        )


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
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"{ROUNDS} unless given")
    parser.add_argument(
        "--generations", type=int, default=GENERATIONS, help="candidates that the search breeds"
    )
    arguments = parser.parse_args()
    rounds, generations = arguments.rounds, arguments.generations
    print_table("Whatever it does: leads above its share (and if it follows)", exact(SMALL, (False,)))
    print_table("The same, half of the weight honest and there", exact(HALF_AWAY, (False, True)))
    print_table("Tricks: points above its share of the weight, by weight and identities", tricks(rounds))
    print_table("Searched: the best policy found", searched(rounds, generations))
    print_table("Searched, by horizon", horizons(rounds, generations))
    print_table("Weights and seats that change: points above its share", changes(rounds, generations))
    print_table("Who leads", proportions(rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
