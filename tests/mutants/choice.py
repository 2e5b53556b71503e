"""Which mutants a campaign tries: in turn from each module and, within a module, in turn from each rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice, zip_longest
from random import Random
from typing import TypeVar

from tests.mutants.rules import Mutant, mutants

T = TypeVar("T")


def candidates(sources: Mapping[str, str], module: str | None = None) -> dict[str, list[Mutant]]:
    """Return all mutants by source; `module` names one, as in `rounds` or `modules/rounds.vy`."""
    paths = [path for path in sources if module in (None, path, path.removesuffix(".vy").split("/")[-1])]
    if not paths:
        raise ValueError(f"there is no module {module!r}; take one of {', '.join(sources)}")
    return {path: list(mutants(path, sources)) for path in paths}


def choose(groups: Mapping[str, Sequence[Mutant]], count: int, seed: int) -> list[Mutant]:
    """Return `count` mutants, the same for the same seed; fewer are the first of more."""
    paths = _shuffled(sorted(groups), f"{seed}")
    return list(islice(in_turn([_by_rule(groups[path], f"{seed} {path}") for path in paths]), count))


def in_turn(groups: Iterable[Sequence[T]]) -> Iterable[T]:
    """Yield the first of each group, then the second of each, until all are empty."""
    nothing = object()
    rows = zip_longest(*groups, fillvalue=nothing)
    return (item for item in chain.from_iterable(rows) if item is not nothing)  # type: ignore[misc]


def _by_rule(group: Sequence[Mutant], seed: str) -> list[Mutant]:
    rules = _shuffled(sorted({mutant.rule for mutant in group}), seed)
    parts = [[mutant for mutant in group if mutant.rule == rule] for rule in rules]
    return list(in_turn([_shuffled(part, f"{seed} {part[0].rule}") for part in parts]))


def _shuffled(items: Sequence[T], seed: str) -> list[T]:
    copy = list(items)
    Random(seed).shuffle(copy)
    return copy
