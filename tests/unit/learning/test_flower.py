"""A Flower app's folder, first model, arrays, calls and state: right, or refused in one line."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bcfl.config import Config
from bcfl.errors import ConfigError, DataError, RunError
from bcfl.learning.flower import FlowerTask, Node, read_task
from bcfl.learning.flower.arrays import Arrays
from bcfl.learning.flower.nodes import RECORD, States
from bcfl.roles.common.journal import Journal

NUMBER = count()
CLIENT = """
import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

def answer(msg, arrays, **metrics):
    records = {"metrics": MetricRecord({"num-examples": 10, **metrics})}
    if arrays is not None:
        records["arrays"] = ArrayRecord(arrays)
    return Message(RecordDict(records), reply_to=msg)

@app.train()
def train(msg, context):
    TRAIN

@app.evaluate()
def evaluate(msg, context):
    weights = msg.content["arrays"].to_numpy_ndarrays()
    EVALUATE
"""
HALVES = "return answer(msg, [a / 2 for a in msg.content['arrays'].to_numpy_ndarrays()])"
SQUARES = "return answer(msg, None, loss=float((weights[0] ** 2).sum()), accuracy=0.5)"
SERVER = """
import numpy as np
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()

@app.main()
def main(grid, context):
    MAIN
"""
STARTS = (
    "FedAvg(min_available_nodes=100).start(grid=grid,"
    " initial_arrays=ArrayRecord([np.random.rand(3), np.ones(2)]),"
    " train_config=ConfigRecord({'lr': context.run_config['lr']}),"
    " evaluate_config=ConfigRecord({'top': 5}), num_rounds=1000)"
)


def app(
    folder: Path,
    train: str = HALVES,
    evaluate: str = SQUARES,
    main: str | None = STARTS,
    client: str = CLIENT,
    seconds: float = 60.0,
    **options: str,
) -> FlowerTask:
    """Write an app to `folder` and read it."""
    name = f"app_{next(NUMBER)}"
    source = client.replace("TRAIN", train).replace("EVALUATE", evaluate)
    (folder / f"{name}.py").write_text(source)
    components = [f'clientapp = "{name}:app"']
    if main is not None:
        (folder / f"{name}_server.py").write_text(SERVER.replace("MAIN", main))
        components.append(f'serverapp = "{name}_server:app"')
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "{name}"\n[tool.flwr.app.components]\n'
        + "\n".join(components)
        + "\n[tool.flwr.app.config]\nlr = 0.5\nmodel.depth = 2\n"
    )
    pairs: dict[str, Any] = {"run_config": None, "node_config": None} | options
    return read_task(folder, seconds=seconds, seed=7, **pairs)


def learner(task: FlowerTask, node: Node | None = None) -> Any:
    from bcfl.learning.flower.learner import FlowerLearner

    return FlowerLearner(task, node or Node(1, 4), seed=3)


def refusal(task: FlowerTask) -> str:
    with pytest.raises(ConfigError) as caught:
        learner(task).train(task.first_model, 1)
    message = str(caught.value)
    assert "\n" not in message
    return message.partition(": ")[2]


def test_default_behavior(tmp_path: Path) -> None:
    task = app(tmp_path)
    result = learner(task).train(task.first_model, 1)
    assert result.samples == 10
    assert np.allclose(result.vector, task.first_model / 2)
    evaluation = learner(task).evaluate(result.vector)
    assert evaluation.loss == pytest.approx(float((result.vector[:3] ** 2).sum()), rel=1e-6)
    assert (evaluation.metrics, evaluation.samples, task.metric) == ({"accuracy": 0.5}, 10, "accuracy")
    assert learner(task).slopes(result.vector, 8, 1000).gradients.shape == (0, 5)


IMPORTS = """
    import time
    stop = time.thread_time() + (0.4 if not seen else 0)
    seen.append(msg.content["config"])
    while time.thread_time() < stop:
        pass
    HALVES
