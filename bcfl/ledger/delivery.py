"""How a signed transaction gets into a block of a node that may lose it, be slow or err (every step).

The same signed bytes are handed over until they are mined. They carry one nonce, so however often a node is
given them they take effect once, or never if another transaction of the account took their place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger.chain import Signed

LOOK: Final = 2.0  # seconds between two looks whether the node still has the transaction
SILENCE: Final = 20.0  # seconds of failures in a row after which a node counts as gone

Request = Callable[..., Any]


class Delivery:
    """One transaction on its way; `request` is the node's, `where` names it in messages."""

    def __init__(self, request: Request, where: str, sent: Signed) -> None:
        self._request, self._where, self._sent = request, where, sent
        self._handed = False  # whether the node had it at the last look
        self._told = False  # whether it has ever taken it
        self._refusal: LedgerError | None = None
        self._overtaken = 0  # looks in a row at which its nonce was used and it was nowhere
        self._stuck = 0  # looks in a row at which an earlier nonce was missing
        self._look_at = 0.0

    def receipt(self, patience: float, poll: float) -> Mapping[str, Any]:
        """The receipt once it is mined.

        Raises LedgerError when the node refuses it or another transaction took its place, Unreachable when
        the node is silent or it is not mined within `patience` seconds.
        """
        deadline, silent_since = time.monotonic() + patience, None
        while True:
            try:
                if (found := self._mined()) is not None:
                    return found
                self._push()
                silent_since = None
            except Unreachable:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > min(SILENCE, patience):
                    raise
            if time.monotonic() > deadline:
                raise self._late(patience)
            time.sleep(poll)

    def _mined(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._request("eth_getTransactionReceipt", self._sent.hash)
        return found

    def _push(self) -> None:
        """Every now and then: look whether the node still has it, and hand it over where not."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK
        if not (self._handed and self._known()):
            self._hand()
        if self._handed:
            self._check_queue()
        else:
            self._check_place()

    def _hand(self) -> None:
        """Give the node the bytes; a refusal counts unless the node had them before, or has them now."""
        try:
            self._request("eth_sendRawTransaction", "0x" + self._sent.raw.hex())
        except Unreachable:
            raise  # it may have come through: the same bytes go again
        except LedgerError as error:
            self._handed, self._refusal = self._known(), error
            if not self._handed and not self._told and self._mined() is None:
                raise
            return
        self._handed = self._told = True

    def _known(self) -> bool:
        """Whether the node has the transaction, waiting or mined."""
        return self._request("eth_getTransactionByHash", self._sent.hash) is not None

    def _check_queue(self) -> None:
        """Raise LedgerError when it waits behind a nonce that nobody uses, twice.

        An earlier transaction of the account was lost, with a block that was taken back or with the node's
        pool. Whoever decides anew what to send fills the gap; then this one is mined too, and refused by the
        contract if its step has been taken.
        """
        following = int(self._request("eth_getTransactionCount", self._sent.sender, "pending"), 16)
        self._stuck = self._stuck + 1 if following < self._sent.nonce else 0
        if self._stuck > 1:
            raise LedgerError(
                f"{self._name} (nonce {self._sent.nonce}) waits for an earlier one of {self._sent.sender} "
                f"that the chain has lost (nonce {following}): look at the chain, and send what is due"
            )

    def _check_place(self) -> None:
        """Raise LedgerError when the account's nonce has gone by and the transaction is nowhere, twice."""
        used = int(self._request("eth_getTransactionCount", self._sent.sender, "latest"), 16)
        gone = used > self._sent.nonce and not self._known() and self._mined() is None
        self._overtaken = self._overtaken + 1 if gone else 0
        if self._overtaken > 1:
            raise LedgerError(
                f"{self._name} was replaced: another one of {self._sent.sender} took its place (nonce "
                f"{self._sent.nonce}); it will never take effect; does something else use this key?"
            )

    def _late(self, patience: float) -> Unreachable:
        reason = ""
        with suppress(LedgerError):
            if not self._known() and self._refusal is not None:
                reason = f" (the last answer: {self._refusal})"
        return Unreachable(
            f"{self._where}: {self._name} was not mined in {patience:g} s{reason}; "
            "it may still be: look at the chain before sending it again"
        )

    @property
    def _name(self) -> str:
        return f"transaction {self._sent.hash}"
