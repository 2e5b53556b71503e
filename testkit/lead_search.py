"""Search for the policy of an attacker that leads most, in federations too large to try every choice.

A policy sees what the rule sees: credits, who is there, whether the honest alone can make something final.
It is a set of linear decisions over such features, found by evolution from random starts and known tricks.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bcfl.protocol.turns import JOINING, UNIT, Credits
from testkit.leads import RIGHT, SILENCE, Turn, begun, is_final, opened, proposed

HONEST = 18  # miners that follow the protocol
MANY = 24  # identities of an attacker that splits its stake
WEIGHT = 32_000  # of all miners: what 64 seats of 16 bits can hold, whoever has how much
ROUNDS = 20_000

# What the parts of a policy are multiplied with, and how many numbers it has for each.
FEATURES = 6  # 1, credit below the head, head, blockable, leads this round, the last block was its own
PARTS = ("absence", "joining", "other", "silence", "withholding")

Policy = Mapping[str, Sequence[float]]
NEVER = (-1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
PROTOCOL: Policy = dict.fromkeys(PARTS, NEVER)


def policy(**parts: Sequence[float]) -> Policy:
    """Return the policy that follows the protocol but for these parts."""
    return {**PROTOCOL, **parts}


BLOCKABLE = (-0.5, 0.0, 0.0, 1.0, 0.0, 0.0)
LED = (-0.5, 0.0, 0.0, 0.0, 1.0, 0.0)
TRICKS: Mapping[str, Policy] = {
    "follows the protocol": PROTOCOL,
    "a new seat after each lead": policy(joining=LED),
    "a new seat where that gains": policy(joining=(-0.05, -1.0, -1.0, 0.0, 0.0, 0.0)),
    "stays away when it would lead": policy(absence=(-0.5, 0.0, 0.0, 0.0, 1.0, 0.0)),
    "refuses every turn": policy(silence=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
    "withholds attestations": policy(withholding=BLOCKABLE),
    "withholds, and lets the honest lead then": policy(
        withholding=BLOCKABLE, absence=(-1.5, 0.0, 0.0, 1.0, 1.0, 0.0)
    ),
    "withholds, other content": policy(withholding=BLOCKABLE, other=(-1.5, 0.0, 0.0, 1.0, 1.0, 0.0)),
    "withholds, other content, new seats": policy(
        withholding=BLOCKABLE,
        other=(-1.5, 0.0, 0.0, 1.0, 1.0, 0.0),
        joining=(-0.05, -1.0, -1.0, 0.0, 0.0, 0.0),
    ),
}


@dataclass(frozen=True)
class Scenario:
    """Who takes part, and for how long."""

    share: float  # of all weight that the attacker has
    identities: int
    away: float = 0.0  # how often an honest miner is away
    keeps_author: bool = False
    scores: bool = False  # weights change from round to round, as those of `resource` do
    churn: int = 0  # every so many rounds an honest seat is left and taken anew
    rounds: int = ROUNDS

    @property
    def weights(self) -> dict[int, int]:
        """The weights by seat; the attacker has the lower seats."""
        own = round(WEIGHT * self.share / self.identities)
        other = round(WEIGHT * (1 - self.share) / HONEST)
        seats = self.identities + HONEST
        return {seat: own if seat < self.identities else other for seat in range(seats)}


@dataclass(frozen=True)
class Outcome:
    """What a run has brought the attacker."""

    rounds: int  # in which enough weight could vote
    leads: int  # of them that ended in a block of its own
    blocks: int
    fair: float  # the leads that its share of the weight that could vote is worth
    most: float  # the most leads above that at the end of any round
    streak: int  # the most blocks of its own in a row
    lowest: float  # credit that a seat had, in leads
    highest: float

    @property
    def gain(self) -> float:
        """Points of all rounds above its share."""
        return 100 * (self.leads - self.fair) / self.rounds

    @property
    def gain_of_blocks(self) -> float:
        """Points of all blocks above its share."""
        return 100 * (self.leads / max(1, self.blocks) - self.fair / self.rounds)


class Game:
    """A federation in play."""

    def __init__(self, scenario: Scenario, policy: Policy, seed: int) -> None:
        self.scenario, self.policy = scenario, policy
        self.rng = random.Random(seed)
        self.stakes = scenario.weights
        self.own = frozenset(range(scenario.identities))
        self.whole = sum(self.stakes.values())
        self.credits: Credits = dict.fromkeys(self.stakes, JOINING)
        self.led = False  # whether the last block was the attacker's

    def run(self) -> Outcome:
        """Play all rounds."""
        leads = blocks = rounds = streak = longest = 0
        fair = most = 0.0
        lowest = highest = JOINING
        for number in range(1, self.scenario.rounds + 1):
            weights, share = self._round_weights()
            if weights is None:
                continue
            rounds, fair = rounds + 1, fair + share
            author = self._play(weights)
            blocks += author is not None
            self.led = author in self.own
            leads += self.led
            streak = streak + 1 if self.led else 0
            longest, most = max(longest, streak), max(most, leads - fair)
            lowest = min(lowest, min(self.credits.values()))
            highest = max(highest, max(self.credits.values()))
            if self.scenario.churn and number % self.scenario.churn == 0:
                seat = self.scenario.identities + number // self.scenario.churn % HONEST
                self.credits = {**self.credits, seat: JOINING}
        return Outcome(rounds, leads, blocks, fair, most, longest, lowest / UNIT, highest / UNIT)

    def _round_weights(self) -> tuple[dict[int, int] | None, float]:
        """Return the weights of all who can vote, None if too few can, and the attacker's share of them."""
        here = {
            seat: stake
            for seat, stake in self.stakes.items()
            if seat in self.own or not self.scenario.away or self.rng.random() >= self.scenario.away
        }
        if 2 * sum(here.values()) <= self.whole:
            return None, 0.0
        shared = self._scored(here)
        return here, sum(shared[seat] for seat in self.own) / sum(shared.values())

    def _scored(self, stakes: dict[int, int]) -> dict[int, int]:
        """Return by what a lead is shared out in this round; draws new scores."""
        if not self.scenario.scores:
            return stakes
        self.scores = {seat: max(1, int(stake * self.rng.uniform(0.1, 1))) for seat, stake in stakes.items()}
        return self.scores

    def _play(self, here: dict[int, int]) -> int | None:
        """Play a round; return the seat that its block is for."""
        credits, own = self.credits, self.own
        head = max([credits[seat] for seat in here if seat not in own]) / UNIT
        turn = self._begun(here)
        if self.policy["absence"] is not NEVER:
            turn = self._begun(self._voters(turn, here, head))
        author = None
        if 2 * (turn.honest_weight + turn.own_weight) > self.whole:
            author = self._turns(turn, head)
        self._join(head, turn.blockable, author)
        return author

    def _begun(self, voters: dict[int, int]) -> Turn:
        shares = {seat: self.scores[seat] for seat in voters} if self.scenario.scores else None
        return begun(self.credits, voters, self.whole, self.own, self.scenario.keeps_author, shares)

    def _voters(self, turn: Turn, here: dict[int, int], head: float) -> dict[int, int]:
        """Return who votes when the attacker knows who would lead if all of it voted."""
        led = opened(turn)
        leader = led.leader if led else None
        absent = self._deciding(self.policy["absence"], head, turn.blockable, leader)
        return {seat: weight for seat, weight in here.items() if seat not in absent}

    def _turns(self, before: Turn, head: float) -> int | None:
        """Play the turns of a round in which enough weight has voted."""
        turn = opened(before)
        while turn is not None:
            content = self._content(turn, head) if turn.leader in self.own else RIGHT
            turn = proposed(turn, content)
            self.credits = turn.credits
            if content != SILENCE and is_final(turn, self._attests(turn, head)):
                return turn.author
            turn = opened(turn)
        return None

    def _content(self, turn: Turn, head: float) -> int:
        """Return what an identity of the attacker proposes."""
        facts = (turn.leader, head, turn.blockable, self._rival(turn))
        if self._decides(self.policy["silence"], *facts):
            return SILENCE
        if self._decides(self.policy["other"], *facts):
            return max([RIGHT, *turn.authors]) + 1
        return RIGHT

    def _rival(self, turn: Turn) -> bool:
        """Return whether the right content stands and belongs to somebody else."""
        return turn.standing == RIGHT and turn.author not in self.own

    def _attests(self, turn: Turn, head: float) -> bool:
        if turn.standing != RIGHT:
            return False
        part = self.policy["withholding"]
        return turn.author in self.own or not self._decides(part, turn.author, head, turn.blockable, True)

    def _join(self, head: float, blockable: bool, author: int | None) -> None:
        part = self.policy["joining"]
        if part is not NEVER:
            anew = self._deciding(part, head, blockable, author)
            if anew:
                self.credits = {**self.credits, **dict.fromkeys(anew, JOINING)}

    def _decides(self, part: Sequence[float], seat: int, head: float, blockable: bool, leads: bool) -> bool:
        return part is not NEVER and self._value(part, seat, head, blockable) > -part[4] * leads

    def _deciding(self, part: Sequence[float], head: float, blockable: bool, leader: int | None) -> set[int]:
        """Return the identities that decide so."""
        base = self._value(part, None, head, blockable)
        scale, extra, credits = part[1] / UNIT, part[4], self.credits
        return {
            seat for seat in self.own if base + scale * credits[seat] + (extra if seat == leader else 0.0) > 0
        }

    def _value(self, part: Sequence[float], seat: int | None, head: float, blockable: bool) -> float:
        """Return what speaks for a decision, without who leads; of no seat without its credit too."""
        own = 0.0 if seat is None else part[1] * self.credits[seat] / UNIT
        return part[0] + own + (part[2] - part[1]) * head + part[3] * blockable + part[5] * self.led


