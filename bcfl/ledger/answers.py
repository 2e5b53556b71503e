"""Take a node's answers for what they are, or not at all: nothing that a node says is used unchecked.

A node may be wrong, cut off or hostile. What it answers is decoded with a bound on size and depth, and has to
be what was asked for: numbers and bytes in hexadecimal, the block of that number, the receipt of that
transaction, logs of that contract and those blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final

from pydantic import BaseModel, FailFast, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import from_json

MAX_BYTES: Final = 64 * 2**20  # of an answer
MAX_PARTS: Final = 2**21  # values in it: as JSON two bytes each, in memory a hundred
PART_SIGNS: Final = (b",", b"[", b"{")  # one at least before each value
NAMED_BLOCKS: Final = ("latest", "pending", "earliest", "safe", "finalized")
Result = Any
Params = Sequence[Any]


def _hex(pattern: str) -> StringConstraints:
    return StringConstraints(pattern=f"^0x{pattern}$", strict=True)


Quantity = Annotated[str, _hex("[0-9a-fA-F]{1,64}")]
Count = Annotated[str, _hex("0*[0-9a-fA-F]{1,12}")]  # of blocks, seconds, gas, logs: below 2**48
Data = Annotated[str, _hex("([0-9a-fA-F]{2})*")]
Hash = Annotated[str, _hex("[0-9a-fA-F]{64}")]
Address = Annotated[str, _hex("[0-9a-fA-F]{40}")]
Time = Count | Annotated[int, Field(strict=True, ge=0, lt=2**48)] | None  # anvil's receipts have a number


class Log(BaseModel):
    """A log of a block that is mined."""

    address: Address
    topics: Annotated[list[Hash], Field(max_length=4), FailFast()]
    data: Data
    blockNumber: Count
    blockHash: Hash
    transactionHash: Hash
    logIndex: Count
    blockTimestamp: Time = None


Logs = Annotated[list[Log], FailFast()]  # an error for each of a million wrong ones takes gigabytes


class TransactionReceipt(BaseModel):
    """The receipt of a transaction that is mined."""

    transactionHash: Hash
    blockNumber: Count
    blockHash: Hash
    gasUsed: Count
    status: Count
    logs: Logs
    contractAddress: Address | None = None
    blockTimestamp: Time = None


class Transaction(BaseModel):
    """A transaction, mined or waiting."""

    hash: Hash
    sender: Address = Field(alias="from")
    to: Address | None
    input: Data
    value: Quantity
    blockNumber: Count | None = None


class Block(BaseModel):
    """A block; the one that is pending may lack hash and number."""

    timestamp: Count
    number: Count | None
    hash: Hash | None
    parentHash: Hash | None = None
    transactions: Annotated[list[Hash | Transaction], FailFast()] = []
    baseFeePerGas: Count | None = None
    gasLimit: Count | None = None


SHAPES: Final[Mapping[str, Any]] = {
    "eth_chainId": Count,
    "eth_blockNumber": Count,
    "eth_getTransactionCount": Count,
    "eth_getBalance": Quantity,
    "eth_estimateGas": Count,
    "eth_maxPriorityFeePerGas": Quantity,
    "eth_call": Data,
    "eth_getCode": Data,
    "eth_sendRawTransaction": Hash,
    "eth_getTransactionReceipt": TransactionReceipt | None,
    "eth_getTransactionByHash": Transaction | None,
    "eth_getBlockByNumber": Block | None,
    "eth_getLogs": Logs,
    "eth_syncing": bool | dict[str, Any],
    "web3_clientVersion": Annotated[str, StringConstraints(strict=True, max_length=1_000)],
}


class MalformedAnswer(ValueError):
    """What a node answered is not what it was asked for; the message says in what."""


class TooLarge(MalformedAnswer):
    """An answer is larger than any that is asked for."""


def decode(raw: bytes | bytearray) -> Mapping[str, Any]:
    """Return the response object in a node's bytes; raises MalformedAnswer."""
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"an answer of more than {MAX_BYTES} bytes")
    if sum(map(raw.count, PART_SIGNS)) > MAX_PARTS:
        raise TooLarge(f"an answer of more than {MAX_PARTS} values")
    try:
        response = from_json(raw, allow_inf_nan=False)  # 200 levels deep at most
    except ValueError:
        raise MalformedAnswer("an answer that is no JSON") from None
    if not isinstance(response, dict):
        raise MalformedAnswer("an answer that is no JSON-RPC response")
    error = response.get("error")
    if error is None and "result" not in response:
        raise MalformedAnswer("an answer with neither a result nor an error")
    if error is not None and not isinstance(error, dict | str):
        raise MalformedAnswer("an error that is no JSON-RPC error")
    return response


def check(method: str, params: Params, result: Result) -> None:
    """Raise MalformedAnswer unless `result` can be the result of a call; other methods have no shape."""
    if method not in SHAPES:
        return
    try:
        _adapter(method).validate_python(result)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors(include_url=False, include_input=False)[0]["loc"])
        raise MalformedAnswer(f"{method}: no such result{f' at {place[:60]}' if place else ''}") from None
    if (is_asked := ASKED.get(method)) and result is not None and not is_asked(params, result):
        raise MalformedAnswer(f"{method}: the answer to another question")


@cache
def _adapter(method: str) -> TypeAdapter[Any]:
    return TypeAdapter(SHAPES[method])


def _is_asked_block(params: Params, block: Result) -> bool:
    if params[0] == "pending":
        return True
    number, is_known = block["number"], block["hash"] is not None
    if params[0] in NAMED_BLOCKS:
        return number is not None and is_known
    return number is not None and is_known and int(number, 16) == int(params[0], 16)


def _is_asked_transaction(params: Params, transaction: Result) -> bool:
    return _is_same(params[0], transaction["hash"])


def _is_asked_receipt(params: Params, receipt: Result) -> bool:
    return _is_same(params[0], receipt["transactionHash"])


def _are_asked_logs(params: Params, logs: Result) -> bool:
    """Whether logs are in order, none twice, and of the contract, the topic and the blocks of a query."""
    (query,) = params
    places = [(int(log["blockNumber"], 16), int(log["logIndex"], 16)) for log in logs]
    bounds = [query.get("fromBlock"), query.get("toBlock")]
    first, last = [int(str(bound), 16) if str(bound).startswith("0x") else None for bound in bounds]
    return (
        all(earlier < later for earlier, later in pairwise(places))
        and (first is None or all(number >= first for number, _ in places))
        and (last is None or all(number <= last for number, _ in places))
        and all(_is_same(query["address"], log["address"]) for log in logs if "address" in query)
        and all(_has_topic(query.get("topics"), log["topics"]) for log in logs)
    )


def _has_topic(asked: Any, topics: list[str]) -> bool:
    return not asked or not isinstance(asked[0], str) or topics[:1] == asked[:1]


def _is_same(asked: str, answered: str) -> bool:
    return asked.lower() == answered.lower()


ASKED: Final[Mapping[str, Callable[[Params, Result], bool]]] = {
    "eth_getBlockByNumber": _is_asked_block,
    "eth_getTransactionByHash": _is_asked_transaction,
    "eth_getTransactionReceipt": _is_asked_receipt,
    "eth_getLogs": _are_asked_logs,
}
