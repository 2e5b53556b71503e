"""`bcfl start device|miner|round`: one party of a deployed federation, for as long as the command runs."""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from bcfl.cli.node.account import PasswordFile
from bcfl.cli.node.joining import (
    FOLDER,
    AccountOption,
    DeploymentOption,
    FolderOption,
    GatewayOption,
    KeystoreOption,
    NetworkOption,
    StoreOption,
    address,
    joined,
    share,
    signing,
)
from bcfl.cli.node.logs import LogFormat, start_logging
from bcfl.cli.options import JsonOption
from bcfl.cli.output.printing import ether, plural, print_fields, print_json
from bcfl.config import MAX_MINERS, Config
from bcfl.errors import ConfigError

if TYPE_CHECKING:
    from bcfl.federation.daemon import Daemon
    from bcfl.federation.node import FederationClient
    from bcfl.learning import Task
    from bcfl.learning.partitions import Split
    from bcfl.learning.training import TorchLearner
    from bcfl.protocol.accounts import Account
    from bcfl.protocol.types import Layout
    from bcfl.roles.miner.verifier import Checks

POLL: Final = 0.5
LOCAL: Final = "127.0.0.1:0"
KEEP: Final = 8
CLAIM_EVERY: Final = 5
log = logging.getLogger(__name__)

JournalOption = Annotated[
    Path,
    typer.Option("--journal", metavar="DIR", help="Where the party writes down what it must not forget."),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task", metavar="NAME", show_default=False, help="What is learnt; else as it was deployed."
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", show_default=False, help="The folder of the task's data set."),
]
ShareOption = Annotated[
    str | None,
    typer.Option(
        "--share",
        metavar="I/N",
        show_default=False,
        help="Hold one share of the data set: 1/8 is the first of eight; else all of it.",
    ),
]
PairsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        metavar="KEY=VALUE",
        show_default=False,
        help="An option of learning (partition, seed, epochs...), where it differs from the deployment's.",
    ),
]
PollOption = Annotated[
    float, typer.Option("--poll", metavar="X", min=0.05, max=60, help="Seconds between looks at the chain.")
]
RoundsOption = Annotated[
    int | None,
    typer.Option(
        "--rounds", metavar="N", min=1, show_default=False, help="End when N more rounds have ended."
    ),
]
ListenOption = Annotated[
    str,
    typer.Option(
        "--listen", metavar="HOST:PORT", help="Where to listen; port 0: as announced, else a free one."
    ),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        show_default=False,
        help="Where others reach it, announced on chain; else where it listens.",
    ),
]
StakeOption = Annotated[
    str | None,
    typer.Option(
        "--stake", metavar="WEI", show_default=False, help="Join with this stake, if not a miner yet."
    ),
]
KeepOption = Annotated[
    int,
    typer.Option(
        "--keep", metavar="N", min=0, help="Rounds after which an IPFS store may drop their bytes; 0: never."
    ),
]
ClaimOption = Annotated[
    int,
    typer.Option("--claim-every", metavar="N", min=0, help="Claim rewards after so many rounds; 0: never."),
]
FormatOption = Annotated[LogFormat, typer.Option("--log-format", help="How a line of the log looks.")]

app = typer.Typer(help="One party of a deployed federation.", no_args_is_help=True)


