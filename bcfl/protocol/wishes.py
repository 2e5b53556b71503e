"""Parse a miner's wishes in mode `hybrid`: which engine, and from which round on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bcfl.protocol.types import Engine

FIRST: Final = 2  # the engine of round 1 is a term; the votes of a round decide about the next one
FORM: Final = re.compile(r"(?:(\d{1,9}):)?([a-z]+)", re.ASCII)


@dataclass(frozen=True, order=True)
class Wish:
    """The wish that from `round` on `engine` decides who leads."""

    round: int
    engine: Engine

    def __str__(self) -> str:
        return f"{self.round}:{self.engine.name.lower()}"


def parse(text: str) -> Wish:
    """Parse `ROUND:ENGINE`, or `ENGINE` alone for as soon as possible; raises ValueError."""
    match = FORM.fullmatch(text.strip())
    names = [engine.name.lower() for engine in Engine]
    if match is None or match[2] not in names:
        raise ValueError(
            f"must be ROUND:ENGINE or ENGINE, as 3:pow, with one of {', '.join(names)}; not {text!r}"
        )
    round_ = FIRST if match[1] is None else int(match[1])
    if round_ < FIRST:
        raise ValueError(f"must name a round from {FIRST} on ({text}): the engine of round 1 is `engine`")
    return Wish(round_, Engine[match[2].upper()])


def parse_all(texts: Iterable[str]) -> tuple[Wish, ...]:
    """Parse several wishes into the order of their rounds; raises ValueError, also for two of one round."""
    wishes = sorted(map(parse, texts))
    rounds = [wish.round for wish in wishes]
    for round_ in rounds:
        if rounds.count(round_) > 1:
            raise ValueError(f"must not name round {round_} twice")
    return tuple(wishes)


def engine_after(wishes: Sequence[Wish], round_: int) -> Engine | None:
    """Return the engine that the vote of a round wishes for the round after it: the last that has begun."""
    current = [wish for wish in wishes if wish.round <= round_ + 1]
    return current[-1].engine if current else None
