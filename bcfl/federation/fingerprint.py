"""Remember what a run learns from, so that it notices other data, another model or options on resumption."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from dis import get_instructions
from functools import partial
from pathlib import Path
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

from bcfl.errors import ConfigError, RunError, own_code
from bcfl.federation.own_source import reached, source_of
from bcfl.folders import write_whole

if TYPE_CHECKING:
    from bcfl.learning import Task
    from bcfl.learning.kinds import AnyShares, AnyTask

FILE = "learning.json"
WEIGHTS = "weights"
STRUCTURE = "model structure"
CODE = "code"  # begins what stands for code
PYTHON = "python"  # which version wrote the file: another writes the same code otherwise
ROOTS = ("build", "loss", "metrics", "optimizer", "schedule", "fit", "shared")  # parts whose code is followed
EMPTY = CellType()  # of a name that is not bound yet
ADDRESS = re.compile(r"\b0x[0-9a-f]+")
UNFIT = "does not fit"  # what stands for weights that the task cannot begin with
UNTOLD = frozenset(
    {"name", "description", "load", "build", "exponents", "weights", "agreement"}
)  # no matter, or seen otherwise

Fingerprint = dict[str, str]  # what may change, and what stands for it


def fingerprint(task: AnyTask, shares: AnyShares, seed: int) -> Fingerprint:
    """Return what stands for the data, the first model and each option of the task."""
    from bcfl.learning.flower import FlowerTask, Nodes

    if isinstance(task, FlowerTask) or isinstance(shares, Nodes):
        return task.fingerprint() if isinstance(task, FlowerTask) else {}
    parts = {
        "training data": _hash(*(array for share in shares.devices for array in share.identity())),
        "miners' data": _hash(*(array for share in shares.miners for array in share.identity())),
        "test data": _hash(*shares.test.identity()),
    }
    return parts | task_fingerprint(task, seed)


def task_fingerprint(task: Task, seed: int) -> Fingerprint:
    """Return what stands for the first model, or the weights that it has, each option of the task, and code.

    Code is what the task's parts, and the layers of its model, come to in modules of the user's. A file of
    weights that is gone has nothing that could differ: the first model is on the store. One that does not
    fit the task is another than the run began with.
    """
    from bcfl.learning.training import FIXED_SEED, build, initial_model

    module = build(task, FIXED_SEED)
    options = {field.name: getattr(task, field.name) for field in fields(task) if field.name not in UNTOLD}
    parts = {f"option {name}": _text(value) for name, value in options.items()}
    with own_code(f"task {task.name}: its model cannot be printed"):
        parts[STRUCTURE] = hashlib.sha256(ADDRESS.sub("", repr(module)).encode()).hexdigest()[:32]
    roots = [*_functions(getattr(task, name) for name in ROOTS), *{type(each) for each in module.modules()}]
    parts |= {name: f"{CODE} {value}" for name, value in sorted(reached(roots).items())}
    if task.weights is None:
        return {"model": _hash(initial_model(task.with_exponents({}), seed))} | parts
    if not Path(task.weights).exists():
        return parts
    try:
        return {WEIGHTS: _hash(initial_model(task.with_exponents({}), seed))} | parts
    except ConfigError:
        return {WEIGHTS: UNFIT} | parts


def changes(known: Fingerprint, found: Fingerprint) -> list[str]:
    """Return the names of what differs. Code is compared where both have it: who calls it tells the rest."""
    return [
        name
        for name, value in found.items()
        if known.get(name) != value and (name in known or not value.startswith(CODE))
    ]


def check(folder: Path, found: Fingerprint, weights: Path | str | None = None) -> None:
    """Write the fingerprint of a new run to its folder, or compare it with the one that is there.

    `weights`: the file that the task names. Raises RunError that names what has changed.
    """
    file = folder / FILE
    try:
        known = json.loads(file.read_text())
    except FileNotFoundError:
        try:
            write_whole(file, (json.dumps(found | {PYTHON: _python()}, indent=1) + "\n").encode())
        except OSError as error:
            raise RunError(f"{file} cannot be written: {error.strerror}") from None
        return
    except ValueError:
        raise RunError(f"{file} is damaged: remove it to go on without noticing what has changed") from None
    known = known if isinstance(known, dict) else found
    if WEIGHTS not in known:  # an earlier version took them for the model
        known |= {WEIGHTS: known["model"]} if "model" in known else {}
    if known.get(PYTHON) != _python():  # of an earlier version of bcfl, or of another of Python
        found = {name: value for name, value in found.items() if name != STRUCTURE and CODE not in value}
    changed = changes(known, found)
    if changed == [WEIGHTS]:
        raise RunError(
            f"file of {WEIGHTS} {weights} has changed since this run began: put back what was there, or take "
            "it away, as the run has its first model"
        )
    changed = [f"file of {WEIGHTS} {weights}" if name == WEIGHTS else name for name in changed]
    if changed:
        verb = "has" if len(changed) == 1 else "have"
        has_code = any(found.get(name, "").startswith(CODE) for name in changed)
        way = f", or remove {file} to go on with what is there now" if has_code else ""
        raise RunError(
            f"{', '.join(changed)} {verb} changed since this run began: put back what was there, or start a "
            f"new run{way}"
        )


def _hash(*arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def _text(value: object) -> str:
    """Return a value as text: the source of a function, of a dict its names and those of its values."""
    if is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}({_text(vars(value))})"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_text(item)}" for name, item in value.items())
    if isinstance(value, partial):
        return f"partial({_text(value.func)}, {value.args!r}, {value.keywords!r})"
    if callable(value):
        return _code_text(value)
    return repr(value)


def _code_text(value: Callable[..., object]) -> str:
    """Return what stands for the source of a function, and the numbers and texts that it encloses."""
    digest = source_of(value)
    if digest is None:
        module: str = getattr(value, "__module__", "")
        return f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    enclosed = ""
    if isinstance(value, FunctionType):
        counters = {each.argval for each in get_instructions(value) if each.opname == "STORE_DEREF"}
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            content = None if cell == EMPTY else cell.cell_contents
            if name not in counters and isinstance(content, bool | int | float | str):
                enclosed += f" {name}={content!r}"
    return f"{CODE} {digest}{enclosed}"


def _functions(values: Iterable[Any]) -> list[object]:
    """Return the functions among parts of a task, and those of its dict of metrics."""
    found = list[object]()
    for value in values:
        items = value.values() if isinstance(value, dict) else (value,)
        found += [getattr(item, "of", item) for item in items]
    return [item for item in found if callable(item)]


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
