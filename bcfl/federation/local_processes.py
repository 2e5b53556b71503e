"""Run a federation on this machine, its chain and every party a process of its own."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from bcfl.config import Config
from bcfl.config.sources import PLACES
from bcfl.errors import BcflError, ConfigError, RunError, Unreachable
from bcfl.federation.stall_timeout import StallTimeout
from bcfl.federation.supervisor import Child, Supervisor
from bcfl.folders import make_folder, private_file, private_folder, write_whole

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.ledger.deployment.networks import Network
    from bcfl.protocol.accounts import Account
    from bcfl.protocol.rounds import Round

NAME: Final = "up"  # of the deployment
PASSWORD: Final = "password"
PUBLIC_PASSWORD: Final = b"a password that protects keys that everybody knows\n"
LOCK: Final = "lock"  # held while a supervisor lives, however it ends
POLL: Final = 0.25  # seconds between two checks of the processes
STALL_SECONDS: Final = 600.0  # without any progress, after which the start is given up
PORTS: Final = 3  # free ports to try for the chain: another program may take one before the chain does
NAMED: Final = 3  # processes that a message names


class Observer(Protocol):
    """Whoever wants to know what happens."""

    def event(self, kind: str, text: str, **fields: Any) -> None:
        """Show something that has happened."""
        ...

    def round(self, round_: Round) -> None:
        """Show how a round ended."""
        ...

    def status(self, text: str, supervisor: Supervisor | None = None) -> None:
        """Show where things stand."""
        ...

    def round_status(self, client: FederationClient, supervisor: Supervisor) -> None:
        """Show where the running round stands."""
        ...


@dataclass(frozen=True)
class LocalOptions:
    """Where everything is kept, and what the chain is."""

    folder: Path
    port: int = 0  # of the chain; 0: any
    store: str | None = None  # None: a folder below
    anvil: bool = False  # instead of the embedded chain
    torch_device: str = "cpu"

    @property
    def store_address(self) -> str:
        """Return the store of all parties."""
        return self.store or str(self.folder / "store")


class LocalProcesses:
    """The processes of one federation under a supervisor; started again, it goes on where it stood.

    `accounts` are those of the owner, the miners that are no devices, and the devices, in this order.
    """

    def __init__(
        self,
        config: Config,
        options: LocalOptions,
        accounts: Sequence[Account],
        supervisor: Supervisor,
        observer: Observer,
    ) -> None:
        self.config, self.options, self.supervisor, self.observer = config, options, supervisor, observer
        self._told_pool = False
        self._owner, parties = accounts[0], accounts[1:]
        # In mode full every device is a miner, and there is no other.
        count = 0 if config.mode == "full" else config.miners
        self._miners, self._devices = parties[:count], parties[count:]

    def run(self, rounds: int | None) -> None:
        """Start everything in its order, then keep it running until so many rounds have ended.

        Raises RunError when something does not start, ConfigError when the folder holds another federation.
        """
        make_folders(self.options.folder)
        with locked(self.options.folder):
            self._run(rounds)

    def _run(self, rounds: int | None) -> None:
        from bcfl.federation.client import connect

        network = self.start_chain()
        self._deploy(network)
        with connect(network, NAME, self.options.folder / "deployments") as client:
            text = f"{client.address} on {network.rpc}"
            self.observer.event("deployed", text, address=client.address, rpc=network.rpc)
            miners = self._start_parties()
            if not client.ledger.history().rounds:
                self.await_miners(client, miners)
                self.open_first_round(client)
            self._follow(client, rounds)

    def start_chain(self) -> Network:
        """Start the chain, and return where it is once it answers; all later processes see that too.

        Where any port will do, one that is free now may be taken when the chain is there: then another is
        tried. Raises ConfigError for a port that is taken, RunError when the chain does not start.
        """
        from bcfl.ledger.deployment.networks import Network

        options = self.options
        for tries_left in reversed(range(1 if options.port else PORTS)):
            port = free_port(options.port)
            network = Network("rpc", f"http://127.0.0.1:{port}")
            accounts = 1 + len(self._miners) + len(self._devices)
            command = ["chain", "up", "--port", str(port), "--dir", str(options.folder / "chain")]
            command += ["--accounts", str(accounts), *(["--anvil"] if options.anvil else [])]
            self.supervisor.env["ETH_RPC_URL"] = network.rpc
            self.supervisor.add("chain", command, options.folder / "logs" / "chain.log")
            try:
                self._await_chain(network)
                break
            except RunError:
                if not tries_left:
                    raise
                self.supervisor.stop()
        return network

    def await_miners(self, client: FederationClient, miners: Mapping[str, Child]) -> None:
        """Wait until all miners, by their accounts, have joined and announced where they are reached.

        A process that is alive and has not joined after half of the timeout is restarted; its log says where
        it stood. Raises RunError, which names those that are missing, when there is no progress any more.
        """
        timeout, has_restarted, missing = StallTimeout(STALL_SECONDS), False, list(miners.values())
        while missing:
            self._restart_ended()
            with self._chain_may_be_away():
                endpoints = client.ledger.history().endpoints
                missing = [child for account, child in miners.items() if account not in endpoints]
            joined = len(miners) - len(missing)
            self.observer.status(f"{joined} of {len(miners)} miners have joined", self.supervisor)
            timeout.update(joined + sum(bool(child.last_line()) for child in miners.values()))
            if timeout.is_over:
                raise RunError(_absent(missing, joined))
            if timeout.is_half_over and not has_restarted:
                has_restarted = True
                self._kill_stuck(missing)
            time.sleep(POLL)

    def open_first_round(self, client: FederationClient) -> None:
        """Open the first round; a chain that is away comes back."""
        from bcfl.federation.registration import open_first_round

        timeout = StallTimeout(STALL_SECONDS)
        while True:
            try:
                open_first_round(client, self._owner)
                return
            except Unreachable:
                timeout.update(0)
                if timeout.is_over:
                    raise
                self._restart_ended()
                time.sleep(POLL)

    def _await_chain(self, network: Network) -> None:
        """Wait until the chain answers; raises RunError when it ends, or says nothing for long."""
        from bcfl.ledger.deployment import networks

        timeout = StallTimeout(STALL_SECONDS)
        while True:
            self._restart_ended(is_chain_starting=True)
            try:
                networks.connect(network, timeout=2).close()
                return
            except Unreachable:
                timeout.update(0)
                if timeout.is_over:
                    chain = self.supervisor.children[0]
                    raise RunError(f"no answer from the {chain.summary()}") from None
                time.sleep(POLL)

    def _deploy(self, network: Network) -> None:
        """Deploy the federation and register the devices, unless that has been done."""
        from bcfl.federation.genesis import deploy_genesis, set_up_data
        from bcfl.ledger.artifact import federation_at
        from bcfl.ledger.deployment import networks, records
        from bcfl.ledger.deployment.deploy import register
        from bcfl.storage import open_store

        config, folder = self.config, self.options.folder / "deployments"
        chain = networks.connect(network)
        try:
            if not records.place(folder, network.name, NAME).exists():
                self.observer.event("deploying", "deploying the federation")
                store = open_store(self.options.store_address)
                data = set_up_data(config, self.options.torch_device)
                deploy_genesis(config, chain, self._owner, network, store, NAME, folder, config.devices, data)
            deployment = records.read(folder, network.name, NAME)
            self._check_fit(deployment.options)
            devices = [account.address for account in self._devices]
            register(federation_at(chain, deployment.address), self._owner, devices)
        finally:
            chain.close()

    def _check_fit(self, options: Mapping[str, Any]) -> None:
        """Raise ConfigError unless the federation in the folder has these parties."""
        config = self.config
        mode, devices, miners = (options[name] for name in ("mode", "devices", "miners"))
        if (mode, devices, miners) != (config.mode, config.devices, config.miners):
            raise ConfigError(
                f"{self.options.folder} holds a federation of mode {mode} with {devices} devices and "
                f"{miners} miners: give the same, or another --dir"
            )

    def _start_parties(self) -> dict[str, Child]:
        """Start a process for every miner and every device; returns the miners by their accounts.

        Each listens where it did before, or else at a free port that it finds itself: one that is free now
        may be somebody else's by then.
        """
        self._save_keys()
        config, common, miners = self.config, self._shared_arguments(), dict[str, Child]()
        for role, accounts in (("miner", self._miners), ("device", self._devices)):
            for number, account in enumerate(accounts, start=1):
                arguments = ["start", role, *common, "--account", account.address]
                arguments += ["--share", f"{number}/{len(accounts)}", "--device", self.options.torch_device]
                votes = role == "miner" or config.mode == "full"
                if votes:
                    arguments += ["--stake", str(config.stake), "--listen", "127.0.0.1:0"]
                if role == "device" and config.max_samples is not None:
                    arguments.append("--cap-samples")
                if role == "miner":
                    arguments += [word for wish in config.wish for word in ("--wish", wish)]
                log = self.options.folder / "logs" / f"{role}-{number}.log"
                child = self.supervisor.add(f"{role} {number}", arguments, log)
                if votes:
                    miners[account.address] = child
        return miners

    def _save_keys(self) -> None:
        """Put the keys of the parties into the keystore, unless they are there."""
        from bcfl.ledger.deployment import keystore

        folder = self.options.folder / "keystore"
        password = (self.options.folder / PASSWORD).read_text().strip()
        addresses = {entry.address for entry in keystore.list_entries(folder)}
        for account in (*self._miners, *self._devices):
            if account.address not in addresses:
                keystore.save(folder, account.key, password, keystore.LIGHT)

    def _shared_arguments(self) -> list[str]:
        """Return the options that all parties are started with."""
        folder, config = self.options.folder, self.config
        arguments = ["--deployment", NAME, "--deployments", str(folder / "deployments")]
        arguments += ["--keystore", str(folder / "keystore"), "--password-file", str(folder / PASSWORD)]
        arguments += ["--store", self.options.store_address, "--journal", str(folder / "journals")]
        arguments += ["--log-format", "json"]
        arguments += [] if config.data is None else ["--data", str(config.data.absolute())]
        arguments += [] if config.flower is None else ["--flower", str(config.flower.absolute())]
        return arguments + ([] if config.node_config is None else ["--node-config", config.node_config])

    def _check_pay(self, round_: Round, reward: int) -> None:
        """Tell once that the pool is empty."""
        if not self._told_pool and round_.block is not None and round_.block.reward < reward:
            words = f"round {round_.number} did not pay its whole reward: add to the pool with `bcfl fund`"
            self.observer.event("warning", words, round=round_.number)
            self._told_pool = True

    def _follow(self, client: FederationClient, rounds: int | None) -> None:
        """Keep the processes running and show where the federation stands, until enough rounds have ended."""
        last = 0
        while rounds is None or last < rounds:
            self._restart_ended()
            with self._chain_may_be_away():
                history = client.ledger.history()
                for number in sorted(history.rounds):
                    if number > last and history.rounds[number].closed is not None:
                        self.observer.round(history.rounds[number])
                        self._check_pay(history.rounds[number], client.ledger.terms.reward)
                        last = number
                self.observer.round_status(client, self.supervisor)
            time.sleep(POLL)
        self.observer.event("done", f"{last} rounds have ended")

    @contextmanager
    def _chain_may_be_away(self) -> Iterator[None]:
        """Show an error of what asks the chain; if the chain is away, it comes back."""
        try:
            yield
        except BcflError as error:
            self.observer.status(str(error))

    def _restart_ended(self, *, is_chain_starting: bool = False) -> None:
        """Restart processes that have ended, and say so; raises RunError if the chain fails to start."""
        for child, reason in self.supervisor.restart_ended():
            if is_chain_starting and not child.done:
                raise RunError(f"the chain does not start: it {reason}")
            self.observer.event("died", f"{child.name} {reason}", process=child.name)
            with suppress(ValueError):
                sys.stderr.flush()

    def _kill_stuck(self, missing: Sequence[Child]) -> None:
        """Have those that are alive and get nowhere started again."""
        for child in missing:
            if child.kill_stuck():
                text = f"{child.name} does not join: it is started again"
                self.observer.event("stuck", text, process=child.name)


def make_folders(folder: Path) -> None:
    """Make the folders, and the password of the keystore in them; raises RunError where it cannot."""
    try:
        make_folder(folder)
        for name in ("logs", "journals", "keystore"):
            private_folder(folder / name)
        (folder / "deployments").mkdir(exist_ok=True)
        secret = folder / PASSWORD
        if secret.exists() and secret.read_bytes().strip():
            private_file(secret)
        else:  # a full disk may have left an empty one
            write_whole(secret, PUBLIC_PASSWORD)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder for one `bcfl up`; raises ConfigError where another has it."""
    from bcfl.ledger.deployment.records import lock_file

    try:
        lock = lock_file(folder / LOCK)
    except BlockingIOError:
        raise ConfigError(f"another bcfl up keeps {folder}: end it, or name another --dir") from None
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(lock)


def environment() -> dict[str, str]:
    """Return what the processes see: the task modules of the current directory, nothing of other networks."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *filter(None, [env.get("PYTHONPATH")])])
    env["OMP_NUM_THREADS"] = "1"
    for name in ("ETH_KEYSTORE_PASSWORD", *PLACES):
        env.pop(name, None)
    return env


def free_port(port: int = 0) -> int:
    """Return the port, or any free one if it is 0; raises ConfigError where something listens already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            reason = f"port {port} cannot be used ({error.strerror}): end what listens there, or name another"
            raise ConfigError(f"{reason} with --port; 0 takes a free one") from None
        return int(probe.getsockname()[1])


def _absent(missing: Sequence[Child], joined: int) -> str:
    """Return which miners have not joined, and what they said last."""
    summaries = "; ".join(child.summary() for child in missing[:NAMED])
    more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    logs = missing[0].log.parent
    return f"{len(missing)} of {len(missing) + joined} miners do not join: {summaries}{more}; more in {logs}"
