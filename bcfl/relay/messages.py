"""Step 3 on the wire: what devices and miners hand one another, as JSON that is parsed strictly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from bcfl.errors import RelayError
from bcfl.ports import Batch, SignedCommitment
from bcfl.protocol.submissions import MAX_BATCH
from bcfl.protocol.types import Engine, Opening, SignedUpdate, Update, Verdict
from bcfl.protocol.verification import wish_code, wish_of

MAX_BYTES = 128 * 1024  # the largest message: a whole batch
MAX_UPDATES = 1024


def _hex(length: int) -> Callable[[object], bytes]:
    """A parser of so many bytes in lower-case hex."""

    def parse(value: object) -> bytes:
        if not isinstance(value, str) or len(value) != 2 * length or value.strip("0123456789abcdef"):
            raise ValueError(f"must be {length} bytes in lower-case hex")
        return bytes.fromhex(value)

    return parse


_SHOWN = PlainSerializer(bytes.hex)
Digest = Annotated[bytes, BeforeValidator(_hex(32)), _SHOWN]
Salt = Annotated[bytes, BeforeValidator(_hex(16)), _SHOWN]
Signature = Annotated[bytes, BeforeValidator(_hex(64)), _SHOWN]
Number = Annotated[int, Field(ge=0, lt=2**32)]
Address = Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def parsed(cls, data: bytes) -> Self:
        """The message in some bytes; raises RelayError for anything else."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "the message"
            raise RelayError(f"{place}: {first['msg']}") from None

    def encoded(self) -> bytes:
        """The bytes of the message."""
        return self.model_dump_json().encode()


class CommitmentMessage(_Message):
    """`SignedCommitment` on the wire."""

    round: Number
    device: Number
    commitment: Digest
    signature: Signature

    @classmethod
    def of(cls, message: SignedCommitment) -> Self:
        """For the wire."""
        return cls.model_construct(**message.__dict__)

    def opened(self) -> SignedCommitment:
        """From the wire."""
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
        """For the wire."""
        fields = {**message.update.__dict__, "salt": message.update.salt.to_bytes(16, "big")}
        return cls.model_construct(**fields, signature=message.signature)

    def opened(self) -> SignedUpdate:
        """From the wire."""
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
        """For the wire."""
        updates = [None if item is None else UpdateMessage.of(item) for item in message.updates]
        return cls.model_construct(
            round=message.round,
            submitter=message.submitter,
            commitments=list(message.commitments),
            updates=updates,
        )

    def opened(self) -> Batch:
        """From the wire."""
        updates = tuple(None if item is None else item.opened() for item in self.updates)
        return Batch(self.round, self.submitter, tuple(self.commitments), updates)


class OpeningMessage(_Message):
    """`Opening` on the wire."""

    round: Number
    miner: Address
    verdicts: Annotated[list[Annotated[int, Field(ge=0, le=max(Verdict))]], Field(max_length=MAX_UPDATES)]
    wish: Annotated[int, Field(ge=0, le=max(Engine) + 1)]
    salt: Digest

    @classmethod
    def of(cls, message: Opening) -> Self:
        """For the wire."""
        verdicts = [int(verdict) for verdict in message.verdicts]
        return cls.model_construct(
            round=message.round,
            miner=message.miner,
            verdicts=verdicts,
            wish=wish_code(message.wish),
            salt=message.salt,
        )

    def opened(self) -> Opening:
        """From the wire."""
        verdicts = tuple(map(Verdict, self.verdicts))
        return Opening(self.round, self.miner, verdicts, self.salt, wish_of(self.wish))


class CommitmentsMessage(_Message):
    """The commitments of a committed batch, as a device asks for them."""

    round: Number
    commitments: Annotated[list[Digest], Field(max_length=MAX_BATCH)]
