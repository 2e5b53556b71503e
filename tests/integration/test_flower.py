"""A Flower app runs unchanged: it ends where plain float FedAvg of the same app ends."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

from bcfl.config import Config
from bcfl.errors import ConfigError, RunError
from bcfl.federation import simulation
from bcfl.federation.party_learners import check_app
from bcfl.federation.query import open_run
from bcfl.federation.reports import Report
from bcfl.federation.runs import Run
from bcfl.learning.flower.task import require_flower
from testkit.brought import difference
from testkit.flower_apps import write_app

DEVICES, MINERS, ROUNDS, TOLERANCE = 4, 2, 2, 0.01
Arrays = list[Any]
# Of one partition: from all arrays of the model and the round's number, what the app returns.
Fit = Callable[[int, Arrays, int], tuple[Arrays, int]]
Evaluate = Callable[[int, Arrays], tuple[float, float, int]]  # loss, metric and samples
AWAY = """
{}
load_at_home = load_data

def load_data(partition_id, num_partitions):
    if partition_id == 3:
        raise OSError("the disk of site 3 is away\\nand this line is not shown")
    return load_at_home(partition_id, num_partitions)
"""


def play(folder: Path, **options: Any) -> Report:
    sizes = {"devices": DEVICES, "miners": MINERS, "rounds": ROUNDS, "seed": 0}
    return simulation.run(Config(flower=folder, run_dir=folder.parent / "run", **sizes | options))


def numpy_client(package: str) -> tuple[Arrays, Fit, Evaluate]:
    """Return the first model of the NumPyClient's app, and what its client does."""
    import torch

    task, app = (importlib.import_module(f"{package}.{name}") for name in ("task", "client_app"))

    def client(partition: int) -> Any:
        return app.FlowerClient(task.Net(), task.load_data(partition, DEVICES), 2, 0.1)

    def fit(partition: int, arrays: Arrays, number: int) -> tuple[Arrays, int]:
        trained, samples, _ = client(partition).fit(arrays, {"server_round": number})
        return trained, samples

    def evaluate(partition: int, arrays: Arrays) -> tuple[float, float, int]:
        loss, samples, metrics = client(partition).evaluate(arrays, {})
        return loss, metrics["accuracy"], samples

    torch.manual_seed(0)
    return [value.numpy() for value in task.Net().state_dict().values()], fit, evaluate


def messages(package: str, names: list[str], config: dict[str, float], metric: str) -> tuple[Fit, Evaluate]:
    """Return what an app with messages does; `metric`, and the loss, are the keys of its own."""
    app = importlib.import_module(f"{package}.client_app").app
    states = [RecordDict() for _ in range(DEVICES)]

    def ask(kind: str, partition: int, arrays: Arrays) -> RecordDict:
        from flwr.app import Array

        record = ArrayRecord({name: Array(value) for name, value in zip(names, arrays, strict=True)})
        content = RecordDict({"arrays": record, "config": ConfigRecord({**config})})
        node: dict[str, Any] = {"partition-id": partition, "num-partitions": DEVICES}
        run: dict[str, Any] = {"local-epochs": 2, "learning-rate": 0.1}
        context = Context(1, partition, node, states[partition], run)
        return app(Message(content, partition, kind), context).content  # type: ignore[no-any-return]

    def fit(partition: int, arrays: Arrays, _: int) -> tuple[Arrays, int]:
        content: Any = ask("train", partition, arrays)
        return content["arrays"].to_numpy_ndarrays(), content["metrics"]["num-examples"]

    def evaluate(partition: int, arrays: Arrays) -> tuple[float, float, int]:
        found: Any = ask("evaluate", partition, arrays)["metrics"]
        loss = next(value for name, value in found.items() if "loss" in name)
        return loss, found[metric], found["num-examples"]

    return fit, evaluate


def plainly(first: Arrays, fit: Fit, evaluate: Evaluate) -> tuple[float, float]:
    """Return loss and metric of float FedAvg, weighted by samples; whole numbers stay as they are."""
    arrays = first
    for number in range(1, ROUNDS + 1):
        results = [fit(partition, arrays, number) for partition in range(DEVICES)]
        weights = [samples for _, samples in results]
        arrays = [
            np.average([trained[place] for trained, _ in results], axis=0, weights=weights).astype(old.dtype)
            if old.dtype.kind == "f"
            else old
            for place, old in enumerate(arrays)
        ]
    losses, metrics, samples = zip(*(evaluate(i, arrays) for i in range(DEVICES)), strict=True)
    return float(np.average(losses, weights=samples)), float(np.average(metrics, weights=samples))


def reference(kind: str, package: str) -> tuple[float, float]:
    require_flower()
    if kind == "numpy":
        return plainly(*numpy_client(package))
    task = importlib.import_module(f"{package}.task")
    if kind == "sklearn":
        return plainly(task.get_params(task.create_model(2)), *messages(package, ["0", "1"], {}, "accuracy"))
    import torch

    torch.manual_seed(0)
    state = task.Net().state_dict()
    first = [value.numpy() for value in state.values()]
    return plainly(first, *messages(package, list(state), {"lr": 0.1}, "eval_acc"))


