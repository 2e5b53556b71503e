"""What groups of attackers cost rounds of many updates: `python -m benchmarks.groups`.

Fashion-MNIST, 60 devices, 5 miners, without a chain, the setting of the robustness bench; the attackers are
those of `testkit.group_attacks`, of `testkit.few_attacks` where few devices are meant, or of `bcfl run` where
a row names one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from bcfl.learning import Split, Task
from testkit.chainless import Chainless
from testkit.few_attacks import FEW_PLANS, Few
from testkit.framing_group import FRAMES, Framing
from testkit.group_attacks import Group
from testkit.hiding_group import COVERS, Hiding
from testkit.knowing_attack import KNOWING_PLANS, Knowing
from testkit.robustness_cases import Case
from testkit.trigger_attacks import PLANS, Triggers, set_up

# By name: attack of a group or specification of an adversary, share, data.
ROWS = {
    "nobody, even": ("", 0.0, "iid"),
    "nobody, Dirichlet 0.5": ("", 0.0, "dirichlet 0.5"),
    "nobody, Dirichlet 0.1": ("", 0.0, "dirichlet 0.1"),
    "nobody, two classes": ("", 0.0, "pathological"),
    "majority, Dirichlet 0.1": ("majority", 0.3, "dirichlet 0.1"),
    "majority, two classes": ("majority", 0.3, "pathological"),
    "rarest, Dirichlet 0.1": ("rarest", 0.3, "dirichlet 0.1"),
    "overshoot, Dirichlet 0.1": ("overshoot", 0.3, "dirichlet 0.1"),
    "overshoot, 2 of 5 miners collude": ("overshoot+colluding-miner:0.4", 0.3, "dirichlet 0.1"),
    "sign flip, even": ("sign-flip:0.3", 0.3, "iid"),
    "sign flip, Dirichlet 0.5": ("sign-flip:0.3", 0.3, "dirichlet 0.5"),
    "late flip, Dirichlet 0.5": ("late flip", 0.3, "dirichlet 0.5"),
    "backdoor, even": ("backdoor:0.3:share=0.2,boost=1", 0.3, "iid"),
    "backdoor, Dirichlet 0.5": ("backdoor:0.1:share=0.2,boost=1", 0.1, "dirichlet 0.5"),
    "backdoor of 1, Dirichlet 0.5": ("backdoor:0.017:share=0.2,boost=1", 0.017, "dirichlet 0.5"),
    "backdoor of 18, Dirichlet 0.5": ("backdoor:0.3:share=0.2,boost=1", 0.3, "dirichlet 0.5"),
    "backdoor of 18, Dirichlet 0.1": ("backdoor:0.3:share=0.2,boost=1", 0.3, "dirichlet 0.1"),
    "backdoor, 4 classes, Dirichlet 0.5": ("backdoor:0.3:share=0.5,boost=1,classes=4", 0.3, "dirichlet 0.5"),
    "IPM 0.5, Dirichlet 0.5": ("ipm:0.3:knowledge=all,epsilon=0.5", 0.3, "dirichlet 0.5"),
    "MinMax unit, even": ("minmax:0.3:knowledge=all,perturbation=unit", 0.3, "iid"),
    "rider, even": ("rider", 0.15, "iid"),
    "rider, Dirichlet 0.5": ("rider", 0.15, "dirichlet 0.5"),
    "claims most, Dirichlet 0.5": ("claims most", 0.3, "dirichlet 0.5"),
    "one trains, Dirichlet 0.5": ("one trains", 0.3, "dirichlet 0.5"),
    "one gradient, Dirichlet 0.5": ("one gradient", 0.05, "dirichlet 0.5"),
    "patch of 8, Dirichlet 0.5": ("patch of 8", 0.3, "dirichlet 0.5"),
    "patch of 8, even": ("patch of 8", 0.3, "iid"),
    "patch of 8, of 6, Dirichlet 0.5": ("patch of 8", 0.1, "dirichlet 0.5"),
    "frame, Dirichlet 0.5": ("frame", 0.3, "dirichlet 0.5"),
    "loud patch, Dirichlet 0.5": ("loud patch", 0.3, "dirichlet 0.5"),
    "patch for 2 classes, Dirichlet 0.5": ("patch for 2 classes", 0.3, "dirichlet 0.5"),
    "patch for 4 classes, Dirichlet 0.5": ("patch for 4 classes", 0.3, "dirichlet 0.5"),
    "patch of 8 for 2 classes, Dirichlet 0.5": ("patch of 8 for 2 classes", 0.3, "dirichlet 0.5"),
    "patch of 8 for the next class, Dirichlet 0.5": ("patch of 8 for the next class", 0.3, "dirichlet 0.5"),
    "negative, Dirichlet 0.5": ("negative", 0.3, "dirichlet 0.5"),
    "negative, of 6, Dirichlet 0.5": ("negative", 0.1, "dirichlet 0.5"),
    "upside down, Dirichlet 0.5": ("upside down", 0.3, "dirichlet 0.5"),
    "knowing frame, Dirichlet 0.5": ("knowing frame", 0.3, "dirichlet 0.5"),
    "patch for 4 classes twice, Dirichlet 0.5": ("patch for 4 classes twice", 0.17, "dirichlet 0.5"),
    "patch of 8, 4 classes twice, Dirichlet 0.5": ("patch of 8 for 4 classes twice", 0.17, "dirichlet 0.5"),
    "patch of 8, 4 classes twice, even": ("patch of 8 for 4 classes twice", 0.17, "iid"),
    "negative twice, Dirichlet 0.5": ("negative twice", 0.17, "dirichlet 0.5"),
    "negative twice, even": ("negative twice", 0.17, "iid"),
    "absent, Dirichlet 0.5": ("absent", 0.17, "dirichlet 0.5"),
    "cheap rider, Dirichlet 0.5": ("cheap rider", 0.17, "dirichlet 0.5"),
    "noise rider, Dirichlet 0.5": ("noise rider", 0.17, "dirichlet 0.5"),
    "noise rider, even": ("noise rider", 0.17, "iid"),
    "layer rider, Dirichlet 0.5": ("layer rider", 0.17, "dirichlet 0.5"),
    "layer rider, even": ("layer rider", 0.17, "iid"),
    "shaped rider, Dirichlet 0.5": ("shaped rider", 0.17, "dirichlet 0.5"),
    "shaped rider, even": ("shaped rider", 0.17, "iid"),
    "smooth rider, Dirichlet 0.5": ("smooth rider", 0.17, "dirichlet 0.5"),
    "smooth rider, even": ("smooth rider", 0.17, "iid"),
    "low-rank rider, Dirichlet 0.5": ("low-rank rider", 0.17, "dirichlet 0.5"),
    "low-rank rider, even": ("low-rank rider", 0.17, "iid"),
    "old rider, Dirichlet 0.5": ("old rider", 0.17, "dirichlet 0.5"),
    "old rider, even": ("old rider", 0.17, "iid"),
    "blob rider, Dirichlet 0.5": ("blob rider", 0.17, "dirichlet 0.5"),
    "blob rider, even": ("blob rider", 0.17, "iid"),
    "null rider, Dirichlet 0.5": ("null rider", 0.17, "dirichlet 0.5"),
    "mean rider, Dirichlet 0.5": ("mean rider", 0.17, "dirichlet 0.5"),
    "valley, Dirichlet 0.5": ("valley", 0.34, "dirichlet 0.5"),
    "negative, cancelled, Dirichlet 0.5": ("negative, cancelled", 0.3, "dirichlet 0.5"),
    "negative, cancelled, Dirichlet 0.1": ("negative, cancelled", 0.3, "dirichlet 0.1"),
    "negative, alike, Dirichlet 0.5": ("negative, alike", 0.3, "dirichlet 0.5"),
    "negative, alike, Dirichlet 0.1": ("negative, alike", 0.3, "dirichlet 0.1"),
    "negative, own parameters, Dirichlet 0.5": ("negative, own parameters", 0.3, "dirichlet 0.5"),
    "negative, half, Dirichlet 0.5": ("negative, half", 0.3, "dirichlet 0.5"),
    "negative, weak, even": ("negative, weak", 0.3, "iid"),
    "negative, weak, cancelled, even": ("negative, weak, cancelled", 0.3, "iid"),
    "negative, uneven, Dirichlet 0.5": ("negative, uneven", 0.3, "dirichlet 0.5"),
    "negative, in turns, Dirichlet 0.5": ("negative, in turns", 0.3, "dirichlet 0.5"),
    "honest as a group, Dirichlet 0.5": ("honest as a group", 0.3, "dirichlet 0.5"),
    "honest as a group, Dirichlet 0.1": ("honest as a group", 0.3, "dirichlet 0.1"),
    "rider, noise, Dirichlet 0.5": ("free-rider:0.15:kind=noise", 0.15, "dirichlet 0.5"),
}  # fmt: skip
GROUPS = (
    "majority",
    "rarest",
    "overshoot",
    "late flip",
    "rider",
    "one trains",
    "one gradient",
    *PLANS,
    *KNOWING_PLANS,
    *FEW_PLANS,
    *COVERS,
    *FRAMES,
)


def play(
    name: str,
    seed: int,
    rounds: int,
    devices: int = 60,
    miners: int = 5,
    samples: int = 0,
    of_all: float = 0.0,
) -> dict[str, Any]:
    """Play a row; return its figures.

    `samples`: of the training data that are used; 0: all. `of_all`: the attackers' share of the devices, for
    groups; 0: the row's.
    """
    attack, share, partition = ROWS[name]
    share = of_all or share
    group, _, helper = attack.partition("+")
    spec = f"noise:{share}:std=0" if group in GROUPS else group  # who is drawn for a group
    specs = tuple(text for text in (spec, helper) if text)
    case = Case("", specs, share, partition, "mean", seed, devices=devices, miners=miners, rounds=rounds)
    config = case.config()
    start = time.process_time()
    data = set_up(config, samples)
    federation = Chainless.create(config, data)
    attackers = frozenset(federation.assignment.device_specs)
    aims = join(federation, group, attackers, data)
    outcomes, gains = [], list[float]()
    for _ in range(rounds):
        outcomes.append(federation.play_round())
        gains += gain_of(federation, attackers)
    honest = set(range(config.devices)) - attackers
    reasons = Counter(
        f"{'honest' if device in honest else 'attacker'} {reason}"
        for outcome in outcomes for device, reason in outcome.rejected.items()
    )  # fmt: skip
    levels = Counter(
        ("honest" if item.update.device in honest else "attacker", item.level)
        for round_ in federation.history.rounds.values() for item in round_.accepted_submissions()
    )  # fmt: skip
    wages = [
        sum(federation.earned.get(i, 0) for i in some) / max(1, len(some)) for some in (attackers, honest)
    ]
    success = outcomes[-1].attack_success if aims is None else max(aims.success())
    return {
        "row": name, "of": devices, "samples": samples, "seed": seed, "rounds": rounds,
        "accuracy": [round(100 * (outcome.accuracy or 0.0), 2) for outcome in outcomes],
        "success": None if success is None else round(100 * success, 1),
        "honest rejected": share_of(sum(len(set(o.rejected) & honest) for o in outcomes), honest, rounds),
        "attackers accepted": share_of(sum(len(o.accepted & attackers) for o in outcomes), attackers, rounds),
        "pay": round(wages[0] / wages[1], 3) if attackers else None,
        "honest pay": spread_of([federation.earned.get(i, 0) for i in honest]),
        "levels": {f"{who} {level}": count for (who, level), count in sorted(levels.items())},
        "gains": [round(gain, 2) for gain in gains],
        "reasons": dict(reasons), "seconds": round(time.process_time() - start, 1),
    }  # fmt: skip


def join(
    federation: Chainless, group: str, attackers: frozenset[int], data: tuple[Task, Split]
) -> Triggers | Hiding | None:
    """Have a group's members attack; return their triggers, if it has any."""
    knows = group in KNOWING_PLANS
    if knows or group in PLANS:
        bands = (KNOWING_PLANS if knows else PLANS)[group]
        aims = (Knowing if knows else Triggers)(federation, attackers, bands, *data)
        aims.join()
        return aims
    if group in COVERS:
        hiding = Hiding(federation, attackers, *data, cover=COVERS[group])
        hiding.join()
        return hiding
    if group in FEW_PLANS:
        Few(federation, group, attackers, data).join()
    elif group in FRAMES:
        Framing(federation, attackers, *data).join()
    elif group in GROUPS:
        Group(federation, group, attackers, data).join()
    return None


