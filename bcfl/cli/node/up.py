"""`bcfl up`: a whole federation on this machine, every party a process of its own, under one supervisor."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl.cli.node.chain import MNEMONIC
from bcfl.cli.options import config_parameters
from bcfl.cli.output.upview import View, view
from bcfl.config import RUN_OPTIONS, Config
from bcfl.config.sources import PLACES
from bcfl.errors import BcflError, ConfigError, RunError, Unreachable
from bcfl.federation.stall_timeout import StallTimeout
from bcfl.federation.supervisor import Child, Supervisor

if TYPE_CHECKING:
    from bcfl.federation.node import FederationClient
    from bcfl.ledger.deployment.networks import Network
    from bcfl.protocol.accounts import Account

NAME: Final = "up"
FEW: Final = {"devices": 8, "miners": 3}  # processes that a laptop carries
PASSWORD: Final = "password"
TICK: Final = 0.25  # seconds between two looks at the processes
PATIENCE: Final = 600.0  # seconds without any progress until the start is given up
PORTS: Final = 3  # free ports to try for the chain: another program may take one before the chain does
NAMED: Final = 3  # processes that a message tells about


def own_parameters(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Everything is kept here; it goes on where it stood.")
    ] = Path("up"),
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of the chain's JSON-RPC; 0 takes a free one.")
    ] = 8545,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="STORE", show_default=False, help="Else the folder DIR/store; or ipfs:..."
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", metavar="N", min=1, show_default=False, help="End after N rounds; else with Ctrl-C."
        ),
    ] = None,
    anvil: Annotated[bool, typer.Option("--anvil", help="Run anvil instead of the embedded chain.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object an event on stdout.")
    ] = False,
) -> None:
    """The parameters of `bcfl up` that are no options of a run."""


def up(**given: Any) -> None:
    """Start a chain, miners and devices as processes, keep them running, and take them down together.

    Takes the options of `bcfl run`. Ctrl-C or SIGTERM ends it; started again, it goes on where it stood.
    """
    own = {name: given.pop(name) for name in inspect.signature(own_parameters).parameters}
    flags = {name: value for name, value in given.items() if value is not None}
    config = Config.load({**flags, "rounds": own["rounds"]}, defaults=FEW)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with view(own["as_json"], own["folder"]) as shown:
        try:
            _up(own, config, shown)
        except _Interrupted:
            shown.event("down", "taking everything down")


up.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *inspect.signature(own_parameters, eval_str=True).parameters.values(),
        *(option for option in config_parameters() if option.name not in {*RUN_OPTIONS, "rounds"}),
    ]
)


def register(parent: typer.Typer) -> None:
    """Add `bcfl up`."""
    parent.command("up")(up)


class _Interrupted(Exception):
    """A signal has asked for the end."""


def _interrupt(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # what follows takes seconds and is not to be cut short
    raise _Interrupted


def _up(own: Mapping[str, Any], config: Config, shown: View) -> None:
    """Everything in its order: chain, deployment, miners, devices, first round; then watch over them."""
    from bcfl.federation.node import reach
    from bcfl.ledger.deployment.keystore import derive

    folder: Path = own["folder"].absolute()
    _make(folder)
    accounts = derive(MNEMONIC, 0, 1 + config.participants)
    with Supervisor(_environment()) as supervisor:
        network = _start_chain(supervisor, own, folder, len(accounts), shown)
        _deploy(network, folder, own, config, accounts, shown)
        with reach(network, NAME, folder / "deployments") as client:
            shown.event(
                "deployed", f"{client.address} on {network.rpc}", address=client.address, rpc=network.rpc
            )
            desks = _start_parties(supervisor, own, config, accounts, folder)
            if not client.ledger.history().rounds:
                _await_miners(client, supervisor, desks, shown)
                _open(client, supervisor, accounts[0], shown)
            _follow(client, supervisor, own["rounds"], shown)


def _make(folder: Path) -> None:
    """The folders, and the password of the keystore in them."""
    try:
        for name in ("logs", "journals", "keystore", "deployments"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        secret = folder / PASSWORD
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text("a password that protects keys that everybody knows\n")
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}") from None


def _environment() -> dict[str, str]:
    """What the processes see: the task modules of the current directory, and nothing of other networks."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *filter(None, [env.get("PYTHONPATH")])])
    env["OMP_NUM_THREADS"] = "1"
    for name in ("ETH_KEYSTORE_PASSWORD", *PLACES):
        env.pop(name, None)
    return env


