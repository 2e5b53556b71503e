"""What one honest challenger can do, and what it costs: `python -m benchmarks.challenge [--quick]`.

The campaign: forged proposals, every one to be refuted by the challenge that the evidence gives, and right
ones, none to be refuted by a hostile challenge: all on the Python twin, a random part on the contract.
Then the gas and the bytes of a challenge, and beside it what the trees cost, for the choice of the leaf size.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from bcfl.protocol import aggregation, merkle
from bcfl.protocol.challenges import Candidate, ChallengeContext, SumChallenge, lane_of, weights_digest
from bcfl.protocol.fixedpoint import lane_dtype
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Rule, Tally, Terms
from bcfl.protocol.verification import tally_digest
from testkit.forged_proposals import FORGERIES, Forgery, evidence, forged, hostile, random_terms, ruling
from testkit.harness import TERMS
from testkit.proposal_fixture import ProposalFixture

FORGED, HONEST, ON_CHAIN = 10_000, 10_000, 300
UPDATES = (4, 20, 100, 400, 1000)
PARAMETERS = (10_000, 1_000_000, 10_000_000, 100_000_000)
LEAVES = (16, 32, 64, 128, 256)  # lanes
GOALS = {(20, 1_000_000): 200_000, (400, 1_000_000): 1_000_000, (1000, 100_000_000): 2_500_000}
TRANSACTION = 131_072  # bytes that nodes take
ENVELOPE = 256  # bytes of a transaction around its calldata, at most


def forgery_of(number: int) -> tuple[Random, Forgery]:
    """The randomness and the kind of forgery of a case."""
    return Random(number), FORGERIES[number % len(FORGERIES)]


def on_the_twin(count: int) -> Counter[str]:
    """How many forged proposals of each kind were refuted; a survivor ends it."""
    refuted: Counter[str] = Counter()
    for number in range(count):
        rng, forgery = forgery_of(number)
        wrong = forged(rng, forgery)
        challenge = wrong.find()
        if challenge is None or ruling(challenge, wrong.context) is not True:
            raise SystemExit(f"case {number}: {forgery.__name__} stands")
        refuted[forgery.__name__] += 1
    return refuted


def against_honest(count: int) -> Counter[str]:
    """What the twin says to hostile challenges of right proposals; one that is upheld ends it."""
    said: Counter[str] = Counter()
    for number in range(count):
        rng = Random(number)
        right = evidence(rng, random_terms(rng), rng.randint(1, 7))
        found = ruling(hostile(rng, right), right.context)
        if found is True or (number % 10 == 0 and right.find() is not None):
            raise SystemExit(f"case {number}: a right proposal was refuted")
        said["right there, bond lost" if found is False else str(found)] += 1
    return said


def on_the_contract(count: int, seed: int = 0) -> Counter[str]:
    """Cases of the campaign, drawn at random, on the contract: each forged one, and a hostile challenge."""
    done: Counter[str] = Counter()
    for number in Random(seed).sample(range(FORGED), count):
        rng, forgery = forgery_of(number)
        terms = random_terms(rng)
        trial = ProposalFixture(terms)
        wrong = None
        while wrong is None:
            wrong = forgery(rng, evidence(rng, terms, rng.randint(1, 7), trial.setting))
            forgery = FORGERIES[rng.randrange(len(FORGERIES))] if wrong is None else forgery
        challenge = wrong.find()
        trial.stand(wrong.context)
        if challenge is None or trial.ruling(challenge) is not True:
            raise SystemExit(f"case {number}: {forgery.__name__} stands on the contract")
        right = evidence(rng, terms, rng.randint(1, 7), trial.setting)
        trial.stand(right.context)
        attack = hostile(rng, right)
        found = trial.ruling(attack)
        if found is True or found != ruling(attack, right.context):
            raise SystemExit(f"case {number}: hostile challenge: {found}")
        done[f"{Rule(terms.rule).name.lower()}, {terms.lane_bits} bits"] += 1
    return done


@dataclass(frozen=True)
class Cost:
    """What one challenge took."""

    gas: int
    size: int  # bytes of the transaction

    @property
    def fits(self) -> bool:
        """Whether a node takes it."""
        return self.gas <= 2**24 and self.size <= TRANSACTION


def terms_of(updates: int, parameters: int, leaf_lanes: int, lane_bits: int, rule: Rule) -> Terms:
    """Terms of a task of a size."""
    shift = {32: 0, 16: 8, 8: 16}[lane_bits]
    sizes = {"parameters": parameters, "leaf_lanes": leaf_lanes, "max_updates": updates}
    return replace(TERMS, **sizes, lane_bits=lane_bits, shift=shift, rule=rule)


def lone_place(trial: ProposalFixture, updates: int) -> tuple[ChallengeContext, SumChallenge]:
    """A forged proposal of which one place exists: its leaves are real, the siblings up to the roots random.

    The contract checks what it would check of a whole tree, and no tree of 100,000,000 lanes is made.
    """
    terms, rng = trial.terms, np.random.default_rng(updates)
    at, depth = trial.setting, merkle.depth(trial.terms.parameters, trial.terms.leaf_lanes)
    bounds = np.iinfo(lane_dtype(terms.lane_bits))
    table = rng.integers(bounds.min, bounds.max, (updates, terms.leaf_lanes), bounds.dtype, endpoint=True)
    samples = [int(item) for item in rng.integers(1, terms.max_samples, updates)]
    old = rng.integers(-(2**30), 2**30, terms.leaf_lanes, np.int32)
    step = aggregation.aggregate(terms.rule, list(table), samples, terms.shift, terms.trim)
    new = aggregation.apply(old, step)
    new[-1] ^= 1
    leaf, lane = merkle.leaves(terms.parameters, terms.leaf_lanes) // 2, terms.leaf_lanes - 1
    opened = [b"\x00" + vector.astype(f">i{vector.itemsize}").tobytes() for vector in (table, old, new)]
    row, before, after = (tuple(rng.bytes(32) for _ in range(depth)) for _ in opened)
    paths = zip(opened, (row, before, after), strict=True)
    roots = [merkle.climb(keccak(content), leaf, path) for content, path in paths]
    points = tuple(rng.bytes(32) for _ in range(-(-updates // 32)))
    matches = (updates,) * len(at.voters)
    tally = Tally(points, rng.bytes(32), at.voters, matches, (True,) * updates, sum(samples))
    candidate = Candidate(roots[2], rng.bytes(32), weights_digest(samples), roots[0], at.layer)
    digests = (candidate.digest(at.round), roots[1], tally_digest(tally))
    values = [
        lane_of(b"\x00" + bytes(row.tobytes()), lane, row.itemsize)
        for row in table.astype(table.dtype.newbyteorder(">"))
    ]
    low, high = aggregation.bounds(terms.rule, values, terms.trim) or (0, 0)
    proofs = (row, before, after)
    challenge = SumChallenge(
        candidate, tally, leaf, lane, low, high, tuple(samples), proofs, opened[1], opened[2], opened[0]
    )
    return ChallengeContext(terms, at.domain, at.round, *digests), challenge


def cost(
    updates: int,
    parameters: int,
    leaf_lanes: int,
    lane_bits: int = 16,
    rule: Rule = Rule.MEAN,
    miners: int = 5,
) -> Cost:
    """A challenge of one lane on the contract."""
    trial = ProposalFixture(terms_of(updates, parameters, leaf_lanes, lane_bits, rule), miners)
    context, challenge = lone_place(trial, updates)
    trial.stand(context)
    receipt = trial.send(challenge)
    assert any(event.name == "Refuted" for event in receipt.events)
    return Cost(receipt.gas_used, trial.size(challenge) + ENVELOPE)


def size_table() -> None:
    """Gas and bytes against updates and parameters, leaves of one word."""
    print("\nA challenge of one lane: mean, lanes of 16 bits, leaves of one word, 5 voters: gas, bytes")
    print(f"{'updates':>9}" + "".join(f"{f'{parameters:,} parameters':>26}" for parameters in PARAMETERS))
    for updates in UPDATES:
        cells = []
        for parameters in PARAMETERS:
            found = cost(updates, parameters, 16)
            goal = GOALS.get((updates, parameters))
            mark = "" if goal is None else " ok" if found.gas <= goal and found.fits else " OVER"
            cells.append(f"{found.gas:>13,}{found.size:>9,}{mark:<4}")
        print(f"{updates:>9,}" + "".join(cells))


def rule_table() -> None:
    """Gas and bytes against rule and width of lanes."""
    print("\nThe same for 1,000,000 parameters by rule and width: gas, bytes")
    heads = [(updates, lane_bits) for updates in (20, 400) for lane_bits in (32, 16, 8)]
    print(f"{'':<14}" + "".join(f"{f'{u} updates, {b} bits':>22}" for u, b in heads))
    for rule in Rule:
        found = [cost(updates, 1_000_000, 256 // bits, bits, rule) for updates, bits in heads]
        print(f"{rule.name.lower():<14}" + "".join(f"{c.gas:>13,}{c.size:>9,}" for c in found))


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
    """What a leaf size costs: challenges on the one side, trees on the other."""
    print("\nLeaf sizes, 16-bit lanes, 1,000,000 parameters: seconds of a root, gas and bytes of a challenge")
    print(
        f"{'lanes':>6}{'update':>9}{'model':>9}{'20 rows':>9}"
        + "".join(f"{f'{u} updates':>23}" for u in (20, 100, 400))
    )
    for leaf_lanes in LEAVES:
        seconds = "".join(f"{value:>9.3f}" for value in trees(leaf_lanes))
        cells = []
        for updates in (20, 100, 400):
            if updates * (2 * leaf_lanes + 4) + 8 * leaf_lanes > 120_704:
                cells.append(f"{'refused by the terms':>23}")
                continue
            found = cost(updates, 1_000_000, leaf_lanes)
            cells.append(f"{found.gas:>13,}{found.size:>9,} ")
        print(f"{leaf_lanes:>6}{seconds}" + "".join(cells))


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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a hundredth of the campaign")
    parser.add_argument("--tables", action="store_true", help="the tables alone")
    options = parser.parse_args()
    if not options.tables:
        part = 100 if options.quick else 1
        campaign(FORGED // part, HONEST // part, 20 if options.quick else ON_CHAIN)
    size_table()
    rule_table()
    leaf_table()


if __name__ == "__main__":
    main()