"""


def test_what_a_process_imports_for_its_first_training_is_not_measured(tmp_path: Path) -> None:
    """It would make the next training of that process look too short for its samples."""
    client = CLIENT.replace("app = ClientApp()", "app, seen = ClientApp(), []")
    task = app(tmp_path, train=IMPORTS.replace("HALVES", HALVES), client=client)
    first, second = (learner(task, Node(index, 4)) for index in (1, 2))
    times = [each.train(task.first_model, 1).microseconds for each in (first, second)]
    assert max(times) < 200_000
    module = sys.modules[task.client.partition(":")[0]]
    assert len(module.seen) == 3
    first.train(task.first_model, 2)
    assert len(module.seen) == 4


def test_a_first_training_that_is_long_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bcfl.learning.flower import learner as module

    monkeypatch.setattr(module, "WARM_UP_MICROSECONDS", 100_000)
    client = CLIENT.replace("app = ClientApp()", "app, seen = ClientApp(), []")
    task = app(tmp_path, train=IMPORTS.replace("HALVES", HALVES), client=client)
    assert learner(task).train(task.first_model, 1).microseconds > 100_000
    assert len(sys.modules[task.client.partition(":")[0]].seen) == 1


def test_the_first_model_is_what_the_server_sends_first(tmp_path: Path) -> None:
    task, again = app(tmp_path), app(tmp_path)
    np.random.seed(7)
    assert np.allclose(task.first_model[:3], np.random.rand(3))
    assert np.array_equal(task.first_model, again.first_model)
    assert [(tensor.name, tensor.shape) for tensor in task.layout.tensors] == [("0", (3,)), ("1", (2,))]


def test_an_app_gets_its_config(tmp_path: Path) -> None:
    shows = "print(context.node_config, context.run_config, dict(msg.content['config'])); " + HALVES
    judges = "assert msg.content['config']['top'] == 5; " + SQUARES
    task = app(tmp_path, shows, judges, run_config="lr=0.25", node_config="site='north' num-partitions=9")
    node = Node(1, 4, task.node_config)
    lines: list[str] = []
    task.set_warm()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcfl.learning.flower.calls.log.info", lambda _, line: lines.append(line))
        learner(task, node).train(task.first_model, 4)
    config = {"partition-id": 1, "num-partitions": 9, "site": "north"}
    run, message = {"lr": 0.25, "model.depth": 2}, {"lr": 0.25, "server-round": 4}
    assert lines == [f"{config} {run} {message}"]
    assert learner(task).evaluate(task.first_model).samples == 10


def test_a_client_without_a_server_gives_its_parameters(tmp_path: Path) -> None:
    client = """
import numpy as np
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

class Client(NumPyClient):
    def get_parameters(self, config):
        return [np.arange(4.0)]

