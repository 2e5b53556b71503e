"""Define what a chain offers to the contract's adapter, embedded or behind a URL: JSON-RPC and a clock.

An error object of a node becomes one of two errors here: Reverted or LedgerError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bcfl.errors import LedgerError, Reverted, Unreachable
from bcfl.protocol.hashing import keccak

if TYPE_CHECKING:
    from web3 import Web3

ERROR_STRING = bytes.fromhex("08c379a0")  # Error(string): Vyper's and Solidity's reasons
PANIC = bytes.fromhex("4e487b71")  # Panic(uint256)
PANICS = {
    0x01: "failed assertion",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "enum out of range",
    0x32: "index out of bounds",
    0x41: "out of memory",
}
NO_REASON = "reverted without a reason"
FAILURE = re.compile(r"revert|out ?of ?gas|invalid ?\w* ?opcode|VM execution error", re.IGNORECASE)
TOO_FAST = re.compile(
    r"rate.?limit|too many requests|requests per|per second|request (rate|count)|throttl|slow down"
    r"|(rps|cu) limit|computed already",
    re.IGNORECASE,
)
OFTEN_TOO_FAST = re.compile(  # of a request for logs: too many of them, as BSC's nodes say it
    r"request limit|capacity|limit exceeded|exceeded (the |your )?quota", re.IGNORECASE
)
TOO_MUCH = re.compile(  # fewer blocks at once help, and no waiting
    r"\b(query|response|results?|logs?|blocks?|range|gas|size)\b.*\b(limit|capacity|more than)"
    r"|more than [\d,]+ (results|logs|blocks)",
    re.IGNORECASE | re.DOTALL,
)
OF_TRANSACTION = re.compile(
    r"nonce|insufficient ?(funds|balance)|\baccount balance\b|underpriced|already ?known|known transaction"
    r"|already imported|\b((max|base)_?)?fees?\b|fee_?(per|cap|too)|\bgas\b|gas_?(limit|price|fee)",
    re.IGNORECASE,
)
OF_CUSTOMER = re.compile(  # what the provider of a node wants to be paid for
    r"\b(plan|tier|credits?|recharge|top.?up|billing|subscri\w+|upgrade|unlock)\b", re.IGNORECASE
)
TAKES_TRANSACTION = frozenset({"eth_sendRawTransaction", "eth_estimateGas", "eth_call"})
MAX_MESSAGE = 500  # letters of a node's words that are shown
QUOTED = re.compile(r"reverted with reason string '(.*)'", re.DOTALL)  # Hardhat
PREFIXED = re.compile(r"reverted:\s*(.+)", re.DOTALL)  # geth, anvil, besu


class Busy(Unreachable):
    """The node asks for fewer requests."""


class Unclear(LedgerError):
    """The node asks for fewer requests, or for fewer blocks at once: its words mean either."""


@dataclass(frozen=True)
class SignedTransaction:
    """A transaction as it is handed to a node."""

    raw: bytes
    sender: str
    nonce: int
    gas: int = 0  # the limit that it names

    @cached_property
    def hash(self) -> str:
        """The transaction's hash, in hexadecimal."""
        return "0x" + keccak(self.raw).hex()


def was_scarce(receipt: Mapping[str, Any], gas: int) -> bool:
    """Return whether a mined transaction, or a call in it, may have wanted for gas, of which it had `gas`.

    A contract that calls another keeps a 64th (EIP-150), so not all is gone where a facet ran short. And one
    that lets calls fail (`multicall`) succeeds although they ran short.
    """
    return int(receipt["gasUsed"], 16) > gas - gas // 16


def ran_short(receipt: Mapping[str, Any], gas: int) -> bool:
    """Return whether a mined transaction failed for want of gas, of which it had `gas`."""
    return int(receipt["status"], 16) == 0 and was_scarce(receipt, gas)


class Chain(Protocol):
    """An EVM chain: the embedded one, or a node's."""

    @property
    def chain_id(self) -> int:
        """The number that transactions and signatures are bound to."""
        ...

    @property
    def w3(self) -> Web3:
        """The same chain through web3."""
        ...

    @property
    def view(self) -> str:
        """The block that calls are made at: "pending" where its clock is known, else "latest"."""
        ...

    def request(self, method: str, *params: Any) -> Any:
        """Return the result of one JSON-RPC call; raises Reverted, LedgerError or Unreachable."""
        ...

    def now(self) -> int:
        """Return the time that a transaction sent now would see, in seconds since 1970."""
        ...

    def fees(self) -> tuple[int, int]:
        """Return the most to pay for a unit of gas, and the tip in it, in wei."""
        ...

    def gas(self, transaction: Mapping[str, str]) -> int:
        """Return a gas limit for `transaction`; raises Reverted where the node knows that it would fail."""
        ...

    def deliver(
        self, transaction: SignedTransaction, raise_fee: Callable[[int], SignedTransaction] | None = None
    ) -> Mapping[str, Any]:
        """Hand over a transaction and wait until it is mined; returns the receipt.

        `raise_fee` makes it again with a fee that was raised so many times, for one that waits for long.
        Raises LedgerError when it is refused or replaced by another, Unreachable when it is not mined.
        """
        ...

    def close(self) -> None:
        """Release file or connection."""
        ...