@pytest.mark.parametrize(
    ("kind", "metric"), [("numpy", "accuracy"), ("message", "eval_acc"), ("sklearn", "accuracy")]
)
def test_it_ends_where_float_fedavg_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, metric: str
) -> None:
    folder = write_app(tmp_path / "app", kind, f"{kind}_whole")
    report = play(folder, check_quality=False)  # with levels it ends where those lead
    assert "training in round" not in capsys.readouterr().out  # it is in the log
    loss, value = reference(kind, f"{kind}_whole")
    assert [len(round_.accepted) for round_ in report.rounds] == [DEVICES] * ROUNDS
    assert next(iter(report.final_metrics)) == metric
    found, found_loss = report.final_metrics[metric], report.final_loss
    assert found is not None
    assert found_loss is not None
    assert difference(found, value) < TOLERANCE
    assert difference(found_loss, loss) < TOLERANCE
    assert value > 0.8
    if kind == "message":  # the state of a device's context goes on from round to round
        assert report.final_metrics["rounds_trained"] == ROUNDS
    assert not (tmp_path / "final_model.pt").exists()


def test_a_party_whose_app_raises_sits_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_app(tmp_path / "app", "sklearn", "sklearn_away", task=AWAY)
    with caplog.at_level(logging.INFO):
        report = play(folder)
    assert [len(round_.accepted) for round_ in report.rounds] == [DEVICES - 1] * ROUNDS
    lines = [record.getMessage() for record in caplog.records if "sits out" in record.getMessage()]
    cause = "Flower app sklearn-away: training on partition 3 failed: OSError: the disk of site 3 is away"
    assert [line.endswith(cause) for line in lines] == [True] * ROUNDS


@pytest.mark.parametrize(
    ("off", "reason", "expected"),
    [
        ((), "outlier", {"norm", "direction", "against", "length"}),
        (("norm", "direction"), "quality", {"harm"}),
        (("norm", "quality"), "outlier", {"direction", "against"}),
    ],
)
def test_miners_leave_a_sign_flipper_out(
    tmp_path: Path, off: tuple[str, ...], reason: str, expected: set[str]
) -> None:
    """Norm, direction, and harm by the losses that the app evaluates catch it, each without the others."""
    folder = write_app(tmp_path / "app", "sklearn", f"sklearn_flip_{'_'.join(off)}")
    checks: dict[str, Any] = {f"check_{name}": False for name in off}
    report = play(folder, devices=10, miners=3, rounds=1, adversary=("sign-flip:0.1",), **checks)
    assert report.adversaries is not None
    assert [item.device for item in report.rounds[0].rejected] == [report.adversaries[0].account]
    assert {item.reason for item in report.rounds[0].rejected} == {reason}
    assert len(report.rounds[0].accepted) == 9
    with open_run(tmp_path / "run") as query:
        updates = query.votes_view(1)["updates"]
    rules = {
        found["rule"]
        for update in updates
        for findings in update["numbers"].values()
        for found in findings
        if found["reason"] != "accepted"
    }
    assert rules == expected


def test_a_run_goes_on_and_notices_another_app(tmp_path: Path) -> None:
    """In mode full every device is a miner too. States of the devices come from their journals."""
    folder = write_app(tmp_path / "app", "message", "message_resumed")
    report = play(folder, rounds=1, devices=3, miners=3, mode="full")
    assert report.final_metrics["rounds_trained"] == 1
    with Run.open(tmp_path / "run") as run:
        run.set_rounds(2)
    report = simulation.resume(tmp_path / "run")
    assert [round_.status for round_ in report.rounds] == ["finalized"] * 2
    assert report.final_metrics["rounds_trained"] == 2
    file = folder / "message_resumed" / "task.py"
    file.write_text(file.read_text() + "# changed\n")
    with pytest.raises(RunError, match="app has changed since this run began"):
        simulation.resume(tmp_path / "run")


def test_an_app_trains_in_workers_as_in_one_process(tmp_path: Path) -> None:
    """States go there and back, and the judge has them too, also in a run that is resumed."""
    folder = write_app(tmp_path / "app", "message", "message_workers")
    options: dict[str, Any] = {"devices": 3, "miners": MINERS, "seed": 0, "check_time": False}
    alone = play(folder, **options)
    simulation.run(Config(flower=folder, run_dir=tmp_path / "two", rounds=1, **options), workers=2)
    with Run.open(tmp_path / "two") as run:
        run.set_rounds(ROUNDS)
    two = simulation.resume(tmp_path / "two", workers=2)
    first, second = (
        [(round_.global_root, round_.accepted, round_.rejected) for round_ in report.rounds]
        for report in (alone, two)
    )
    assert first == second
    assert alone.final_metrics == two.final_metrics
    assert two.final_metrics["rounds_trained"] == ROUNDS


def test_an_app_on_a_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a Flower app chooses its own device"):
        check_app(Config(flower=tmp_path), "cuda")
