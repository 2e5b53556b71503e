"""Deliver a signed transaction to a node that may lose it, be slow or err, until it is in a block.

The same signed bytes are handed over until they are mined. They carry one nonce, so however often a node gets
them they take effect once, or never if another transaction of the account took their place. Where they wait
for long, a few versions with higher fees follow, under the same nonce: one of them takes effect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger.chain import SignedTransaction

CHECK_SECONDS: Final = 2.0  # between two checks whether the node still has the transaction
SILENCE_SECONDS: Final = 20.0  # of failures in a row after which a node counts as gone
RAISE_SECONDS: Final = 30.0  # that the next transaction of an account waits before its fee is raised
MAX_RAISES: Final = 5

Request = Callable[..., Any]
Raise = Callable[[int], SignedTransaction]  # the same call and nonce, with a fee raised so many times


class Delivery:
    """One transaction on its way; `request` is the node's, `node` names it in messages.

    `raise_fee` makes it again with a higher fee; None: it waits with the one that it has.
    """

    def __init__(
        self, request: Request, node: str, transaction: SignedTransaction, raise_fee: Raise | None = None
    ) -> None:
        self._request, self._node, self._raise_fee = request, node, raise_fee
        self._versions = [transaction]  # the one with the highest fee that the node has taken is the last
        self._raises, self._next_raise = 0, time.monotonic() + RAISE_SECONDS
        self._is_held = False  # whether the node had it at the last check
        self._was_held = False  # whether the node has ever accepted it
        self._refusal: LedgerError | None = None
        self._overtaken_checks = 0  # in a row at which its nonce was used and it was nowhere
        self._gap_checks = 0  # in a row at which an earlier nonce was missing
        self._next_check = 0.0

    def receipt(self, timeout: float, poll: float) -> Mapping[str, Any]:
        """Wait until it is mined, checking every `poll` seconds; returns the receipt.

        Raises LedgerError when the node refuses it or another transaction took its place, Unreachable when
        the node is silent or it is not mined within `timeout` seconds.
        """
        deadline, silent_since = time.monotonic() + timeout, None
        while True:
            try:
                if (receipt := self._receipt()) is not None:
                    return receipt
                self._push()
                silent_since = None
            except Unreachable:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > min(SILENCE_SECONDS, timeout):
                    raise
            if time.monotonic() > deadline:
                raise self._timeout_error(timeout)
            time.sleep(poll)

    def _receipt(self) -> Mapping[str, Any] | None:
        receipt: Mapping[str, Any] | None = None
        for version in reversed(self._versions):
            receipt = receipt or self._request("eth_getTransactionReceipt", version.hash)
        gas = self._transaction.gas
        if receipt is not None and gas and int(receipt["gasUsed"], 16) > gas:
            raise Unreachable(f"{self._node}: {self._name} used more gas than it had: the node errs or lies")
        return receipt

    def _push(self) -> None:
        """Check, every CHECK_SECONDS, whether the node still has it, and hand it over where not."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_SECONDS
        if not (self._is_held and self._is_known()):
            self._hand_over()
        self._check_queue()
        if self._is_held:
            self._raise_when_due()
        else:
            self._check_place()

    def _hand_over(self) -> None:
        """Give the node the bytes; a refusal counts unless the node had them before, or has them now."""
        try:
            self._request("eth_sendRawTransaction", "0x" + self._transaction.raw.hex())
        except Unreachable:
            raise  # it may have come through: the same bytes go again
        except LedgerError as error:
            self._is_held, self._refusal = self._is_known(), error
            if not self._is_held and not self._was_held and self._receipt() is None:
                raise
            return
        self._is_held = self._was_held = True

    def _is_known(self) -> bool:
        """Return whether the node has the transaction, waiting or mined."""
        return self._request("eth_getTransactionByHash", self._transaction.hash) is not None

    def _check_queue(self) -> None:
        """Raise LedgerError when two checks in a row find it behind an unused nonce.

        An earlier transaction of the account was lost: with a block that was taken back, with the node's
        pool, or with a development chain that began anew. A node may keep this one, or refuse it. The sender
        who decides anew what is due fills the gap; then this one is mined too, and the contract refuses it if
        its call has been made already.
        """
        sender = self._transaction.sender
        next_nonce = int(self._request("eth_getTransactionCount", sender, "pending"), 16)
        self._gap_checks = self._gap_checks + 1 if next_nonce < self._transaction.nonce else 0
        if self._gap_checks > 1:
            raise LedgerError(
                f"{self._name} (nonce {self._transaction.nonce}) waits for an earlier one of {sender} "
                f"that the chain has lost (nonce {next_nonce}): look at the chain, and send what is due"
            )

    def _raise_when_due(self) -> None:
        """Send it again with a higher fee when it is the account's next one, and has waited for long."""
        if self._raise_fee is None or self._raises >= MAX_RAISES or time.monotonic() < self._next_raise:
            return
        self._next_raise = time.monotonic() + RAISE_SECONDS
        sender, nonce = self._transaction.sender, self._transaction.nonce
        if int(self._request("eth_getTransactionCount", sender, "latest"), 16) != nonce:
            return  # it is mined, or an earlier one holds it up
        self._raises += 1
        version = self._raise_fee(self._raises)
        self._versions.append(version)
        try:
            self._request("eth_sendRawTransaction", "0x" + version.raw.hex())
        except Unreachable:
            raise  # the node may have taken it: its receipt is asked for from now on
        except LedgerError:
            self._versions.remove(version)  # too little more, or more than the account has

    def _check_place(self) -> None:
        """Raise LedgerError when two checks in a row find its nonce used and the transaction nowhere."""
        count = int(self._request("eth_getTransactionCount", self._transaction.sender, "latest"), 16)
        is_lost = count > self._transaction.nonce and not self._is_known() and self._receipt() is None
        self._overtaken_checks = self._overtaken_checks + 1 if is_lost else 0
        if self._overtaken_checks > 1:
            raise LedgerError(
                f"{self._name} was replaced: another one of {self._transaction.sender} took its place (nonce "
                f"{self._transaction.nonce}); it will never take effect; does something else use this key?"
            )

    def _timeout_error(self, timeout: float) -> Unreachable:
        reason = ""
        with suppress(LedgerError):
            if not self._is_known() and self._refusal is not None:
                reason = f" (the last answer: {self._refusal})"
        return Unreachable(
            f"{self._node}: {self._name} was not mined in {timeout:g} s{reason}; "
            "it may still be: look at the chain before sending it again"
        )

    @property
    def _transaction(self) -> SignedTransaction:
        return self._versions[-1]

    @property
    def _name(self) -> str:
        return f"transaction {self._transaction.hash}"
