"""Training on a Ray cluster: the same models as without, and whatever becomes of its workers."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from bcfl.config import Config
from bcfl.errors import ConfigError, RunError
from bcfl.federation import simulation
from bcfl.federation.ray_worker import RayWorker
from bcfl.federation.reports import Progress, Report
from testkit.flower_apps import write_app
from tests.integration import worker_tasks
from tests.integration.test_workers import SMALL, TASKS, outcome
from tests.processes import STALL_SECONDS, until

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="the extra bcfl[ray] is not installed")

ROOT = Path(__file__).parents[2]
SLOW_STARTS = 5  # Ray gives a node 30 seconds to start, which a busy machine needs several times
SIZES = SMALL | {"devices": 3, "rounds": 1}


@pytest.fixture(scope="module", autouse=True)
def marks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that workers know, and a token for the clusters: Ray asks for it once, when it is imported."""
    folder = tmp_path_factory.mktemp("marks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_worker_niceness", "0")  # else whatever runs beside the tests comes first
        patch.setenv("TEST_WORKERS_FOLDER", str(folder))
        yield folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of two CPUs in a process of its own."""
    command = [sys.executable, "-m", "tests.ray_head"]
    for _ in range(SLOW_STARTS):
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as head:
            assert head.stdout is not None
            address = head.stdout.readline().strip()
            if address:
                yield address
                head.communicate()
                return
    pytest.fail("Ray does not start here")


def play(tmp_path: Path, task: str, **compute: object) -> tuple[Report, list[str | None]]:
    seen: list[str | None] = []

    def observe(progress: Progress) -> None:
        seen.append(progress.workers)

    config = Config(**SIZES | {"runs": tmp_path, "task": task if ":" in task else f"{TASKS}:{task}"})  # type: ignore[arg-type]
    return simulation.run(config, on_progress=observe, **compute), seen  # type: ignore[arg-type]


def test_the_models_are_the_same_and_a_killed_worker_is_replaced(
    tmp_path: Path, cluster: str, marks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Dropout, statistics that stay at home, and a loop of one's own, in a worker that kills itself."""
    alone, _ = play(tmp_path, "own")
    report, seen = play(tmp_path, "dying_once", ray=cluster)
    assert (marks / "died").exists()
    assert outcome(report) == outcome(alone)
    assert "a worker on Ray has ended: it is replaced, and its work is done again" in caplog.text
    assert seen[-1] in ("1 worker, 1 replaced", "2 workers, 1 replaced")


def test_an_app_trains_there(tmp_path: Path, cluster: str) -> None:
    """The first model is all zeros, so it takes a second round to see which model a worker has got."""
    folder, seen = write_app(tmp_path / "app", "sklearn", "sklearn_on_ray"), list[str | None]()
    config = Config(flower=folder, devices=2, miners=2, rounds=2, runs=tmp_path, check_time=False)
    alone = simulation.run(config)
    there = simulation.run(config, ray=cluster, on_progress=lambda progress: seen.append(progress.workers))
    assert outcome(there) == outcome(alone)
    assert seen[-1] in ("1 worker", "2 workers")


def test_a_job_that_ends_all_workers_ends_the_run(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcfl.federation.ray_pool.MAX_ENDS", 0)
    with pytest.raises(RunError, match=r"a job has ended 1 workers on Ray.*give fewer --workers"):
        play(tmp_path, "dying", ray=cluster, workers=1)


def test_a_task_that_is_not_there_is_refused(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("only_here")
    module.own = worker_tasks.own  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(ConfigError) as refusal:
        play(tmp_path, "only_here:own", ray=cluster, workers=1)
    assert str(refusal.value) == (
        "a worker on Ray cannot do what this process can: task 'only_here:own': importing only_here failed: "
        "ModuleNotFoundError: No module named 'only_here'; put the task into a module that it can import, or "
        "leave --ray out"
    )


def test_a_machine_without_bcfl_is_refused(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("not_installed")
    worker = type("RayWorker", (RayWorker,), {"__module__": "not_installed"})
    module.RayWorker = worker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "not_installed", module)
    monkeypatch.setattr("bcfl.federation.ray_pool.RayWorker", worker)
    with pytest.raises(ConfigError) as refusal:
        play(tmp_path, "own", ray=cluster, workers=1)
    assert "a worker on Ray cannot do what this process can: " in str(refusal.value)
    assert "No module named 'not_installed'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def _answer(server: socket.socket, answer: bytes) -> None:
    with server.accept()[0] as connection:
        connection.recv(100)
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "nobody answers, Connection refused: start the cluster with `ray start --head`"),
        (b"", "nobody answers: start the cluster with `ray start --head`"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what answers there is no Ray cluster"),
    ],
)
def test_an_address_without_a_cluster_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, words: str
) -> None:
    monkeypatch.setattr("bcfl.federation.ray_cluster.ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        if answer is None:
            server.close()
        elif answer:
            threading.Thread(target=_answer, args=(server, answer), daemon=True).start()
        with pytest.raises(ConfigError) as refusal:
            play(tmp_path, "own", ray=address)
    assert str(refusal.value) == f"--ray {address}: {words}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["here", "host", "host:0", "host:99999", "ray://host", ":6379"])
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="name local, auto, HOST:PORT or ray://HOST:PORT"):
        play(tmp_path, "own", ray=address)


def test_another_token_is_refused(cluster: str) -> None:
    """In a process of its own: Ray asks for the token once."""
    command = [sys.executable, "-m", "bcfl", "run", "--ray", cluster, "--quiet"]
    environment = os.environ | {"RAY_AUTH_TOKEN": "ab" * 32}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    words = "it wants another token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    assert process.stderr.splitlines()[-1] == f"error: --ray {cluster}: {words}"


def test_a_missing_ray_and_another_device_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "choose", str)
    with pytest.raises(ConfigError, match=r"^--device cuda: workers on Ray train on CPUs"):
        play(tmp_path, "own", ray="local", device="cuda")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^--ray needs ray: pip install 'bcfl\[ray\]'$"):
        play(tmp_path, "own", ray="local")


def heirs(folder: Path) -> list[int]:
    """All processes that the variable of this test was left to."""
    mark, found = f"TEST_WORKERS_FOLDER={folder}\0".encode(), []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found by what Linux tells")
def test_a_cluster_of_its_own_ends_with_the_run(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    environment |= {"TEST_WORKERS_FOLDER": str(tmp_path / "marks"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "bcfl", "run", "--ray", "local", "--workers", "1", "--quiet"]
    command += [
        "--task",
        f"{TASKS}:waiting",
        "--devices",
        "2",
        "--miners",
        "2",
        "--run-dir",
        str(tmp_path / "mine"),
    ]
    for _ in range(SLOW_STARTS):
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert until(lambda: [*(tmp_path / "marks").iterdir()] or process.poll() is not None)  # noqa: B023
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=STALL_SECONDS)
        if "timed out during startup" not in errors:
            break
    assert process.returncode == 130
    assert (output, errors.splitlines()) == (
        "",
        [f"interrupted: go on with `bcfl run --resume {tmp_path / 'mine'}`"],
    )
    assert until(lambda: not heirs(tmp_path / "marks"))
    assert not (tmp_path / ".ray").exists(), "Ray's token is in the memory of the run alone"
