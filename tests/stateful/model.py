"""What the contract allows, once more in Python: each call returns its effect, or None if it is illegal.

Miners and devices are named by their accounts. Hashes, signatures, turns and draws are left to the twins.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bcfl.protocol.types import Engine, Mode, Opening, Phase, Update
from tests.stateful.registry import Effect, Registry
from tests.stateful.seats import ModelClock

MAX_WEIGHT = 65_535


@dataclass
class Model(Registry):
    """A federation as its rules see it."""

    # Time.

    def due(self, now: int) -> ModelClock:
        """The clock with all that time alone has brought about."""
        clock, terms = self.clock, self.terms
        if now < clock.deadline:
            return clock
        if clock.phase is Phase.COMMIT:
            return self.clock_at(Phase.REVEAL, now + terms.reveal_seconds, clock.acted)
        if clock.phase is Phase.REVEAL and len(self.revealed) >= terms.min_updates:
            return self.clock_at(Phase.VOTE, now + terms.vote_seconds, self.electors())
        if clock.phase is Phase.VOTE and clock.acted:
            return self.clock_at(Phase.UNVEIL, now + terms.unveil_seconds, clock.acted)
        if clock.phase is Phase.UNVEIL:
            return replace(clock, phase=Phase.TALLY, deadline=now + terms.tally_seconds)
        if clock.phase in (Phase.REVEAL, Phase.VOTE, Phase.TALLY, Phase.ELECT):
            return ModelClock(Phase.VOID, 0)
        return clock

    @staticmethod
    def clock_at(phase: Phase, deadline: int, expected: frozenset[str]) -> ModelClock:
        return ModelClock(phase, deadline, frozenset(), expected)

    def record_act(self, clock: ModelClock, account: str, now: int, grace: int) -> None:
        accounts = clock.acted | {account}
        deadline = min(clock.deadline, now + grace) if accounts == clock.expected else clock.deadline
        self.clock = replace(clock, acted=accounts, deadline=deadline)

    def open_round(self, number: int, now: int) -> None:
        for account, seat in self.seats.items():
            if not seat.gone and (seat.exit_round or seat.stake < self.terms.min_stake):
                seat.exit_round = seat.exit_round or number + self.terms.exit_rounds
                seat.gone, seat.exit_time = True, now
            is_out = seat.gone or seat.absence.suspended
            seat.weight = 0 if is_out else min(seat.stake // self.terms.min_stake, MAX_WEIGHT)
            may_be = seat.also_device or seat.consents
            seat.also_device, seat.consents = may_be and self.is_device(account), False
        self.round, self.opened, self.engine = number, now, self.following
        self.batches, self.lone, self.revealed, self.votes = {}, {}, [], {}
        self.clock = self.clock_at(Phase.COMMIT, now + self.terms.commit_seconds, self.active())

    def active(self) -> frozenset[str]:
        return frozenset(account for account, seat in self.seats.items() if seat.weight)

    def electors(self) -> frozenset[str]:
        return self.committee or self.active()

    def decides(self, people: frozenset[str] | set[str]) -> bool:
        """Whether these are more than half of all active weight, or two thirds of all members."""
        return self.does_decide(self.weigh(people))

    def weigh(self, people: frozenset[str] | set[str]) -> int:
        return len(people) if self.committee else sum(self.seats[account].weight for account in people)

    def does_decide(self, weight: int) -> bool:
        return weight * 3 > self.whole() * 2 if self.committee else weight * 2 > self.whole()

    def whole(self) -> int:
        """The weight of all who may vote."""
        return self.committee_size if self.committee else sum(seat.weight for seat in self.seats.values())

    def start(self, now: int, sender: str) -> Effect:
        is_late = now >= self.deployed + self.terms.exit_seconds
        if (sender != self.owner and not is_late) or self.clock.phase is not Phase.IDLE:
            return None
        return lambda: self.open_round(1, now)

    # The round.

    def commit(self, now: int, account: str, batch: list[Update]) -> Effect:
        clock = self.due(now)
        if clock.phase is not Phase.COMMIT:
            return None
        if account not in clock.expected or account in clock.acted:
            is_barred = account in clock.acted and not self.seats[account].also_device
            is_device = account in self.devices and not is_barred
            return (lambda: self.lone.update({account: batch})) if is_device else None

        def effect() -> None:
            self.batches[account] = batch
            self.record_act(clock, account, now, self.terms.grace)

        return effect

    def reveal(self, now: int, sender: str, submitter: str, batch: list[Update], mask: int) -> Effect:
        clock = self.due(now)
        updates = [update for place, update in enumerate(batch) if mask >> place & 1]
        is_seated = submitter in clock.expected and batch == self.batches.get(submitter)
        is_alone = bool(updates) and batch == self.lone.get(submitter)
        if clock.phase is not Phase.REVEAL or not (is_seated or is_alone):
            return None
        fresh = self.fresh(updates)
        is_full = len(self.revealed) + len(fresh) > self.terms.max_updates
        if is_full or not self.are_bounded(updates, now) or not self.are_members(fresh):
            return None

        def effect() -> None:
            self.clock = clock
            self.revealed += fresh
            if is_seated and (sender == submitter or len(updates) == len(batch)):
                self.record_act(clock, submitter, now, self.terms.grace)

        return effect

    def fresh(self, updates: list[Update]) -> list[Update]:
        """The first update of each device that has revealed none; the others are skipped."""
        seen = {update.device for update in self.revealed}
        fresh: dict[int, Update] = {}
        for update in updates:
            if update.device not in seen:
                fresh.setdefault(update.device, update)
        return list(fresh.values())

    def are_bounded(self, updates: list[Update], now: int) -> bool:
        return all(
            update.round == self.round
            and 0 < update.samples <= self.terms.max_samples
            and update.microseconds <= (now - self.opened) * 1_000_000
            for update in updates
        )

    def are_members(self, updates: list[Update]) -> bool:
        """Whether each is of a device of this round, signed with its own key."""
        return all(
            update.device < len(self.devices)
            and self.since[update.device] <= self.round < self.until[update.device]
            for update in updates
        )

    def commit_vote(self, now: int, account: str, opening: Opening) -> Effect:
        clock = self.due(now)
        if clock.phase is not Phase.VOTE or account not in clock.expected - clock.acted:
            return None

        def effect() -> None:
            self.votes[account] = opening
            self.record_act(clock, account, now, 0)

        return effect

    def unveil(self, now: int, opening: Opening) -> Effect:
        clock, account = self.due(now), opening.miner
        if clock.phase is not Phase.UNVEIL or account not in clock.expected:
            return None
        if account in clock.acted:
            return lambda: None
        is_barred = opening.wish is not None and self.terms.mode != Mode.HYBRID
        if is_barred or self.votes[account] != opening:
            return None
        return lambda: self.record_act(clock, account, now, 0)

    def tally(self, now: int, weight: int) -> Effect:
        """`weight` is the number of updates that the twin counts as accepted."""
        clock = self.due(now)
        if clock.phase is not Phase.TALLY:
            return None

        def effect() -> None:
            if clock.acted:
                self.count_absence(clock, now)
            quorum = self.decides(clock.acted)
            if clock.acted and quorum and self.terms.mode == Mode.HYBRID and not self.committee:
                self.choose(clock.acted)
            if not clock.acted or not quorum or weight < self.terms.min_updates:
                return self.open_round(self.round + 1, now)
            self.turn, self.failed = 0, set()
            return self.lead(now, clock.acted)

        return effect

    def choose(self, voters: frozenset[str]) -> None:
        for engine in Engine:
            wishing = {account for account in voters if self.votes[account].wish is engine}
            if self.decides(wishing):
                self.following = engine

    def count_absence(self, clock: ModelClock, now: int) -> None:
        """Let those pay who could vote and have no open vote."""
        for account in self.electors():
            seat = self.seats[account]
            if account in clock.acted:
                seat.absence.missed = max(0, seat.absence.missed - 1)
                continue
            self.faults.add((self.round, account))
            doublings = seat.absence.miss(now, self.round, self.terms)
            if account in clock.expected:
                self.penalize(account, self.terms.vote_penalty * seat.weight)
            elif doublings >= 0:
                self.penalize(account, (seat.stake * self.terms.absence_penalty << doublings) // 10_000)

    def penalize(self, account: str, penalty: int) -> None:
        self.seats[account].stake -= min(penalty, self.seats[account].stake)

    def lead(self, now: int, voters: frozenset[str]) -> None:
        self.leader = ""
        phase, seconds = (
            (Phase.ELECT, self.terms.elect_seconds)
            if self.engine is Engine.POW
            else (Phase.PROPOSE, self.terms.propose_seconds)
        )
        self.clock = self.clock_at(phase, now + seconds, voters)

    def solve(self, now: int, account: str, proven: bool) -> Effect:
        clock = self.due(now)
        if clock.phase is not Phase.ELECT or account not in clock.expected - self.failed or not proven:
            return None

        def effect() -> None:
            self.leader = account
            self.clock = self.clock_at(Phase.PROPOSE, now + self.terms.propose_seconds, clock.expected)

        return effect

    def advance(self, now: int) -> Effect:
        clock = self.due(now)
        if clock == self.clock and clock.phase is not Phase.VOID:
            return None
        if clock.phase is Phase.VOID:
            return lambda: self.open_round(self.round + 1, now)
        return lambda: setattr(self, "clock", clock)
