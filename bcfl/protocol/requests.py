"""Ask a miner for keys, and answer so that only who asked can read it.

Who asks signs, and names a new X25519 key for the answer alone. The answer is sealed for that key and signed
by its miner. A content key or a model's key proves itself by the root of what it opens. A norm does not: it
is asked of several.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bcfl.protocol.accounts import Account, signer
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.sealing import KEY_BYTES, NO_KEY, ReaderKey, seal_for
from bcfl.protocol.submissions import Domain

SIGNATURE_BYTES: Final = 64
SEALED_MORE: Final = 48  # bytes by which HPKE makes an answer longer
_ASKS: Final = keccak(b"bcfl key request 1")
_ANSWERS: Final = keccak(b"bcfl key answer 1")
_NORM: Final = struct.Struct("<d")


@dataclass(frozen=True)
class KeyRequest:
    """What a member asks a miner for.

    With `positions` the content keys of these updates of the round; without, the key of the model that the
    round has made, and the reference norm that follows from its updates.
    """

    round: int
    positions: tuple[int, ...]
    account: str  # who asks
    key: bytes  # X25519, for the answer alone
    signature: bytes = b""

    def digest(self, domain: Domain) -> bytes:
        """Return what `account` signs."""
        places = b"".join(map(word, self.positions))
        return keccak(_ASKS + domain.separator + word(self.round) + keccak(places) + self.key)

    def is_signed(self, domain: Domain) -> bool:
        """Whether the account that it names has signed it."""
        return signer(self.digest(domain), self.signature) == self.account


@dataclass(frozen=True)
class Question:
    """A request with the secret that opens its answers."""

    request: KeyRequest
    domain: Domain
    reader: ReaderKey = field(repr=False)

    @classmethod
    def ask(
        cls, account: Account, domain: Domain, round_: int, positions: Sequence[int], entropy: bytes
    ) -> Question:
        """Return a new question of `account`, signed; `entropy` are 32 random bytes."""
        reader = ReaderKey(entropy)
        request = KeyRequest(round_, tuple(positions), account.address, reader.public)
        request = replace(request, signature=account.sign(request.digest(domain)))
        return cls(request, domain, reader)

    def read(self, miner: str, answer: bytes) -> bytes | None:
        """Return what a miner answers, None where this is no answer of its to this question."""
        sealed, signature = answer[:-SIGNATURE_BYTES], answer[-SIGNATURE_BYTES:]
        digest = self.request.digest(self.domain)
        if signer(_answer_digest(digest, sealed), signature) != miner:
            return None
        plain = self.reader.open(sealed, digest)
        return plain if plain is not None and len(plain) == _size(self.request) else None


@dataclass(frozen=True)
class RoundKeys:
    """What a member needs of a finished round: the key of its model, and the reference norm."""

    model: bytes | None = field(repr=False)
    norm: float | None

    def encode(self) -> bytes:
        """Return it as bytes, always as long."""
        return (self.model or NO_KEY) + _NORM.pack(math.nan if self.norm is None else self.norm)

    @classmethod
    def decode(cls, data: bytes) -> RoundKeys:
        """Return what `encode` wrote; a norm that is none is left out."""
        model, (norm,) = data[:KEY_BYTES], _NORM.unpack(data[KEY_BYTES:])
        is_norm = math.isfinite(norm) and norm > 0
        return cls(None if model == NO_KEY else model, norm if is_norm else None)


def seal_answer(plain: bytes, request: KeyRequest, domain: Domain, account: Account, entropy: bytes) -> bytes:
    """Return the answer of a miner, `account`, to a request; `entropy` are 32 random bytes."""
    digest = request.digest(domain)
    sealed = seal_for(request.key, plain, digest, entropy)
    return sealed + account.sign(_answer_digest(digest, sealed))


def answer_size(request: KeyRequest) -> int:
    """Return the length in bytes of the answer to a request."""
    return _size(request) + SEALED_MORE + SIGNATURE_BYTES


def encode_keys(keys: Sequence[bytes | None]) -> bytes:
    """Return the answer for updates: a key each, zeros for one that is not known."""
    return b"".join(key or NO_KEY for key in keys)


def decode_keys(data: bytes) -> list[bytes | None]:
    """Return what `encode_keys` wrote."""
    keys = [data[start : start + KEY_BYTES] for start in range(0, len(data), KEY_BYTES)]
    return [None if key == NO_KEY else key for key in keys]


def _size(request: KeyRequest) -> int:
    return KEY_BYTES * len(request.positions) if request.positions else KEY_BYTES + _NORM.size


def _answer_digest(request: bytes, sealed: bytes) -> bytes:
    return keccak(_ANSWERS + request + keccak(sealed))
