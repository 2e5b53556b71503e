"""A dataclass in a command's signature is a group of options; `with_flags` adds those of a run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from bcfl.cli.groups import grouped, with_flags
from bcfl.config import Config


@dataclass(frozen=True)
class Size:
    """How large something is."""

    width: Annotated[int, typer.Option("--width")] = 1
    height: Annotated[int, typer.Option("--height")] = 2


def test_a_group_is_one_option_a_field_and_arrives_as_one_value() -> None:
    calls = []

    @grouped
    def draw(size: Size, colour: str = "red") -> None:
        """Draw."""
        calls.append((size, colour))

    parameters = inspect.signature(draw).parameters
    assert {name: item.default for name, item in parameters.items()} == {
        "width": 1,
        "height": 2,
        "colour": "red",
    }
    assert (draw.__name__, draw.__doc__) == ("draw", "Draw.")
    draw(width=3, height=2, colour="blue")
    assert calls == [(Size(3, 2), "blue")]


def test_the_options_of_a_run_arrive_where_they_are_set() -> None:
    calls = []

    @with_flags("runs", "run_dir")
    @grouped
    def draw(size: Size, flags: Mapping[str, object]) -> None:
        calls.append((size, flags))

    names = list(inspect.signature(draw).parameters)
    assert names == [
        "width",
        "height",
        *(name for name in Config.model_fields if name not in ("runs", "run_dir")),
    ]
    draw(width=3, height=2, **dict.fromkeys(names[2:]) | {"devices": "7"})
    assert calls == [(Size(3, 2), {"devices": "7"})]


def test_typer_parses_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    @grouped
    def draw(size: Size) -> None:
        print(size.width * size.height)

    app(["--width", "5"], standalone_mode=False)
    assert capsys.readouterr().out == "10\n"
