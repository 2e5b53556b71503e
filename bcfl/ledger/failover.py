"""Ask one of several nodes of a chain, and the next one where it fails, refuses or is behind.

Every node gets a request once before any gets it again. The one that answered is asked first from then on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger.chain import Busy, Unclear, is_final
from bcfl.ledger.endpoint import Endpoint, Silent
from bcfl.ledger.http import TRIES

PAUSES: Final = (0.2, 0.4, 0.8, 1.6)  # seconds before nodes that are asked too often are asked again
LOOK_SECONDS: Final = 10.0  # between two looks at the heads of the other nodes
REST: Final = 20  # times what a failure took: without such a look at the node, whose silence costs time
BEHIND_SECONDS: Final = 25.0  # that a head is older than another, or the same, before its node is left
BEHIND_BLOCKS: Final = 2  # that the other one is ahead then, at least
AHEAD_SECONDS: Final = 600.0  # of this machine's clock, which may be wrong, that a head is believed

log = logging.getLogger(__name__)


class Endpoints:
    """The nodes at `urls`; `timeout`: seconds for an answer, half of it where there is another to ask."""

    def __init__(
        self,
        urls: Sequence[str],
        timeout: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._is_alone = len(urls) == 1
        share, tries = (timeout, TRIES) if self._is_alone else (timeout / 2, 1)
        self._all = [Endpoint(url.strip(), share, tries) for url in urls]
        self.current = self._all[0]
        self.switches = 0  # how often another one became the current one
        self._timeout, self._sleep, self._clock, self._wall_clock = timeout, sleep, clock, wall_clock
        self._chain_id: int | None = None
        self._next_look = 0.0
        self._head, self._head_since = -1, 0.0  # number of the current one's last block, and since when
        self._rests: dict[Endpoint, float] = {}  # until when a node's head is not looked at

    def insist_on(self, chain_id: int) -> None:
        """Have all other nodes serve the chain of the current one."""
        self._chain_id = self.current.chain_id = chain_id

    def ask(self, method: str, params: Sequence[Any]) -> Any:
        """Return the result of one JSON-RPC call; raises Reverted, LedgerError or Unreachable.

        Where all nodes ask for fewer requests, they get this one again, a little later; several also where
        all are silent, but for a transaction: who delivers it looks before it does. Once where it is unclear
        what they ask for.
        """
        silence = () if self._is_alone or method == "eth_sendRawTransaction" else (Silent,)
        is_repeated = (Busy, Unclear, *silence)
        deadline = self._clock() + self._timeout
        for repetition, pause in enumerate(PAUSES):
            try:
                return self._latest(params, self._ask_each(method, params), method)
            except is_repeated as failure:
                if isinstance(failure, Unclear) and repetition:
                    raise
                if not self._is_alone:
                    pause = max(pause, min(endpoint.retry_after for endpoint in self._all))
                    if self._clock() + pause > deadline:
                        raise
                self._sleep(pause)
        return self._latest(params, self._ask_each(method, params), method)

    def close(self) -> None:
        """Close the connections."""
        for endpoint in self._all:
            endpoint.close()

    def _ask_each(self, method: str, params: Sequence[Any]) -> Any:
        """Ask the nodes in turn, from the one that answered last."""
        failures: list[LedgerError] = []
        first = self.current  # another thread may leave it meanwhile
        place = self._all.index(first)
        for endpoint in self._all[place:] + self._all[:place]:
            try:
                result = self._ask(endpoint, method, params)
            except LedgerError as failure:
                if self._is_alone or is_final(failure, method):
                    raise
                failures.append(failure)
            else:
                if failures and self.current is first:
                    self._leave_for(endpoint, str(failures[0]))
                return result
        raise _gravest(failures, method)

    def _ask(self, endpoint: Endpoint, method: str, params: Sequence[Any]) -> Any:
        """Ask one node, which has to serve the chain of the first one that answered."""
        start = self._clock()
        try:
            if self._chain_id not in (None, endpoint.chain_id):
                self._check_chain(endpoint)
            return endpoint.ask(method, params)
        except Unreachable:
            self._rests[endpoint] = self._clock() + REST * (self._clock() - start)
            raise

    def _check_chain(self, endpoint: Endpoint) -> None:
        endpoint.chain_id = int(endpoint.ask("eth_chainId", ()), 16)
        if endpoint.chain_id != self._chain_id:
            raise Unreachable(f"{endpoint.url}: serves chain {endpoint.chain_id}, not {self._chain_id}")

    def _latest(self, params: Sequence[Any], result: Any, method: str) -> Any:
        """Return a result; instead of the last block of a node that is behind, that of another node.

        A node that is frozen answers everything, for ever as of the same block.
        """
        is_head = method == "eth_getBlockByNumber" and params[0] == "latest" and result is not None
        if self._is_alone or not is_head:
            return result
        if self._head != _number(result):
            self._head, self._head_since = _number(result), self._clock()
        if self._clock() < self._next_look:
            return result
        self._next_look = self._clock() + LOOK_SECONDS
        head, best = self._newest(params, result)
        if best is None:
            return result
        is_old = self._clock() - self._head_since >= BEHIND_SECONDS
        is_older = _time(head) - _time(result) >= BEHIND_SECONDS
        if not (is_old or is_older):
            return result
        self._leave_for(best, f"it is behind, at block {_number(result)}")
        return head

    def _newest(self, params: Sequence[Any], result: Any) -> tuple[Any, Endpoint | None]:
        """Return the newest of the last blocks that are far enough ahead, and its node, None where none is.

        `result` is the current one's. A block of the future hides no other one's.
        """
        head, best, current = result, None, self.current
        latest = self._wall_clock() + AHEAD_SECONDS
        for endpoint in self._all:
            if endpoint is current or self._clock() < self._rests.get(endpoint, 0.0):
                continue
            with suppress(LedgerError):
                block = self._ask(endpoint, "eth_getBlockByNumber", params)
                is_ahead = block is not None and _number(block) >= _number(result) + BEHIND_BLOCKS
                if is_ahead and _time(head) < _time(block) <= latest:
                    head, best = block, endpoint
        return head, best

    def _leave_for(self, endpoint: Endpoint, reason: str) -> None:
        """Ask another node from now on; the heads of all that have not just failed are compared next."""
        log.warning("%s is left for %s: %s", self.current.url, endpoint.url, reason)
        self.current, self._next_look = endpoint, 0.0
        self.switches += 1


def _gravest(failures: Sequence[LedgerError], method: str) -> LedgerError:
    """Return what to raise where no node has answered.

    A refusal where all refuse, and for logs, which are then asked for in smaller pieces; else one of those
    that failed: it may answer later.
    """
    refusals = [failure for failure in failures if not isinstance(failure, Unreachable)]
    if refusals and (len(refusals) == len(failures) or method == "eth_getLogs"):
        return refusals[0]
    busy = [failure for failure in failures if isinstance(failure, Busy)]
    silent = [failure for failure in failures if isinstance(failure, Silent) and not refusals]
    rest = [Unreachable(str(failure)) for failure in failures if isinstance(failure, Unreachable)]
    return (busy + silent + rest)[0]


def _time(block: Mapping[str, str]) -> int:
    return int(block["timestamp"], 16)


def _number(block: Mapping[str, str]) -> int:
    return int(block["number"], 16)
