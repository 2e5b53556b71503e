"""`bcfl ui`: a federation in a browser, as it is or as it grows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.options import BlockHashOption, BundleArgument, JsonOption, optional
from bcfl.cli.output.printing import print_json
from bcfl.cli.output.terminal import say
from bcfl.cli.query.target import QueryTarget
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.explorer.target import Target

PORT: Final = 8600
EXTRA: Final = frozenset({"starlette", "uvicorn", "jinja2", "h11", "anyio"})
LOOPBACK: Final = "127.0.0.1"
LOCAL: Final = frozenset({LOOPBACK, "localhost", "::1"})
REMOTE_SECONDS: Final = 2.0  # between two looks at a node


@dataclass(frozen=True)
class ServerOptions:
    """Where an explorer listens, and what it does besides showing."""

    host: Annotated[str, typer.Option("--host", metavar="HOST", help="The address to listen on.")] = LOOPBACK
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65_535, help="The port; 0 takes a free one.")
    ] = PORT
    allow_host: Annotated[
        list[str] | None,
        optional("--allow-host", "NAME", "Answer to this name too, of a proxy perhaps; may be repeated."),
    ] = None
    browse: Annotated[
        bool, typer.Option("--open/--no-open", metavar="", help="Open it in a browser.", show_default=False)
    ] = True
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate/--no-evaluate",
            metavar="",
            show_default=False,
            help="Evaluate models here, ask inboxes.",
        ),
    ] = True

    @property
    def is_local(self) -> bool:
        """Whether nobody but this machine is served."""
        return self.host in LOCAL

    @property
    def names(self) -> list[str]:
        """Return the names that it answers to, besides those of the loopback."""
        return [name.lower() for name in (self.host, *(self.allow_host or ()))]


def ui(
    target: QueryTarget,
    server: ServerOptions,
    bundle: BundleArgument = None,
    block_hash: BlockHashOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a federation in a browser: rounds, parties, models, contract, events, audit. It only reads.

    It serves this machine alone unless --host says otherwise, until it is interrupted.
    """
    _require_extra()
    from bcfl.explorer.app import Explorer
    from bcfl.explorer.server import ExplorerServer, address_of, listen, open_browser

    explorer = Explorer(
        _target(bundle, block_hash, target),
        hosts=server.names,
        any_address=not server.is_local,
        measures=server.evaluate,
    )
    try:
        sock = listen(server.host, server.port)
    except ConfigError:
        explorer.close()
        raise
    address = address_of(sock)
    if not server.is_local:
        say(f"warning: whoever reaches {server.host} can read all of this, unasked", to_stderr=True)

    def ready() -> None:
        if as_json:
            print_json({"address": address, "contract": explorer.identity.contract})
        else:
            say(f"{explorer.identity.name}: {address} (Ctrl-C ends it)")
        sys.stdout.flush()
        if server.browse and not as_json:
            open_browser(address)

    ExplorerServer(explorer, sock, ready).serve_until_stopped()


def _require_extra() -> None:
    """Raise ConfigError where the packages of the explorer are not installed."""
    try:
        import bcfl.explorer.server  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in EXTRA:
            raise
        raise ConfigError(f"the explorer needs {error.name}: pip install 'bcfl[ui]'") from None


def _target(bundle: Path | None, block_hash: str | None, target: QueryTarget) -> Target:
    """Return what the options name: a bundle, a run, or a deployed federation."""
    from bcfl.explorer.target import Target, bundle_target

    if bundle is not None:
        if target.run is not None or target.runs is not None:
            raise ConfigError("a bundle is shown alone: leave --run and --runs out")
        return bundle_target(bundle, block_hash, target.adding_to)
    if block_hash is not None:
        raise ConfigError("--block-hash is for a bundle: name the file")
    return Target(target.open, REMOTE_SECONDS) if target.is_deployed else Target(target.open)
