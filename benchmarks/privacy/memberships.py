"""Play membership inference by adversary and setting, and write it as a table in Markdown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from bcfl.learning import resolve
from bcfl.learning.training import layout
from bcfl.protocol import payload
from benchmarks.privacy.rows import line
from testkit.privacy import membership, settings
from testkit.privacy.ensemble import Perceptrons
from testkit.privacy.membership import CALIBRATED, RATIO, RAW, Rates

SIZES = {"digits": 71, "breast-cancer": 22}  # samples of a device: a twentieth of the training part
FEDERATION, ROUNDS = 10, 10
HEAD = (
    "task", "setting", "adversary", "reads", "loss alone: AUC", "strongest", "AUC", "TPR at 0.1% FPR",
    "at 1%", "non-members",
)  # fmt: skip


@dataclass(frozen=True)
class Extent:
    """How many models are played."""

    tasks: tuple[str, ...] = ("digits", "breast-cancer")
    devices: int = 8
    shadows: int = 64
    federations: int = 24
    noises: tuple[float | None, ...] = (None, 0.5, 1.1, 2.0)


SMALL = Extent(("digits",), devices=2, shadows=32, federations=0, noises=(None, 1.1))


def guessed(models: Perceptrons, parameters: int, task_name: str) -> Perceptrons:
    """Return what an outsider holds of sealed local models: the ciphertext as changes of the first."""
    task = resolve(task_name)
    length = payload.size(layout(task), settings.DEFAULTS.lane_bits)
    features = models.hidden.shape[2] - 1
    start = torch.tensor(settings.genesis(task, 0)[1])
    parts = []
    for index in range(len(models.hidden)):
        cipher = settings.sealed(bytes(length), index)
        change = settings.as_lanes(cipher, parameters, settings.DEFAULTS).astype(np.float32)
        parts.append(Perceptrons.of(start + torch.tensor(change), features, 1))
    return Perceptrons(torch.cat([part.hidden for part in parts]), torch.cat([part.output for part in parts]))


def rows(extent: Extent, say: Callable[[str], None]) -> list[str]:
    """Return the table's rows, and say when each is done."""
    lines = []
    for name in extent.tasks:
        task, pool = resolve(name), resolve(name).dataset().train
        size, parameters = SIZES[name], len(settings.genesis(task, 0)[1])
        for noise in extent.noises:
            title = "public" if noise is None else f"DP, noise {noise}"
            rates = membership.attack(
                membership.local(task, pool, extent.devices, extent.shadows, size, noise, 0)
            )
            who = "outsider, device, miner"
            lines.append(_line(name, title, who, "update", rates))
            say(lines[-1])
            if noise is None:
                scores = membership.local(
                    task, pool, extent.devices, extent.shadows, size, None, 0,
                    partial(guessed, parameters=parameters, task_name=name),
                )  # fmt: skip
                lines.append(
                    _line(name, "confidential", "outsider, device", "ciphertext", membership.attack(scores))
                )
                say(lines[-1])
            if extent.federations:
                whole, right = membership.whole(task, pool, extent.federations, FEDERATION, ROUNDS, noise, 0)
                who, reads = "outsider, device", f"{ROUNDS} global models, {right:.1%} right"
                both = "public or confidential" if noise is None else title
                lines.append(_line(name, both, who, reads, membership.attack([whole])))
                say(lines[-1])
    return lines


def _line(task: str, setting: str, adversary: str, reads: str, rates: dict[str, Rates]) -> str:
    name = max((CALIBRATED, RATIO), key=lambda key: rates[key].auc)
    best = rates[name]
    return line([
        task, setting, adversary, reads, f"{rates[RAW].auc:.3f}", name, f"{best.auc:.3f}",
        f"{best.at_thousandth:.2%}", f"{best.at_hundredth:.2%}", f"{best.others:,}",
    ])  # fmt: skip


def table(lines: list[str]) -> str:
    """Return the table in Markdown."""
    return "\n".join([line(HEAD), line(["---"] * len(HEAD)), *lines])


def say_to_stderr(text: str) -> None:
    """Write a line of progress."""
    print(text, file=sys.stderr, flush=True)
