"""The command line as a person meets it: a process, a folder, a run, and every question about it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bcfl.cli import main
from bcfl.protocol import cid as cids

ROOT = Path(__file__).parents[2]
SMALL = ("--devices", "4", "--miners", "2")
ROOM = 800_000


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "bcfl", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("BCFL_")} | {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    returncode: int
    bytes: bytes
    stderr: str

    @property
    def stdout(self) -> str:
        return self.bytes.decode()


def run_bcfl(folder: Path, *arguments: object, **options: Any) -> Done:
    """A command in a process of its own."""
    process = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, check=False, **options
    )
    return Done(process.returncode, process.stdout, process.stderr.decode())


def bcfl(folder: Path, *arguments: object) -> Done:
    """A command in this process, which has loaded already what takes its time."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    out.flush()
    assert isinstance(out.buffer, io.BytesIO)
    return Done(code, out.buffer.getvalue(), err.getvalue())


def answer(folder: Path, *arguments: object) -> Any:
    """The object that a command prints with --json."""
    process = bcfl(folder, *arguments, "--json")
    assert (process.returncode, process.stderr) == (0, "")
    return json.loads(process.stdout)


def refusal(process: Done) -> str:
    """The one line on stderr of a command that was refused."""
    assert process.returncode == 2, process.stderr
    assert process.stderr.count("\n") == 1
    assert process.stderr.startswith("error: ")
    return process.stderr


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with a run of two rounds in it, and the report of the run."""
    folder = tmp_path_factory.mktemp("training")
    process = run_bcfl(folder, "run", *SMALL, "--rounds", 2, "--json")
    assert process.returncode == 0, process.stderr
    assert len(process.stderr.splitlines()) == 4
    return folder, json.loads(process.stdout)


@pytest.fixture
def run_copy(training: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """The same, to do harm to."""
    shutil.copytree(training[0] / "runs", tmp_path / "runs")
    return tmp_path


def folder_of(here: Path) -> Path:
    (path,) = (here / "runs").iterdir()
    return path


def test_a_run_says_what_came_of_it(training: tuple[Path, dict[str, Any]]) -> None:
    folder, report = training
    assert [round_["round"] for round_ in report["rounds"]] == [1, 2]
    assert {round_["status"] for round_ in report["rounds"]} == {"finalized"}
    assert report["final_accuracy"] == report["rounds"][-1]["accuracy"] > 0.5
    assert report["gas_per_participant"] == sum(round_["gas"] for round_ in report["rounds"]) / 2 / 6
    assert (folder / report["run_dir"] / "run.json").exists()
    assert report["seconds"] > 0


def test_the_chain_says_the_same(training: tuple[Path, dict[str, Any]]) -> None:
    folder, report = training
    for round_ in report["rounds"]:
        view = answer(folder, "round", round_["round"])
        for key in set(round_) - {"accuracy", "loss", "metrics", "fit"}:
            assert view[key] == round_[key], key
    assert answer(folder, "round")["round"] == 2
    assert answer(folder, "ls")["runs"][0]["contract"] == report["contract"]


def test_the_model_ledger(training: tuple[Path, dict[str, Any]]) -> None:
    folder, report = training
    models = [answer(folder, "model", number) for number in range(3)]
    assert [model["parent"] for model in models[1:]] == [model["block_hash"] for model in models[:2]]
    assert [model["root"] for model in models[1:]] == [round_["global_root"] for round_ in report["rounds"]]
    assert [model["cid"] for model in models[1:]] == [round_["global_cid"] for round_ in report["rounds"]]
    assert all(model["held"] for model in models)
    assert answer(folder, "model", "latest") == answer(folder, "model") == models[2]
    root, cid = answer(folder, "call", "model")["result"]
    assert (root, cid) == (models[2]["root"], "0x" + cids.digest(models[2]["cid"]).hex())


def test_every_query_agrees_with_the_others(training: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = training
    view = answer(folder, "round", 2)
    assert answer(folder, "leader", 2)["leader"] == view["leader"]
    assert 2 in answer(folder, "miner", view["leader"])["led"]
    votes = answer(folder, "votes", 2)
    assert [update["device"] for update in votes["updates"]] == [s["device"] for s in view["submissions"]]
    for submission in view["submissions"]:
        device = answer(folder, "device", submission["device"])
        assert device["index"] == submission["index"]
        assert device["rounds"][1]["cid"] == submission["cid"]
    assert answer(folder, "events", "Finalized")["events"][1]["args"]["block_hash"] == view["block_hash"]


@pytest.mark.parametrize(
    "question",
    [
        "ls",
        "round",
        "round 1",
        "model",
        "leader",
        "device 0",
        "miner 1",
        "votes 2",
        "events",
        "call agreed",
        "version",
    ],
)
def test_every_query_in_words(training: tuple[Path, dict[str, Any]], question: str) -> None:
    process = bcfl(training[0], *question.split())
    assert (process.returncode, process.stderr) == (0, "")
    assert len(process.stdout.splitlines()) >= 1
    assert "\x1b" not in process.stdout


def test_fetch_and_export(training: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, report = training
    cid = report["rounds"][1]["global_cid"]
    data = bcfl(folder, "fetch", cid).bytes
    assert cids.compute(data) == cid
    assert bcfl(folder, "fetch", cid, "-o", tmp_path / "bytes").stdout == ""
    assert (tmp_path / "bytes").read_bytes() == data

    view = answer(folder, "export", 2, "-o", tmp_path / "model.safetensors")
    tensors = load_file(view["file"])
    terms = answer(folder, "call", "agreed")["result"]
    lanes = np.frombuffer(data[-4 * terms["parameters"] :], "<i4")
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}
    assert sum(tensor.size for tensor in tensors.values()) == terms["parameters"]
    expected = lanes.astype(np.float32) * np.float32(2.0 ** -terms["scale_bits"])
    assert sorted(np.concatenate([tensor.ravel() for tensor in tensors.values()])) == sorted(expected)


def test_an_export_overwrites_nothing_unasked(run_copy: Path) -> None:
    assert "model-2.safetensors: the model after round 2" in bcfl(run_copy, "export").stdout
    content = (run_copy / "model-2.safetensors").read_bytes()
    assert "exists: name a file with -o" in refusal(bcfl(run_copy, "export"))
    assert (run_copy / "model-2.safetensors").read_bytes() == content


def test_a_damaged_store_is_said(run_copy: Path) -> None:
    cid = answer(run_copy, "model")["cid"]
    (file,) = (folder_of(run_copy) / "store").rglob(cid)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert cid in refusal(bcfl(run_copy, "fetch", cid))
    assert cid in refusal(bcfl(run_copy, "export", "-o", "x"))
    assert not (run_copy / "x").exists()
    assert answer(run_copy, "round")["global_cid"] == cid
    file.unlink()
    assert "does not hold" in refusal(bcfl(run_copy, "fetch", cid))
    assert not answer(run_copy, "model")["held"]


def test_an_unreadable_chain_is_said(run_copy: Path) -> None:
    chain = folder_of(run_copy) / "chain.sqlite"
    chain.write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    assert "chain.sqlite" in refusal(bcfl(run_copy, "round"))
    assert "damaged" in bcfl(run_copy, "ls").stdout
    assert "chain.sqlite" in refusal(bcfl(run_copy, "run", "--resume"))


def test_more_rounds_than_the_run_began_with(run_copy: Path, training: tuple[Path, dict[str, Any]]) -> None:
    report = answer_of_resume(run_bcfl(run_copy, "run", "--resume", "--rounds", 3, "--json", "-q"))
    assert [round_["global_root"] for round_ in report["rounds"]][:2] == [
        round_["global_root"] for round_ in training[1]["rounds"]
    ]
    assert [round_["status"] for round_ in report["rounds"]] == ["finalized"] * 3


def answer_of_resume(process: Done) -> Any:
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def started(folder: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A process that goes on; stderr can be read."""
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(), text=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, **options,
    )  # fmt: skip


