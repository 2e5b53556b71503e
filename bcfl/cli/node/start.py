"""`bcfl start device|miner|round`: one party of a deployed federation, for as long as the command runs."""

from __future__ import annotations

import faulthandler
import logging
import signal
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from bcfl.cli.groups import grouped
from bcfl.cli.node.learning import BudgetOptions, LearningOptions
from bcfl.cli.node.logs import LogFormat, start_logging
from bcfl.cli.node.options import (
    FederationOptions,
    SignerOptions,
    StoreOptions,
    TlsCertificateOption,
    TlsKeyOption,
    parse_listen,
)
from bcfl.cli.node.patience import try_until_done
from bcfl.cli.options import JsonOption, optional
from bcfl.cli.output.printing import ether, plural, print_fields, print_json
from bcfl.cli.output.terminal import say
from bcfl.config import Config
from bcfl.errors import ConfigError
from bcfl.protocol.limits import MAX_MINERS
from bcfl.protocol.readers import without_key

if TYPE_CHECKING:
    from bcfl.federation.budget import BudgetLedger
    from bcfl.federation.client import FederationClient
    from bcfl.federation.daemon import Daemon
    from bcfl.federation.node import MinerOptions, NodeOptions
    from bcfl.learning.kinds import AnyTask
    from bcfl.ports import Allowance
    from bcfl.protocol.accounts import Account
    from bcfl.protocol.wishes import Wish
    from bcfl.roles.checks.pipeline import Checks

POLL: Final = 0.5
LOCAL: Final = "127.0.0.1:0"
KEEP: Final = 8
CLAIM_EVERY: Final = 5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InboxOptions:
    """How a miner is reached, and with what it joins."""

    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where to listen; port 0: as announced, else a free one."
        ),
    ] = LOCAL
    endpoint: Annotated[
        str | None,
        optional("--endpoint", "URL", "Where others reach it, announced on chain; else where it listens."),
    ] = None
    stake: Annotated[str | None, optional("--stake", "WEI", "Join with this stake, if not a miner yet.")] = (
        None
    )

    tls_cert: TlsCertificateOption = None
    tls_key: TlsKeyOption = None

    def refuse(self, client: FederationClient) -> None:
        """Raise ConfigError where one is set, for a device that is no miner."""
        if self != InboxOptions():
            raise ConfigError(
                f"{client.name} is not of mode full: --listen, --endpoint, --stake, --tls-cert are a miner's"
            )

    def of_miner(self, checks: Checks, wishes: tuple[Wish, ...] = ()) -> MinerOptions:
        """Return the options of a miner; raises ConfigError."""
        from bcfl.federation.node import MinerOptions
        from bcfl.transport.tls import TlsFiles

        tls = TlsFiles.of(self.tls_cert, self.tls_key)
        return MinerOptions(*self.place, self.endpoint, self.amount, checks, wishes, tls)

    @property
    def place(self) -> tuple[str, int]:
        """Return where to listen; raises ConfigError."""
        return parse_listen(self.listen)

    @property
    def amount(self) -> int | None:
        """Return the stake in wei, None where none is named; raises ConfigError."""
        return None if self.stake is None else Config.flag("stake", self.stake)


