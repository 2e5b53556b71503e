"""What stands for a process where the world itself reads the chain: nothing fails, and nothing is behind."""

from __future__ import annotations

from bcfl.ledger.live import Head, LiveLedger
from tests.simulation.network import Network, PartyContract


class Observer:
    """A process for which no fault happens."""

    skew, index = 0, 0

    def strike(self, *_: str | None) -> None:
        """Return None."""

    suffer = strike

    def is_away(self, _: str) -> bool:
        """Return False."""
        return False

    def lag(self) -> int:
        """Return 0."""
        return 0


class ObserverLedger(LiveLedger):
    """The ledger of the observer, which knows the head without a request: it asks for it all the time."""

    def __init__(self, network: Network) -> None:
        super().__init__(PartyContract(network, Observer()))  # type: ignore[arg-type]
        self._network = network

    def _ask_head(self) -> Head:
        network = self._network
        block = network.block(network.head)
        assert block is not None
        return Head(network.head, str(block["hash"]), network.now())
