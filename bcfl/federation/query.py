"""Ask a federation what its contract recorded and what its store holds: a run's folder, or a deployment.

    with open_run() as query:  # the latest run; open_deployment("federation", network="local") elsewhere
        for number in query.history.rounds:
            print(query.round_view(number)["accepted"], query.leader_view(number)["leader"])

The answers are what `bcfl round --json` and its like print.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from bcfl.errors import BcflError, ConfigError, LedgerError, RunError
from bcfl.federation import statements
from bcfl.federation.keyring import Keyring, run_accounts
from bcfl.federation.runs import Run, find_run
from bcfl.federation.statements import Collection, StatementsView
from bcfl.federation.views.source import Source
from bcfl.ledger.artifact import federation_at, stored_terms
from bcfl.ledger.deployment import records
from bcfl.ledger.devnet.embedded import GENESIS_TIME, EmbeddedChain
from bcfl.ledger.federation import SENSELESS, FederationLedger
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Block
from bcfl.storage import DirectoryStore

if TYPE_CHECKING:
    from bcfl.config import Config
    from bcfl.federation.client import FederationClient
    from bcfl.federation.views.call import CallView
    from bcfl.federation.views.leader import LeaderView
    from bcfl.federation.views.member import DeviceView, MinerView
    from bcfl.federation.views.model import ModelView
    from bcfl.federation.views.round import RoundView
    from bcfl.federation.views.status import StatusView
    from bcfl.federation.views.votes import VotesView
    from bcfl.learning.kinds import AnyTask
    from bcfl.ports import Store

Number = int | str | None  # of a round, as somebody wrote it; None or "latest": the last
LATEST: Final = "latest"
P = ParamSpec("P")
T = TypeVar("T")
INDEX: Final = re.compile(r"\d{1,6}", re.ASCII)
NUMBER: Final = re.compile(r"-?\d{1,18}", re.ASCII)


def _in_words(view: Callable[P, T]) -> Callable[P, T]:
    """Return a view of a query that says of events which make no sense that they do not.

    Some of the logs may be gone, from a file that is damaged or by a node that hides them.
    """

    @wraps(view)
    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return view(*args, **kwargs)
        except SENSELESS as error:
            (query, *_) = args
            assert isinstance(query, Query)
            raise query.nonsense(error) from error

    return told


class Query(Source):
    """A federation opened for reading. Rounds, models and accounts are named as on the command line.

    `journals` is the folder of the miners' journals; `to_begin` the command that opens the first round.
    """

    def __init__(
        self, ledger: FederationLedger, store: Store, journals: Path, to_begin: str, first_block: int = 0
    ) -> None:
        super().__init__(ledger, store, first_block)
        self.journals, self.to_begin = journals, to_begin

    @_in_words
    def round_view(self, number: Number = None) -> RoundView:
        """Return everything of a round, the last one when None; raises ConfigError."""
        from bcfl.federation.views.round import round_view

        return round_view(self, self.find_round(number))

    @_in_words
    def leader_view(self, number: Number = None) -> LeaderView:
        """Return who led a round and who would have been next; raises ConfigError."""
        from bcfl.federation.views.leader import leader_view

        return leader_view(self.find_round(number))

    @_in_words
    def votes_view(self, number: Number = None, journals: Path | None = None) -> VotesView:
        """Return what every miner said of every update of a round; raises ConfigError."""
        from bcfl.federation.views.votes import votes_view

        return votes_view(self, self.find_round(number), self._journals(journals))

    @_in_words
    def model_view(self, number: Number = None) -> ModelView:
        """Return the model in force after a round; raises ConfigError."""
        from bcfl.federation.views.model import model_view

        return model_view(self, *self.find_model(number))

    @_in_words
    def device_view(self, device: int | str, journals: Path | None = None) -> DeviceView:
        """Return a device's membership, money and updates, by address or index; raises ConfigError."""
        from bcfl.federation.views.member import device_view

        return device_view(self, self.find_device(str(device)), self._journals(journals))

    @_in_words
    def miner_view(self, miner: int | str) -> MinerView:
        """Return a miner's stake, money and rounds, by address or index; raises ConfigError."""
        from bcfl.federation.views.member import miner_view

        return miner_view(self, self.find_miner(str(miner)))

    def call(self, function: str, *arguments: str) -> CallView:
        """Call a function that only reads, its arguments as text; raises ConfigError for anything else."""
        from bcfl.federation.views.call import call_view, parse_call

        return call_view(self.contract, *parse_call(function, arguments))

    def nonsense(self, error: Exception) -> BcflError:
        """Return what an error says that only events of no federation lead to."""
        return LedgerError(
            f"the events are those of no federation ({type(error).__name__}): the chain's file is damaged, "
            "or its node hides some; `bcfl audit` says where"
        )

    @property
    def time_origin(self) -> int | None:
        """Return where the time of a simulated chain begins; None where it is that of the world."""
        return None

    def task(self, name: str | None = None) -> AnyTask | None:
        """Return the task of a name, or that of the run; None where neither is known. Raises ConfigError."""
        from bcfl.learning.tasks import resolve

        return None if name is None else resolve(name)

    def learning_config(self, flags: Mapping[str, Any]) -> Config:
        """Return the options that the federation learns with, with `flags` in their place."""
        raise NotImplementedError

    def statements(self, first: int = 1) -> Collection:
        """Return what parties state of the models after the rounds from `first` on; here nobody knows."""
        del first
        return Collection(self.ledger.domain, self.history)

    def _collection(self) -> Collection:
        """Return no statements yet, and what they are checked against."""
        return Collection(self.ledger.domain, self.history, self.contract.call("owner"))

    @_in_words
    def statements_view(self, number: Number = None) -> StatementsView:
        """Return what parties state of the model after a round, and whom nobody could ask."""
        index = self.find_round(number).number
        return self.statements(index).view(index, index)

    def _journals(self, folder: Path | None) -> Path:
        """Return the folder of the miners' journals, its own when None; raises ConfigError for no folder."""
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder: name the one that holds the miners' journals")
        return self.journals if folder is None else folder

    def find_round(self, number: Number = None) -> Round:
        """Return a round, the last in which something happened when None; raises ConfigError."""
        rounds = self.history.rounds
        index = (
            _last(rounds) if number in (None, LATEST) else _parse_number(number, 1, max(rounds, default=0))
        )
        if index not in rounds:
            raise ConfigError(f"the federation has no round yet: go on with `{self.to_begin}`")
        return rounds[index]

    def find_model(self, number: Number = None) -> tuple[int, Block]:
        """Return a round and the block whose model is in force after it; 0 is the genesis, None the latest.

        Raises ConfigError for a round that has not ended.
        """
        ended = [round_.number for round_ in self.history.rounds.values() if round_.closed is not None]
        last = max(ended, default=0)
        index = last if number in (None, LATEST) else _parse_number(number, 0, last)
        return index, self.history.model_before(index + 1)

    def find_device(self, text: str) -> int:
        """Return the index of a device, from its address or index; raises ConfigError."""
        devices = self.history.devices
        if INDEX.fullmatch(text) and int(text) < len(devices):
            return int(text)
        return devices.index(_find_account("device", text, devices))

    def find_miner(self, text: str) -> str:
        """Return the address of a miner, from its address or index; raises ConfigError."""
        miners = self.history.miners
        by_index = {str(member.index): account for account, member in miners.items()}
        return by_index.get(text) or _find_account("miner", text, list(miners))


