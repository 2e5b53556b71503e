"""The cases of the robustness bench: who attacks, on which data, against which pipeline, from which seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bcfl.config import Config

FEDAVG = "fedavg"  # every check off, weighted mean
PIPELINES = (FEDAVG, "mean", "median", "trimmed_mean")
PARTITIONS = ("iid", "dirichlet 0.5", "dirichlet 0.1")
SHARES = (0.15, 0.30, 0.45)
SIZES = {3: 3, 6: 3, 12: 4, 20: 5}  # devices of a small federation, and its miners
SMALL_PARTITIONS = ("iid", "dirichlet 0.5", "pathological")  # the last: two classes a device
CLASSES = 10  # of Fashion-MNIST and of digits: four devices cannot hold them by twos
SMALL_ATTACKS = {
    "sign flip": ("sign-flip", 0.34),
    "backdoor, 20% of the data": ("backdoor:share=0.2,boost=1", 0.17),
}
# Who plays the rules itself, by the name of its row: devices, partition, share, what it is.
ADAPTIVE: tuple[tuple[str, int, str, float, str], ...] = (
    ("adaptive, backdoor", 6, "dirichlet 0.5", 0.17, "adaptive:goal=backdoor"),
    ("adaptive, loss", 6, "dirichlet 0.5", 0.34, "adaptive"),
    ("adaptive, loss", 20, "dirichlet 0.5", 0.30, "adaptive"),
    ("adaptive, loss", 60, "dirichlet 0.5", 0.30, "adaptive"),
    ("adaptive, loss, this round", 60, "dirichlet 0.5", 0.30, "adaptive:knowledge=round"),
    ("adaptive, loss", 60, "dirichlet 0.1", 0.30, "adaptive"),
    ("adaptive, loss, this round", 60, "dirichlet 0.1", 0.30, "adaptive:knowledge=round"),
    ("adaptive, loss, asleep for ten rounds", 60, "dirichlet 0.5", 0.30, "adaptive:sleep=10"),
    ("adaptive, frame", 60, "dirichlet 0.1", 0.30, "adaptive:goal=frame"),
    ("adaptive, backdoor", 60, "dirichlet 0.5", 0.30, "adaptive:goal=backdoor"),
    ("adaptive, class", 60, "dirichlet 0.5", 0.30, "adaptive:goal=class"),
    ("adaptive, earn", 60, "iid", 0.15, "adaptive:goal=earn"),
    ("adaptive, earn", 60, "dirichlet 0.5", 0.15, "adaptive:goal=earn"),
    ("drift", 60, "dirichlet 0.5", 0.30, "drift"),
    ("class swap", 60, "dirichlet 0.5", 0.30, "class-swap"),
)
COLLUDING = {"verify": "colluding-miner:0.4", "reject": "colluding-miner:0.4:others=reject"}

# Poison by the name of its row; the omniscient ones know every honest update of the round.
POISON = {
    "label flip": "label-flip",
    "sign flip": "sign-flip",
    "noise": "noise",
    "ALIE": "alie:knowledge=all",
    "IPM 0.5": "ipm:knowledge=all,epsilon=0.5",
    "IPM 100": "ipm:knowledge=all,epsilon=100",
    **{
        f"{name} {perturbation}": f"{name.lower()}:knowledge=all,perturbation={perturbation}"
        for name in ("MinMax", "MinSum")
        for perturbation in ("unit", "std", "sign")
    },
}
GRID_POISON = {"scaling": "scaling", "ALIE z=1.5": "alie:knowledge=all,z=1.5", "noise 1": "noise:std=1"}
BACKDOORS = {"backdoor": "backdoor", "backdoor, unscaled": "backdoor:boost=1"}
EARNERS = {
    "plagiarist, exact": "plagiarist",
    "plagiarist, noisy": "plagiarist:kind=noisy",
    "plagiarist, exact, this round": "plagiarist:victim=present",
    "plagiarist, noisy, this round": "plagiarist:kind=noisy,victim=present",
    "free rider, zero": "free-rider",
    "free rider, stale": "free-rider:kind=stale",
    "free rider, noise": "free-rider:kind=noise",
    "inflater": "inflater:forged=false",
    "inflater, forged time": "inflater",
    "inflater, forged time, stretched": "inflater:stretched=true",
}


@dataclass(frozen=True)
class Case:
    """One run of the bench."""

    attack: str  # the name of its row; empty: nobody misbehaves
    adversaries: tuple[str, ...]
    share: float
    partition: str
    pipeline: str
    seed: int
    devices: int = 60
    miners: int = 5
    rounds: int = 20
    task: str = "fashion-mnist"
    group: str = "poison"

    @property
    def key(self) -> str:
        """The text that tells this case from all others."""
        return "|".join(str(value) for name, value in asdict(self).items() if name not in ("attack", "group"))

    def config(self) -> Config:
        """Return the options of `bcfl run` that play this case."""
        name, _, alpha = self.partition.partition(" ")
        options: dict[str, Any] = {"partition": name} | ({"alpha": float(alpha)} if alpha else {})
        if self.pipeline == FEDAVG:
            options |= {option: False for option in Config.model_fields if option.startswith("check_")}
        else:
            options["rule"] = self.pipeline
        if self.task == "fashion-mnist":
            options |= {"epochs": 2, "batch_size": 32, "learning_rate": 0.1}
        return Config(
            devices=self.devices, miners=self.miners, rounds=self.rounds, seed=self.seed, task=self.task,
            adversary=self.adversaries,
            min_updates=max(1, self.devices // 4),  # honest ones are fewer than usual
            leaf_lanes=512,  # large ones: hashing is not what is measured
            **options,
        )  # fmt: skip


def attack_case(
    attack: str, spec: str, share: float, partition: str, pipeline: str, seed: int, **fields: Any
) -> Case:
    """Return the case of one attack; `spec` lacks its share."""
    name, _, parameters = spec.partition(":")
    text = f"{name}:{share:g}" + (f":{parameters}" if parameters else "")
    return Case(attack, (text, *fields.pop("helpers", ())), share, partition, pipeline, seed, **fields)


def headline(seeds: int = 3) -> Iterator[Case]:
    """Yield the rows that the goals speak of, a seed after the other."""
    for seed in range(seeds):
        for partition in PARTITIONS:
            for pipeline in (FEDAVG, "mean"):
                yield Case("", (), 0.0, partition, pipeline, seed)
        for partition in PARTITIONS[:2]:
            for attack, spec in POISON.items():
                for pipeline in (FEDAVG, "mean"):
                    yield attack_case(attack, spec, 0.30, partition, pipeline, seed)
        for attack in ("label flip", "sign flip", "noise"):
            for pipeline in (FEDAVG, "mean"):
                yield attack_case(attack, POISON[attack], 0.45, "iid", pipeline, seed)
        for attack, spec in BACKDOORS.items():
            for pipeline in (FEDAVG, "mean"):
                yield attack_case(attack, spec, 0.20, "iid", pipeline, seed, group="backdoor")
        yield from _colluding(seed)
        yield from _earning(seed)
        yield from _vbfl(seed)


def small(seeds: int = 3) -> Iterator[Case]:
    """Yield federations of 3 to 20 devices: nobody attacks, a third flips signs, a sixth has a backdoor."""
    for seed in range(seeds):
        for devices, miners in SIZES.items():
            for partition in SMALL_PARTITIONS:
                if partition != "pathological" or 2 * devices >= CLASSES:
                    yield from _small(devices, miners, partition, seed)


def adaptive(seeds: int = 3) -> Iterator[Case]:
    """Yield adversaries that adapt, and attacks over rounds, with nobody beside them; 60 devices last."""
    for seed in range(seeds):
        for attack, devices, partition, share, spec in ADAPTIVE:
            miners, rounds = SIZES.get(devices, 5), 20 if devices > max(SIZES) else 10
            fields: dict[str, Any] = {"devices": devices, "miners": miners, "rounds": rounds}
            fields["group"] = "adaptive"
            for pipeline in (FEDAVG, "mean"):
                yield Case("", (), 0.0, partition, pipeline, seed, **fields)
                yield attack_case(attack, spec, share, partition, pipeline, seed, **fields)


def _small(devices: int, miners: int, partition: str, seed: int, **fields: Any) -> Iterator[Case]:
    options: dict[str, Any] = {"devices": devices, "miners": miners, "rounds": 10, "group": "small"} | fields
    for pipeline in (FEDAVG, "mean"):
        yield Case("", (), 0.0, partition, pipeline, seed, **options)
        for attack, (spec, share) in SMALL_ATTACKS.items():
            if devices > min(SIZES):  # of three, one honest device beside an attacker is no majority
                yield attack_case(attack, spec, share, partition, pipeline, seed, **options)


def grid(seed: int = 0) -> Iterator[Case]:
    """Yield every poison against every pipeline, in every share and on all data."""
    for partition in PARTITIONS:
        for pipeline in PIPELINES:
            yield Case("", (), 0.0, partition, pipeline, seed)
            for share in SHARES:
                for attack, spec in {**POISON, **GRID_POISON}.items():
                    yield attack_case(attack, spec, share, partition, pipeline, seed)
                for attack, spec in BACKDOORS.items():
                    yield attack_case(attack, spec, share, partition, pipeline, seed, group="backdoor")


def quick() -> Iterator[Case]:
    """Yield a small campaign of a few minutes."""
    small: dict[str, Any] = {"devices": 20, "miners": 3, "rounds": 5, "task": "digits"}
    for pipeline in PIPELINES:
        yield Case("", (), 0.0, "iid", pipeline, 0, **small)
        for attack in ("label flip", "sign flip", "ALIE", "IPM 100", "MinMax unit"):
            yield attack_case(attack, POISON[attack], 0.30, "iid", pipeline, 0, **small)
        yield attack_case("backdoor", "backdoor", 0.20, "iid", pipeline, 0, group="backdoor", **small)
    for partition in ("iid", "dirichlet 0.5"):
        yield from _small(6, 3, partition, 0, rounds=5, task="digits")
    yield attack_case(
        "adaptive, loss", "adaptive", 0.34, "dirichlet 0.5", "mean", 0,
        devices=6, miners=3, rounds=5, task="digits", group="small",
    )  # fmt: skip
    for attack in ("plagiarist, exact", "free rider, zero", "inflater, forged time"):
        yield attack_case(attack, EARNERS[attack], 0.15, "iid", "mean", 0, group="earnings", **small)


def _colluding(seed: int) -> Iterator[Case]:
    for policy, miner in COLLUDING.items():
        for attack in ("label flip", "sign flip", "IPM 0.5", "MinMax unit"):
            yield attack_case(
                f"{attack}, 2 of 5 miners collude ({policy})", POISON[attack], 0.30, "iid", "mean", seed,
                helpers=(miner,), group="miners",
            )  # fmt: skip


def _earning(seed: int) -> Iterator[Case]:
    for attack, spec in EARNERS.items():
        for partition in PARTITIONS[:2]:
            yield attack_case(attack, spec, 0.15, partition, "mean", seed, group="earnings")


def _vbfl(seed: int) -> Iterator[Case]:
    """Yield the setting of Chen et al. 2021 (arXiv:2101.03300): 3 of 20 devices add noise of variance 1."""
    for pipeline in (FEDAVG, "mean"):
        yield Case("", (), 0.0, "iid", pipeline, seed, devices=20, group="VBFL")
        yield attack_case("noise 1", "noise:std=1", 0.15, "iid", pipeline, seed, devices=20, group="VBFL")