@dataclass(frozen=True)
class PartyOptions:
    """How a party of any role runs."""

    journal: Annotated[
        Path,
        typer.Option("--journal", metavar="DIR", help="Where the party writes down what it must not forget."),
    ] = Path("journal")
    poll: Annotated[
        float,
        typer.Option("--poll", metavar="X", min=0.05, max=60, help="Seconds between two reads of the chain."),
    ] = POLL
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds", metavar="N", min=1, show_default=False, help="End when N more rounds have ended."
        ),
    ] = None
    keep: Annotated[
        int,
        typer.Option(
            "--keep",
            metavar="N",
            min=0,
            help="Rounds after which an IPFS store may drop their bytes; 0: never.",
        ),
    ] = KEEP
    claim_every: Annotated[
        int,
        typer.Option(
            "--claim-every", metavar="N", min=0, help="Claim rewards after so many rounds; 0: never."
        ),
    ] = CLAIM_EVERY
    states: Annotated[
        bool | None,
        typer.Option(
            "--state/--no-state",
            metavar="",
            show_default=False,
            help="Sign and publish how good each model is on your own test data; miners do, devices do not.",
        ),
    ] = None
    metrics: Annotated[
        str | None,
        optional("--metrics", "HOST:PORT", "Serve /metrics for Prometheus here; a miner's inbox has it too."),
    ] = None
    tls_ca: Annotated[
        Path | None,
        optional("--tls-ca", "FILE", "A CA that vouches for miners and nodes; else it is BCFL_TLS_CA."),
    ] = None
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How a line of the log looks.")] = (
        LogFormat.PLAIN
    )

    def of_node(self, *, caps_samples: bool = False, allowance: Allowance | None = None) -> NodeOptions:
        """Return the options of a node."""
        from bcfl.federation.node import NodeOptions

        numbers = self.journal, self.poll, self.keep, self.claim_every
        return NodeOptions(*numbers, caps_samples, self.states, allowance)

    def begin(self) -> None:
        """Log to stderr from now on; SIGUSR1 has it written there at which line the party stands."""
        from bcfl.transport.tls import trust

        if self.metrics is not None:
            parse_listen(self.metrics, "--metrics")
        start_logging(self.log_format)
        trust(self.tls_ca)
        with suppress(OSError, ValueError, RuntimeError):  # a stderr that is no file
            faulthandler.register(signal.SIGUSR1)

    def run(self, daemon: Daemon) -> None:
        """Run until the rounds have ended or a signal comes; a second one ends at once."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_, number=number: _end(daemon, number))
        with ExitStack() as stack:
            if self.metrics is not None:
                from bcfl.federation.metrics import serve

                url = stack.enter_context(serve(daemon, *parse_listen(self.metrics, "--metrics")))
                log.info("metrics at %s/metrics", url)
            daemon.run(self.rounds)


app = typer.Typer(help="One party of a deployed federation.", no_args_is_help=True)


@app.command()
@grouped
def device(
    federation: FederationOptions,
    signer: SignerOptions,
    stores: StoreOptions,
    learning: LearningOptions,
    budget: BudgetOptions,
    inbox: InboxOptions,
    party: PartyOptions,
    caps_samples: Annotated[
        bool,
        typer.Option(
            "--cap-samples",
            metavar="",
            help="With more samples than a device may claim: train on all, and claim the most.",
        ),
    ] = False,
) -> None:
    """Train on your own data, round after round, until Ctrl-C or SIGTERM.

    All training samples in the folder --data are this device's own. In a federation of mode full the device
    is a miner too: --listen, --endpoint and --stake are for that.
    """
    from bcfl.federation.learners import checks_of, create_learner, layout_of, learning_config, task_of
    from bcfl.federation.node import Node
    from bcfl.learning.accelerators import choose

    party.begin()
    flags, _ = learning.flags, (inbox.place, inbox.amount)
    chosen, unlock = choose(learning.torch_device), cache(signer.unlock)

    def join() -> None:
        with federation.connect() as client, ExitStack() as stack:
            client.ledger.keep_in(party.journal)
            account = unlock(client.network)
            config = learning_config(client, flags)
            store = stores.open(search=client.search_seconds)
            task = task_of(config, client, store)
            allowance = budget.ledger(task, config.data, client.name)
            options = party.of_node(caps_samples=caps_samples, allowance=allowance)
            learner = create_learner(config, "device", learning.share, task=task, device=chosen)
            node = Node(client, account, layout_of(task), store, options)
            stack.enter_context(closing(node))
            trains = _describe(learner.samples, client.ledger.terms.max_samples)
            _warn_of_noise(task, learner.samples, allowance)
            if client.is_full:
                judge = create_learner(config, "miner", learning.share, task=task, device=chosen)
                daemon = stack.enter_context(node.peer(learner, judge, inbox.of_miner(checks_of(config))))
            else:
                inbox.refuse(client)
                daemon = node.device(learner)
            learner.keep(node.journal)
            _announce(client, account, "device and miner" if client.is_full else "device", trains)
            party.run(daemon)

    try_until_done(join, log.warning)


@app.command()
@grouped
def miner(
    federation: FederationOptions,
    signer: SignerOptions,
    stores: StoreOptions,
    learning: LearningOptions,
    inbox: InboxOptions,
    party: PartyOptions,
    wish: Annotated[
        list[str] | None,
        optional(
            "--wish",
            "[ROUND:]ENGINE",
            "In mode hybrid: vote for ENGINE, from round ROUND on; may be repeated.",
        ),
    ] = None,
) -> None:
    """Verify, vote, lead and attest, with an inbox for devices, until Ctrl-C or SIGTERM.

    A miner judges updates by all test samples in the folder --data.
    """
    from bcfl.federation.learners import checks_of, create_learner, layout_of, learning_config, task_of
    from bcfl.federation.node import Node
    from bcfl.learning.accelerators import choose

    party.begin()
    flags, _ = learning.flags, (inbox.place, inbox.amount)
    chosen, unlock = choose(learning.torch_device), cache(signer.unlock)
    wishes = Config(mode="hybrid", wish=tuple(wish or ())).wishes

    def join() -> None:
        with federation.connect() as client, ExitStack() as stack:
            client.ledger.keep_in(party.journal)
            account = unlock(client.network)
            config = learning_config(client, flags)
            store = stores.open(search=client.search_seconds)
            task = task_of(config, client, store)
            learner = create_learner(config, "miner", learning.share, task=task, device=chosen)
            node = Node(client, account, layout_of(task), store, party.of_node())
            stack.enter_context(closing(node))
            daemon = stack.enter_context(node.miner(learner, inbox.of_miner(checks_of(config), wishes)))
            history = client.ledger.history()
            stake = ether(history.miners[account.address].stake)
            endpoint = without_key(history.endpoints[account.address])
            _announce(client, account, "miner", f"stake {stake}, reached at {endpoint}")
            party.run(daemon)

    try_until_done(join, log.warning)


@app.command("round")
@grouped
def round_(
    federation: FederationOptions,
    signer: SignerOptions,
    miners: Annotated[
        int,
        typer.Option(
            "--miners", metavar="N", min=0, max=MAX_MINERS, help="Wait until so many miners can be reached."
        ),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Open the first round, as the owner, when devices and miners have joined."""
    from bcfl.federation.registration import open_first_round

    with federation.connect() as client:
        owner = signer.unlock(client.network)
        _await_miners(client, miners)
        is_new = open_first_round(client, owner)
        current = client.ledger.history().current
    number = 0 if current is None else current.number
    if as_json:
        print_json({"opened": is_new, "round": number})
    else:
        print_fields([("opened", is_new), ("round", number)])


