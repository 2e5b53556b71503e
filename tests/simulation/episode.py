"""Play one episode: rounds in which things go wrong, then quiet ones in which everything has to be well."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Set
from dataclasses import asdict, dataclass
from typing import Any

from bcfl.protocol.docket import longest_round
from tests.simulation.alarm import Alarm
from tests.simulation.chain import BytecodeChain
from tests.simulation.dice import Dice
from tests.simulation.faults import Weather
from tests.simulation.invariants import Violation
from tests.simulation.setup import Plan, build_world, draw_plan, populate
from tests.simulation.world import World

STORMY_ROUNDS, QUIET_ROUNDS = 6, 2
STORM_ROUNDS_SECONDS = 20  # of the longest round for all stormy ones together
log = logging.getLogger("bcfl")


@dataclass(frozen=True)
class Outcome:
    """What came of an episode."""

    seed: int
    label: str
    rounds: int
    blocks: int
    seconds: float  # of the processor
    virtual_seconds: int
    coverage: dict[str, int]  # "kind phase role" -> count
    faults: tuple[str, ...]
    checks: dict[str, int]
    violations: tuple[Violation, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what a line of the file of results holds; faults only of an episode that failed."""
        content = asdict(self)
        if not self.violations:
            content["faults"] = len(self.faults)
        return content


def play(
    seed: int,
    *,
    only: Set[str] | None = None,
    kind: type[Any] = BytecodeChain,
    rounds: int = STORMY_ROUNDS,
    weather: Weather | None = None,
    plan: Plan | None = None,
) -> Outcome:
    """Play the episode of a seed; with `only`, with no other faults than these."""
    begin, dice = time.process_time(), Dice(seed, only)
    plan = plan or draw_plan(dice)
    world = build_world(plan, dice, (weather or Weather()).of(dice), kind)
    alarm, start = Alarm(world), world.time
    log.addHandler(alarm)
    propagates, log.propagate = log.propagate, False
    try:
        with world.patched():
            populate(world)
            _play(world, rounds)
            history = world.observer.history()
    finally:
        log.removeHandler(alarm)
        log.propagate = propagates
        world.network.chain.close()
    assert world.invariants is not None
    coverage = Counter(f"{fault.kind} {fault.phase} {fault.role}" for fault in dice.faults)
    return Outcome(
        seed, plan.label, max(history.rounds), len(history.blocks) - 1, round(time.process_time() - begin, 3),
        int(world.time - start), dict(coverage), tuple(fault.name for fault in dice.faults),
        world.invariants.checks, tuple(world.invariants.violations),
    )  # fmt: skip


def _play(world: World, rounds: int) -> None:
    """Play the rounds and check what has to hold at the end."""
    invariants = world.invariants
    assert invariants is not None
    longest = longest_round(world.plan.terms)
    turns = world.plan.miners * (world.plan.terms.propose_seconds + world.plan.terms.attest_seconds)

    def has_ended(number: int) -> bool:
        return bool(invariants.violations) or world.newest_round() > number

    world.run(world.time + STORM_ROUNDS_SECONDS * longest, lambda: has_ended(rounds))
    if invariants.violations:
        return
    world.calm()
    for _ in range(QUIET_ROUNDS):
        number = max(world.observer.history().rounds)
        world.run(world.time + longest + turns, lambda number=number: has_ended(number))  # type: ignore[misc]
        if not invariants.violations and not has_ended(number):
            clock = world.observer.clock()
            text = (
                f"round {number} has not ended {longest + turns} s after the last fault: {clock.phase.name}"
            )
            invariants.report("liveness", text)
        if invariants.violations:
            return
    invariants.check_last_round()
    invariants.check_money()
    invariants.check_audit()
