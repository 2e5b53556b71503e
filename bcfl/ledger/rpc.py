"""Any EVM node behind a URL, by JSON-RPC over HTTP.

Serves every step of the round in a network of separate processes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from requests import RequestException, Session
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import RPCEndpoint

from bcfl.errors import LedgerError, Unreachable
from bcfl.ledger.chain import result_of

MARGIN = 5  # a fifth more gas than estimated: other transactions may come before
OWN_CLOCK = ("anvil/", "HardhatNetwork/")  # nodes whose pending block keeps time between blocks


class RpcChain:
    """The node at `url`; raises Unreachable when it does not answer within `timeout` seconds.

    `patience` is how many seconds a transaction may take to be mined, `poll` how often to ask for it.
    """

    def __init__(self, url: str, *, timeout: float = 20, patience: float = 180, poll: float = 0.2) -> None:
        self.url = _public(url)
        self._patience, self._poll = patience, poll
        try:
            self._session = Session()
            self._provider = HTTPProvider(
                url,
                request_kwargs={"timeout": timeout},
                session=self._session,
                exception_retry_configuration=ExceptionRetryConfiguration([RequestException], retries=3),
            )
            self.w3 = Web3(self._provider)
        except Exception as error:
            raise Unreachable(f"{self.url}: not the URL of a node: {error}") from None
        self.chain_id = int(self.request("eth_chainId"), 16)

    @cached_property
    def view(self) -> str:
        """ "pending" on a development node, whose blocks come with transactions only; else "latest"."""
        client = str(self.request("web3_clientVersion"))
        return "pending" if client.startswith(OWN_CLOCK) else "latest"

    def request(self, method: str, *params: Any) -> Any:
        """The result of one JSON-RPC call; raises Reverted, LedgerError or Unreachable."""
        try:
            response: Any = self._provider.make_request(RPCEndpoint(method), list(params))
        except (RequestException, Web3Exception, ValueError, OSError) as error:
            reason = _short(error)
            raise Unreachable(f"{self.url}: {reason}; is the node running and the URL right?") from None
        if not isinstance(response, dict) or not ("result" in response or response.get("error")):
            raise Unreachable(f"{self.url}: what answers there is not an Ethereum node; check the URL")
        return result_of(response)

    def now(self) -> int:
        """The timestamp of the block that calls are made at."""
        return int(self._block()["timestamp"], 16)

    def warp(self, timestamp: int) -> None:
        """Let the next block come no earlier than `timestamp`; raises LedgerError where time is not ours."""
        if self.view != "pending":
            raise LedgerError(f"{self.url}: this chain keeps its own time; only a development node skips it")
        if timestamp > self.now():
            self.request("evm_setNextBlockTimestamp", timestamp)

    def fees(self) -> tuple[int, int]:
        """Twice the base fee plus the tip that the node suggests, and that tip."""
        tip = int(self.request("eth_maxPriorityFeePerGas"), 16)
        return 2 * int(self._block()["baseFeePerGas"], 16) + tip, tip

    def gas(self, transaction: Mapping[str, str]) -> int:
        """The node's estimate and a margin; raises Reverted when the transaction would fail now."""
        estimate = int(self.request("eth_estimateGas", dict(transaction), self.view), 16)
        return estimate + estimate // MARGIN

    def wait(self, transaction_hash: str) -> Mapping[str, Any]:
        """The receipt, as soon as the transaction is mined; Unreachable when it takes too long."""
        deadline = time.monotonic() + self._patience
        while (receipt := self.request("eth_getTransactionReceipt", transaction_hash)) is None:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"{self.url}: transaction {transaction_hash} was not mined in {self._patience:g} s; "
                    "it may still be: look at the chain before sending it again"
                )
            time.sleep(self._poll)
        found: Mapping[str, Any] = receipt
        return found

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _block(self) -> Mapping[str, str]:
        block: Mapping[str, str] = self.request("eth_getBlockByNumber", self.view, False)
        return block


def _public(url: str) -> str:
    """A URL without what may be secret in it: user, password, path and query (nodes put keys there)."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else "(no host)"
    except ValueError:
        return "(no URL)"


def _short(error: Exception) -> str:
    """What went wrong in a few words; the message itself may hold the URL and thereby a key."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP status {status}" if status else type(error).__name__
