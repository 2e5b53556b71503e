"""State how good a model is on one's own data: signed, bound to chain, contract and block, one byte string.

    {"statement":"bcfl 1","round":3,"root":"<64 digits>","role":"miner","party":"0x...","samples":90,
     "loss":0.31,"metrics":{"accuracy":0.92},"signature":"<128 digits>"}

without a blank, keys in this order, numbers as `repr` writes them. What is said is the party's own word: a
signature says whose, not that it is true.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bcfl.errors import RelayError
from bcfl.pages.texts import plain
from bcfl.protocol.accounts import Account, signer
from bcfl.protocol.addresses import is_checksummed
from bcfl.protocol.hashing import keccak
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain

FORM: Final = "bcfl 1"
PURPOSE: Final = keccak(b"bcfl statement 1")
ROLES: Final = ("owner", "miner", "device")
KEYS: Final = ["statement", "round", "root", "role", "party", "samples", "loss", "metrics", "signature"]
MAX_BYTES: Final = 4_096
MAX_METRICS: Final = 16
MAX_NAME_LETTERS: Final = 40
MAX_BRACKETS: Final = MAX_METRICS * MAX_NAME_LETTERS + 2  # many more exhaust the stack of a parser
MAX_SAMPLES: Final = 2**40
MAX_ROUND: Final = 2**32
LARGEST: Final = 1e30  # that a metric or a loss may be
ROOT: Final = re.compile("[0-9a-f]{64}")
SIGNATURE: Final = re.compile("[0-9a-f]{128}")
Figure = float | None  # None: no finite number


@dataclass(frozen=True)
class Statement:
    """What a party says of the model in force after a round, whose root it names; `samples` are its own."""

    round: int
    root: bytes
    role: str
    party: str  # address
    samples: int
    loss: Figure
    metrics: Mapping[str, Figure]


def seal(statement: Statement, account: Account, domain: Domain) -> bytes:
    """Return the bytes of a statement that its party signs."""
    content = _content(statement)
    signature = account.sign(_digest(domain, _encode(content))).hex()
    return _encode(content | {"signature": signature})


def open_statement(data: bytes, domain: Domain) -> Statement:
    """Return the statement in `data`; raises RelayError for any other bytes than its party has signed."""
    if len(data) > MAX_BYTES:
        raise RelayError(f"a statement has at most {MAX_BYTES:,} bytes")
    if data.count(b"{") + data.count(b"[") > MAX_BRACKETS:
        raise RelayError("it is not a statement: it is nested")
    try:
        content = json.loads(data)
    except ValueError:
        raise RelayError("it is not a statement: it is not JSON") from None
    if not isinstance(content, dict) or list(content) != KEYS or content["statement"] != FORM:
        raise RelayError(f"it is not a statement of the form {FORM!r}")
    signature = content["signature"]
    statement = _parse(content)
    if not isinstance(signature, str) or not SIGNATURE.fullmatch(signature):
        raise RelayError("the signature of a statement is 128 digits in lower case")
    if _encode(_content(statement) | {"signature": signature}) != data:
        raise RelayError("a statement has one byte string, and this is another")
    digest = _digest(domain, _encode(_content(statement)))
    if signer(digest, bytes.fromhex(signature)) != statement.party:
        raise RelayError("the statement is not signed by its party for this federation")
    return statement


def names_round(data: bytes, number: int) -> bool:
    """Whether bytes can be a statement about the model after a round: a statement has one byte string."""
    start = _encode({"statement": FORM, "round": number})
    return data.startswith(start.removesuffix(b"}") + b",")


def check(statement: Statement, history: History, owner: str | None = None) -> None:
    """Raise RelayError unless a member says it, in its role, of the model in force after an ended round.

    `owner` is what the contract names, as logs tell of a handed-on ownership only.
    """
    round_ = history.rounds.get(statement.round)
    if round_ is None or round_.closed is None:
        raise RelayError(f"round {statement.round} has not ended")
    if history.model_before(statement.round + 1).root != statement.root:
        raise RelayError(f"another model is in force after round {statement.round}")
    party, number = statement.party, statement.round
    if statement.role == "device":
        first = history.join_rounds.get(party)
        is_member = first is not None and first <= number < history.leave_rounds.get(party, MAX_ROUND)
    elif statement.role == "miner":
        member = history.miners.get(party)
        is_member = member is not None and (not member.exit_round or number < member.exit_round)
    else:
        is_member = party == (owner or history.owner)
    if not is_member:
        raise RelayError(f"{party} is no {statement.role} of this federation")


def finite(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Return metrics as a statement can have them: names that are plain, numbers that are finite, no more."""
    named = {name: value for name, value in figures.items() if _is_name(name)}
    return {name: bounded(value) for name, value in list(named.items())[:MAX_METRICS]}


def bounded(value: Figure) -> Figure:
    """Return a number as a statement can have it; None for what is not finite, or too large."""
    return None if value is None or not math.isfinite(value) or abs(value) > LARGEST else float(value)


def _content(statement: Statement) -> dict[str, Any]:
    return {
        "statement": FORM,
        "round": statement.round,
        "root": statement.root.hex(),
        "role": statement.role,
        "party": statement.party,
        "samples": statement.samples,
        "loss": statement.loss,
        "metrics": dict(statement.metrics),
    }


def _encode(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def _digest(domain: Domain, body: bytes) -> bytes:
    return keccak(PURPOSE + domain.separator + keccak(body))


def _parse(content: Mapping[str, Any]) -> Statement:
    """Return the statement that the fields are; raises RelayError."""
    root, metrics = content["root"], content["metrics"]
    if not isinstance(root, str) or not ROOT.fullmatch(root):
        raise RelayError("the root of a statement is 64 digits in lower case")
    if content["role"] not in ROLES:
        raise RelayError(f"the role of a statement is one of {', '.join(ROLES)}")
    if not isinstance(content["party"], str) or not is_checksummed(content["party"]):
        raise RelayError("the party of a statement is a checksummed address")
    if not isinstance(metrics, dict) or len(metrics) > MAX_METRICS or not all(map(_is_name, metrics)):
        raise RelayError(f"a statement has up to {MAX_METRICS} metrics with plain names of up to 40 letters")
    return Statement(
        _number("round", content["round"], MAX_ROUND),
        bytes.fromhex(root),
        content["role"],
        content["party"],
        _number("samples", content["samples"], MAX_SAMPLES),
        _figure("loss", content["loss"]),
        {name: _figure("a metric", value) for name, value in metrics.items()},
    )


def _is_name(name: object) -> bool:
    """Whether a metric may be called that: short, on one line, nothing hidden."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LETTERS:
        return False
    return name.isprintable() and name == name.strip() == plain(name)


def _number(name: str, value: object, limit: int) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise RelayError(f"{name} of a statement is a whole number below {limit:,}")
    return value


def _figure(name: str, value: object) -> Figure:
    if value is None:
        return None
    if type(value) is not float or not math.isfinite(value) or abs(value) > LARGEST:
        raise RelayError(f"{name} of a statement is a decimal number or null")
    return value
