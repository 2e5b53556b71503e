"""Write the test vectors of docs/specification.md: `python -m benchmarks.vectors`.

Random rounds are played on the bytecode and on the specification; what they come to is that of both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bcfl.protocol.types import Engine, Mode
from bcfl.specification.vectors import Vector, dump
from testkit.harness import digest
from testkit.pair import NOBODY, Pair
from testkit.random_rounds import RandomRounds

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
    federation, contract = rounds.f, rounds.f.contract
    rounds.play(SIZE)
    assert isinstance(contract, Pair)
    others = [name for name in contract.accounts if name not in (contract.address, NOBODY)]
    accounts = dict.fromkeys([federation.owner.address, *others])
    name = f"{engine.name.lower()}, {mode.name.lower()}"
    genesis = federation.genesis, digest("cid", 0), federation.pool
    chain_id = federation.chain.chain_id
    return Vector(name, chain_id, tuple(accounts), federation.terms, *genesis, tuple(contract.journal))


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for engine, mode, seed in VECTORS:
        vector = record(engine, mode, seed)
        path = FOLDER / f"{vector.name.replace(', ', '-')}.json"
        outcomes = list(vector.on_specification())
        path.write_text(dump(vector, outcomes))
        names = {event[0] for outcome in outcomes for event in outcome.get("events", [])}
        print(
            f"{path.name}: {len(outcomes)} calls, {len(names)} kinds of events, {path.stat().st_size:,} bytes"
        )


if __name__ == "__main__":
    main()
