"""Act as one machine among several, as a process: `python -m tests.machine THREADS FOLDER [MACHINES]`.

With FOLDER alone it trains on a share of the digits, puts the update there and prints what it is. With the
number of machines whose updates are there it prints what they come to under each rule.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

from bcfl.learning import Task, resolve, split
from bcfl.learning.partitions import Split
from bcfl.learning.training import device_learner, initial_model, layout
from bcfl.protocol import aggregation, cid, fixedpoint, merkle, payload
from bcfl.protocol.fixedpoint import Lanes

SCALE, BITS, SHIFT, LEAF, TRIM = 24, 16, 10, 32, 2500
SAMPLES = (134, 205, 99, 150)
RULES = {"mean": 0, "median": 1, "trimmed_mean": 2}


def set_up_data() -> tuple[Task, Split]:
    """The digits, dealt to four devices and two miners."""
    task = resolve("digits")
    return task, split(task.dataset(None), 4, 2, "iid", 0, alpha=0.5, classes=2)


def train(folder: Path) -> dict[str, str]:
    """The bits of a model after one round of local training, and the roots of update and gradient."""
    task, shares = set_up_data()
    model = fixedpoint.encode(initial_model(task, 0), SCALE)
    values = fixedpoint.decode(model, SCALE)
    vector = device_learner(task, shares, 0, 0).train(values, 1).vector
    lanes, _ = fixedpoint.encode_update(vector.astype(np.float64) - values, None, BITS, SCALE, SHIFT)
    np.save(folder / f"update-{len(list(folder.glob('update-*')))}", lanes)
    np.save(folder / "model", model)
    return {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "trained": vector.tobytes().hex(),
        "update": merkle.root(lanes, LEAF).hex(),
    }


def roots(folder: Path, machines: int) -> dict[str, list[str]]:
    """Root and CID of the new model under each rule, and the root of the rows tree."""
    task, _ = set_up_data()
    updates: list[Lanes] = [np.load(folder / f"update-{number}.npy") for number in range(machines)]
    rows = merkle.rows_root(updates, LEAF).hex()
    roots_by_rule = {}
    for name, rule in RULES.items():
        step = aggregation.aggregate(rule, updates, SAMPLES[:machines], SHIFT, TRIM)
        model = aggregation.apply(np.load(folder / "model.npy"), step)
        roots_by_rule[name] = [
            merkle.root(model, LEAF).hex(),
            cid.compute(payload.encode(layout(task), model)),
            rows,
        ]
    return roots_by_rule


if __name__ == "__main__":
    threads, place, *machines = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(json.dumps(roots(Path(place), int(machines[0])) if machines else train(Path(place))))
