"""Run both roles of one account, a device and a miner, in one process: mode `full`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bcfl.errors import LedgerError, RelayError, StoreError
from bcfl.ports import Inbox, Relay
from bcfl.protocol.requests import KeyRequest
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner


class Peer:
    """Both roles of one account; `act` does whatever is due for either and says what it did."""

    def __init__(self, device: Device, miner: Miner) -> None:
        self.device, self.miner, self.account = device, miner, miner.account

    def act(self) -> str | None:
        """Do what is due; None if nothing is.

        An error in one role does not stop the other. It is raised if neither did anything, so that a failure
        that lasts comes to light in the end.
        """
        results, failure = [], None
        for role in (self.device, self.miner):
            try:
                results.append(role.act())
            except (LedgerError, StoreError, RelayError) as error:
                failure = failure or error
        texts = [text for text in results if text is not None]
        if not texts and failure is not None:
            raise failure
        return ", ".join(texts) or None

    def unknown_acts(self, snapshot: RoundSnapshot) -> list[str]:
        """Return what the chain shows of either role in the round, and the journal does not know."""
        return self.device.unknown_acts(snapshot) + self.miner.unknown_acts(snapshot)


class OwnInbox:
    """A relay on which an account reaches its own inbox without the network.

    The messages of that inbox are handled by the very thread that would wait for its answer.
    """

    def __init__(self, relay: Relay, miner: Miner) -> None:
        self._relay, self._miner = relay, miner

    def inbox(self, miner: str) -> Inbox:
        """Return the inbox of a miner; raises RelayError if it has none."""
        return self._miner if miner == self._miner.account.address else self._relay.inbox(miner)

    def ask(self, miners: Sequence[str], request: KeyRequest) -> Iterator[tuple[str, bytes]]:
        """Yield what the other miners answer to a request for keys, as it comes."""
        own = self._miner.account.address
        return self._relay.ask([miner for miner in miners if miner != own], request)