@app.command()
def device(
    network: NetworkOption = None,
    deployment: DeploymentOption = "federation",
    account: AccountOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFile = None,
    store: StoreOption = "store",
    gateway: GatewayOption = None,
    journal: JournalOption = Path("journal"),
    task: TaskOption = None,
    data: DataOption = None,
    part: ShareOption = None,
    pairs: PairsOption = None,
    listen: ListenOption = LOCAL,
    endpoint: EndpointOption = None,
    stake: StakeOption = None,
    poll: PollOption = POLL,
    rounds: RoundsOption = None,
    keep: KeepOption = KEEP,
    claim_every: ClaimOption = CLAIM_EVERY,
    folder: FolderOption = FOLDER,
    log_format: FormatOption = LogFormat.PLAIN,
) -> None:
    """Train on data of one's own, round after round, until Ctrl-C or SIGTERM.

    In a federation of mode full the device is a miner too: --listen, --endpoint and --stake are for that.
    """
    from bcfl.federation import node
    from bcfl.storage import open_store

    _begin(log_format)
    flags, (host, port), amount = _flags(task, data, pairs), address(listen), _amount(stake)
    with joined(network, deployment, folder) as client:
        who = signing(client.network, account, keystore, password_file)
        learner, layout = _learner(client, "device", flags, part)
        place = open_store(store, gateway, client.search)
        trains = f"{learner.samples:,} samples"
        if not client.full:
            if (listen, endpoint, stake) != (LOCAL, None, None):
                raise ConfigError(
                    f"{client.name} is not of mode full: --listen, --endpoint, --stake are a miner's"
                )
            made = node.device(
                client, who, learner, layout, place, journal, poll=poll, keep=keep, claim_every=claim_every
            )
            _tell(client, who, "device", trains)
            _run(made, rounds)
            return
        judge, _ = _learner(client, "miner", flags, part)
        with node.peer(
            client, who, learner, judge, layout, place, journal, host=host, port=port, endpoint=endpoint,
            stake=amount, poll=poll, keep=keep, claim_every=claim_every, checks=_checks(client, flags),
        ) as peer:  # fmt: skip
            _tell(client, who, "device and miner", trains)
            _run(peer, rounds)


@app.command()
def miner(
    network: NetworkOption = None,
    deployment: DeploymentOption = "federation",
    account: AccountOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFile = None,
    store: StoreOption = "store",
    gateway: GatewayOption = None,
    journal: JournalOption = Path("journal"),
    task: TaskOption = None,
    data: DataOption = None,
    part: ShareOption = None,
    pairs: PairsOption = None,
    listen: ListenOption = LOCAL,
    endpoint: EndpointOption = None,
    stake: StakeOption = None,
    wish: Annotated[
        list[str] | None,
        typer.Option(
            "--wish",
            metavar="[ROUND:]ENGINE",
            show_default=False,
            help="In mode hybrid: vote for ENGINE, from round ROUND on; may be repeated.",
        ),
    ] = None,
    poll: PollOption = POLL,
    rounds: RoundsOption = None,
    keep: KeepOption = KEEP,
    claim_every: ClaimOption = CLAIM_EVERY,
    folder: FolderOption = FOLDER,
    log_format: FormatOption = LogFormat.PLAIN,
) -> None:
    """Verify, vote, lead and attest, with a desk for devices, until Ctrl-C or SIGTERM."""
    from bcfl.federation import node
    from bcfl.storage import open_store

    _begin(log_format)
    host, port = address(listen)
    flags = _flags(task, data, pairs)
    wishes = Config(mode="hybrid", wish=tuple(wish or ())).wishes
    with joined(network, deployment, folder) as client:
        who = signing(client.network, account, keystore, password_file)
        learner, layout = _learner(client, "miner", flags, part)
        with node.miner(
            client, who, learner, layout, open_store(store, gateway, client.search), journal,
            host=host, port=port, endpoint=endpoint, stake=_amount(stake), wishes=wishes, poll=poll,
            keep=keep, claim_every=claim_every, checks=_checks(client, flags),
        ) as made:  # fmt: skip
            history = client.ledger.history()
            staked = ether(history.miners[who.address].stake)
            _tell(client, who, "miner", f"stake {staked}, reached at {history.endpoints[who.address]}")
            _run(made, rounds)


