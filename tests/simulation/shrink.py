"""Find the fewest faults with which an episode still fails (delta debugging; Zeller and Hildebrandt 2002)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MOST_TRIES = 80


def shrink(
    faults: Sequence[str], fails: Callable[[frozenset[str]], bool], tries: int = MOST_TRIES
) -> tuple[str, ...]:
    """Return faults of which `fails` still holds and none can be left out alone, as far as `tries` go."""
    kept, parts = list(dict.fromkeys(faults)), 2
    left = tries
    if left and fails(frozenset()):
        return ()
    while len(kept) > 1 and left > 0:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            rest = kept[:start] + kept[start + size :]
            left -= 1
            if rest and fails(frozenset(rest)):
                kept, parts = rest, max(2, parts - 1)
                break
            if left <= 0:
                return tuple(kept)
        else:
            if parts >= len(kept):
                break
            parts = min(len(kept), 2 * parts)
    return tuple(kept)
