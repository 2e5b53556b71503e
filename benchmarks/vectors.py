"""Write the test vectors of docs/specification.md: `python -m benchmarks.vectors`.

Random rounds, and contests of all kinds, are played on the bytecode and on the specification; what they come
to is that of both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bcfl.protocol.challenges import Trees
from bcfl.protocol.types import Engine, Mode, Phase
from bcfl.specification.vectors import Vector, dump
from testkit.harness import Federation, digest
from testkit.ledgers import BOTH
from testkit.pair import NOBODY, Pair
from testkit.random_rounds import RandomRounds
from tests.stateful.contents import RIGHT
from tests.stateful.test_contests import ALL, CHALLENGER, LANE, OTHER, OUTSIDER, failing_seed, fault_leaf
from tests.stateful.test_machine import Machine

FOLDER: Final = Path(__file__).parents[1] / "tests" / "vectors"
SIZE: Final = 90  # steps of one vector
VECTORS: Final = (
    (Engine.STAKE, Mode.FULL, 16),
    (Engine.STAKE, Mode.PARTIAL, 3),
    (Engine.POW, Mode.PARTIAL, 14),
    (Engine.RESOURCE, Mode.PARTIAL, 11),
    (Engine.COMMITTEE, Mode.HYBRID, 29),
)


def record(engine: Engine, mode: Mode, seed: int) -> Vector:
    """Play random rounds on both and return the calls that were made."""
    rounds = RandomRounds(seed, engine, mode)
    rounds.play(SIZE)
    return vector_of(f"{engine.name.lower()}, {mode.name.lower()}", rounds.f)


class Contests(Machine):
    """A federation in which one proposal after the other is contested."""

    ledger = BOTH

    def stand(self, kind: int, attesters: set[int]) -> None:
        """End what is contested, and play until another proposal of a kind stands, which these attest."""
        self.end_contests()
        while self.phase is Phase.ATTEST:
            self.play_phase(set(), False)
        self.play_to_proposal(ALL, kind)
        for place in sorted(attesters):
            self.attest(place, True)


def play_challenges(machine: Contests) -> None:
    """Refute by a challenge that somebody copies in vain, fail by one, and open one never."""
    machine.stand(LANE, set())
    machine.challenge(CHALLENGER, 1, OTHER)
    machine.stand(RIGHT, {0, 1})
    machine.challenge(OUTSIDER, failing_seed(machine), None)
    machine.announce(CHALLENGER, 1)
    machine.settle(0)  # too early
    machine.end_contests()
    machine.settle(0)
    machine.stand(LANE, ALL)
    machine.announce(CHALLENGER, 1)
    machine.dispute(OTHER, Trees.ROWS)
    machine.challenge(OUTSIDER, 1, None)
    machine.settle(1)
    machine.expire_dispute()


def play_disputes(machine: Contests) -> None:
    """Lose disputes in every state of theirs, and refute by a ruling."""
    machine.stand(RIGHT, ALL)
    machine.argue(OUTSIDER, Trees.MODEL, 4, 2, 1)  # and rule wrongly
    machine.argue(OTHER, Trees.ROWS, 2, 0, 1)  # and pick nothing
    machine.stand(RIGHT, ALL)
    machine.argue(OUTSIDER, Trees.UPDATE, 3, 1, 1)  # and rule in time no more
    machine.stand(LANE, set())
    machine.argue(OUTSIDER, Trees.MODEL, 4, fault_leaf(machine), 1)


def play_silence(machine: Contests) -> None:
    """Refute right proposals by disputes that nobody answers."""
    machine.stand(RIGHT, {0})
    machine.argue(OUTSIDER, Trees.UPDATE, 0, 0, 1)
    machine.stand(RIGHT, ALL)
    machine.argue(OUTSIDER, Trees.MODEL, 0, 0, 1)
    machine.play(2, set(), False)


def record_contests(name: str, play: Callable[[Contests], None]) -> Vector:
    """Play contests on both and return the calls that were made."""
    machine = Contests()
    machine.begin(stakes=[4, 4, 4], phases=0)
    play(machine)
    for end, count in sorted(machine.ends.items()):
        print(f"{name}: {count} x {end}")
    return vector_of(name, machine.f)


def vector_of(name: str, federation: Federation) -> Vector:
    """Return what a federation on both has done."""
    contract = federation.contract
    assert isinstance(contract, Pair)
    others = [other for other in contract.accounts if other not in (contract.address, NOBODY)]
    accounts = dict.fromkeys([federation.owner.address, *others])
    genesis = federation.genesis, digest("cid", 0), federation.pool
    chain_id = federation.chain.chain_id
    return Vector(name, chain_id, tuple(accounts), federation.terms, *genesis, tuple(contract.journal))


CONTESTS: Final = {"challenges": play_challenges, "disputes": play_disputes, "silence": play_silence}


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    vectors = [record(engine, mode, seed) for engine, mode, seed in VECTORS]
    vectors += [record_contests(name, play) for name, play in CONTESTS.items()]
    for vector in vectors:
        path = FOLDER / f"{vector.name.replace(', ', '-')}.json"
        outcomes = list(vector.on_specification())
        path.write_text(dump(vector, outcomes))
        names = {event[0] for outcome in outcomes for event in outcome.get("events", [])}
        print(
            f"{path.name}: {len(outcomes)} calls, {len(names)} kinds of events, {path.stat().st_size:,} bytes"
        )


if __name__ == "__main__":
    main()