@app.command("round")
def round_(
    network: NetworkOption = None,
    deployment: DeploymentOption = "federation",
    account: AccountOption = None,
    keystore: KeystoreOption = None,
    password_file: PasswordFile = None,
    miners: Annotated[
        int,
        typer.Option(
            "--miners", metavar="N", min=0, max=MAX_MINERS, help="Wait until so many miners can be reached."
        ),
    ] = 0,
    folder: FolderOption = FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Open the first round, as the owner, when devices and miners have joined."""
    from bcfl.federation.node import open_first_round

    with joined(network, deployment, folder) as client:
        owner = signing(client.network, account, keystore, password_file)
        _await_miners(client, miners)
        opened = open_first_round(client, owner)
        current = client.ledger.history().current
    number = 0 if current is None else current.number
    if as_json:
        print_json({"opened": opened, "round": number})
    else:
        print_fields([("opened", opened), ("round", number)])


def register(parent: typer.Typer) -> None:
    """Add `bcfl start`."""
    parent.add_typer(app, name="start")


def _await_miners(client: FederationClient, miners: int) -> None:
    """Until so many miners have announced where they are reached; tells on stderr how many have."""
    told = None
    while (ready := len(client.ledger.history().endpoints)) < miners:
        if ready != told:
            text = f"waiting: {ready} of {plural(miners, 'miner')} can be reached"
            print(text, file=sys.stderr, flush=True)
        told = ready
        time.sleep(POLL)


def _begin(form: LogFormat) -> None:
    """Log to stderr from now on; SIGUSR1 has it written there at which line the party stands."""
    start_logging(form)
    with suppress(OSError, ValueError, RuntimeError):  # a stderr that is no file
        faulthandler.register(signal.SIGUSR1)


def _run(daemon: Daemon, rounds: int | None) -> None:
    """Run until a signal comes; a second one ends at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_, number=number: _end(daemon, number))
    daemon.run(rounds)


def _tell(client: FederationClient, who: Account, role: str, what: str) -> None:
    """The first line of the log: who takes part in what."""
    text = f"{role} {who.address} of {client.name} on {client.network.name} ({client.address}): {what}"
    log.info(text, extra={"account": who.address})


def _end(daemon: Daemon, number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    daemon.stop()


def _flags(task: str | None, data: Path | None, pairs: list[str] | None) -> dict[str, Any]:
    """What the command line says of learning."""
    flags: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"-c {pair[:60]} is not key=value: write, for example, -c partition=iid")
        flags[key.strip().replace("-", "_")] = value.strip()
    return flags | {name: value for name, value in (("task", task), ("data", data)) if value is not None}


def _amount(stake: str | None) -> int | None:
    """Wei of a stake."""
    return None if stake is None else Config.model_validate({"stake": stake}).stake


def _checks(client: FederationClient, flags: Mapping[str, Any]) -> Checks:
    """Which checks a miner makes."""
    from bcfl.roles.miner.verifier import Checks

    c = _config(client, flags)
    return Checks(**c.checks)


def _config(client: FederationClient, flags: Mapping[str, Any]) -> Config:
    """The options of learning: the deployment's, and what the command line puts in their place."""
    known = {name: client.options[name] for name in Config.model_fields if name in client.options}
    known.pop("data", None)  # a folder of the owner's machine
    return Config(**{**known, **flags})


def _learner(
    client: FederationClient, role: str, flags: Mapping[str, Any], part: str | None
) -> tuple[TorchLearner, Layout]:
    """The private data of a party, and the layout of the model."""
    from bcfl.learning import resolve
    from bcfl.learning.training import device_learner, layout, miner_learner

    config = _config(client, flags)
    names = ("epochs", "batch_size", "learning_rate", "model")
    task = resolve(config.task).with_options(**{name: getattr(config, name) for name in names})
    index, shares = _shares(task, config, role, part)
    if role == "device":
        return device_learner(task, shares, index, config.seed), layout(task)
    return miner_learner(task, shares, index), layout(task)


def _shares(task: Task, config: Config, role: str, part: str | None) -> tuple[int, Split]:
    """Which share of which split a party holds; without a share, all training data, or all held-out data."""
    from bcfl.learning import split
    from bcfl.learning.partitions import Split

    dataset = task.dataset(config.data)
    if part is None:
        return 0, Split((dataset.train,), (dataset.test,), dataset.test)
    index, count = share(part)
    devices, miners = (count, config.miners) if role == "device" else (config.devices, count)
    options: dict[str, Any] = {"alpha": config.alpha, "classes": config.classes_per_device}
    return index, split(dataset, devices, miners, config.partition, config.seed, **options)
