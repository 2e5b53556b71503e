"""Draw from a seed who takes part in an episode, under which terms, and set it up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from bcfl.adversaries.dropout import Dropout
from bcfl.adversaries.free_rider import FreeRider
from bcfl.adversaries.hostile_store import Malformed, Withholder
from bcfl.adversaries.miners import LazyMiner, SilentMiner
from bcfl.adversaries.vectors import Noise, SignFlip
from bcfl.protocol import fixedpoint
from bcfl.protocol.accounts import Account
from bcfl.protocol.docket import longest_round
from bcfl.protocol.payload import layout_digest
from bcfl.protocol.readers import with_key
from bcfl.protocol.sealing import ReaderKey
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Engine, Layout, Mode, Terms
from tests.local_federation import CONFIDENTIAL, LAYOUT, MEMBERS, TERMS
from tests.simulation.chain import ETHER, BytecodeChain, EpisodeChain
from tests.simulation.dice import Dice
from tests.simulation.faults import ROUGH_SEEDS, Weather
from tests.simulation.invariants import Invariants
from tests.simulation.learner import StepLearner
from tests.simulation.liars import EagerFinalizer, Latecomer, LyingLeader
from tests.simulation.process import Process
from tests.simulation.world import World

SETS = 16  # of accounts: their addresses decide about order
ENGINES = (Engine.STAKE, Engine.POW, Engine.RESOURCE, Engine.COMMITTEE)
DEVICE_ATTACKS = (
    Dropout(),
    FreeRider(),
    Withholder(),
    Malformed(),
    Noise(),
    SignFlip(),
    Dropout(stage="reveal"),
)
MINER_ATTACKS = (LyingLeader(), LazyMiner(), SilentMiner(), LazyMiner(kind="copy"))
PESTS = (EagerFinalizer(), Latecomer())  # from ROUGH_SEEDS on
SEALED_SEEDS = 1_000_000
WINDOW = 60  # seconds of the challenge window, where there is one


@dataclass(frozen=True)
class Plan:
    """The federation of an episode."""

    terms: Terms
    layout: Layout
    devices: int
    miners: int
    is_full: bool
    has_watchtower: bool
    account_set: int
    device_attacks: dict[int, Any]
    miner_attacks: dict[int, Any]
    cheap_money: bool = True  # whether to look at the contract's money after each block

    @property
    def label(self) -> str:
        """Return it in a few words."""
        terms, attacks = self.terms, [*self.device_attacks.values(), *self.miner_attacks.values()]
        names = [type(attack).__name__ for attack in attacks]
        mode = f"{Mode(terms.mode).name}/{Engine(terms.engine).name}".lower()
        window = " window" if terms.challenge_seconds else ""
        sealed = "".join(f" {value}" for _, value in self.layout.agreement)
        return f"{self.devices} devices {self.miners} miners {mode}{window}{sealed} {' '.join(names)}".strip()


def draw_plan(dice: Dice) -> Plan:
    """Return the federation that a seed stands for; from SEALED_SEEDS on it seals updates, or models too.

    From ROUGH_SEEDS on it seals nothing, and a miner may be one that acts too early or too late.
    """
    layout, is_rough = LAYOUT, dice.seed >= ROUGH_SEEDS
    if SEALED_SEEDS <= dice.seed < ROUGH_SEEDS:
        layout = dice.choice((CONFIDENTIAL, MEMBERS), "layout")
    is_full = dice.share("full") < 0.2
    miners = dice.number(3, 5, "miners")
    devices = miners if is_full else dice.number(3, 6, "devices")
    engine = dice.choice(ENGINES, "engine")
    has_window = dice.share("window") < 0.3
    terms = replace(
        TERMS,
        engine=engine,
        mode=Mode.FULL if is_full else TERMS.mode,
        grace=dice.choice((0, 5, 20), "grace"),
        pow_target=2**254,
        tally_seconds=60,
        layout=layout_digest(layout),
    )
    if has_window:
        terms = replace(
            terms, attest_seconds=120, challenge_seconds=120, challenge_bond=ETHER // 10, answer_seconds=60
        )
    if dice.share("absence") < 0.5:
        terms = replace(terms, absence_seconds=3 * longest_round(terms))
    device_attacks = {}
    if dice.share("device attack") < 0.3 and devices > 3:
        device_attacks = {dice.number(0, devices - 1, "attacker"): dice.choice(DEVICE_ATTACKS, "attack")}
    miner_attacks = {}
    if dice.share("miner attack") < 0.2 and not is_full:
        miner_attacks = {dice.number(0, miners - 1, "liar"): dice.choice(MINER_ATTACKS, "lie")}
    if has_window and dice.share("lying leader") < 0.4 and not is_full:
        miner_attacks = {dice.number(0, miners - 1, "liar"): LyingLeader()}
    if is_rough and dice.share("pest") < 0.3 and not is_full:
        miner_attacks = {dice.number(0, miners - 1, "liar"): dice.choice(PESTS, "pest kind")}
    return Plan(
        terms, layout, devices, miners, is_full, has_window, dice.number(0, SETS - 1, "accounts"),
        device_attacks, miner_attacks,
    )  # fmt: skip


@cache
def account(group: int, role: str, index: int = 0) -> Account:
    """Return an account; there are few, so that their keys are computed once."""
    return Account.derive(group, role, index)


def accounts_of(plan: Plan) -> tuple[Account, list[Account], list[Account], Account]:
    """Return owner, devices, miners and watchtower."""
    group = plan.account_set
    devices = [account(group, "device", i) for i in range(plan.devices)]
    miners = devices if plan.is_full else [account(group, "miner", i) for i in range(plan.miners)]
    return account(group, "owner"), devices, miners, account(group, "watchtower")


def build_world(plan: Plan, dice: Dice, weather: Weather, kind: type[Any] = BytecodeChain) -> World:
    """Deploy and register; nobody runs yet, and nothing goes wrong."""
    from bcfl.roles.common.archive import Archive
    from tests.simulation.store import Contents

    owner, devices, miners, tower = accounts_of(plan)
    contents = Contents()
    archive = Archive(contents, plan.layout, plan.terms)  # type: ignore[arg-type]
    genesis = archive.put(
        fixedpoint.encode(np.zeros(plan.layout.parameters, np.float32), plan.terms.scale_bits)
    )
    everyone = {item.address for item in (owner, tower, *devices, *miners)}
    chain: EpisodeChain = kind(owner, sorted(everyone), plan.terms, (genesis.root, genesis.cid))
    contract = chain.contract
    contract.send(owner, "register_devices", [item.address for item in devices])
    for miner in miners:
        contract.send(miner, "register_miner", value=2 * plan.terms.min_stake - 1)
        if plan.layout.agreement:
            domain = Domain(contract.chain.chain_id, contract.address)
            contract.send(miner, "announce", with_key("", ReaderKey.of(miner, domain).public))
    contract.send(owner, "start")
    world = World(plan, dice, weather, chain, owner, miners)
    world.contents.ever.update(contents.ever)
    world.contents.held.update(contents.held)
    for cid in contents.held:
        world.contents.pins[cid] = {"owner"}
    world.network.refresh()
    return world


def populate(world: World) -> None:
    """Start the processes of all parties."""
    plan = world.plan
    _, devices, miners, tower = accounts_of(plan)
    world.invariants = Invariants(world)
    world.on_start()
    for index, key in enumerate(devices):
        if not plan.is_full:
            _add(world, "device", index, key, device_attack=plan.device_attacks.get(index))
    for index, key in enumerate(miners):
        role = "peer" if plan.is_full else "miner"
        attack = plan.device_attacks.get(index) if plan.is_full else None
        _add(world, role, index, key, device_attack=attack, miner_attack=plan.miner_attacks.get(index))
    if plan.has_watchtower:
        _add(world, "watchtower", 0, tower)


def _add(world: World, role: str, index: int, key: Account, **attacks: Any) -> None:
    dice, optima = world.dice, _optima()
    learner = StepLearner(optima[index], 10 + index, 1000 * (10 + index), drifts=world.is_rough)
    judge = StepLearner(optima[63 - index])
    process = Process(f"{role} {index}", role, index, key, world, learner, judge, **attacks)
    process.skew = dice.choice((0, 0, 0, -2, 1, 3), "skew", process.name)
    if attacks.get("miner_attack") in PESTS:
        process.skew = 0  # it knows the time well
    process.rate = dice.choice((1.0, 1.0, 0.9, 1.1), "rate", process.name)
    world.add(process)


@lru_cache(maxsize=1)
def _optima() -> list[Any]:
    """Return where the data of each party would have the model: near to the others'."""
    rng = np.random.default_rng(7)
    truth = rng.normal(0, 0.3, LAYOUT.parameters)
    return [(truth + rng.normal(0, 0.02, truth.shape)).astype(np.float32) for _ in range(64)]
