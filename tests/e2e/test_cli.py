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


def ran(folder: Path, *arguments: object, **options: Any) -> Done:
    """A command in a process of its own."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, check=False, **options
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


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
    done = bcfl(folder, *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def refusal(done: Done) -> str:
    """The one line on stderr of a command that was refused."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    return done.stderr


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with a run of two rounds in it, and what the run said."""
    folder = tmp_path_factory.mktemp("trained")
    done = ran(folder, "run", *SMALL, "--rounds", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 4
    return folder, json.loads(done.stdout)


@pytest.fixture
def copied(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """The same, to do harm to."""
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    return tmp_path


def folder_of(here: Path) -> Path:
    (path,) = (here / "runs").iterdir()
    return path


def test_a_run_says_what_came_of_it(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, report = trained
    assert [found["round"] for found in report["rounds"]] == [1, 2]
    assert {found["status"] for found in report["rounds"]} == {"finalized"}
    assert report["final_accuracy"] == report["rounds"][-1]["accuracy"] > 0.5
    assert report["gas_per_participant"] == sum(found["gas"] for found in report["rounds"]) / 2 / 6
    assert (folder / report["run_dir"] / "run.json").exists()
    assert report["seconds"] > 0


def test_the_chain_says_the_same(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, report = trained
    for said in report["rounds"]:
        asked = answer(folder, "round", said["round"])
        for key in set(said) - {"accuracy", "loss"}:
            assert asked[key] == said[key], key
    assert answer(folder, "round")["round"] == 2
    assert answer(folder, "ls")["runs"][0]["contract"] == report["contract"]


def test_the_model_ledger(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, report = trained
    models = [answer(folder, "model", number) for number in range(3)]
    assert [model["parent"] for model in models[1:]] == [model["block_hash"] for model in models[:2]]
    assert [model["root"] for model in models[1:]] == [said["global_root"] for said in report["rounds"]]
    assert [model["cid"] for model in models[1:]] == [said["global_cid"] for said in report["rounds"]]
    assert all(model["held"] for model in models)
    assert answer(folder, "model", "latest") == answer(folder, "model") == models[2]
    root, cid = answer(folder, "call", "model")["result"]
    assert (root, cid) == (models[2]["root"], "0x" + cids.digest(models[2]["cid"]).hex())


def test_every_query_agrees_with_the_others(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = trained
    asked = answer(folder, "round", 2)
    assert answer(folder, "leader", 2)["leader"] == asked["leader"]
    assert 2 in answer(folder, "miner", asked["leader"])["led"]
    votes = answer(folder, "votes", 2)
    assert [update["device"] for update in votes["updates"]] == [s["device"] for s in asked["submissions"]]
    for submission in asked["submissions"]:
        device = answer(folder, "device", submission["device"])
        assert device["index"] == submission["index"]
        assert device["rounds"][1]["cid"] == submission["cid"]
    assert answer(folder, "events", "Finalized")["events"][1]["args"]["block_hash"] == asked["block_hash"]


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
def test_every_query_in_words(trained: tuple[Path, dict[str, Any]], question: str) -> None:
    done = bcfl(trained[0], *question.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) >= 1
    assert "\x1b" not in done.stdout


def test_fetch_and_export(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, report = trained
    cid = report["rounds"][1]["global_cid"]
    data = bcfl(folder, "fetch", cid).bytes
    assert cids.compute(data) == cid
    assert bcfl(folder, "fetch", cid, "-o", tmp_path / "bytes").stdout == ""
    assert (tmp_path / "bytes").read_bytes() == data

    exported = answer(folder, "export", 2, "-o", tmp_path / "model.safetensors")
    tensors = load_file(exported["file"])
    terms = answer(folder, "call", "agreed")["result"]
    lanes = np.frombuffer(data[-4 * terms["parameters"] :], "<i4")
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float32)}
    assert sum(tensor.size for tensor in tensors.values()) == terms["parameters"]
    expected = lanes.astype(np.float32) * np.float32(2.0 ** -terms["scale_bits"])
    assert sorted(np.concatenate([tensor.ravel() for tensor in tensors.values()])) == sorted(expected)


def test_an_export_overwrites_nothing_unasked(copied: Path) -> None:
    assert "model-2.safetensors: the model after round 2" in bcfl(copied, "export").stdout
    before = (copied / "model-2.safetensors").read_bytes()
    assert "exists: name a file with -o" in refusal(bcfl(copied, "export"))
    assert (copied / "model-2.safetensors").read_bytes() == before


def test_a_damaged_store_is_said(copied: Path) -> None:
    cid = answer(copied, "model")["cid"]
    (file,) = (folder_of(copied) / "store").rglob(cid)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert cid in refusal(bcfl(copied, "fetch", cid))
    assert cid in refusal(bcfl(copied, "export", "-o", "x"))
    assert not (copied / "x").exists()
    assert answer(copied, "round")["global_cid"] == cid
    file.unlink()
    assert "does not hold" in refusal(bcfl(copied, "fetch", cid))
    assert not answer(copied, "model")["held"]


def test_an_unreadable_chain_is_said(copied: Path) -> None:
    chain = folder_of(copied) / "chain.sqlite"
    chain.write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    assert "chain.sqlite" in refusal(bcfl(copied, "round"))
    assert "damaged" in bcfl(copied, "ls").stdout
    assert "chain.sqlite" in refusal(bcfl(copied, "run", "--resume"))


def test_more_rounds_than_the_run_began_with(copied: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    report = answer_of_resume(ran(copied, "run", "--resume", "--rounds", 3, "--json", "-q"))
    assert [found["global_root"] for found in report["rounds"]][:2] == [
        found["global_root"] for found in trained[1]["rounds"]
    ]
    assert [found["status"] for found in report["rounds"]] == ["finalized"] * 3


def answer_of_resume(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def started(folder: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A process that goes on; stderr can be read."""
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment(), text=True, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, **options,
    )  # fmt: skip