class LocalQuery(Query):
    """A run's folder, opened for reading; raises RunError when it has no contract yet."""

    def __init__(self, run: Run) -> None:
        if run.contract is None:
            raise RunError(
                f"{run.path} has no contract yet: go on with `bcfl run --resume {quote(str(run.path))}`"
            )
        self.path, self.config = run.path, run.config
        self.chain = EmbeddedChain(run.chain_path, read_only=True)
        ledger = FederationLedger(federation_at(self.chain, run.contract))
        super().__init__(ledger, DirectoryStore(run.store_path), run.journal_path, "bcfl run --resume")
        self.keyring = Keyring(run_accounts(run.config))
        self._opened: statements.Opened = {}
        self._deployer: str | None = None  # where the chain's file says what the contract would answer
        self._read_terms(run.contract)

    def _read_terms(self, contract: str) -> None:
        """Read the terms from the chain's file, where that can be done: then nothing may need an EVM."""
        owner = Account.derive(self.config.seed, "owner").address
        terms = None if self.chain.reader is None else stored_terms(self.chain.reader, contract, owner)
        if terms is not None:
            self.ledger.terms, self._deployer = terms, owner

    def _collection(self) -> Collection:
        """Return no statements yet, and what they are checked against."""
        if self._deployer is None:
            return super()._collection()
        return Collection(self.ledger.domain, self.history, self.history.owner or self._deployer)

    @property
    def time_origin(self) -> int | None:
        """Return where the time of the run's chain begins, which is simulated: seconds, as its blocks say."""
        return GENESIS_TIME

    def close(self) -> None:
        """Close the chain."""
        self.chain.close()

    def statements(self, first: int = 1) -> Collection:
        """Return what the owner and others state of the models, as the index of the folder names it."""
        del first  # all are at hand
        return statements.of_run(self.path, self.store, self._collection(), self._opened)

    @_in_words
    def statements_view(self, number: Number = None) -> StatementsView:
        """Return what parties state of the model after a round; the statements about others stay closed."""
        index = self.find_round(number).number
        collection = statements.of_run_round(self.path, self.store, self._collection(), index)
        return collection.view(index, index)

    def task(self, name: str | None = None) -> AnyTask | None:
        """Return the task of a name, or that of the run, with the run's options; raises ConfigError."""
        from bcfl.federation.genesis import set_up_task

        return set_up_task(self.config if name is None else self.config.model_copy(update={"task": name}))

    def learning_config(self, flags: Mapping[str, Any]) -> Config:
        """Return the options of the run, with `flags` in their place; raises ConfigError."""
        return type(self.config)(**{**self.config.model_dump(), **flags})