def until_round(process: subprocess.Popen[str], number: int) -> None:
    """Wait until a round has been reported."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        if line.split()[0] == str(number):
            return
        lines.append(line)
    raise AssertionError(f"ended with {process.wait()} before round {number}: {''.join(lines)}")


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The models of four rounds that nothing disturbed."""
    process = run_bcfl(tmp_path_factory.mktemp("uninterrupted"), "run", *SMALL, "--rounds", 4, "--json")
    return [round_["global_root"] for round_ in json.loads(process.stdout)["rounds"]]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path, how: signal.Signals, uninterrupted: list[str]
) -> None:
    with started(tmp_path, "run", *SMALL, "--rounds", 400) as process:
        until_round(process, 2)
        if how is signal.SIGKILL:
            assert "is busy" in refusal(run_bcfl(tmp_path, "run", "--resume"))
            assert answer(tmp_path, "ls")["runs"][0]["state"] == "running"
            assert answer(tmp_path, "round", 1)["status"] == "finalized"
        process.send_signal(how)
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert lines[-1].startswith("interrupted: go on with `bcfl run --resume runs/")
        assert not any("Traceback" in line for line in lines)
    assert answer(tmp_path, "ls")["runs"][0]["state"] == "stopped"
    count = 2 + len([line for line in lines if line.strip()[:1].isdigit()])
    report = answer_of_resume(
        run_bcfl(tmp_path, "run", "--resume", "--rounds", max(4, count + 1), "--json", "-q")
    )
    assert [round_["global_root"] for round_ in report["rounds"]][:4] == uninterrupted


def little_room() -> None:
    """Let the files of a process that starts not grow further, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


def test_a_full_disk_on_the_way_loses_nothing(tmp_path: Path) -> None:
    process = run_bcfl(tmp_path, "run", *SMALL, "--rounds", 400, "-q", preexec_fn=little_room)
    assert "go on with `bcfl run --resume" in refusal(process)
    rounds = answer(tmp_path, "ls")["runs"][0]["rounds"]
    report = answer_of_resume(run_bcfl(tmp_path, "run", "--resume", "--rounds", rounds + 2, "--json", "-q"))
    assert len(report["rounds"]) == rounds + 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--devices", -3), "devices=-3"),
        (("--rounds", 0), "rounds=0"),
        (("--task", "digit"), "did you mean digits?"),
        (("--task", "no.such:thing"), "no.such:thing"),
        (("--task", "fashion-mnist", "--data", "nowhere"), "nowhere"),
        (("--run-dir", "/dev/null/x"), "/dev/null/x"),
        (("--devices", 1000), "more than miners=5 can serve"),
    ],
)
def test_a_run_that_cannot_be(tmp_path: Path, arguments: tuple[object, ...], words: str) -> None:
    assert words in refusal(bcfl(tmp_path, "run", *arguments))
    assert list(tmp_path.iterdir()) == []
