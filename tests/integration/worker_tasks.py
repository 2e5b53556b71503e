"""Tasks that workers import: one that is hard to repeat, and some whose own code does harm."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from multiprocessing import parent_process
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from bcfl.learning.context import FitContext
from tests.unit.learning.toy import restless, task_of


def place() -> Path:
    return Path(os.environ["TEST_WORKERS_FOLDER"])


def in_worker() -> bool:
    """Whether this is a process of a pool, or of Ray's."""
    return parent_process() is not None or Path(sys.argv[0]).name == "default_worker.py"


def is_shared(name: str, _tensor: Tensor) -> bool:
    return "running" not in name and not name.startswith("1.")


def fit(model: nn.Module, data: TensorDataset, context: FitContext) -> None:
    """Train with what draws at random: the loader's order, its workers' seeds, dropout, and noise."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for features, labels in DataLoader(data, batch_size=4, shuffle=True):
        optimizer.zero_grad()
        noisy = features + 0.1 * torch.randn_like(features)
        functional.cross_entropy(model(noisy), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    context.progress(1, 1)


def die_once(model: nn.Module, data: TensorDataset, context: FitContext) -> None:
    """End the process at the first training of all; train as `fit` in any later one."""
    mark = place() / "died"
    if in_worker() and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    fit(model, data, context)


def die(_model: nn.Module, _data: TensorDataset, _context: FitContext) -> None:
    """End any worker."""
    if in_worker():
        os._exit(1)


def fail(model: nn.Module, data: TensorDataset, context: FitContext) -> None:
    """Fail where there are few samples."""
    if context.round and len(data) < 7:
        raise ValueError("so few")
    fit(model, data, context)


def interrupt(model: nn.Module, data: TensorDataset, context: FitContext) -> None:
    """Raise what Ctrl-C does, at one of the devices; train as `fit` elsewhere."""
    if in_worker() and context.round and len(data) < 7:
        raise KeyboardInterrupt
    fit(model, data, context)


def wait(_model: nn.Module, _data: TensorDataset, context: FitContext) -> None:
    """Say which process this is, and train for ever, but for the try before the run."""
    if not context.round:
        return
    (place() / str(os.getpid())).touch()
    while True:
        time.sleep(0.05)


plain = task_of(restless)
own = replace(plain, shared=is_shared, fit=fit)
failing, interrupting = replace(plain, fit=fail), replace(plain, fit=interrupt)
dying_once, dying, waiting = (replace(own, fit=loop) for loop in (die_once, die, wait))
