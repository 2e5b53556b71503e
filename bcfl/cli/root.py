"""Make the app that commands are added to; one that is asked often can stand in it alone."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Final

import typer

# So that `bcfl round -1` is about a round, not about an option -1.
NUMBERS: Final = {"ignore_unknown_options": True}
EPILOG: Final = (
    "Queries ask the contract and the store of the latest run, of --run DIR, or of --network NAME."
)
# Commands that load nothing of the others: where each is. They stand in `bcfl.cli.app` too.
ALONE: Final = {
    "ls": ("bcfl.cli.query.listing", "ls"),
    "round": ("bcfl.cli.query.rounds", "round_"),
    "model": ("bcfl.cli.query.models", "model"),
    "leader": ("bcfl.cli.query.leaders", "leader"),
    "device": ("bcfl.cli.query.members", "device"),
    "miner": ("bcfl.cli.query.members", "miner"),
    "votes": ("bcfl.cli.query.votes", "votes"),
}


def _version(is_set: bool) -> None:
    if is_set:
        from bcfl.cli.query.listing import version

        version()
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool,
        typer.Option("--version", metavar="", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", metavar="", help="Show where an error comes from.")
    ] = False,
) -> None:
    """Options of all commands; `main` takes --debug out wherever it stands."""


def new_app() -> typer.Typer:
    """Return an app with the options of all commands, and no command yet."""
    app = typer.Typer(
        help="Train one model among many parties, with every round on a chain that anybody can check.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback()(_root)
    return app


def app_of(name: str) -> typer.Typer:
    """Return an app with one command of `ALONE`."""
    from bcfl.cli.examples import with_examples
    from bcfl.cli.groups import grouped

    module, function = ALONE[name]
    command = getattr(import_module(module), function)
    app = new_app()
    if name == "ls":
        app.command(name)(command)
    else:
        app.command(name, context_settings=NUMBERS)(grouped(command))
    with_examples(app)
    return app
