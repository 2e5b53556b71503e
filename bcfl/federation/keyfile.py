"""Keep keys of sealed updates and models in files, and seal those of one round for one auditor.

keys        {"format", "chain_id", "contract", "updates": [{"round", "device", "root", "key"}, ...],
             "models": [{"round", "root", "key"}, ...]}
disclosure  {"format", "chain_id", "contract", "round", "to", "sealed"}    keys, for the X25519 key `to`
secret      {"format", "secret"}    the X25519 key itself

A key proves itself by the root of what it opens, so a file can be wrong, but not deceive. One that proves
nothing says nothing of the training either: whoever wrote it may have lied. Who has a file reads what its
keys open: only its owner may read it, and no message shows anything of it.
"""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError

from bcfl.errors import ConfigError
from bcfl.folders import OTHERS, write_private
from bcfl.protocol.hashing import word
from bcfl.protocol.limits import MAX_UPDATES
from bcfl.protocol.readers import announced_key, announcement
from bcfl.protocol.sealing import KEY_BYTES, ReaderKey, can_be_sealed_for, seal_for
from bcfl.protocol.submissions import Domain
from bcfl.roles.common.keys import Keys

KEYS: Final = "bcfl keys 1"
DISCLOSURE: Final = "bcfl disclosure 1"
SECRET: Final = "bcfl reader key 1"
MOST: Final = 1 << 24  # bytes of a file: some 80,000 keys
MOST_SEALED: Final = 1_000 * (MAX_UPDATES + 2)  # bytes of the keys of one round
LEAST: Final = 32  # bytes that the members of a file of keys have on average: those of an update have 42
FEW: Final = 64  # members, or errors: so many may be shorter, and so many are looked at
FIELDS: Final = frozenset({"format", "chain_id", "contract", "updates", "models", "round", "device", "root"})