def until_round(process: subprocess.Popen[str], number: int) -> None:
    """Wait until a round has been reported."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if line.split()[0] == str(number):
            return
        said.append(line)
    raise AssertionError(f"ended with {process.wait()} before round {number}: {''.join(said)}")


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The models of four rounds that nothing disturbed."""
    done = ran(tmp_path_factory.mktemp("uninterrupted"), "run", *SMALL, "--rounds", 4, "--json")
    return [found["global_root"] for found in json.loads(done.stdout)["rounds"]]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path, how: signal.Signals, uninterrupted: list[str]
) -> None:
    with started(tmp_path, "run", *SMALL, "--rounds", 400) as process:
        until_round(process, 2)
        if how is signal.SIGKILL:
            assert "is busy" in refusal(ran(tmp_path, "run", "--resume"))
            assert answer(tmp_path, "ls")["runs"][0]["state"] == "running"
            assert answer(tmp_path, "round", 1)["status"] == "finalized"
        process.send_signal(how)
        assert process.stderr is not None
        rest = process.stderr.read().splitlines()
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert rest[-1].startswith("interrupted: go on with `bcfl run --resume runs/")
        assert not any("Traceback" in line for line in rest)
    assert answer(tmp_path, "ls")["runs"][0]["state"] == "stopped"
    done = 2 + len([line for line in rest if line.strip()[:1].isdigit()])
    report = answer_of_resume(ran(tmp_path, "run", "--resume", "--rounds", max(4, done + 1), "--json", "-q"))
    assert [found["global_root"] for found in report["rounds"]][:4] == uninterrupted


def little_room() -> None:
    """Let the files of a process that starts not grow further, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, ROOM))


def test_a_full_disk_on_the_way_loses_nothing(tmp_path: Path) -> None:
    done = ran(tmp_path, "run", *SMALL, "--rounds", 400, "-q", preexec_fn=little_room)
    assert "go on with `bcfl run --resume" in refusal(done)
    rounds = answer(tmp_path, "ls")["runs"][0]["rounds"]
    report = answer_of_resume(ran(tmp_path, "run", "--resume", "--rounds", rounds + 2, "--json", "-q"))
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
