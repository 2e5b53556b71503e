"""Find out what an app's server would send to its clients: the first model, and the config of each round.

The ServerApp runs until it starts a strategy of Flower's, or has sent the first messages to train on and to
evaluate, and no further: the federation is the server here. A strategy is asked for the config of every
round, in order and once each, as it may change what it has said before. Without a ServerApp, or a strategy
with a first model, the first client is asked for its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from types import SimpleNamespace
from typing import Any, NoReturn

from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.compat.common.recorddict_compat import (
    evaluateins_to_recorddict,
    fitins_to_recorddict,
    getparametersins_to_recorddict,
)
from flwr.compat.common.typing import EvaluateIns, FitIns, GetParametersIns, Parameters
from flwr.server.client_manager import SimpleClientManager
from flwr.server.strategy import FedAvg
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from flwr.supercore.run import Run

from bcfl.errors import DataError
from bcfl.learning.flower.arrays import Arrays, NDArrays
from bcfl.learning.flower.nodes import Node, UserConfig
from bcfl.protocol.limits import MAX_UPDATES

ROUND_KEYS = ("server-round", "server_round")
EMPTY_KEY = "_empty"  # of Flower's, where there are no parameters
NODES_NEEDED = ("min_available_nodes", "min_train_nodes", "min_evaluate_nodes")  # attributes of strategies
RUN_ID = 1
Content = Callable[[int], RecordDict]  # of the message of a round


class Opening:
    """What goes to the clients: contents by round, of which the arrays are replaced by the model's."""

    def __init__(self, train: Content, evaluate: Content) -> None:
        self._contents = {MessageType.TRAIN: train, MessageType.EVALUATE: evaluate}
        records = train(1).array_records
        if len(records) != 1:
            raise DataError(f"its server sends {len(records)} array records, and one can be shared")
        self.key, record = next(iter(records.items()))
        self.arrays = Arrays(arrays_of(record))

    def content(self, kind: str, arrays: NDArrays, round_: int) -> RecordDict:
        """Return the content of a message of `kind` with these arrays."""
        template, content = self._contents[kind](round_), RecordDict()
        model = ArrayRecord({name: Array(array) for name, array in arrays.items()})
        for key, record in template.items():
            content[key] = model if isinstance(record, ArrayRecord) else deepcopy(record)
        for config in content.config_records.values():
            for key in ROUND_KEYS:
                if key in config:
                    config[key] = round_
        return content


def arrays_of(record: ArrayRecord) -> dict[str, Any]:
    """Return the arrays of a record by name, without Flower's sign for no arrays."""
    return {name: array.numpy() for name, array in record.items() if name != EMPTY_KEY}


def open_app(
    client: ClientApp, server: ServerApp | None, run_config: UserConfig, node_config: UserConfig
) -> Opening:
    """Return what the server of an app would send first; runs its code, and raises DataError or as that."""
    context = Context(RUN_ID, 0, {}, RecordDict(), dict(run_config))
    if server is not None and server._main is not None:
        return _by_messages(server, context)
    strategy = None if server is None else server._strategy
    if server is not None and server._server_fn is not None:
        strategy = server._server_fn(context).strategy
    first = Context(RUN_ID, 1, Node(config=node_config).node_config, RecordDict(), dict(run_config))
    return _by_strategy(client, first, FedAvg() if strategy is None else strategy)


def _by_messages(server: ServerApp, context: Context) -> Opening:
    """Run the server until it starts a strategy, or has sent a message of each kind.

    A failure after the first message is no matter.
    """
    grid = _Grid()
    try:
        with _starts_are_caught():
            server(grid, context)
    except _Started as started:
        return started.opening()
    except _Enough:
        pass
    except Exception:
        if MessageType.TRAIN not in grid.contents:
            raise
    if MessageType.TRAIN not in grid.contents:
        raise DataError("its ServerApp ends without a message to train on")
    train = grid.contents[MessageType.TRAIN]
    evaluate = grid.contents.get(MessageType.EVALUATE, train)
    return Opening(lambda _: train, lambda _: evaluate)


class _Enough(BaseException):
    """Raised inside of a ServerApp when nothing more is to be learned from it."""


class _Started(_Enough):
    """Raised in place of a strategy's rounds, with all that they would begin with."""

    def __init__(
        self,
        strategy: Strategy,
        initial_arrays: ArrayRecord,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
    ) -> None:
        super().__init__()
        self.strategy, self.arrays = strategy, initial_arrays
        self.train_config = ConfigRecord() if train_config is None else train_config
        self.evaluate_config = ConfigRecord() if evaluate_config is None else evaluate_config

    def opening(self) -> Opening:
        """Return what the strategy would send; raises DataError where it sends nothing to train on."""
        strategy, sizes = self.strategy, [getattr(self.strategy, name, None) for name in NODES_NEEDED]
        known = [size for size in sizes if isinstance(size, int)]
        if max(known, default=0) > MAX_UPDATES:  # it would wait for them
            raise DataError(f"its strategy waits for {max(known):,} nodes, more than {MAX_UPDATES:,}")
        grid = _Grid(max(1, *known) if len(known) == len(sizes) else MAX_UPDATES)

        def first(messages: Iterable[Message]) -> RecordDict | None:
            message = next(iter(messages), None)
            return None if message is None else message.content

        train = _InOrder(lambda n: first(strategy.configure_train(n, self.arrays, self.train_config, grid)))
        evaluate = _InOrder(
            lambda n: first(strategy.configure_evaluate(n, self.arrays, self.evaluate_config, grid)), train
        )
        return Opening(train, evaluate)