@runtime_checkable
class GasReader(Protocol):
    """A chain that knows the gas of transactions without their receipts."""

    def gas_used(self, transaction: bytes) -> int | None:
        """Return the gas of a mined transaction; None where only its receipt says it."""
        ...


@dataclass(frozen=True)
class Log:
    """A log of a contract as bytes; `timestamp` is that of its block, in seconds."""

    topics: tuple[bytes, ...]
    data: bytes
    block: int
    timestamp: int
    transaction: bytes
    index: int  # in the block


@runtime_checkable
class LogReader(Protocol):
    """A chain that has logs at hand, so that nobody need write them as JSON and read them again."""

    def read_logs(self, address: str, first: int, last: int) -> list[Log] | None:
        """Return the logs of a contract in the blocks `first` to `last`; None where only a node has them."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """A chain that tells what a transaction would use from what it is given at most."""

    def estimate(self, transaction: Mapping[str, str]) -> int:
        """Return the gas that suffices by the node; raises Reverted when the transaction would fail now."""
        ...


def code_at(chain: Chain, address: str) -> bytes:
    """Return the code on chain; raises LedgerError where there is none."""
    code = bytes.fromhex(chain.request("eth_getCode", address, "latest")[2:])
    if not code:
        raise LedgerError(
            f"there is no contract at {address} on chain {chain.chain_id}: check address and network"
        )
    return code


def result_of(response: Mapping[str, Any], method: str = "") -> Any:
    """Return the result of a JSON-RPC response; raises its error as Reverted or LedgerError."""
    if (error := response.get("error")) is not None:
        raise refusal(error, method)
    return response["result"]


def refusal(error: Mapping[str, Any] | str, method: str = "") -> LedgerError:
    """Return a node's error: Reverted where the contract or the EVM refused, Busy, Unclear or LedgerError."""
    if isinstance(error, str):
        error = {"message": error}
    message = str(error.get("message", ""))[:MAX_MESSAGE] or "without a reason"
    payload = _payload(error.get("data"))
    if payload or error.get("code") == 3 or FAILURE.search(message):
        return Reverted(_printable(reason_in(payload) or _quoted(message)))
    is_too_much = TOO_MUCH.search(message) is not None
    is_unclear = not is_too_much and OFTEN_TOO_FAST.search(message) is not None
    is_too_fast = not is_too_much and TOO_FAST.search(message) is not None
    if error.get("code") == 429 or is_too_fast or (is_unclear and method != "eth_getLogs"):
        return Busy(f"the node asks for fewer requests: {_printable(message)}")
    return (Unclear if is_unclear else LedgerError)(f"the node refused: {_printable(message)}")


def is_final(error: LedgerError, method: str) -> bool:
    """Return whether all nodes would refuse the same: for the contract, the nonce, the funds or the fee.

    Funds and fees of a transaction: a provider speaks of those that its customer owes for any request.
    """
    if isinstance(error, Reverted):
        return True
    if isinstance(error, Unreachable) or method not in TAKES_TRANSACTION:
        return False
    words = str(error)
    return OF_TRANSACTION.search(words) is not None and OF_CUSTOMER.search(words) is None


def _payload(data: Any) -> bytes:
    """Return what the contract returned with its revert, wherever this node puts it; empty when nowhere."""
    if isinstance(data, Mapping):
        data = data.get("data")
    match = re.search(r"0x((?:[0-9a-fA-F]{2}){1,4096})$", data) if isinstance(data, str) else None
    return bytes.fromhex(match[1]) if match else b""


def reason_in(payload: bytes) -> str:
    """Return the reason in the payload of a revert; empty when there is no payload."""
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    selector, arguments = payload[:4], payload[4:]
    try:
        if selector == ERROR_STRING:
            return str(decode(["string"], arguments)[0])[:MAX_MESSAGE] or NO_REASON
        if selector == PANIC:
            (code,) = decode(["uint256"], arguments)
            return f"panic 0x{code:02x}, {PANICS.get(code, 'unknown')}"
    except (DecodingError, ValueError, OverflowError):
        pass
    return f"custom error 0x{selector.hex()}" if payload else ""


def _quoted(message: str) -> str:
    """Return the reason inside a message without payload: all of it when it has no known form."""
    if match := QUOTED.search(message) or PREFIXED.search(message):
        return match[1].strip()
    return NO_REASON if "revert" in message.lower() else message


def _printable(text: str) -> str:
    """Return one line that a terminal can show, whatever a contract put into it."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