def register(parent: typer.Typer) -> None:
    """Add `bcfl start`."""
    parent.add_typer(app, name="start")


def _await_miners(client: FederationClient, miners: int) -> None:
    """Wait until so many miners have announced where they are reached; print to stderr how many have."""
    previous = None
    while (ready := len(client.ledger.history().endpoints)) < miners:
        if ready != previous:
            text = f"waiting: {ready} of {plural(miners, 'miner')} can be reached"
            say(text, to_stderr=True)
        previous = ready
        time.sleep(POLL)


def _announce(client: FederationClient, account: Account, role: str, text: str) -> None:
    """Log who takes part in what: the first line of the log."""
    party = f"{role} {account.address} of {client.name} on {client.network.name} ({client.address})"
    log.info("%s: %s", party, text, extra={"account": account.address})


def _warn_of_noise(task: AnyTask, samples: int, ledger: BudgetLedger | None) -> None:
    """Log what updates tell of the data where the terms ask for noise, before anything is trained."""
    from bcfl.federation.budget import promise
    from bcfl.protocol.noise import Noise

    noise = Noise.of(task.agreement)
    if noise is not None:
        is_bounded = ledger is not None and ledger.budget is not None
        log.log(logging.INFO if is_bounded else logging.WARNING, "%s", promise(noise, samples, ledger))


def _describe(samples: int, most: int) -> str:
    """Return how many samples a device trains on, and how many it claims where these are fewer."""
    claim = f", claims {most:,} of them" if samples > most else ""
    return plural(samples, "sample") + claim


def _end(daemon: Daemon, number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    daemon.stop()
