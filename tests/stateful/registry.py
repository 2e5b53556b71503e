"""Who may join, rest and leave, once more in Python: a call returns its effect, or None if it is illegal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bcfl.protocol.types import Engine, Mode, Opening, Phase, Terms, Update
from tests.stateful.seats import Absence, ModelClock, Seat

FOREVER = 2**32 - 1
Effect = Callable[[], None] | None


@dataclass
class Registry:
    """Who takes part, and everything else that a call may change; `now` is the time of the call."""

    terms: Terms
    owner: str
    balance: int
    clock: ModelClock = field(default_factory=ModelClock)
    deployed: int = 0
    round: int = 0
    opened: int = 0
    seats: dict[str, Seat] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    since: list[int] = field(default_factory=list)
    until: list[int] = field(default_factory=list)
    batches: dict[str, list[Update]] = field(default_factory=dict)
    lone: dict[str, list[Update]] = field(default_factory=dict)
    rests: dict[str, Absence] = field(default_factory=dict)  # of those that have gone
    revealed: list[Update] = field(default_factory=list)
    votes: dict[str, Opening] = field(default_factory=dict)
    leader: str = ""
    faults: set[tuple[int, str]] = field(default_factory=set)  # round and account that broke a rule in it
    turn: int = 0
    failed: set[str] = field(default_factory=set)
    blocks: list[int] = field(default_factory=list)
    engine: Engine = Engine.STAKE
    following: Engine = Engine.STAKE  # of the next round
    committee: frozenset[str] = frozenset()  # as the contract has drawn it; empty where everybody votes
    committee_size: int = 0  # with members that have left

    def register_miner(self, now: int, account: str, value: int) -> Effect:
        del now
        is_full = self.terms.mode == Mode.FULL
        is_barred = is_full and not self.is_device(account)
        if account in self.seats or is_barred or value < self.terms.min_stake:
            return None
        absence = replace(self.rests.get(account, Absence()), missed=0, suspended=False)
        return lambda: self.seats.update({account: Seat(value, also_device=is_full, absence=absence)})

    def is_device(self, account: str) -> bool:
        return account in self.devices and self.until[self.devices.index(account)] == FOREVER

    def accept_device(self, now: int, account: str) -> Effect:
        del now
        seat = self.seats.get(account)
        if seat is None or seat.exit_round or not self.is_device(account):
            return None
        return None if seat.also_device or seat.consents else lambda: setattr(seat, "consents", True)

    def resume(self, now: int, account: str) -> Effect:
        del now
        seat = self.seats.get(account)
        if seat is None or seat.exit_round or not seat.absence.suspended or self.round < seat.absence.until:
            return None
        return lambda: setattr(seat.absence, "suspended", False)

    def evict(self, now: int, account: str) -> Effect:
        seat = self.seats.get(account)
        if seat is None or seat.exit_round or not seat.absence.suspended:
            return None
        if now < seat.absence.last + 16 * self.terms.absence_seconds:
            return None
        return self.leave_miner(now, account)

    def top_up(self, now: int, account: str, value: int) -> Effect:
        del now
        seat = self.seats.get(account)
        if seat is None or seat.exit_round or seat.stake + value < self.terms.min_stake:
            return None

        def effect() -> None:
            seat.stake += value

        return effect

    def leave_miner(self, now: int, account: str) -> Effect:
        del now
        seat = self.seats.get(account)
        if seat is None or seat.exit_round:
            return None
        return lambda: setattr(seat, "exit_round", self.round + 1 + self.terms.exit_rounds)

    def release_stake(self, now: int, account: str) -> Effect:
        seat = self.seats.get(account)
        if seat is None or not seat.exit_round:
            return None
        is_free = seat.gone and (
            self.round >= seat.exit_round or now >= seat.exit_time + self.terms.exit_seconds
        )
        if not is_free and self.clock.phase is not Phase.IDLE:
            return None

        def effect() -> None:
            self.rests[account] = seat.absence
            self.balance -= self.seats.pop(account).stake

        return effect

    def register_devices(self, now: int, sender: str, accounts: list[str]) -> Effect:
        del now
        known = [self.devices.index(account) for account in accounts if account in self.devices]
        if sender != self.owner or len(set(accounts)) < len(accounts):
            return None
        if any(self.until[index] > self.round for index in known):
            return None

        def effect() -> None:
            for index in known:
                self.since[index], self.until[index] = self.round + 1, FOREVER
            new = [account for account in accounts if account not in self.devices]
            self.devices += new
            self.since += [self.round + 1] * len(new)
            self.until += [FOREVER] * len(new)

        return effect

    def leave_device(self, now: int, sender: str, account: str) -> Effect:
        del now
        if sender not in (account, self.owner) or account not in self.devices:
            return None
        index = self.devices.index(account)
        if self.until[index] != FOREVER:
            return None
        seat = self.seats.get(account)
        loses_seat = self.terms.mode == Mode.FULL and seat is not None and not seat.exit_round

        def effect() -> None:
            self.until[index] = self.round + 1
            if loses_seat and seat is not None:
                seat.exit_round = self.round + 1 + self.terms.exit_rounds

        return effect
