"""Hold the options of a run together: from all sources, checked against one another.

A value comes from the strongest source that names it: a flag, `-c key=value`, the file `bcfl.toml`,
the variable `BCFL_KEY`, the default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from bcfl.config.conflicts import conflicts
from bcfl.config.options import Options
from bcfl.config.sources import Given, explain, from_environment, from_file, from_flags, from_pairs, unknown
from bcfl.config.values import digits
from bcfl.errors import ConfigError
from bcfl.protocol.limits import MAX_MINERS


class Config(Options):
    """What a run is made of; frozen, checked, the same from Python as from the command line.

    Raises ConfigError when a value, or two together, cannot be used.
    """

    @model_validator(mode="before")
    @classmethod
    def _full_mode(cls, values: Any) -> Any:
        """Take as many miners as devices in `full`, unless somebody says otherwise and is refused."""
        if not isinstance(values, dict) or values.get("mode") != "full" or values.get("miners") is not None:
            return values
        devices = values.get("devices", cls.model_fields["devices"].default)
        miners = min(devices, MAX_MINERS) if isinstance(devices := digits(devices), int) else devices
        return {**values, "miners": miners}

    @model_validator(mode="after")
    def _without_conflicts(self) -> Self:
        for conflict in conflicts(self):
            raise ValueError(conflict)
        return self

    @classmethod
    def load(
        cls,
        flags: Mapping[str, object] | None = None,
        pairs: Sequence[str] = (),
        toml: Path | None = None,
        env: Mapping[str, str] | None = None,
        defaults: Mapping[str, object] | None = None,
    ) -> Self:
        """Return the options of all sources together, the strongest first.

        `flags`: option to value, None where not given. `pairs`: `key=value`. `toml`: None takes
        `bcfl.toml` where there is one. `env`: None takes the process's own. `defaults`: what a command
        has in the place of an option's own default. Raises ConfigError that names the key and the source.
        """
        options: dict[str, Given] = {}
        for option in (
            *from_environment(os.environ if env is None else env),
            *from_file(toml),
            *from_pairs(pairs),
            *from_flags(flags or {}),
        ):
            name = option.name if option.name in cls.model_fields else option.name.replace("-", "_")
            if name not in cls.model_fields:
                raise ConfigError(unknown(cls, option.name, option.source))
            options[name] = option
        _refuse_two_tasks(options)
        for name, value in (defaults or {}).items():
            if name != "miners" or "mode" not in options or options["mode"].value != "full":
                options.setdefault(name, Given(name, value, "the command's default"))
        return cls._of(options)

    @classmethod
    def flag(cls, name: str, value: object) -> Any:
        """Return one option as its flag gives it, checked; raises ConfigError that names the flag."""
        return getattr(cls._of({option.name: option for option in from_flags({name: value})}), name)

    @classmethod
    def _of(cls, options: Mapping[str, Given]) -> Self:
        """Return the options of these sources; raises ConfigError that names the key and the source."""
        try:
            return cls.model_validate({name: option.value for name, option in options.items()})
        except ConfigError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            sources = {name: option.source for name, option in options.items()}
            raise ConfigError(explain(cls, error.__cause__, sources)) from None


def _refuse_two_tasks(options: Mapping[str, Given]) -> None:
    """Raise ConfigError where somebody names an app and a task, also the default one."""
    task, flower = options.get("task"), options.get("flower")
    if task is not None and flower is not None and task.value == Options.model_fields["task"].default:
        raise ConfigError(
            f"task={task.value} ({task.source}) and flower={flower.value} ({flower.source}) are two things "
            "to learn: leave one out"
        )