app = ClientApp(lambda context: Client().to_client())
"""
    assert app(tmp_path, client=client, main=None).first_model.tolist() == [0, 1, 2, 3]
    empty = client.replace("get_parameters", "other")
    with pytest.raises(ConfigError, match=r"neither its strategy .* nor get_parameters"):
        _ = app(tmp_path, client=empty, main=None).first_model


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (None, "it has no ServerApp, which makes the first model of an app with messages"),
        ("pass", "its ServerApp ends without a message to train on"),
        ("raise KeyError('momentum')", "KeyError: 'momentum'"),
        ("while True: pass", "it has not come back within 0.5 seconds: raise flower_seconds"),
        (STARTS.replace("np.random.rand(3), np.ones(2)", "np.arange(3)"), "no array of floats"),
        (STARTS.replace("np.ones(2)", "np.array([1j])"), "array '1' is of complex128, and only numbers"),
        (STARTS.replace("np.ones(2)", "np.array([np.nan])"), "has values that are no finite numbers"),
        (STARTS.replace("=100", "=1025"), "its strategy waits for 1,025 nodes, more than 1,024"),
    ],
)
def test_a_first_model_that_cannot_be_had(tmp_path: Path, main: str | None, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _ = app(tmp_path, main=main, seconds=0.5 if main and "while" in main else 60).first_model
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ("raise OSError('no disk\\nor so')", "training on partition 1 failed: OSError: no disk"),
        ("raise SystemExit(3)", "training on partition 1 failed: SystemExit: 3"),
        ("return 3", "it returns a int, not a Message"),
        ("return answer(msg, None)", "it returns 0 array records: return one, under 'arrays'"),
        ("return answer(msg, [np.ones(2), np.ones(2)])", "array '0' has shape (2,), and (3,) in its first"),
        ("return answer(msg, [np.ones(3)])", "array '1' of its first model is missing"),
        ("return answer(msg, [np.ones(3), np.ones(2), np.ones(1)])", "array '2' is not in its first model"),
        ("return answer(msg, [np.full(3, np.inf), np.ones(2)])", "training diverged"),
        (
            "return answer(msg, [np.ones(3), np.ones(2)], **{'num-examples': 0})",
            "it says that it has no samples",
        ),
        ("return Message(RecordDict({'arrays': msg.content['arrays']}), reply_to=msg)", "no num-examples"),
    ],
)
def test_training_that_fails_is_told_in_one_line(tmp_path: Path, train: str, words: str) -> None:
    assert words in refusal(app(tmp_path, train))


def test_an_endless_app_is_left(tmp_path: Path) -> None:
    task = app(tmp_path, "while True: pass")
    _ = task.first_model
    start = time.monotonic()
    message = refusal(FlowerTask(**{**vars(task), "seconds": 0.3}))
    words = "training on partition 1 failed: it has not come back within 0.3 seconds: raise flower_seconds"
    assert message == words
    assert time.monotonic() - start < 10


def generators() -> tuple[object, int]:
    state: Any = np.random.get_state()
    return random.getstate(), int(state[2])


def test_time_is_cpu_time_and_generators_are_put_back(tmp_path: Path) -> None:
    draws = "import random, time; time.sleep(0.3); random.random(); "
    task = app(tmp_path, draws + "return answer(msg, [np.random.rand(3), np.ones(2)])")
    _ = task.first_model
    random.seed(5)
    np.random.seed(5)
    before = generators()
    first = learner(task).train(task.first_model, 1)
    assert generators() == before
    assert 0 < first.microseconds < 200_000
    assert np.array_equal(first.vector, learner(task).train(task.first_model, 1).vector)
    assert not np.array_equal(first.vector, learner(task).train(task.first_model, 2).vector)


def test_an_apps_type_of_new_floats_is_not_the_next_partys(tmp_path: Path) -> None:
    import torch

    task = app(tmp_path, "import torch; torch.set_default_dtype(torch.float64); " + HALVES)
    learner(task).train(task.first_model, 1)
    assert torch.get_default_dtype() == torch.float32


def test_the_state_goes_on_from_round_to_round_and_in_a_journal(tmp_path: Path) -> None:
    counts = "context.state.setdefault('past', MetricRecord({'n': 0}))['n'] += 1; " + HALVES
    tells = "return answer(msg, None, loss=0.0, n=context.state['past']['n'] if context.state else 0)"
    journal = Journal(tmp_path / "journal")
    party = learner(task := app(tmp_path, counts, tells))
    party.keep(journal)
    for number in (1, 2, 2, 3):  # a training that is repeated starts from the same state
        party.train(task.first_model, number)
    party.rehearse()
    assert party.evaluate(task.first_model).metrics == {"n": 3}
    again = learner(task)
    again.keep(journal)
    assert again.evaluate(task.first_model).metrics == {"n": 3}
    journal.write(RECORD, (journal.read(RECORD) or b"")[:-1])
    with pytest.raises(RunError, match="is damaged: remove it to start anew"):
        States().keep(journal)


def test_arrays_keep_types_and_what_is_not_shared() -> None:
    first: dict[str, Any] = {
        "layer/w:0": np.arange(4.0).reshape(2, 2),
        "half": np.ones(3, np.float16),
        "count": np.array(5),
        "none": np.zeros((0, 3)),
        "table": np.array([1, 2]),
    }
    arrays = Arrays(first)
    layout = arrays.layout({})
    assert [(tensor.name, tensor.shape) for tensor in layout.tensors] == [
        ("layer_w_0", (2, 2)),
        ("half", (3,)),
    ]
    assert len(layout.base) == 32
    assert layout.base != Arrays(first | {"table": np.array([1, 3])}).layout({}).base
    again = arrays.write(arrays.read(first) + 1)
    assert {name: array.dtype for name, array in again.items()} == {n: a.dtype for n, a in first.items()}
    assert again["layer/w:0"].tolist() == [[1, 2], [3, 4]]
    assert (int(again["count"]), again["none"].shape) == (5, (0, 3))
    assert arrays.read(first | {"count": np.array(6)}).tolist() == arrays.first.tolist()  # a counter
    with pytest.raises(DataError, match="array 'table' of int64 changes, and whole numbers cannot be"):
        arrays.read(first | {"table": np.array([1, 3])})


def test_refused_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "path", list(sys.path)
    )  # Flower adds the folder, in which there is a json.py at last

    def words(text: str | None, folder: Path = tmp_path, **options: str) -> str:
        if text is not None:
            (tmp_path / "pyproject.toml").write_text(text)
        pairs: dict[str, Any] = {"run_config": None, "node_config": None} | options
        with pytest.raises(ConfigError) as caught:
            read_task(folder, seconds=1, seed=0, **pairs)
        return str(caught.value)

    named = '[tool.flwr.app.components]\nclientapp = "a:b"\n[tool.flwr.app.config]\nlr = 1\n'
    assert "there is no such folder" in words(None, tmp_path / "absent")
    assert "there is no pyproject.toml" in words(None)
    assert "is not TOML" in words("[")
    assert 'names no clientapp in [tool.flwr.app.components]: write clientapp = "module:app"' in words("")
    assert "clientapp = 'ab' is not of the form module:attribute" in words(named.replace("a:b", "ab"))
    assert "lr of the config must be text, a number or a truth value" in words(named.replace("1", "[1]"))
    assert "run_config: lrr is not in [tool.flwr.app.config]" in words(named, run_config="lrr=2")
    assert "node_config=x is not a list of key=value" in words(named, node_config="x")
    task = read_task(tmp_path, run_config=None, node_config=None, seconds=1, seed=0)
    with pytest.raises(ConfigError, match="a:b cannot be loaded: ModuleNotFoundError: No module named 'a'"):
        _ = task.layout
    (tmp_path / "json.py").touch()
    named_as_another = FlowerTask(**{**vars(task), "client": "json:app"})
    with pytest.raises(ConfigError, match="a module named json has been imported from elsewhere"):
        _ = named_as_another.layout


def test_without_flower_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'bcfl\[flower\]'"):
        read_task(tmp_path, run_config=None, node_config=None, seconds=1, seed=0)


def test_flower_is_imported_for_an_app_only_and_connects_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys, bcfl.federation.simulation, bcfl.federation.learners; print('flwr' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"

    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    task = app(tmp_path)
    learner(task).train(task.first_model, 1)
    from flwr.supercore import telemetry

    assert telemetry.FLWR_TELEMETRY_ENABLED == "0"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 3}, "epochs=3 means nothing with flower=x: the app has its own"),
        ({"task": "wine"}, "task=wine and flower=x are two things to learn"),
        (
            {"adversary": ("label-flip:0.1",)},
            "label-flip changes data, which with flower=x the app alone sees",
        ),
        ({"flower": None, "run_config": "lr=1"}, "run_config=lr=1 is for a Flower app"),
    ],
)
def test_options_that_do_not_fit_an_app(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**{"flower": Path("x")} | options)
    assert words in str(caught.value)
