"""What groups of attackers cost rounds of many updates: `python -m benchmarks.groups`.

Fashion-MNIST, 60 devices, 5 miners, without a chain, the setting of the robustness bench; the attackers are
those of `testkit.group_attacks`, or of `bcfl run` where a row names one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from testkit.chainless import Chainless
from testkit.group_attacks import Group
from testkit.robustness_cases import Case

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
    "rider, noise, Dirichlet 0.5": ("free-rider:0.15:kind=noise", 0.15, "dirichlet 0.5"),
}  # fmt: skip
GROUPS = ("majority", "rarest", "overshoot", "late flip", "rider")


def play(name: str, seed: int, rounds: int) -> dict[str, Any]:
    """Play a row; return its figures."""
    attack, share, partition = ROWS[name]
    group, _, helper = attack.partition("+")
    spec = f"noise:{share}:std=0" if group in GROUPS else group  # who is drawn for a group
    specs = tuple(text for text in (spec, helper) if text)
    config = Case("", specs, share, partition, "mean", seed, rounds=rounds).config()
    start = time.process_time()
    federation = Chainless.create(config)
    attackers = frozenset(federation.assignment.device_specs)
    if group in GROUPS:
        Group(federation, group, attackers).join()
    outcomes = [federation.play_round() for _ in range(rounds)]
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
        sum(federation.earned.get(i, 0) for i in devices) / max(1, len(devices))
        for devices in (attackers, honest)
    ]
    success = outcomes[-1].attack_success
    return {
        "row": name, "seed": seed, "rounds": rounds,
        "accuracy": [round(100 * (outcome.accuracy or 0.0), 2) for outcome in outcomes],
        "success": None if success is None else round(100 * success, 1),
        "honest rejected": share_of(sum(len(set(o.rejected) & honest) for o in outcomes), honest, rounds),
        "attackers accepted": share_of(sum(len(o.accepted & attackers) for o in outcomes), attackers, rounds),
        "pay": round(wages[0] / wages[1], 3) if attackers else None,
        "honest pay": spread_of([federation.earned.get(i, 0) for i in honest]),
        "levels": {f"{who} {level}": count for (who, level), count in sorted(levels.items())},
        "reasons": dict(reasons), "seconds": round(time.process_time() - start, 1),
    }  # fmt: skip


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
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name holds one of A;B;...")
    parser.add_argument("--results", type=Path, metavar="FILE", help="append each result as a line")
    options = parser.parse_args()
    for name in ROWS:
        if any(text in name for text in options.only.split(";")):
            result = play(name, options.seed, options.rounds)
            print(json.dumps(result), flush=True)
            if options.results is not None:
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