def _bytes32(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * KEY_BYTES or value.strip("0123456789abcdef"):
        raise ValueError("32 bytes in lower-case hexadecimal belong there")
    return bytes.fromhex(value)


def _hex(value: object) -> bytes:
    if not isinstance(value, str) or len(value) % 2 or value.strip("0123456789abcdef"):
        raise ValueError("bytes in lower-case hexadecimal belong there")
    return bytes.fromhex(value)


Bytes32 = Annotated[bytes, BeforeValidator(_bytes32)]
Secret32 = Annotated[bytes, BeforeValidator(_bytes32), Field(repr=False)]
Number = Annotated[int, Field(ge=0, lt=2**32)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class _UpdateKey(_Part):
    round: Number
    device: Number
    root: Bytes32
    key: Secret32


class _ModelKey(_Part):
    round: Number
    root: Bytes32
    key: Secret32


class _OfFederation(_Part):
    chain_id: Annotated[int, Field(ge=0, lt=2**256)]
    contract: Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]


class _KeyFile(_OfFederation):
    format: Literal["bcfl keys 1"]
    updates: Annotated[list[_UpdateKey], FailFast()]  # else a hostile file has millions of errors
    models: Annotated[list[_ModelKey], FailFast()]


class _Disclosure(_OfFederation):
    format: Literal["bcfl disclosure 1"]
    round: Number
    to: Annotated[str, Field(pattern=r"^x25519=[A-Za-z0-9_-]{43}$")]
    sealed: Annotated[bytes, BeforeValidator(_hex)]


class _Secret(_Part):
    format: Literal["bcfl reader key 1"]
    secret: Secret32


class _Head(BaseModel):
    format: Annotated[str, Field(max_length=100)]


PartT = TypeVar("PartT", bound=BaseModel)
log = logging.getLogger(__name__)


def encode(keys: Keys, domain: Domain) -> bytes:
    """Return keys as a key file has them."""
    updates = [
        {"round": round_, "device": device, "root": root.hex(), "key": key.hex()}
        for (round_, device, root), key in sorted(keys.updates.items())
    ]
    models = [
        {"round": round_, "root": root.hex(), "key": key.hex()}
        for (round_, root), key in sorted(keys.models.items())
    ]
    return _json({"format": KEYS, **_place(domain), "updates": updates, "models": models})


def decode(data: bytes, domain: Domain, name: str) -> Keys:
    """Return the keys in a key file of one federation; `name` is what errors call it.

    Raises ConfigError for anything else.
    """
    content = _parse(_KeyFile, data, name, "a key file")
    _check_place(content, domain, name)
    keys = Keys(
        {(item.round, item.device, item.root): item.key for item in content.updates},
        {(item.round, item.root): item.key for item in content.models},
    )
    if len(keys.updates) != len(content.updates) or len(keys.models) != len(content.models):
        raise ConfigError(f"{name} names an update or a model twice: ask for another file")
    return keys


def seal(keys: Keys, domain: Domain, round_: int, public: bytes, entropy: bytes) -> bytes:
    """Return a disclosure of keys for the owner of an X25519 key; `entropy` are 32 random bytes."""
    sealed = seal_for(public, encode(keys, domain), _info(domain, round_), entropy)
    place = {**_place(domain), "round": round_, "to": announcement(public)}
    return _json({"format": DISCLOSURE, **place, "sealed": sealed.hex()})


def unseal(data: bytes, domain: Domain, secret: ReaderKey, name: str) -> Keys:
    """Return the keys in a disclosure; raises ConfigError where it is for another key or federation."""
    content = _parse(_Disclosure, data, name, "a disclosure")
    _check_place(content, domain, name)
    if len(content.sealed) > MOST_SEALED:
        raise ConfigError(f"{name} is larger than the keys of one round: ask for another file")
    if announced_key("#" + content.to) != secret.public:
        raise ConfigError(f"{name} is for {content.to}, and your key is {announcement(secret.public)}")
    plain = secret.open(content.sealed, _info(domain, content.round))
    if plain is None:
        raise ConfigError(f"{name} is damaged, or not of this federation and round: ask for another file")
    return decode(plain, domain, name)


def load(paths: Sequence[Path], domain: Domain, secret: Path | None = None) -> Keys:
    """Return the keys in key files and disclosures; `secret` is the file of the key that opens the latter.

    Raises ConfigError for a file that is neither, is of another federation, or contradicts one before it.
    """
    keys = Keys()
    for path in paths:
        data = _read(path)
        if _parse(_Head, data, str(path), "a file of keys").format != DISCLOSURE:
            more = decode(data, domain, str(path))
            _warn_of_readers(path)
        elif secret is None:
            raise ConfigError(f"{path} is sealed for an auditor: name the file of the key with --key-file")
        else:
            more = unseal(data, domain, read_secret(secret), str(path))
        if any(keys.updates.get(name, key) != key for name, key in more.updates.items()) or any(
            keys.models.get(place, key) != key for place, key in more.models.items()
        ):
            raise ConfigError(f"{path} has another key than a file before it: leave one of them out")
        keys.updates.update(more.updates)
        keys.models.update(more.models)
    return keys


def save(path: Path, keys: Keys, domain: Domain) -> Keys:
    """Write keys to a file, beside those of the same federation that are in it; return all of them.

    Raises ConfigError for a file of anything else, with nothing lost.
    """
    known = decode(_read(path), domain, str(path)) if path.is_file() else Keys()
    both = Keys({**known.updates, **keys.updates}, {**known.models, **keys.models})
    data = encode(both, domain)
    if len(data) > MOST:
        raise ConfigError(f"{path} would be larger than any key file may be: name fewer rounds")
    write_private(path, data, replaces=True)
    return both


def new_secret(path: Path) -> bytes:
    """Write a new X25519 key to a file that is not there yet; return its public part. Raises ConfigError."""
    secret = os.urandom(KEY_BYTES)
    write_private(path, _json({"format": SECRET, "secret": secret.hex()}))
    return ReaderKey(secret).public


def read_secret(path: Path) -> ReaderKey:
    """Return the X25519 key in a file that `new_secret` has written; raises ConfigError."""
    secret = _parse(_Secret, _read(path), str(path), "a key of `bcfl keys new`").secret
    _warn_of_readers(path)
    return ReaderKey(secret)


def parse_public(text: str) -> bytes:
    """Return the key that `x25519=` and 43 letters stand for; raises ConfigError.

    A point of small order is none: nobody would have its secret.
    """
    public = announced_key("#" + text) if text.startswith("x25519=") else None
    if public is None or not can_be_sealed_for(public):
        raise ConfigError(f"{text[:60]!r} is not a key: write what `bcfl keys new` has printed, x25519=...")
    return public


def _info(domain: Domain, round_: int) -> bytes:
    return b"bcfl disclosure 1" + domain.separator + word(round_)


def _place(domain: Domain) -> dict[str, Any]:
    return {"chain_id": domain.chain_id, "contract": domain.contract}


def _check_place(content: _OfFederation, domain: Domain, name: str) -> None:
    if (content.chain_id, content.contract.lower()) != (domain.chain_id, domain.contract.lower()):
        raise ConfigError(
            f"{name} is of the federation {content.contract} on chain {content.chain_id}, "
            f"and this one is {domain.contract} on chain {domain.chain_id}"
        )


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode("ascii") + b"\n"


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path} is no file, but a folder, a device or a pipe: name a file")
        with path.open("rb") as stream:
            data = stream.read(MOST + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MOST:
        raise ConfigError(f"{path} is larger than any file of keys may be")
    return data


def _warn_of_readers(path: Path) -> None:
    if path.stat().st_mode & OTHERS:
        log.warning("others may read the keys in %s: chmod 600 it", path)


def _parse(kind: type[PartT], data: bytes, name: str, words: str) -> PartT:
    """Return what `data` holds; the error says where it is wrong, and nothing of what stands there.

    A file of more members than one of its size can have is not parsed: each would be an error of its own.
    """
    where = ""
    try:
        if data.count(b":") <= len(data) // LEAST + FEW:
            return kind.model_validate_json(data)
    except ValidationError as error:
        if error.error_count() <= FEW:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = [str(part) for part in first["loc"] if isinstance(part, int) or part in FIELDS]
            where = f" (at {'.'.join(place)})" if place else ""
    raise ConfigError(f"{name} is not {words}, or is damaged{where}")
