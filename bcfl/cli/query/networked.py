"""The query commands against a network: `bcfl round 3 --network N --deployment NAME` instead of `--run DIR`.

`networked` adds the options to a command and notes what they name for `bcfl.federation.remote`. The variable
BCFL_NETWORK stands for --network where neither a run nor a deployment is named.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bcfl.cli.node.joining import FOLDER, FolderOption, GatewayOption, NetworkOption, StoreOption
from bcfl.errors import ConfigError

DEFAULT: Final = "federation"


@dataclass(frozen=True)
class Place:
    """Where the federation is that a query is about."""

    network: str | None
    deployment: str
    folder: Path
    store: str
    gateway: str | None


def own_parameters(
    network: NetworkOption = None,
    deployment: Annotated[
        str | None,
        typer.Option(
            "--deployment",
            metavar="NAME",
            show_default=False,
            help="Ask a deployed federation, by its name or address, instead of a run.",
        ),
    ] = None,
    folder: FolderOption = FOLDER,
    store: StoreOption = "store",
    gateway: GatewayOption = None,
) -> None:
    """The options that `networked` adds."""


PLACE: ContextVar[Place | None] = ContextVar("place", default=None)


def networked(command: Callable[..., None]) -> Callable[..., None]:
    """A query command that takes --network and --deployment too."""
    own = inspect.signature(own_parameters, eval_str=True).parameters
    theirs = inspect.signature(command, eval_str=True).parameters

    def asked(**given: Any) -> None:
        place = {name: given.pop(name) for name in own}
        a_run = any(given.get(name) is not None for name in ("run", "runs"))
        if place["network"] is None and place["deployment"] is None and (a_run or not _network()):
            command(**given)
            return
        for name in ("run", "runs"):
            if given.get(name) is not None:
                raise ConfigError(f"--{name} is for runs on this machine: leave it out, or --deployment")
        place["deployment"] = place["deployment"] or DEFAULT
        token = PLACE.set(Place(**place))
        try:
            command(**given)
        finally:
            PLACE.reset(token)

    asked.__doc__, asked.__name__ = command.__doc__, command.__name__
    asked.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *(item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in theirs.values()),
            *(item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own.values()),
        ]
    )
    return asked


def _network() -> str | None:
    from bcfl.ledger.deployment.networks import NAME_VARIABLE

    return os.environ.get(NAME_VARIABLE)