class RemoteQuery(Query):
    """A deployed federation, read from a node from its deployment on."""

    def __init__(self, client: FederationClient, store: Store) -> None:
        self.client = client
        super().__init__(client.ledger, store, Path("journal"), "bcfl start round", client.block)

    def learning_config(self, flags: Mapping[str, Any]) -> Config:
        """Return the options of the deployment, with `flags` in their place; raises ConfigError."""
        from bcfl.federation.learners import learning_config

        return learning_config(self.client, flags)

    def statements(self, first: int = 1) -> Collection:
        """Return what the miners' inboxes list from round `first` on."""
        from bcfl.federation.inbox_statements import of_inboxes

        only_public = self.client.is_public
        return of_inboxes(self._collection(), self.store, first, only_public=only_public)

    def status_view(self) -> StatusView:
        """Return what the federation waits for now, from whom, until when; and how it went so far."""
        from bcfl.federation.views.status import status_view

        return status_view(self.client)


@contextmanager
def open_run(path: Path | None = None, runs: Path = Path("runs")) -> Iterator[LocalQuery]:
    """Open the run in the folder `path`, or of that name in `runs`; the latest of `runs` when None.

    Raises RunError when there is no such run, it is damaged, or it has no contract yet.
    """
    query = LocalQuery(Run.open(find_run(path, runs), runs, read_only=True))
    try:
        yield query
    finally:
        query.close()


@contextmanager
def open_deployment(
    deployment: str = "federation",
    network: str | None = None,
    folder: Path = records.FOLDER,
    store: str = "store",
    gateway: str | None = None,
) -> Iterator[RemoteQuery]:
    """Open a deployed federation, by its name in `folder` or its address, on a network of bcfl.toml.

    `store` is a folder or an IPFS daemon (`ipfs:/ip4/127.0.0.1/tcp/5001`), `gateway` a URL to read from what
    it lacks. Raises ConfigError for a name that is not there, LedgerError for another version's contract.
    """
    from bcfl.federation.client import connect
    from bcfl.ledger.deployment import networks
    from bcfl.storage import open_store

    with connect(networks.resolve(network), deployment, folder) as client:
        yield RemoteQuery(client, open_store(store, gateway))


def _last(rounds: dict[int, Round]) -> int:
    """Return the last round in which something happened; 0 before the first is open."""
    newest_first = sorted(rounds, reverse=True)
    return next((number for number in newest_first if number == 1 or _has_begun(rounds[number])), 0)


def _has_begun(round_: Round) -> bool:
    """Return whether anybody has done anything in a round; the contract opens the next one by itself."""
    return bool(round_.commits) or round_.closed is not None


def _parse_number(number: Number, first: int, last: int) -> int:
    """Return a round's number; raises ConfigError that says which rounds there are."""
    text = str(number)
    if not NUMBER.fullmatch(text):
        raise ConfigError(f"{text!r} is not the number of a round: {_rounds(first, last)}")
    if not first <= int(text) <= last:
        raise ConfigError(f"there is no round {int(text)}: {_rounds(first, last)}")
    return int(text)


def _rounds(first: int, last: int) -> str:
    if last < first:
        return "the federation has no round yet"
    return f"the federation has {f'rounds {first} to {last}' if last > first else f'round {last} only'}"


def _find_account(role: str, text: str, accounts: Sequence[str]) -> str:
    """Return the one account that an address, its beginning, or its shortened form names.

    Raises ConfigError when there is none, or several.
    """
    begin, _, end = text.lower().partition("…")
    fitting = [each for each in accounts if each.lower().startswith(begin) and each.lower().endswith(end)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting and len(begin) > len("0x"):
        raise ConfigError(f"{len(fitting)} {role}s begin with {text}: write more of the address")
    members = f"{role}s 0 to {len(accounts) - 1}" if accounts else f"no {role}s"
    raise ConfigError(f"there is no {role} {text}: the federation has {members}")
