"""Parties that are not there when they are due: absent, late, silent, or back only later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from bcfl.errors import RelayError
from bcfl.protocol.types import Phase
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from tests.local_federation import LocalFederation


class Manner(Enum):
    """How a party is not there."""

    ABSENT = "absent"  # from a phase on until the round ends; nobody answers at its inbox
    LATE = "late"  # in one phase, until its deadline has passed
    SILENT = "silent"  # its inbox takes everything, but it does nothing more in the round
    RETURNING = "returning"  # absent, all of the next round too


class Absence:
    """When one party is not there."""

    def __init__(self, local: LocalFederation, phase: Phase, manner: Manner) -> None:
        self._local, self._phase, self._manner = local, phase, manner
        self._round = max(local.history.rounds)
        self._has_begun = False

    @property
    def now(self) -> bool:
        """Whether it is away at this moment; from a phase on means also when the lead is passed on."""
        clock = self._local.ledger.clock()
        if clock.round != self._round:
            return self._manner is Manner.RETURNING and clock.round == self._round + 1
        if self._manner is Manner.LATE:
            return clock.phase is self._phase and self._local.ledger.now() < clock.deadline
        self._has_begun = self._has_begun or self._phase <= clock.phase < Phase.IDLE
        return self._has_begun

    @property
    def closed(self) -> bool:
        """Whether nobody answers at its inbox."""
        return self._manner is not Manner.SILENT and self.now


class ClosedInbox:
    """A miner's inbox at which nobody answers while it is away."""

    def __init__(self, miner: Miner, absence: Absence) -> None:
        self._miner, self._absence = miner, absence

    def __getattr__(self, name: str) -> object:
        if self._absence.closed:

            def refuse(*_: object) -> None:
                raise RelayError("nobody answers")

            return refuse
        return getattr(self._miner, name)


@contextmanager
def away(local: LocalFederation, phase: Phase, manner: Manner, *parties: Device | Miner) -> Iterator[None]:
    """Let all roles of an account be away from the running round's `phase` on."""
    absence = Absence(local, phase, manner)
    for party in parties:
        act = party.act
        party.act = lambda act=act: None if absence.now else act()  # type: ignore[method-assign,misc]
        if isinstance(party, Miner):
            local.relay.open(party.account.address, ClosedInbox(party, absence))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for party in parties:
            del party.act
            if isinstance(party, Miner):
                local.relay.open(party.account.address, party)
