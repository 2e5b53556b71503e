"""What the contract allows, once more in Python: each call returns its effect, or None if it is illegal.

Miners and devices are named by their accounts. Hashes, signatures and the draw are left to the twins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bcfl.protocol.types import Engine, Mode, Opening, Phase, Terms, Update

NEVER = 2**36 - 1
FOREVER = 2**32 - 1
MAX_WEIGHT = 65_535
Effect = Callable[[], None] | None


@dataclass(frozen=True)
class ModelClock:
    """The clock, with sets of accounts in place of masks."""

    phase: Phase = Phase.IDLE
    deadline: int = NEVER
    acted: frozenset[str] = frozenset()
    expected: frozenset[str] = frozenset()


@dataclass
class Seat:
    """A miner's seat in the registry."""

    stake: int
    weight: int = 0
    exit_round: int = 0
    changed: int = 0  # the round in which it joined, renewed or raised its stake
    renewed: bool = False  # shows no layer in this round
    gone: bool = False  # no longer votes; the stake is still there


@dataclass
class Model:
    """A federation as its rules see it; `now` is always the time of the call that is judged."""

    terms: Terms
    owner: str
    balance: int
    clock: ModelClock = ModelClock()
    round: int = 0
    opened: int = 0
    seats: dict[str, Seat] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    since: list[int] = field(default_factory=list)
    until: list[int] = field(default_factory=list)
    batches: dict[str, list[Update]] = field(default_factory=dict)
    lone: dict[str, list[Update]] = field(default_factory=dict)
    revealed: list[Update] = field(default_factory=list)
    votes: dict[str, Opening] = field(default_factory=dict)
    leader: str = ""
    turn: int = 0
    failed: set[str] = field(default_factory=set)
    attested: set[str] = field(default_factory=set)
    blocks: list[int] = field(default_factory=list)
    engine: Engine = Engine.STAKE
    following: Engine = Engine.STAKE  # of the next round
    committee: frozenset[str] = frozenset()  # as the contract has drawn it

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
            return replace(clock, phase=Phase.TALLY, deadline=NEVER)
        if clock.phase in (Phase.REVEAL, Phase.VOTE, Phase.ELECT):
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
        for seat in self.seats.values():
            seat.gone = seat.exit_round != 0
            seat.weight = 0 if seat.gone else min(seat.stake // self.terms.min_stake, MAX_WEIGHT)
            seat.renewed = False
        self.round, self.opened, self.engine = number, now, self.following
        self.batches, self.lone, self.revealed, self.votes = {}, {}, [], {}
        self.clock = self.clock_at(Phase.COMMIT, now + self.terms.commit_seconds, self.active())

    def active(self) -> frozenset[str]:
        return frozenset(account for account, seat in self.seats.items() if seat.weight)

    def electors(self) -> frozenset[str]:
        return self.committee if self.engine is Engine.COMMITTEE else self.active()

    def weight(self, people: frozenset[str] | set[str]) -> int:
        if self.engine is Engine.COMMITTEE:
            return len(people)
        return sum(self.seats[account].weight for account in people)

    # Membership.

    def start(self, now: int, sender: str) -> Effect:
        if sender != self.owner or self.clock.phase is not Phase.IDLE:
            return None
        return lambda: self.open_round(1, now)

    def register_miner(self, now: int, account: str, value: int) -> Effect:
        del now
        is_barred = self.terms.mode == Mode.FULL and account not in self.devices
        if account in self.seats or is_barred or value < self.terms.min_stake:
            return None
        return lambda: self.seats.update({account: Seat(value, changed=self.round)})

    def renew(self, now: int, account: str) -> Effect:
        del now
        seat = self.seats.get(account)
        if seat is None or seat.gone or seat.exit_round:
            return None

        def effect() -> None:
            seat.changed, seat.renewed = self.round, True

        return effect

    def top_up(self, now: int, account: str, value: int) -> Effect:
        del now
        seat = self.seats.get(account)
        if seat is None or seat.exit_round or seat.stake + value < self.terms.min_stake:
            return None

        def effect() -> None:
            seat.stake, seat.changed = seat.stake + value, self.round

        return effect

    def leave_miner(self, now: int, account: str) -> Effect:
        del now
        seat = self.seats.get(account)
        if seat is None or seat.exit_round:
            return None
        return lambda: setattr(seat, "exit_round", self.round + 1 + self.terms.exit_rounds)

    def release_stake(self, now: int, account: str) -> Effect:
        del now
        seat = self.seats.get(account)
        if seat is None or not seat.exit_round or self.round < seat.exit_round:
            return None

        def effect() -> None:
            self.balance -= self.seats.pop(account).stake

        return effect

    def register_devices(self, now: int, sender: str, accounts: list[str]) -> Effect:
        del now
        if sender != self.owner or set(accounts) & set(self.devices) or len(set(accounts)) < len(accounts):
            return None

        def effect() -> None:
            self.devices += accounts
            self.since += [self.round + 1] * len(accounts)
            self.until += [FOREVER] * len(accounts)

        return effect

    def leave_device(self, now: int, sender: str, account: str) -> Effect:
        del now
        if sender not in (account, self.owner) or account not in self.devices:
            return None
        index = self.devices.index(account)
        if self.until[index] != FOREVER:
            return None
        return lambda: self.until.__setitem__(index, self.round + 1)

    # The round.

    def commit(self, now: int, account: str, batch: list[Update]) -> Effect:
        clock = self.due(now)
        if clock.phase is not Phase.COMMIT:
            return None
        if account not in clock.expected or account in clock.acted:
            return (lambda: self.lone.update({account: batch})) if account in self.devices else None

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
        if len(self.revealed) + len(updates) > self.terms.max_updates or not self.are_valid(updates, now):
            return None

        def effect() -> None:
            self.clock = clock
            self.revealed += updates
            if is_seated and (sender == submitter or len(updates) == len(batch)):
                self.record_act(clock, submitter, now, self.terms.grace)

        return effect

    def are_valid(self, updates: list[Update], now: int) -> bool:
        """Whether each update is one that its device may reveal now, signed with its own key."""
        devices = [update.device for update in self.revealed + updates]
        return len(set(devices)) == len(devices) and all(
            update.round == self.round
            and 0 < update.samples <= self.terms.max_samples
            and update.microseconds <= (now - self.opened) * 1_000_000
            and update.device < len(self.devices)
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
        if clock.phase is not Phase.UNVEIL or account not in clock.expected - clock.acted:
            return None
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
            for account in clock.expected - clock.acted:
                self.penalize(account, self.terms.vote_penalty)
            quorum = self.weight(clock.acted) * 2 >= self.weight(self.electors())
            if clock.acted and quorum and self.terms.mode == Mode.HYBRID:
                self.choose(clock.acted)
            if not clock.acted or not quorum or weight < self.terms.min_updates:
                return self.open_round(self.round + 1, now)
            self.turn, self.failed = 0, set()
            return self.lead(now, clock.acted)

        return effect

    def choose(self, voters: frozenset[str]) -> None:
        for engine in Engine:
            wishing = {account for account in voters if self.votes[account].wish is engine}
            if self.weight(wishing) * 2 > self.weight(voters):
                self.following = engine

    def penalize(self, account: str, penalty: int) -> None:
        self.seats[account].stake -= min(penalty, self.seats[account].stake)

    def lead(self, now: int, voters: frozenset[str]) -> None:
        self.leader, self.attested = "", set()
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

    def propose(self, now: int, account: str) -> Effect:
        clock = self.clock
        if clock.phase is not Phase.PROPOSE or account != self.leader or now >= clock.deadline:
            return None
        if self.seats[account].renewed:
            return None

        def effect() -> None:
            self.attested = {account}
            self.clock = self.clock_at(Phase.ATTEST, now + self.terms.attest_seconds, clock.expected)

        return effect

    def attest(self, now: int, account: str, right: bool) -> Effect:
        clock = self.clock
        if clock.phase is not Phase.ATTEST or now >= clock.deadline or not right:
            return None
        return (lambda: self.attested.add(account)) if account in clock.expected - self.attested else None

    def is_supported(self) -> bool:
        return self.weight(self.attested) * 3 > self.weight(self.clock.expected) * 2

    def finalize(self, now: int, right: bool) -> Effect:
        window = self.clock.deadline - self.terms.attest_seconds + self.terms.challenge_seconds
        if self.clock.phase is not Phase.ATTEST or not right or not self.is_supported() or now < window:
            return None

        def effect() -> None:
            self.blocks.append(self.round)
            self.open_round(self.round + 1, now)

        return effect

    def skip(self, now: int) -> Effect:
        clock = self.clock
        if clock.phase not in (Phase.PROPOSE, Phase.ATTEST) or now < clock.deadline:
            return None
        if clock.phase is Phase.ATTEST and self.is_supported():
            return None

        def effect() -> None:
            if clock.phase is Phase.PROPOSE:
                self.penalize(self.leader, self.terms.leader_penalty)
            self.failed.add(self.leader)
            self.turn += 1
            if self.turn == len(clock.expected):
                self.open_round(self.round + 1, now)
            else:
                self.lead(now, clock.expected)

        return effect

    def advance(self, now: int) -> Effect:
        clock = self.due(now)
        if clock == self.clock:
            return None
        if clock.phase is Phase.VOID:
            return lambda: self.open_round(self.round + 1, now)
        return lambda: setattr(self, "clock", clock)
