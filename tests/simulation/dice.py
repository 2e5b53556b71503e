"""Draw every decision of an episode from its seed, each from a stream of its own.

A decision is named, and its name alone decides it. So a schedule stays the same where faults are taken out of
it, as far as what these faults brought about is not concerned: that is what shrinking lives on.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import count
from math import log
from typing import Any, TypeVar

T = TypeVar("T")
RANGE = 1 << 64


@dataclass(frozen=True)
class Fault:
    """One thing that went wrong: what, to whom, where in which round, for which time there."""

    kind: str
    party: str
    round: int
    phase: str
    count: int

    @property
    def name(self) -> str:
        """Return the text that stands for it in `--only` and in the file of results."""
        return f"{self.kind}:{self.party}:{self.round}:{self.phase}:{self.count}"

    @property
    def role(self) -> str:
        """Return the role of who was hit."""
        return self.party.partition(" ")[0]


@dataclass(eq=False)
class Stream:
    """The faults of some kinds at one place: how often it was passed, and the time at which one happens."""

    kinds: tuple[str, ...]
    chances: tuple[float, ...]
    party: str
    round: int
    phase: str
    count: int = 0
    next: int = 0


class Dice:
    """The decisions of one episode; with `only`, no faults happen but these, by name."""

    def __init__(self, seed: int, only: Set[str] | None = None) -> None:
        self.seed, self.only = seed, only
        self.faults: list[Fault] = []  # that happened, in order
        self.is_quiet = False  # nothing goes wrong any more
        self._phases: dict[tuple[str, int], set[str]] = {}
        self._hits: dict[tuple[str, int], list[Fault]] = {}
        self._streams: dict[tuple[Any, ...], Stream] = {}

    def share(self, *name: object) -> float:
        """Return a number from 0 to 1."""
        return self._draw(name) / RANGE

    def number(self, low: int, high: int, *name: object) -> int:
        """Return a whole number from `low` to `high`, both included."""
        return low + self._draw(name) % (high - low + 1)

    def choice(self, values: Sequence[T], *name: object) -> T:
        """Return one of some values."""
        return values[self._draw(name) % len(values)]

    def fault(
        self, kinds: tuple[str, ...], chances: tuple[float, ...], party: str, round_: int, phase: str
    ) -> Fault | None:
        """Return the fault that happens at a place, of one of some kinds, or None.

        The place is named by its kinds, and by how often it has been passed in this phase of this round.
        """
        stream = self.stream(kinds, chances, party, round_, phase)
        stream.count += 1
        return self.hit(stream) if stream.count >= stream.next else None

    def stream(
        self, kinds: tuple[str, ...], chances: tuple[float, ...], party: str, round_: int, phase: str
    ) -> Stream:
        """Return the stream of a place; who passes it often keeps it and counts itself, as `fault` does."""
        key = (kinds, party, round_, phase)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = Stream(kinds, chances, party, round_, phase)
            stream.next = self._gap(stream)
        return stream

    def hit(self, stream: Stream) -> Fault | None:
        """Return the fault that is due in a stream, or None where it is quiet or left out."""
        kinds, chances, count = stream.kinds, stream.chances, stream.count
        party, round_, phase = stream.party, stream.round, stream.phase
        stream.next = count + self._gap(stream)
        if self.is_quiet:
            return None
        share, place = self.share("kind", kinds, party, round_, phase, count) * sum(chances), 0
        while share >= chances[place] and place < len(kinds) - 1:
            share -= chances[place]
            place += 1
        fault = Fault(kinds[place], party, round_, phase, count)
        if self.only is not None and fault.name not in self.only:
            return None
        self.faults.append(fault)
        self._phases.setdefault((party, round_), set()).add(phase)
        self._hits.setdefault((party, round_), []).append(fault)
        return fault

    def _gap(self, stream: Stream) -> int:
        """Return how many times a place is passed until something happens there again."""
        scale = _scale(stream.chances)
        if scale is None:
            return RANGE
        place = f"{stream.party}/{stream.round}/{stream.phase}/{stream.count}"
        share = _number(f"{self.seed}/gap/{_text(stream.kinds)}/{place}") / RANGE
        return 1 + int(log(1.0 - share) / scale)

    def phases_hit(self, party: str, round_: int) -> set[str]:
        """Return the phases of a round in which something went wrong for a party."""
        return self._phases.get((party, round_), set())

    def kinds_hit(self, party: str, round_: int, *phases: str) -> set[str]:
        """Return the kinds of what went wrong for a party in a round, or in some phases of it alone."""
        faults = self._hits.get((party, round_), ())
        return {fault.kind for fault in faults if not phases or fault.phase in phases}

    def _draw(self, name: tuple[object, ...]) -> int:
        return _number(f"{self.seed}/{'/'.join(map(str, name))}")


class RandomBits:
    """Stands for the module `secrets`, of which a miner's sketches take the signs."""

    def __init__(self, dice: Dice) -> None:
        self._dice, self._numbers = dice, count()

    def randbits(self, bits: int) -> int:
        """Return so many bits."""
        return self._dice.number(0, (1 << min(bits, 63)) - 1, "sketch", next(self._numbers))

    token_bytes = property(lambda self: lambda size: self.randbits(63).to_bytes(8, "big") * (size // 8 + 1))


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


@cache
def _text(kinds: tuple[str, ...]) -> str:
    return str(kinds)


@cache
def _scale(chances: tuple[float, ...]) -> float | None:
    """Return by what the logarithm of a share becomes a gap; None where nothing ever happens."""
    chance = sum(chances)
    return None if chance <= 0.0 else log(1.0 - min(chance, 0.999))
