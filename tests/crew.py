"""The parties of a village as daemons, and the village as a process reaches it."""

from __future__ import annotations

from typing import Any

from bcfl.daemon import Daemon
from bcfl.errors import Unreachable
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.embedded import EmbeddedChain
from bcfl.ledger.live import LiveLedger
from bcfl.ledger.networks import Network
from bcfl.parties import Site
from bcfl.roles.moment import look as look_at
from bcfl.roles.moment import next_change
from tests.village import Village


class Fork:
    """An embedded chain that can be exchanged for another, with the blocks that a node gives."""

    url = "http://127.0.0.1:1"

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain, self.away = chain, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)

    def request(self, method: str, *params: Any) -> Any:
        if self.away:
            raise Unreachable("http://127.0.0.1:1: ConnectionError; is the node running and the URL right?")
        if method != "eth_getBlockByNumber":
            return self.chain.request(method, *params)
        last = int(self.chain.request("eth_blockNumber"), 16)
        number = last if params[0] == "latest" else int(params[0], 16)
        if number > last:
            return None
        header = self.chain._evm.get_canonical_block_header_by_number(number)  # type: ignore[arg-type]
        return {"number": hex(number), "hash": "0x" + header.hash.hex()}


def site_of(village: Village) -> tuple[Site, Fork]:
    """A village as a process reaches it."""
    assert village.chain is not None
    fork = Fork(village.chain)
    ledger = LiveLedger(federation_at(fork, str(village.contract)))  # type: ignore[arg-type]
    return Site("village", Network("local", fork.url), fork, ledger, {}, 0), fork  # type: ignore[arg-type]


def daemons(village: Village, *, devices: bool = True) -> list[Daemon]:
    """A daemon around every party of a village; all share its ledger."""
    parties = [*(village.homes if devices else []), *village.offices]
    miners = {id(office) for office in village.offices}
    return [
        Daemon(p, p.account, village.ledger, village.archive, pushes=id(p) in miners, poll=0.01)
        for p in parties
    ]


def until_closed(village: Village, running: list[Daemon], number: int, turns: int = 400) -> None:
    """Turn after turn until a round has ended; time passes where nobody has anything to do."""
    for _ in range(turns):
        if village.history.rounds[number].closed is not None:
            return
        pauses = [daemon.turn() for daemon in running]
        if all(pauses):
            moment = look_at(village.ledger)
            assert village.chain is not None
            village.chain.warp(village.chain.now() + 1 if moment is None else next_change(moment))
    raise AssertionError("the round stands still")
