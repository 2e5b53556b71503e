"""Give commands their options: a dataclass is a group of options, and every option of a run is a flag."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any, TypeGuard, get_type_hints

from bcfl.cli.options import config_parameters

Command = Callable[..., None]


def grouped(command: Command) -> Command:
    """Return a command as typer reads it: a parameter that is a dataclass becomes one option a field."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    groups = {item.name: item.annotation for item in parameters if _is_group(item.annotation)}

    def call(**values: Any) -> None:
        arguments = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **arguments)

    options = [
        option
        for item in parameters
        for option in (_options(item.annotation) if item.name in groups else [item])
    ]
    return _signed(call, command, options)


def with_flags(*left_out: str, **helps: str) -> Callable[[Command], Command]:
    """Give a command every option of a run but those `left_out`; it gets those that are set as `flags`.

    `helps`: what options mean to this command, where they mean something else to a run.
    """

    def decorate(command: Command) -> Command:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        flags = [option for option in config_parameters(helps) if option.name not in left_out]

        def call(**values: Any) -> None:
            options = {option.name: values.pop(option.name) for option in flags}
            command(**values, flags={name: value for name, value in options.items() if value is not None})

        return _signed(call, command, [*(item for item in parameters if item.name != "flags"), *flags])

    return decorate


def _is_group(annotation: object) -> TypeGuard[type[Any]]:
    return isinstance(annotation, type) and is_dataclass(annotation)


def _options(group: type) -> Iterable[inspect.Parameter]:
    """Yield a keyword parameter for every field of a group."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )


def _signed(call: Command, command: Command, options: Iterable[inspect.Parameter]) -> Command:
    """Let `call` look like `command` with these options."""
    call.__doc__, call.__name__, call.__module__ = command.__doc__, command.__name__, command.__module__
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    )
    return call
