"""`bcfl up`: a whole federation on this machine, every party a process of its own, under one supervisor."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.groups import grouped, with_flags
from bcfl.cli.node.chain import MNEMONIC
from bcfl.cli.options import CPU, DeviceOption, optional
from bcfl.cli.output.challenges import NONE
from bcfl.cli.output.committee import committee_warning
from bcfl.cli.output.up_display import open_up_display
from bcfl.config import RUN_OPTIONS, Config

if TYPE_CHECKING:
    from bcfl.federation.local_processes import LocalOptions

# As many processes as a laptop carries, and a challenge window of twice 5 s: every block waits for its end.
FEW: Final = {"devices": 8, "miners": 3, "propose_seconds": 5}


@dataclass(frozen=True)
class UpOptions:
    """Where everything is kept, and what the chain is."""

    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Everything is kept here; it goes on where it stood.")
    ] = Path("up")
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of the chain's JSON-RPC; 0 takes a free one.")
    ] = 8545
    store: Annotated[str | None, optional("--store", "STORE", "Else the folder DIR/store; or ipfs:...")] = (
        None
    )
    anvil: Annotated[bool, typer.Option("--anvil", help="Run anvil instead of the embedded chain.")] = False

    torch_device: DeviceOption = CPU

    def absolute(self) -> LocalOptions:
        """Return the same with an absolute folder, as the processes run elsewhere; raises ConfigError."""
        from bcfl.federation.local_processes import LocalOptions
        from bcfl.learning.accelerators import choose

        folder, chosen = self.folder.absolute(), choose(self.torch_device)
        return LocalOptions(folder, self.port, self.store, self.anvil, chosen)


@with_flags(*RUN_OPTIONS, "rounds")
@grouped
def up(
    options: UpOptions,
    flags: Mapping[str, object],
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", metavar="N", min=1, show_default=False, help="End after N rounds; else with Ctrl-C."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object an event on stdout.")
    ] = False,
) -> None:
    """Start a chain, miners and devices as processes, keep them running, and take them down together.

    Takes the options of `bcfl run`, with other defaults: 8 devices, 3 miners, and propose_seconds=5, so that
    a block waits 10 s for challenges. Ctrl-C or SIGTERM ends it; started again, it goes on where it stood.
    """
    from bcfl.federation.local_processes import LocalProcesses, environment
    from bcfl.federation.supervisor import Supervisor
    from bcfl.federation.views.committee import run_committee
    from bcfl.ledger.deployment.keystore import derive

    config, local = Config.load({**flags, "rounds": rounds}, defaults=FEW), options.absolute()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with open_up_display(as_json, options.folder) as display:
        if text := committee_warning(run_committee(config)):
            display.event("warning", text)
        if not config.window:
            display.event("warning", f"challenges: {NONE}")
        try:
            accounts = derive(MNEMONIC, 0, 1 + config.participants)
            with Supervisor(environment()) as supervisor:
                LocalProcesses(config, local, accounts, supervisor, display).run(rounds)
        except _Interrupted:
            display.event("down", "taking everything down")


def register(parent: typer.Typer) -> None:
    """Add `bcfl up`."""
    parent.command("up")(up)


class _Interrupted(Exception):
    """A signal has asked for the end."""


def _interrupt(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # what follows takes seconds and is not to be cut short
    raise _Interrupted
