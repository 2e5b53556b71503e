"""Read a Flower app from its folder: which ClientApp, which run config, which first model."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bcfl.errors import ConfigError, own_code
from bcfl.learning.flower import calls
from bcfl.learning.flower.nodes import UserConfig
from bcfl.ports import Vector
from bcfl.protocol.types import Exponent, Layout
from bcfl.toml import read_toml

if TYPE_CHECKING:
    from bcfl.learning.flower.opening import Opening

PROJECT = "pyproject.toml"
COMPONENTS = "tool.flwr.app.components"
SOURCES = (".py", ".toml")
EXTRA = "pip install 'bcfl[flower]'"


@dataclass(frozen=True)
class FlowerTask:
    """A Flower app as a task: the counterpart of `bcfl.learning.Task`; every party has the same.

    `client` and `server` are references of the form module:attribute.
    """

    folder: Path
    name: str
    client: str
    server: str | None
    run_config: UserConfig
    node_config: UserConfig
    seconds: float  # that a call of the app may take
    seed: int
    exponents: Mapping[str, Exponent] | None = None  # by array; None: genesis chooses
    agreement: tuple[tuple[str, str], ...] = ()  # what a federation agrees on beside the app
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def metric(self) -> str | None:
        """Return the name of the metric that tables show; None before an evaluation, or without any."""
        return next(iter(self._cache.get("metrics", ())), None)

    def set_metrics(self, names: list[str]) -> None:
        """Remember the names of the app's metrics, in order."""
        if names:
            self._cache.setdefault("metrics", tuple(names))

    @property
    def is_warm(self) -> bool:
        """Whether the app has trained in this process: what it imports for that is there."""
        return "warm" in self._cache

    def set_warm(self) -> None:
        """Remember that the app has trained in this process."""
        self._cache["warm"] = True

    def with_exponents(self, exponents: Mapping[str, Exponent]) -> FlowerTask:
        """Return this task with the exponents of a federation's layout, by array."""
        return replace(self, exponents=dict(exponents))

    def with_agreement(self, agreement: tuple[tuple[str, str], ...]) -> FlowerTask:
        """Return this task with what a federation agrees on beside it, name and value."""
        return replace(self, agreement=agreement)

    @property
    def opening(self) -> Opening:
        """Return what the app's server would send first; raises ConfigError."""
        if "opening" not in self._cache:
            self._cache["opening"] = self._open()
        opening: Opening = self._cache["opening"]
        return opening

    def _open(self) -> Opening:
        from flwr.clientapp import ClientApp
        from flwr.serverapp import ServerApp

        from bcfl.learning.flower.opening import open_app

        client = self.load(self.client, ClientApp)
        server = None if self.server is None else self.load(self.server, ServerApp)
        opening, _ = calls.call(
            f"{self.title}: its first model cannot be had",
            lambda: open_app(client, server, self.run_config, self.node_config),
            seconds=self.seconds,
            seed=self.seed,
        )
        return opening

    @property
    def layout(self) -> Layout:
        """Return names, shapes and exponents of the arrays; raises ConfigError."""
        return replace(self.opening.arrays.layout(self.exponents or {}), agreement=self.agreement)

    @property
    def first_model(self) -> Vector:
        """Return the vector of the app's first model, (parameters,); raises ConfigError."""
        model = self.opening.arrays.first / self.scale
        if not np.isfinite(model).all():
            raise ConfigError(f"{self.title}: its first model has values that are no finite numbers")
        return model.astype(np.float32)

    @property
    def scale(self) -> Vector:
        """Return `2**exponent` for each entry of the vector, (parameters,)."""
        from bcfl.learning.flat import scale_of

        scale = scale_of(self.layout)
        return np.ones(self.opening.arrays.parameters, np.float32) if scale is None else scale

    @property
    def title(self) -> str:
        """Return how errors call the app."""
        return f"Flower app {self.name}"

    def fingerprint(self) -> dict[str, str]:
        """Return what stands for the app's code, its first model and its config."""
        digest = hashlib.sha256()
        for path in sorted(path for path in self.folder.rglob("*") if path.suffix in SOURCES):
            digest.update(f"{path.relative_to(self.folder)}\n".encode())
            digest.update(path.read_bytes())
        model = hashlib.sha256(self.opening.arrays.first.tobytes()).hexdigest()
        return {
            "app": digest.hexdigest()[:32],
            "model": model[:32],
            "run config": repr(sorted(self.run_config.items())),
            "node config": repr(sorted(self.node_config.items())),
        }

    def load(self, reference: str, kind: type) -> Any:
        """Import what a reference names, an instance of `kind`; raises ConfigError."""
        _refuse_other_module(self, reference)
        with own_code(f"{self.title}: {reference} cannot be loaded"):
            from flwr.supercore.object_ref import load_app

            value = load_app(reference, ConfigError, self.folder)
        if not isinstance(value, kind):
            raise ConfigError(f"{self.title}: {reference} is a {type(value).__name__}, not a {kind.__name__}")
        return value