def _free_port(port: int = 0) -> int:
    """The port, or any if it is 0; raises ConfigError where something listens already, a chain maybe."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = f"port {port} cannot be used ({error.strerror}): end what listens there, or name another"
            raise ConfigError(f"{reason} with --port; 0 takes a free one") from None
        return int(probe.getsockname()[1])


def _start_chain(
    supervisor: Supervisor, own: Mapping[str, Any], folder: Path, accounts: int, shown: View
) -> Network:
    """The chain as a process, once it answers; all later processes see where it is.

    Where any port will do, one that is free now may be taken when the chain is there: then another is tried.
    """
    from bcfl.ledger.deployment.networks import Network

    for tries_left in reversed(range(1 if own["port"] else PORTS)):
        port = _free_port(own["port"])
        network = Network("rpc", f"http://127.0.0.1:{port}")
        chain = ["chain", "up", "--port", str(port), "--dir", str(folder / "chain")]
        chain += ["--accounts", str(accounts), *(["--anvil"] if own["anvil"] else [])]
        supervisor.env["ETH_RPC_URL"] = network.rpc
        supervisor.add("chain", chain, folder / "logs" / "chain.log")
        try:
            _await_chain(network, supervisor, shown)
            break
        except RunError:
            if not tries_left:
                raise
            supervisor.stop()
    return network


def _await_chain(network: Network, supervisor: Supervisor, shown: View) -> None:
    """Until the chain answers; raises RunError when it ends or says nothing for long."""
    from bcfl.ledger.deployment import networks

    patience = StallTimeout(PATIENCE)
    while True:
        _tend(supervisor, shown, only_chain=True)
        try:
            networks.connect(network, timeout=2).close()
            return
        except Unreachable:
            patience.look(0)
            if patience.over:
                raise RunError(f"no answer from the {supervisor.children[0].standing()}") from None
            time.sleep(TICK)


def _deploy(
    network: Network,
    folder: Path,
    own: Mapping[str, Any],
    config: Config,
    accounts: list[Account],
    shown: View,
) -> None:
    """Deploy and register the devices, unless that has been done."""
    from bcfl.federation.genesis import deploy_genesis
    from bcfl.ledger.artifact import federation_at
    from bcfl.ledger.deployment import networks, records
    from bcfl.ledger.deployment.deploy import register
    from bcfl.storage import open_store

    chain = networks.connect(network)
    try:
        if not records.place(folder / "deployments", network.name, NAME).exists():
            shown.event("deploying", "deploying the federation")
            deploy_genesis(
                config, chain, accounts[0], network, open_store(_store(own, folder)), NAME,
                folder / "deployments", config.devices,
            )  # fmt: skip
        made = records.read(folder / "deployments", network.name, NAME)
        known = made.options
        if (known["mode"], known["devices"], known["miners"]) != (config.mode, config.devices, config.miners):
            raise ConfigError(
                f"{folder} holds a federation of mode {known['mode']} with {known['devices']} devices and "
                f"{known['miners']} miners: give the same, or another --dir"
            )
        devices = [account.address for account in accounts[1 + _alone(config) :]]
        register(federation_at(chain, made.address), accounts[0], devices)
    finally:
        chain.close()


def _store(own: Mapping[str, Any], folder: Path) -> str:
    return own["store"] or str(folder / "store")


def _start_parties(
    supervisor: Supervisor, own: Mapping[str, Any], config: Config, accounts: list[Account], folder: Path
) -> dict[str, Child]:
    """One process for every miner and every device, each with its key in the keystore.

    Returns those that are miners, by their accounts. Each listens where it did before, or else at a free port
    that it finds itself: one that was free a moment ago may be somebody else's by then.
    """
    from bcfl.ledger.deployment import keystore

    password = (folder / PASSWORD).read_text().strip()
    known = {entry.address for entry in keystore.list_entries(folder / "keystore")}
    common = ["--deployment", NAME, "--deployments", str(folder / "deployments")]
    common += ["--keystore", str(folder / "keystore"), "--password-file", str(folder / PASSWORD)]
    common += ["--store", _store(own, folder), "--journal", str(folder / "journals"), "--log-format", "json"]
    if config.data is not None:
        common += ["--data", str(config.data.absolute())]
    miners, desks = _alone(config), dict[str, Child]()
    for role, count, first in (("miner", miners, 1), ("device", config.devices, 1 + miners)):
        for number, account in enumerate(accounts[first : first + count], start=1):
            if account.address not in known:
                keystore.save(folder / "keystore", account.key, password, keystore.LIGHT)
            arguments = ["start", role, *common, "--account", account.address, "--share", f"{number}/{count}"]
            votes = role == "miner" or config.mode == "full"
            if votes:
                arguments += ["--stake", str(config.stake), "--listen", "127.0.0.1:0"]
            if role == "miner":
                arguments += [word for wish in config.wish for word in ("--wish", wish)]
            child = supervisor.add(f"{role} {number}", arguments, folder / "logs" / f"{role}-{number}.log")
            if votes:
                desks[account.address] = child
    return desks


def _alone(config: Config) -> int:
    """How many miners have an account of their own: none where every device is one."""
    return 0 if config.mode == "full" else config.miners


def _await_miners(
    client: FederationClient, supervisor: Supervisor, desks: Mapping[str, Child], shown: View
) -> None:
    """Until all miners have joined and said where they are reached.

    Whoever is alive and still not there when half of the patience is used up is started again, its log
    telling where it stood. Raises RunError, which names who is missing, when nothing gets on any more.
    """
    patience, helped, missing = StallTimeout(PATIENCE), False, list(desks.values())
    while missing:
        _tend(supervisor, shown)
        with _patiently(shown):
            known = client.ledger.history().endpoints
            missing = [child for account, child in desks.items() if account not in known]
        joined = len(desks) - len(missing)
        shown.standing(f"{joined} of {len(desks)} miners have joined", supervisor)
        patience.look(joined + sum(bool(child.last_line()) for child in desks.values()))
        if patience.over:
            raise RunError(_absent(missing, joined))
        if patience.half and not helped:
            helped = True
            _unhang(missing, shown)
        time.sleep(TICK)


def _open(client: FederationClient, supervisor: Supervisor, owner: Account, shown: View) -> None:
    """Open the first round; a chain that is away comes back."""
    from bcfl.federation.node import open_first_round

    patience = StallTimeout(PATIENCE)
    while True:
        try:
            open_first_round(client, owner)
            return
        except Unreachable:
            patience.look(0)
            if patience.over:
                raise
            _tend(supervisor, shown)
            time.sleep(TICK)


def _unhang(missing: Sequence[Child], shown: View) -> None:
    """Have those that are alive and get nowhere started again."""
    for child in missing:
        if child.unhang():
            shown.event("stuck", f"{child.name} does not join: it is started again", process=child.name)


def _absent(missing: Sequence[Child], joined: int) -> str:
    """Who has not joined, and what they said last."""
    said = "; ".join(child.standing() for child in missing[:NAMED])
    more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    where = missing[0].log.parent
    return f"{len(missing)} of {len(missing) + joined} miners do not join: {said}{more}; more in {where}"


def _follow(client: FederationClient, supervisor: Supervisor, rounds: int | None, shown: View) -> None:
    """Keep the processes running and show where the federation stands, until enough rounds have ended."""
    told = 0
    while rounds is None or told < rounds:
        _tend(supervisor, shown)
        with _patiently(shown):
            history = client.ledger.history()
            for number in sorted(history.rounds):
                found = history.rounds[number]
                if number > told and found.closed is not None:
                    shown.round(found)
                    told = number
            shown.moment(client, supervisor)
        time.sleep(TICK)
    shown.event("done", f"{told} rounds have ended")


@contextmanager
def _patiently(shown: View) -> Iterator[None]:
    """While the chain is asked: if it is away, it comes back."""
    try:
        yield
    except BcflError as error:
        shown.standing(str(error), None)


def _tend(supervisor: Supervisor, shown: View, *, only_chain: bool = False) -> None:
    """Restart who died, and tell."""
    for child, why in supervisor.check():
        if only_chain and not child.done:
            raise RunError(f"the chain does not start: it {why}")
        shown.event("died", f"{child.name} {why}", process=child.name)
        with suppress(ValueError):
            sys.stderr.flush()
