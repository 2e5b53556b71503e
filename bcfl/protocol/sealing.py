"""Seal updates for the miners that vote on them, and models for the members; open both.

    sealed update   80 bytes a reader: the content key for each, by HPKE (RFC 9180)
                    then the file of `payload`, by ChaCha20-Poly1305 under the content key: 16 bytes longer
    sealed model    the file of `payload`, by ChaCha20-Poly1305 under the model's key: 16 bytes longer

HPKE is its base mode with X25519, HKDF-SHA256 and ChaCha20-Poly1305. Every key seals one thing only, so the
nonce is 0: a content key follows from its device's secret, the round and all that it seals. So do the
ephemeral keys of HPKE, and a device that has lost everything but its key makes the same bytes again.

A key is right when what it opens has the root on chain. The cipher alone does not say so: there are bytes
that two keys open to two contents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.exceptions import PyHPKEError

from bcfl.errors import PayloadError
from bcfl.protocol.accounts import Account
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.readers import TAG_BYTES, WRAP_BYTES
from bcfl.protocol.submissions import Domain

KEY_BYTES: Final = 32
ROTATIONS: Final = 256  # keys of one miner in one federation
NO_KEY: Final = bytes(KEY_BYTES)
_NONCE: Final = bytes(12)
_OPENING: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_SEALING: Final = CipherSuite.new(
    KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305
)  # of another library, because that one lets the caller choose the ephemeral key


@dataclass(frozen=True)
class Seal:
    """What a sealed update is bound to: its place in one federation, and what its device says it contains."""

    domain: Domain
    round: int
    device: int
    root: bytes

    @property
    def data(self) -> bytes:
        """Return the associated data of the cipher, and the info of HPKE."""
        place = word(self.round) + word(self.device)
        return b"bcfl update 1" + self.domain.separator + place + self.root


class ReaderKey:
    """An X25519 key to read with; its text shows the public part, never the key."""

    def __init__(self, key: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(key)
        self.public: bytes = self._private.public_key().public_bytes_raw()

    @classmethod
    def of(cls, account: Account, domain: Domain, number: int = 0) -> ReaderKey:
        """Return the key of a miner in one federation; `number` counts its rotations."""
        return cls(account.secret("reader key", domain.separator, number))

    def open(self, wrap: bytes, info: bytes) -> bytes | None:
        """Return what was sealed for this key, None where it was not, or not for this purpose."""
        try:
            return _OPENING.decrypt(wrap, self._private, info)
        except (InvalidTag, ValueError):  # also small-order points, and what is too short
            return None

    def __repr__(self) -> str:
        return f"ReaderKey({self.public.hex()})"


def reader_key(account: Account, domain: Domain, public: bytes | None) -> ReaderKey | None:
    """Return the secret of a key that a miner has announced; None where it is none of its own."""
    keys = (ReaderKey.of(account, domain, number) for number in range(ROTATIONS if public else 0))
    return next((key for key in keys if key.public == public), None)


def can_be_sealed_for(public: bytes) -> bool:
    """Whether an X25519 key can have an owner: with a point of small order any secret comes to 0."""
    try:
        X25519PrivateKey.from_private_bytes(NO_KEY).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        return False
    return True


def seal_for(public: bytes, plain: bytes, info: bytes, seed: bytes) -> bytes:
    """Seal bytes for a key by HPKE: 48 bytes longer; `seed`, secret and for this alone, decides how.

    A key that cannot be one, as of a point of small order, gets what nobody can open.
    """
    for key in (public, ReaderKey(keccak(b"nobody" + seed)).public):
        try:
            recipient = _SEALING.kem.deserialize_public_key(key)
            ephemeral = _SEALING.kem.derive_key_pair(seed)
            start, context = _SEALING.create_sender_context(recipient, info=info, eks=ephemeral)
            return bytes(start + context.seal(plain))
        except (PyHPKEError, ValueError):
            continue
    raise AssertionError("a key just made can be sealed for")


def seal_update(data: bytes, seal: Seal, account: Account, readers: Sequence[bytes | None]) -> bytes:
    """Seal a device's payload for the keys of its readers, in their order; None: one that has no key.

    What is written is as long for a reader without a key.
    """
    place = (seal.domain.separator, seal.round, seal.root)
    key = content_key(seal, account, keccak(data))
    wraps = []
    for position, reader in enumerate(readers):
        seed = account.secret("wrap", *place, position, reader, keccak(key))
        wraps.append(seal_for(reader or b"", key, seal.data, seed))
    return b"".join(wraps) + ChaCha20Poly1305(key).encrypt(_NONCE, data, seal.data)


def content_key(seal: Seal, account: Account, digest: bytes) -> bytes:
    """Return the content key of a device's payload with a keccak digest; only the device can make it.

    The same lanes can have another header, so that the root does not say which payload it is.
    """
    return account.secret("content key", seal.domain.separator, seal.round, seal.root, digest)


def open_own(data: bytes, size: int, seal: Seal, account: Account, digest: bytes) -> bytes:
    """Return the payload, `size` bytes with a keccak digest, that a device has sealed for whatever readers.

    Raises PayloadError where it has not.
    """
    key = content_key(seal, account, digest)
    return _open(data[-(size + TAG_BYTES) :], key, seal.data, "the update")


def wraps_of(data: bytes, readers: int) -> bytes:
    """Return the part of a sealed update that holds the content key for its readers."""
    return data[: WRAP_BYTES * readers]


def open_wrap(wraps: bytes, position: int, key: ReaderKey, seal: Seal) -> bytes | None:
    """Return the content key for the reader at `position`; None where there is none that opens."""
    plain = key.open(wraps[WRAP_BYTES * position : WRAP_BYTES * (position + 1)], seal.data)
    return plain if plain is not None and len(plain) == KEY_BYTES else None


def open_update(data: bytes, readers: int, key: bytes, seal: Seal) -> bytes:
    """Return the payload of a sealed update; raises PayloadError where the content key does not open it."""
    return _open(data[WRAP_BYTES * readers :], key, seal.data, "the update")


def model_key(domain: Domain, round_: int, root: bytes, content_keys: Sequence[bytes]) -> bytes:
    """Return the key of a round's model: it follows from the content keys of all accepted updates, in order.

    So whoever could compute the model can compute its key, and nobody else.
    """
    place = domain.separator + word(round_) + root
    return keccak(b"bcfl model key 1" + place + b"".join(content_keys))


def seal_model(data: bytes, key: bytes, domain: Domain, round_: int, root: bytes) -> bytes:
    """Seal the payload of a round's model: 16 bytes longer."""
    return ChaCha20Poly1305(key).encrypt(_NONCE, data, _model_data(domain, round_, root))


def open_model(data: bytes, key: bytes, domain: Domain, round_: int, root: bytes) -> bytes:
    """Return the payload of a sealed model; raises PayloadError where the key does not open it."""
    return _open(data, key, _model_data(domain, round_, root), "the model")


def _model_data(domain: Domain, round_: int, root: bytes) -> bytes:
    return b"bcfl model 1" + domain.separator + word(round_) + root


def _open(sealed: bytes, key: bytes, data: bytes, what: str) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, sealed, data)
    except (InvalidTag, ValueError):
        raise PayloadError(f"the key does not open {what}") from None