def read_task(
    folder: Path, *, run_config: str | None, node_config: str | None, seconds: float, seed: int
) -> FlowerTask:
    """Return the app of a folder; its code is not run yet.

    `run_config` and `node_config` are `key=value` pairs with blanks between them, as Flower's options of
    these names take them; the first override keys that the app has. Raises ConfigError, one line, for a
    folder that is none of an app, a key that is missing or unknown, and without flwr.
    """
    if not folder.is_dir():
        raise ConfigError(f"--flower {folder}: there is no such folder: name that of a Flower app")
    if not (folder / PROJECT).is_file():
        raise ConfigError(f"--flower {folder}: there is no {PROJECT}: name the folder of a Flower app")
    require_flower()
    project = read_toml(folder / PROJECT, "mend it")
    components = _table(folder, project, COMPONENTS)
    client, server = (_reference(folder, components, name) for name in ("clientapp", "serverapp"))
    if client is None:
        raise ConfigError(
            f'{folder / PROJECT} names no clientapp in [{COMPONENTS}]: write clientapp = "module:app"'
        )
    name = _table(folder, project, "project").get("name") or folder.resolve().name
    config = _flat(folder, _table(folder, project, "tool.flwr.app.config"))
    overrides = _pairs("run_config", run_config)
    for key in overrides:
        if key not in config:
            known = ", ".join(config) or "none"
            raise ConfigError(f"run_config: {key} is not in [tool.flwr.app.config] of {name}: known: {known}")
    return FlowerTask(
        folder.resolve(),
        str(name),
        client,
        server,
        config | overrides,
        _pairs("node_config", node_config),
        seconds,
        seed,
    )


def require_flower() -> None:
    """Import Flower with its telemetry off; raises ConfigError where it is not installed."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    if importlib.util.find_spec("flwr") is None:
        raise ConfigError(f"--flower needs Flower, which is not installed: {EXTRA}")
    with own_code(f"Flower cannot be imported ({EXTRA} installs the version that fits)"):
        from flwr.supercore import telemetry
        from flwr.supercore.task_identity import TaskIdentity
    telemetry.FLWR_TELEMETRY_ENABLED = "0"  # also where somebody has imported it before
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1


def _table(folder: Path, project: dict[str, Any], name: str) -> dict[str, Any]:
    table: Any = project
    for part in name.split("."):
        table = table.get(part, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise ConfigError(f"{folder / PROJECT}: [{name}] must be a table")
    return table


def _reference(folder: Path, components: dict[str, Any], name: str) -> str | None:
    value = components.get(name)
    if value is None:
        return None
    module, colon, attribute = str(value).partition(":")
    if not (module and colon and attribute):
        raise ConfigError(f"{folder / PROJECT}: {name} = {value!r} is not of the form module:attribute")
    return str(value)


def _flat(folder: Path, table: dict[str, Any], prefix: str = "") -> UserConfig:
    """Return a nested table with dots between the keys, as Flower does."""
    flat: UserConfig = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(folder, value, f"{prefix}{key}.")
        elif isinstance(value, bool | int | float | str):
            flat[f"{prefix}{key}"] = value
        else:
            kinds = "text, a number or a truth value"
            raise ConfigError(f"{folder / PROJECT}: {prefix}{key} of the config must be {kinds}")
    return flat


def _pairs(name: str, text: str | None) -> UserConfig:
    if text is None:
        return {}
    with own_code(f"{name}={text[:60]} is not a list of key=value as Flower takes it"):
        from flwr.common.config import parse_config_args

        pairs: UserConfig = parse_config_args([text])
        if not pairs:
            raise ValueError("nothing is set in it")
        return pairs


def _refuse_other_module(task: FlowerTask, reference: str) -> None:
    """Raise ConfigError where another folder's module of the same name has been imported before."""
    name = reference.partition(":")[0].partition(".")[0]
    module = sys.modules.get(name)
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    if module is not None and not any(Path(p).is_relative_to(task.folder) for p in places if p):
        raise ConfigError(
            f"{task.title}: a module named {name} has been imported from elsewhere: rename the app's"
        )
