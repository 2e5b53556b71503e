"""What may go wrong, and how often: a chance for each kind, and what is a fault of whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.simulation.dice import Dice

# Chances at one place that is passed: an operation of the disk, a request, a message.
CHANCES: Final = {
    "kill": 0.002,  # the process ends; all that it wrote stays
    "power": 0.002,  # the machine does; what was not synced may be lost or torn
    "disk-full": 0.003,
    "record-rots": 0.2,  # at a death: a bit of a record changes
    "node-silent": 0.002,  # does not answer once
    "node-null": 0.001,  # knows no block
    "node-half": 0.002,  # fails between two pieces of the events
    "node-garbles": 0.001,  # gives an answer that its adapter refuses
    "node-away": 0.0006,  # for a while
    "node-lags": 0.001,  # for a while: it shows the chain as it was some blocks ago
    "tx-refused": 0.006,
    "tx-lost": 0.006,  # taken, and forgotten
    "tx-delayed": 0.012,
    "tx-answer-lost": 0.012,  # taken and mined, and the sender hears nothing
    "message-lost": 0.015,
    "message-answer-lost": 0.015,
    "message-late": 0.01,  # the sender hears nothing, and it comes later
    "message-repeated": 0.02,  # comes once more, later
    "inbox-away": 0.008,  # for a while
    "store-refuses": 0.005,
    "store-answer-lost": 0.005,
    "store-silent": 0.004,
    "store-missing": 0.002,
    "store-corrupt": 0.002,
    "store-endless": 0.001,
    "store-away": 0.002,  # for a while
    "reorganisation": 0.008,  # at a block: it and up to five before it are taken back later
    "device-leaves": 0.06,  # at the beginning of a round: the owner lets a device go
    "device-returns": 0.1,
    "miner-leaves": 0.03,
    "collection": 0.004,  # at a block: the store drops what nobody pins
    "reveals-undone": 0.06,  # a reorganisation that begins before all updates are revealed
    "restart": 0.15,  # some time after a transaction: a process ends in good order, and comes back at once
    "message-old": 0.15,  # an outsider brings it again, rounds later
    "message-forged": 0.15,  # an outsider brings one like it that its sender has not signed, right after it
}
ROUGH_SEEDS: Final = 2_000_000  # from here on a seed draws its own weather, and there are pests
OUTSIDER: Final = ("message-old", "message-forged")
FACTORS: Final = (1.0, 2.0, 4.0)  # on all chances of an episode with a weather of its own
LASTING: Final = {"node-away": "node", "node-lags": "lag", "store-away": "store", "inbox-away": "inbox"}
KILLS: Final = ("kill", "power")
RESTART_SECONDS: Final = (1, 3)
UNTIL_RESTART_SECONDS: Final = (1, 30)  # after a transaction: grace and the beginning of the next phase
SHORT_SECONDS: Final = (1, 12)  # of a death or an outage that a party comes back from in time
LONG_SECONDS: Final = (20, 200)  # of one that may cost it
LONG_SHARE: Final = 0.25  # of deaths and outages
DEADLINE_SHARE: Final = 0.3  # of those that end with the phase, from ROUGH_SEEDS on


@dataclass(frozen=True)
class Weather:
    """How much goes wrong in an episode: kinds that do, and a factor on their chances."""

    factor: float = 1.0
    kinds: frozenset[str] = field(default_factory=lambda: frozenset(CHANCES))
    _chances: dict[tuple[str, ...], tuple[float, ...]] = field(default_factory=dict, repr=False)

    def of(self, dice: Dice) -> Weather:
        """Return the weather of an episode; a rough seed leaves half of the kinds out.

        Faults hide one another: who is down for long in each round shows nothing else (swarm testing, Groce
        et al. 2012).
        """
        if dice.seed < ROUGH_SEEDS:
            return self
        kinds = {kind for kind in CHANCES if kind in OUTSIDER or dice.share("weather", kind) < 0.5}
        return Weather(self.factor * dice.choice(FACTORS, "weather"), self.kinds & kinds)

    def chances(self, kinds: tuple[str, ...]) -> tuple[float, ...]:
        """Return the chance of each of some kinds at one place."""
        known = self._chances.get(kinds)
        if known is None:
            known = tuple(CHANCES[kind] * self.factor * (kind in self.kinds) for kind in kinds)
            self._chances[kinds] = known
        return known
