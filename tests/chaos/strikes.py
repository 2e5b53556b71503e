"""When whom to kill in a chaos run: drawn from a seed, carried out when the chain says that it is time."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from bcfl.protocol.rounds import History
from bcfl.protocol.types import Clock, Phase
from tests.chaos.federation import Federation
from tests.chaos.parties import account

PHASES = (Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.PROPOSE, Phase.ATTEST)
LEADER = "leader"
LATEST = 0.4  # seconds after a phase was seen to begin; half of the strikes come at once
DOWN = (0.1, 1.2)  # seconds until a killed process is started again
TICK = 0.02


@dataclass(frozen=True)
class Strike:
    """Kill `target` so many seconds after a phase of a round has begun, and start it again later."""

    round: int
    phase: Phase
    after: float
    target: str
    down: float


@dataclass(frozen=True)
class Struck:
    """What a strike hit: who was killed in which round and phase."""

    strike: Strike
    name: str
    round: int
    phase: Phase


def plan(seed: int, rounds: int, devices: int, miners: int, *, store: bool) -> list[Strike]:
    """The strikes of a seed, in their order: the leader once in each phase, twice all other kinds."""
    rng = random.Random(seed)
    targets = [(LEADER, phase) for phase in PHASES]
    for _ in range(2):
        names = [f"device {rng.randrange(devices)}", f"miner {rng.randrange(miners)}", "chain"]
        names += ["store"] if store else []
        targets += [(name, rng.choice(PHASES)) for name in names]
    strikes = [
        Strike(
            rng.randint(1, rounds), phase, rng.choice((0.0, rng.uniform(0, LATEST))), name, rng.uniform(*DOWN)
        )
        for name, phase in targets
    ]
    return sorted(strikes, key=lambda strike: (strike.round, strike.phase, strike.after))


@dataclass
class Striker:
    """Carries strikes out on a federation, one look at the chain after the other."""

    federation: Federation
    strikes: list[Strike]
    struck: list[Struck] = field(default_factory=list)
    lag: float = 0.0  # the longest time from one look at the chain to the next
    outage: float = 0.0  # the longest time that a store was away
    _away: float | None = None  # since when it is
    _down: dict[str, float] = field(default_factory=dict)  # who is dead, until when
    _seen: dict[tuple[int, Phase], float] = field(default_factory=dict)  # when a phase was seen first

    def watch(self, rounds: int, seconds: float) -> History:
        """Until so many rounds have ended and all are back; raises TimeoutError if that takes too long."""
        until, time_ = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < until:
            self._wake()
            snapshot = self.federation.take_snapshot()
            self._look_at_store()
            last_time, time_ = time_, time.monotonic()
            if snapshot is not None:
                self.lag = max(self.lag, time_ - last_time)
                clock, history = snapshot
                self._seen.setdefault((clock.round, clock.phase), time.monotonic())
                self._strike(clock, history)
                if self._over(history, rounds) and not self._down and self._away is None:
                    return history
            time.sleep(TICK)
        raise TimeoutError(f"after {seconds:g} s the run had not ended; dead: {self.federation.dead()}")

    def slow(self) -> bool:
        """Whether the machine was too busy to say who was back in time."""
        phase = self.federation.terms.commit_seconds
        return self.lag >= phase / 4 or self.outage >= phase / 2

    def _look_at_store(self) -> None:
        """Measure how long a store that was killed is away."""
        if self._away is not None:
            self.outage = max(self.outage, time.monotonic() - self._away)
            if self.federation.store_answers():
                self._away = None

    def _over(self, history: History, rounds: int) -> bool:
        round_ = history.rounds.get(rounds)
        return round_ is not None and round_.closed is not None

    def _strike(self, clock: Clock, history: History) -> None:
        """Kill whoever is due; one that is dead already is struck when it is back."""
        place_ = (clock.round, clock.phase)
        for strike in list(self.strikes):
            place = (strike.round, strike.phase)
            start = self._seen.get(place, self._seen[place_])
            if place > place_ or time.monotonic() < start + strike.after:
                continue
            name = _leader(history) if strike.target == LEADER else strike.target
            if name is None or name in self._down:
                continue
            self.federation.kill(name)
            if name == "store":
                self._away = time.monotonic()
            self.strikes.remove(strike)
            self._down[name] = time.monotonic() + strike.down
            self.struck.append(Struck(strike, name, *place_))
            return

    def _wake(self) -> None:
        """Start again whose time has come."""
        self.federation.revive()
        for name, until in list(self._down.items()):
            if time.monotonic() >= until:
                self.federation.start(name)
                del self._down[name]


def _leader(history: History) -> str | None:
    """The process that leads, or led last."""
    for number in sorted(history.rounds, reverse=True):
        leader = history.rounds[number].leader
        if leader is not None:
            miners = {account("miner", i).address: f"miner {i}" for i in range(len(history.miners))}
            return miners[leader]
    return next(iter(f"miner {i}" for i in range(len(history.miners))), None)
