"""Steps 2 to 8 in mode `full`: one account that is a device and a miner, in one process."""

from __future__ import annotations

from bcfl.errors import LedgerError, RelayError, StoreError
from bcfl.ports import Inbox, Relay
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner


class Peer:
    """Both roles of one account; `act` does whatever is due for either and says what it did."""

    def __init__(self, device: Device, miner: Miner) -> None:
        self.device, self.miner, self.account = device, miner, miner.account

    def act(self) -> str | None:
        """Do what is due; None if nothing is.

        What goes wrong in one role does not stop the other. It is raised if neither did anything, so that a
        failure that lasts is seen in the end.
        """
        did, failure = [], None
        for role in (self.device, self.miner):
            try:
                did.append(role.act())
            except (LedgerError, StoreError, RelayError) as error:
                failure = failure or error
        said = [words for words in did if words is not None]
        if not said and failure is not None:
            raise failure
        return ", ".join(said) or None


class OwnInbox:
    """A relay on which an account reaches its own desk without the network.

    The desk is attended by the very thread that would wait for its answer.
    """

    def __init__(self, relay: Relay, miner: Miner) -> None:
        self._relay, self._miner = relay, miner

    def inbox(self, miner: str) -> Inbox:
        """The desk of a miner; raises RelayError if it has none."""
        return self._miner if miner == self._miner.account.address else self._relay.inbox(miner)
