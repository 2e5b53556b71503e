"""Follow the events of a deployed federation as they come, for ever; the node may be away."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from bcfl.errors import Unreachable

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.ledger.contract import Contract, Event

REMEMBERED: Final = 64  # blocks that may be taken back without reading everything again
RETRY_SECONDS: Final = 15.0  # the most between two tries while the node is away

BlockId = tuple[int, str]  # number and hash


class EventStream:
    """The events of a contract from a block on, those of blocks that replace others too."""

    def __init__(self, contract: Contract, first_block: int) -> None:
        self._contract, self._next_block = contract, first_block
        self._seen: deque[BlockId] = deque(maxlen=REMEMBERED)

    def read(self) -> list[Event]:
        """Return the events since the last call; raises Unreachable, with nothing lost."""
        while self._seen and block_id(self._contract, hex(self._seen[-1][0])) != self._seen[-1]:
            self._next_block = self._seen.pop()[0]  # was taken back: what stands there now comes
        latest = block_id(self._contract, "latest")
        if latest[0] < self._next_block:
            return []
        events = list(self._contract.events(self._next_block, latest[0]))
        self._next_block = latest[0] + 1
        self._seen.append(latest)
        return events


def follow_events(
    client: FederationClient,
    *,
    from_start: bool,
    poll: float,
    act: Callable[[], None] = lambda: None,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[Event]:
    """Yield the events as they come; a node that is away is asked again, less and less often.

    `from_start`: from the deployment on, else from now on. `poll`: seconds between two reads. `act` is called
    after every read, `report` with the reason whenever the node is away.
    """
    contract = client.ledger.contract
    stream = EventStream(contract, client.block if from_start else block_id(contract, "latest")[0] + 1)
    failures = 0
    while True:
        try:
            yield from stream.read()
            act()
            failures = 0
        except Unreachable as error:
            failures += 1
            report(str(error))
        time.sleep(min(RETRY_SECONDS, poll * 2.0**failures))


def block_id(contract: Contract, name: str) -> BlockId:
    """Return number and hash of a block; (-1, "") where the node has none of that name."""
    block = contract.chain.request("eth_getBlockByNumber", name, False)
    return (-1, "") if block is None else (int(block["number"], 16), str(block["hash"]))
