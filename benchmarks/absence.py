"""How long silence stops a federation, and what it costs: rounds of the contract, not of a simulation.

    python -m benchmarks.absence             the table of docs/modes.md, some minutes
    python -m benchmarks.absence --rounds 6  a shorter one

Every miner has one vote and stakes nearly two minimum stakes; losses are percents of one. Who is suspended
comes back as soon as it may. `absence_seconds` is 1,900.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from bcfl.errors import Reverted
from bcfl.protocol.types import Phase
from testkit.harness import CHALLENGED, ETHER, Federation

ROUNDS = 20
TERMS = replace(
    CHALLENGED, min_updates=1, commit_seconds=60, reveal_seconds=60, vote_seconds=60, unveil_seconds=60,
    tally_seconds=60, elect_seconds=60, propose_seconds=30, attest_seconds=60, challenge_seconds=60,
    answer_seconds=60, exit_seconds=3_600, absence_seconds=1_900,
)  # fmt: skip


def everybody(round_: int, miner: int) -> bool:
    """Return True: all are there, in every round."""
    del round_, miner
    return True


@dataclass(frozen=True)
class Scenario:
    """Who is there in which round, and who attests."""

    name: str
    miners: int
    votes: Callable[[int, int], bool]  # round, miner
    attests: Callable[[int, int], bool] = everybody


SCENARIOS = (
    Scenario("4 of 7 silent for ever", 7, lambda _, miner: miner >= 4),
    Scenario("1 of 3 silent for ever", 3, lambda _, miner: miner != 0),
    Scenario("1 of 3 votes and never attests", 3, everybody, lambda _, miner: miner != 0),
    Scenario("11 of 20 there every third round", 20, lambda round_, miner: miner >= 11 or round_ % 3 == 0),
    Scenario("7 of 12 down for six rounds", 12, lambda round_, miner: miner >= 7 or not 2 <= round_ < 8),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds to play, {ROUNDS} by default")
    rounds = parser.parse_args().rounds
    for row in table(rounds):
        print("| " + " | ".join(row) + " |", flush=True)


def table(rounds: int) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table, heads first."""
    yield (
        "who is away",
        "rounds",
        "void",
        "seconds in void rounds",
        "suspended",
        "most lost by one",
        "by the others",
    )
    yield ("---",) * 7
    for scenario in SCENARIOS:
        f = Federation(2, scenario.miners, TERMS).open()
        stakes = [stake_of(f, miner) for miner in range(scenario.miners)]
        for _ in range(rounds):
            play(f, scenario)
        lost = [before - stake_of(f, miner) for miner, before in enumerate(stakes)]
        history = f.history().rounds.values()
        voids = [r for r in history if r.void is not None and r.closed is not None]
        waited = sum((r.closed or 0) - r.opened for r in voids)
        away = {
            m for m in range(scenario.miners) if not all(scenario.votes(r, m) for r in range(1, rounds + 1))
        }
        suspended = {e.args["miner"] for e in f.contract.events(name="Suspended")}
        yield (
            scenario.name,
            str(rounds),
            str(len(voids)),
            f"{waited:,}",
            str(len(suspended)),
            f"{max(lost) / ETHER:.1%}",
            f"{max([lost[m] for m in range(scenario.miners) if m not in away], default=0) / ETHER:.1%}",
        )


def stake_of(f: Federation, miner: int) -> int:
    """Return a miner's stake, in wei."""
    return int(f.contract.call("miner", f.miner_keys[miner].address)[2])


def play(f: Federation, scenario: Scenario) -> None:
    """Play one round to its end."""
    number = f.clock.round
    for key in f.miner_keys:
        with suppress(Reverted):
            f.send(key, "resume")
    there = [m for m in range(scenario.miners) if scenario.votes(number, m)]
    while (clock := f.clock).round == number:
        if clock.phase in (Phase.PROPOSE, Phase.ATTEST):
            lead(f, scenario, there)
        elif clock.phase is Phase.TALLY:
            f.tally()
        else:
            act(f, clock.phase, there)
            if f.clock.phase is clock.phase:
                f.expire()
                f.send(f.outsider, "advance")


def act(f: Federation, phase: Phase, there: list[int]) -> None:
    """Let those who are there, and may, do what a phase asks for."""
    jury = [m for m in f.jury() if m in there]
    if phase is Phase.COMMIT:
        f.commit(f.miner_keys[there[-1]], [f.update(0), f.update(1)])
    elif phase is Phase.REVEAL:
        f.reveal(f.miner_keys[there[-1]], [f.update(0), f.update(1)])
    elif phase is Phase.VOTE:
        for miner in jury:
            f.commit_vote(f.opening(miner))
    elif phase is Phase.UNVEIL:
        for miner in jury:
            f.unveil(f.opening(miner))


def lead(f: Federation, scenario: Scenario, there: list[int]) -> None:
    """Let the leader propose and the others attest, or pass the lead on."""
    number = f.clock.round
    if f.clock.phase is Phase.PROPOSE:
        if f.miner_keys.index(f.leader()) in there:
            f.propose()
            return
    else:
        for miner in there:
            if scenario.attests(number, miner):
                with suppress(Reverted):
                    f.send(f.miner_keys[miner], "attest", f.proposal_digest())
        if f.attested():
            f.wait(f.terms.challenge_seconds)
            f.finalize()
            return
    f.expire()
    f.send(f.outsider, "skip", *f.skip_args())


if __name__ == "__main__":
    main()
