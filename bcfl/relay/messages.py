"""Encode what devices and miners send one another as JSON, and parse it strictly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from bcfl.errors import RelayError
from bcfl.ports import Batch, SignedCommitment
from bcfl.protocol.limits import MAX_BATCH, MAX_UPDATES, TOP_LEVEL
from bcfl.protocol.requests import KeyRequest
from bcfl.protocol.types import Engine, Opening, SignedUpdate, Update, Verdict
from bcfl.protocol.verification import verdict_codes, verdicts_of, wish_code, wish_of

MAX_BYTES = 128 * 1024  # the largest message: a whole batch


def _hex(length: int) -> Callable[[object], bytes]:
    """Return a parser of `length` bytes in lower-case hex."""

    def parse(value: object) -> bytes:
        if not isinstance(value, str) or len(value) != 2 * length or value.strip("0123456789abcdef"):
            raise ValueError(f"must be {length} bytes in lower-case hex")
        return bytes.fromhex(value)

    return parse


_AS_HEX = PlainSerializer(bytes.hex)
Digest = Annotated[bytes, BeforeValidator(_hex(32)), _AS_HEX]
Salt = Annotated[bytes, BeforeValidator(_hex(16)), _AS_HEX]
Signature = Annotated[bytes, BeforeValidator(_hex(64)), _AS_HEX]
Number = Annotated[int, Field(ge=0, lt=2**32)]
Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the message in `data`; raises RelayError for anything else."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(map(str, first["loc"])) or "the message"
            raise RelayError(f"{field}: {first['msg']}") from None

    def encode(self) -> bytes:
        """Return the bytes of the message."""
        return self.model_dump_json().encode()


class CommitmentMessage(_Message):
    """`SignedCommitment` on the wire."""

    round: Number
    device: Number
    commitment: Digest
    signature: Signature

    @classmethod
    def of(cls, message: SignedCommitment) -> Self:
        """Wrap a value for the wire."""
        return cls.model_construct(**message.__dict__)

    def unwrap(self) -> SignedCommitment:
        """Return the value."""
        return SignedCommitment(self.round, self.device, self.commitment, self.signature)


class UpdateMessage(_Message):
    """`SignedUpdate` on the wire."""

    round: Number
    device: Number
    root: Digest
    cid: Digest
    samples: Number
    microseconds: Annotated[int, Field(ge=0, lt=2**64)]
    salt: Salt
    signature: Signature

    @classmethod
    def of(cls, message: SignedUpdate) -> Self:
        """Wrap a value for the wire."""
        fields = {**message.update.__dict__, "salt": message.update.salt.to_bytes(16, "big")}
        return cls.model_construct(**fields, signature=message.signature)

    def unwrap(self) -> SignedUpdate:
        """Return the value."""
        fields = self.model_copy().__dict__.copy()
        signature = fields.pop("signature")
        fields["salt"] = int.from_bytes(fields["salt"], "big")
        return SignedUpdate(Update(**fields), signature)


class BatchMessage(_Message):
    """`Batch` on the wire."""

    round: Number
    submitter: Address
    commitments: Annotated[list[Digest], Field(max_length=MAX_BATCH)]
    updates: Annotated[list[UpdateMessage | None], Field(max_length=MAX_BATCH)]

    @classmethod
    def of(cls, message: Batch) -> Self:
        """Wrap a value for the wire."""
        updates = [None if item is None else UpdateMessage.of(item) for item in message.updates]
        return cls.model_construct(
            round=message.round,
            submitter=message.submitter,
            commitments=list(message.commitments),
            updates=updates,
        )

    def unwrap(self) -> Batch:
        """Return the value."""
        updates = tuple(None if item is None else item.unwrap() for item in self.updates)
        return Batch(self.round, self.submitter, tuple(self.commitments), updates)


class OpeningMessage(_Message):
    """`Opening` on the wire."""

    round: Number
    miner: Address
    verdicts: Annotated[
        list[Annotated[int, Field(ge=1, le=TOP_LEVEL + max(Verdict))]], Field(max_length=MAX_UPDATES)
    ]
    wish: Annotated[int, Field(ge=0, le=max(Engine) + 1)]
    salt: Digest

    @classmethod
    def of(cls, message: Opening) -> Self:
        """Wrap a value for the wire."""
        verdicts = verdict_codes(message)
        return cls.model_construct(
            round=message.round,
            miner=message.miner,
            verdicts=verdicts,
            wish=wish_code(message.wish),
            salt=message.salt,
        )

    def unwrap(self) -> Opening:
        """Return the value."""
        verdicts, levels = verdicts_of(self.verdicts)
        return Opening(self.round, self.miner, verdicts, self.salt, wish_of(self.wish), levels)


class CommitmentsMessage(_Message):
    """The commitments of a committed batch, as a device asks for them."""

    round: Number
    commitments: Annotated[list[Digest], Field(max_length=MAX_BATCH)]


class KeyRequestMessage(_Message):
    """`KeyRequest` on the wire."""

    round: Number
    positions: Annotated[list[Number], Field(max_length=MAX_UPDATES)]
    account: Address
    key: Digest
    signature: Signature

    @classmethod
    def of(cls, request: KeyRequest) -> Self:
        """Wrap a value for the wire."""
        return cls.model_construct(**{**request.__dict__, "positions": list(request.positions)})

    def unwrap(self) -> KeyRequest:
        """Return the value."""
        return KeyRequest(self.round, tuple(self.positions), self.account, self.key, self.signature)
