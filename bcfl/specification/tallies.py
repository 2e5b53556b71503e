"""Read a tally where a challenge hands it in: as the bytes whose hash is the accepted set."""

from __future__ import annotations

from typing import Final

from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Tally
from bcfl.protocol.verification import IN_WORD, unpack_codes
from bcfl.specification.call import Call, require

MAX_TALLY: Final = 6_016  # bytes

_WORD: Final = 32  # bytes
_CHECKPOINTS, _VOTES, _VOTERS, _MATCHES, _LEVELS, _CAP, _SAMPLES = range(7)  # words of a tally


def check(call: Call, data: bytes) -> None:
    """Insist that bytes are the tally of the running round."""
    require(keccak(data) == call.state.verification.accepted, "challenges: not the round's tally")


def read(data: bytes) -> Tally:
    """Return the tally of an ABI encoding that has been checked.

    How many updates the round has does not stand in it: the last word of levels is filled up with zeros.
    """
    items = [data[start : start + _WORD] for start in range(_WORD, len(data), _WORD)]
    numbers = [int.from_bytes(item, "big") for item in items]

    def listed(place: int) -> slice:
        start = numbers[place] // _WORD
        return slice(start + 1, start + 1 + numbers[start])

    words = numbers[listed(_LEVELS)]
    return Tally(
        checkpoints=tuple(items[listed(_CHECKPOINTS)]),
        votes=items[_VOTES],
        voters=tuple(numbers[listed(_VOTERS)]),
        matches=tuple(numbers[listed(_MATCHES)]),
        levels=unpack_codes(words, IN_WORD * len(words)),
        cap=numbers[_CAP],
        samples=numbers[_SAMPLES],
    )