class _InOrder:
    """Contents by round: each is asked for once, after those of the rounds before, and kept.

    A round without any has that of the round before, or of `otherwise`.
    """

    def __init__(self, ask: Callable[[int], RecordDict | None], otherwise: Content | None = None) -> None:
        self._ask, self._otherwise = ask, otherwise
        self._contents: list[RecordDict] = []

    def __call__(self, round_: int) -> RecordDict:
        """Return the content of a round, from 1; raises DataError where there is none."""
        while len(self._contents) < round_:
            content = self._ask(len(self._contents) + 1)
            if content is not None:
                self._contents.append(_copy(content))
            elif self._contents:
                self._contents.append(self._contents[-1])
            elif self._otherwise is not None:
                return self._otherwise(round_)
            else:
                raise DataError("its strategy sends no message to train on in the first round")
        return self._contents[round_ - 1]


def _copy(content: RecordDict) -> RecordDict:
    """Return a content whose configs stay as they are now; its arrays are shared."""
    records = {
        key: record if isinstance(record, ArrayRecord) else deepcopy(record)
        for key, record in content.items()
    }
    return RecordDict(records)


@contextmanager
def _starts_are_caught() -> Iterator[None]:
    """Have strategies raise _Started where they start their rounds, but for a `start` of their own."""
    original = Strategy.start

    def start(
        self: Strategy,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Any = None,
    ) -> NoReturn:
        del grid, num_rounds, timeout, evaluate_fn
        raise _Started(self, initial_arrays, train_config, evaluate_config)

    Strategy.start = start  # type: ignore[method-assign]
    try:
        yield
    finally:
        Strategy.start = original  # type: ignore[method-assign]


class _Grid(Grid):
    """Takes the messages of a ServerApp, and answers the first of each batch with what it holds."""

    def __init__(self, nodes: int = MAX_UPDATES) -> None:
        self._nodes = nodes
        self.contents: dict[str, RecordDict] = {}
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """Do nothing: there is one run."""

    @property
    def run(self) -> Run:
        """Return a run without anything in it."""
        return Run.create_empty(RUN_ID)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes: unless it is said otherwise, as many as any strategy may wait for."""
        return range(1, self._nodes + 1)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages and return their numbers; ends the server when it goes on to the next round."""
        batch = [(message.metadata.message_type.partition(".")[0], message) for message in messages]
        if any(kind == MessageType.TRAIN for kind, _ in batch) and MessageType.TRAIN in self.contents:
            raise _Enough
        for kind, message in batch:
            if kind not in self.contents:  # copied: a strategy may change a config that it has sent
                self.contents[kind] = _copy(message.content)
        if {MessageType.TRAIN, MessageType.EVALUATE} <= self.contents.keys():
            raise _Enough
        numbers = [f"{len(self._replies)}-{place}" for place in range(len(batch))]
        for number, (_, message) in zip(numbers[:1], batch, strict=False):  # one answers for all
            self._replies[number] = Message(_echo(message.content), reply_to=message)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to messages."""
        return [self._replies[number] for number in message_ids if number in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Take messages and return the replies."""
        del timeout
        return self.pull_messages(self.push_messages(messages))


def _echo(content: RecordDict) -> RecordDict:
    """Return a reply of a client that has learned nothing."""
    records: dict[str, Any] = dict(content.array_records)
    return RecordDict({**records, "metrics": MetricRecord({"num-examples": 1})})


class _Manager(SimpleClientManager):
    """Has as many clients as any strategy may wait for, and gives one."""

    def num_available(self) -> int:
        """Return the most that there may be."""
        return MAX_UPDATES

    def wait_for(self, num_clients: int, timeout: int = 0) -> bool:
        """Do not wait."""
        del num_clients, timeout
        return True

    def sample(
        self, num_clients: int, min_num_clients: int | None = None, criterion: Any = None
    ) -> list[Any]:
        """Return one client, a name without anything behind it."""
        del num_clients, min_num_clients, criterion
        return [SimpleNamespace(cid="0", node_id=1, properties={})]


def _by_strategy(client: ClientApp, context: Context, strategy: Any) -> Opening:
    """Ask a strategy for the first model, or the first client; and for the config of a round."""
    manager = _Manager()
    first: Parameters | None = strategy.initialize_parameters(manager)
    if first is None:
        first = _client_parameters(client, context)
    parameters = first

    def train(round_: int) -> RecordDict:
        pairs = strategy.configure_fit(round_, parameters, manager)
        return fitins_to_recorddict(FitIns(parameters, pairs[0][1].config if pairs else {}), True)

    def evaluate(round_: int) -> RecordDict:
        pairs = strategy.configure_evaluate(round_, parameters, manager)
        return evaluateins_to_recorddict(EvaluateIns(parameters, pairs[0][1].config if pairs else {}), True)

    return Opening(_InOrder(train), _InOrder(evaluate))


def _client_parameters(client: ClientApp, context: Context) -> Parameters:
    """Return the parameters that the client of the first partition begins with."""
    if client._call is None:
        raise DataError("it has no ServerApp, which makes the first model of an app with messages")
    content = getparametersins_to_recorddict(GetParametersIns({}))
    reply = client(Message(content, 1, "get_parameters"), context)
    record = next(iter(reply.content.array_records.values()))
    tensors = [array.data for name, array in record.items() if name != EMPTY_KEY]
    if not tensors:
        raise DataError(
            "neither its strategy (initial_parameters) nor get_parameters of its first client give one"
        )
    return Parameters(tensors, "numpy.ndarray")