def outcome(scenario: Scenario, policy: Policy, seed: int = 1) -> Outcome:
    """Return what a policy brings."""
    return Game(scenario, policy, seed).run()


def search(scenario: Scenario, generations: int, rounds: int, by_blocks: bool = False) -> Policy:
    """Return the best policy that evolution finds from tricks and random starts."""
    rng = random.Random(5)
    trial = replace(scenario, rounds=rounds)

    def value(candidate: Policy) -> float:
        result = outcome(trial, candidate, seed=7)
        return result.gain_of_blocks if by_blocks else result.gain

    candidates = [*TRICKS.values(), *(_drawn(rng) for _ in range(8))]
    pool = sorted(((value(each), number, each) for number, each in enumerate(candidates)), reverse=True)[:4]
    for number in range(generations):
        child = _mutated(rng, rng.choice(pool)[2], rng.choice(pool)[2])
        pool = sorted([*pool, (value(child), -number - 1, child)], reverse=True)[:4]
    return pool[0][2]


def _drawn(rng: random.Random) -> Policy:
    return {
        part: [rng.gauss(-0.5, 1), *(rng.gauss(0, 1) for _ in range(FEATURES - 1))]
        if rng.random() < 0.5
        else NEVER
        for part in PARTS
    }


def _mutated(rng: random.Random, one: Policy, other: Policy) -> Policy:
    """Return a mix of two policies with some numbers moved."""
    child = {part: rng.choice((one, other))[part] for part in PARTS}
    for part in rng.sample(PARTS, rng.choice((1, 1, 2))):
        if rng.random() < 0.1:
            child[part] = NEVER
        else:
            child[part] = [
                number + rng.gauss(0, 0.4) if rng.random() < 0.5 else number for number in child[part]
            ]
    return child
