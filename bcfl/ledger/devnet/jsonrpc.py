"""Answer JSON-RPC 2.0 as it comes over a wire: foreign bytes in, an answer out, whatever the bytes are."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from eth_utils.exceptions import ValidationError

from bcfl.errors import BcflError
from bcfl.ledger.devnet.methods import INVALID_PARAMS, TOO_MANY, ServedNode
from bcfl.ledger.devnet.node import UNKNOWN_METHOD, NodeError
from bcfl.ledger.devnet.values import Json

UNKNOWN: Final = "unknown"  # stands for methods that there are not
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INTERNAL_ERROR: Final = -32603
MAX_REQUESTS: Final = 1_000
MAX_ANSWER: Final = 64 * 2**20  # bytes of all answers to one batch
BATCH_SECONDS: Final = 30
MAX_DEPTH: Final = 32  # a batch of transactions with access lists has 7
MAX_LETTERS: Final = 120  # letters of a foreign value in a message
# A string, also one without an end; no part of it is ever tried twice.
STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)', re.DOTALL)
ALL_BUT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
# What decoding values of the wrong kind can raise.
MALFORMED: Final = (
    ValidationError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    IndexError,
    OverflowError,
)


def respond(node: ServedNode, body: bytes, client: str = "") -> bytes | None:
    """Answer one request or a batch of a client; None for notifications, which get none. Never raises."""
    try:
        _check_depth(body)
        request = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _encode(_error(None, PARSE_ERROR, "the request is not JSON"))
    if not isinstance(request, list):
        answer = _response(node, request, client)
        return None if answer is None else _encode(answer)
    if not 0 < len(request) <= MAX_REQUESTS:
        return _encode(_error(None, INVALID_REQUEST, f"a batch has 1 to {MAX_REQUESTS} requests"))
    answers = list(_batch(node, request, client))
    return b"[" + b",".join(answers) + b"]" if answers else None


def _check_depth(body: bytes) -> None:
    """Raise ValueError for what is nested deeply: py-evm lets Python recurse beyond a thread's stack."""
    brackets = STRING.sub(b"", body).translate(None, ALL_BUT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        raise ValueError("nested too deeply, or brackets without a partner")


def _batch(node: ServedNode, requests: list[Any], client: str) -> Iterator[bytes]:
    """Yield the answers in order; requests that come too late or would be too much are refused."""
    deadline, room = time.monotonic() + BATCH_SECONDS, MAX_ANSWER
    for request in requests:
        if room > 0 and time.monotonic() < deadline:
            answer = _response(node, request, client)
        else:
            answer = _error(_id(request), TOO_MANY, "the batch takes too long or too much: make it smaller")
        if answer is not None:
            data = _encode(answer)
            room -= len(data)
            yield data


def _response(node: ServedNode, request: Any, client: str) -> Json | None:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        return _error(_id(request), INVALID_REQUEST, "a request is an object with a method")
    if request.get("id") is not None and _id(request) is None:
        return _error(None, INVALID_REQUEST, f"an id is a number or a text of at most {MAX_LETTERS} letters")
    method, params = request["method"], request.get("params") or []
    if not isinstance(params, list):
        return _error(_id(request), INVALID_PARAMS, "params must be a list")
    if method not in node.methods:
        node.observe(UNKNOWN, False)
        return _error(
            _id(request), UNKNOWN_METHOD, f"the method {method[:MAX_LETTERS]} is not offered by this chain"
        )
    answer = _answer(node, method, params, client)
    node.observe(method, "result" in answer)
    if "id" not in request:
        return None
    return {"jsonrpc": "2.0", "id": _id(request), **answer}


def _answer(node: ServedNode, method: str, params: list[Any], client: str) -> Json:
    """Return `result` or `error` of a call."""
    try:
        return {"result": node.answer(method, params, client)}
    except NodeError as refusal:
        return {"error": refusal.error}
    except BcflError as failure:  # the disk is full, the file is damaged
        return {"error": {"code": INTERNAL_ERROR, "message": str(failure)}}
    except MALFORMED as error:
        reason = f"{type(error).__name__}: {error}"[:MAX_LETTERS]
        return {"error": {"code": INVALID_PARAMS, "message": f"invalid params for {method}: {reason}"}}
    except Exception as error:
        print(f"bcfl: {method} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return {"error": {"code": INTERNAL_ERROR, "message": f"{method} failed: {type(error).__name__}"}}


def _id(request: Any) -> int | float | str | None:
    """Return the id to answer with; None for one that is not valid: JSON has no infinity to send back."""
    key = request.get("id") if isinstance(request, dict) else None
    if isinstance(key, bool) or not isinstance(key, (int, float, str)) or len(str(key)) > MAX_LETTERS:
        return None
    return None if isinstance(key, float) and not math.isfinite(key) else key


def _error(key: Any, code: int, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": key, "error": {"code": code, "message": message}}


def _encode(answer: Json) -> bytes:
    return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode("ascii")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