def gain_of(federation: Chainless, attackers: frozenset[int]) -> list[float]:
    """Return the attackers' median gain of the round in the honest median, as the first miner has it.

    None where it has none of both.
    """
    gains: dict[bool, list[float]] = {True: [], False: []}
    for finding in federation.miners[0].voting.verifier.findings:
        if finding.gain is not None:
            gains[finding.device in attackers].append(finding.gain)
    if not gains[True] or not gains[False]:
        return []
    return [median(gains[True]) / max(median(gains[False]), 1e-9)]


def share_of(count: int, devices: frozenset[int] | set[int], rounds: int) -> float | None:
    """Return a count in percent of all that the devices sent."""
    return round(100 * count / (len(devices) * rounds), 1) if devices else None


def spread_of(wages: list[int]) -> list[float]:
    """Return least, median and most in means."""
    mean = max(1.0, sum(wages) / len(wages))
    ordered = sorted(wages)
    return [round(each / mean, 2) for each in (ordered[0], ordered[len(ordered) // 2], ordered[-1])]


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--devices", type=int, default=60)
    parser.add_argument("--miners", type=int, default=5)
    parser.add_argument("--samples", type=int, default=0, help="of the training data; 0: all")
    parser.add_argument(
        "--share", type=float, default=0.0, help="of groups among the devices; 0: as in the row"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name holds one of A;B;...")
    parser.add_argument("--results", type=Path, metavar="FILE", help="append each result as a line")
    options = parser.parse_args()
    for name in ROWS:
        if any(text in name for text in options.only.split(";")):
            sizes = options.devices, options.miners, options.samples, options.share
            result = play(name, options.seed, options.rounds, *sizes)
            print(json.dumps(result), flush=True)
            if options.results is not None:
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
