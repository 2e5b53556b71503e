"""Collect what parties state of the models from the inboxes of the miners, and keep what is right.

An inbox is a stranger: what it answers is bounded, in bytes and in time, and checked like any statement.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bcfl.errors import CidError, RelayError, StoreError
from bcfl.federation.statements import MOST, Collection, StatementsView, read_lines
from bcfl.protocol import cid as cids
from bcfl.protocol.submissions import Domain
from bcfl.relay.book import CID, PAGE
from bcfl.relay.client import Endpoint
from bcfl.relay.statements import MAX_BYTES
from bcfl.transport.client import exchange
from bcfl.transport.deadline import Deadline

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.ports import Store

PATH: Final = "/v1/statements/"  # at an inbox
MOST_PAGES: Final = 64  # of one inbox
ANSWER_BYTES: Final = 1 << 14
ASKERS: Final = 64  # inboxes at once, as many as a federation has active miners: none waits for another
SECONDS: Final = 5.0  # for all inboxes and the store
MOMENT: Final = 2.0  # for them, where somebody waits for an answer on the screen
INBOX_SHARE: Final = 0.6  # of these seconds; the rest is the store's
CACHE_VARIABLE: Final = "XDG_CACHE_HOME"


def of_inboxes(
    collection: Collection,
    store: Store | None,
    first: int = 1,
    *,
    only_public: bool,
    seconds: float = SECONDS,
) -> Collection:
    """Add what the inboxes of all miners list from round `first` on; what is right is kept for later.

    All are asked at once, and `seconds` are for all together: an inbox that does not answer in its share of
    them is named. The store, which is asked for what they list and do not have, or what was kept may have
    more.
    """
    history, kept = collection.history, _cache(collection.domain)
    for line in read_lines(kept):
        collection.add(line.encode("ascii"))
    known = set(collection.contents)
    endpoints = {
        miner: history.endpoints[miner]
        for miner, member in history.miners.items()
        if miner in history.endpoints and not member.exit_round
    }
    patience, deadline = Deadline(seconds), Deadline(INBOX_SHARE * seconds)
    with ThreadPoolExecutor(ASKERS) as pool:
        answers = pool.map(lambda url: _ask(url, first, known, only_public, deadline), endpoints.values())
        listed = list(zip(endpoints, answers, strict=True))
    for miner, answer in listed:
        if isinstance(answer, str):
            collection.unreachable.append({"miner": miner, "reason": answer})
            continue
        for cid, data in answer.items():
            content = _from_store(store, cid) if data is None and patience.allows(0) else data
            is_full = len(collection.contents) >= len(known) + MOST
            if content is not None and cids.compute(content) == cid and not is_full:
                collection.add(content)
    _keep(kept, collection, known)
    return collection


def last_stated(client: FederationClient) -> StatementsView:
    """Return what parties state of the last model, as their inboxes have it, within a moment."""
    ledger = client.ledger
    history, number = ledger.history(), ledger.history().head.round
    collection = Collection(ledger.domain, history, ledger.contract.call("owner"))
    if number:
        of_inboxes(collection, None, number, only_public=client.is_public, seconds=MOMENT)
    return collection.view(number, number)


def _ask(
    url: str, first: int, known: Iterable[str], only_public: bool, deadline: Deadline
) -> dict[str, bytes | None] | str:
    """Return what an inbox lists and is not known yet, with its bytes as far as it has them; else why not."""
    contents = dict[str, bytes | None]()
    try:
        endpoint = Endpoint.parse(url)
        for cid in _listed(endpoint, first, deadline, only_public):
            if cid not in known and len(contents) < MOST:
                contents[cid] = _get(endpoint.url(PATH + cid), deadline, only_public, MAX_BYTES)
    except (OSError, HTTPException, ValueError, RelayError) as error:
        if not contents:
            reason = error if isinstance(error, RelayError) else getattr(error, "strerror", None) or error
            return " ".join(str(reason or type(error).__name__).split())[:200]
    return contents


def _listed(endpoint: Endpoint, first: int, deadline: Deadline, only_public: bool) -> Iterator[str]:
    """Yield the CIDs that an inbox lists; raises ValueError for an answer that is no list of them."""
    place: list[int] = [first, 0]
    for _ in range(MOST_PAGES):
        url = endpoint.url(PATH + "/".join(map(str, place)))
        answer = _get(url, deadline, only_public, ANSWER_BYTES)
        content: Any = json.loads(answer) if answer is not None and _is_flat(answer) else None
        if not isinstance(content, dict) or not isinstance(content.get("statements"), list):
            raise ValueError("it lists no statements")
        for entry in content["statements"]:
            if not isinstance(entry, list) or len(entry) != 2 or not CID.fullmatch(str(entry[1])):
                raise ValueError("it lists something else than statements")
            yield str(entry[1])
        following = content.get("next")
        if following is None:
            return
        if not isinstance(following, list) or len(following) != 2 or not _is_later(following, place):
            raise ValueError("its list has no end")
        place = following


def _is_flat(answer: bytes) -> bool:
    """Whether an answer has no more brackets than a list has: many more exhaust the stack of a parser."""
    return answer.count(b"[") + answer.count(b"{") <= PAGE + 3


def _is_later(following: list[object], place: list[int]) -> bool:
    numbers = [number for number in following if type(number) is int and 0 <= number < 10**9]
    return len(numbers) == 2 and numbers > place


def _get(url: str, deadline: Deadline, only_public: bool, most: int) -> bytes | None:
    """Return the body of an answer; None where there is nothing."""
    with exchange("GET", url, deadline, {}, None, only_public=only_public) as answer:
        return answer.body(most) if answer.status == 200 else None


def _from_store(store: Store | None, cid: str) -> bytes | None:
    with suppress(CidError, StoreError):
        if store is not None and store.has(cid):
            return store.get(cid, MAX_BYTES)
    return None


def _cache(domain: Domain) -> Path:
    """Return the file that keeps the statements of a federation, a line each."""
    folder = Path(os.environ.get(CACHE_VARIABLE) or os.path.expanduser("~/.cache"))  # `~`: there is no home
    return folder / "bcfl" / f"statements-{domain.chain_id}-{domain.contract.lower()}"


def _keep(path: Path, collection: Collection, known: set[str]) -> None:
    """Add what is new to the file, where that is possible: nothing depends on it."""
    fresh = [data for cid, data in collection.contents.items() if cid not in known]
    with suppress(OSError):
        if not fresh:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.writelines(data + b"\n" for data in fresh)
        if path.stat().st_size > MOST * MAX_BYTES:
            path.write_text("".join(f"{line}\n" for line in read_lines(path)), encoding="ascii")
