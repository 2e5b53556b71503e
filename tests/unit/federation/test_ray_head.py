"""The head of a Ray cluster that ends is told in one line, before Ray ends the process of the run."""

from __future__ import annotations

import signal
import socket
import threading
from types import SimpleNamespace

import pytest

from bcfl.errors import ConfigError, RunError
from bcfl.federation import ray_cluster, ray_pool
from bcfl.federation.jobs import Call, Job
from bcfl.federation.ray_cluster import FRAME_BYTES, HEADERS, PREFACE, Head, joined_cluster
from bcfl.federation.ray_pool import RayPool

CALL = Call(("device", 0), "train", None)


def head_at(address: str) -> Head:
    return Head(SimpleNamespace(get_runtime_context=lambda: SimpleNamespace(gcs_address=address)))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (ray_cluster, ray_pool):
        monkeypatch.setattr(module, "HEAD_SECONDS", 0.01)


def test_a_head_that_ends_ends_the_run() -> None:
    pool = RayPool.__new__(RayPool)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        pool._head, job = head_at(address), Job(CALL)
        job.future.set_result((1, {}))
        assert pool.result(job) == (1, {})
    with pytest.raises(
        RunError, match=f"^the head of the Ray cluster, {address}, has ended: start a cluster"
    ):
        pool.result(Job(CALL))


def test_a_head_that_was_never_reached_is_not_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    pool, job = RayPool.__new__(RayPool), Job(CALL)
    pool._head = head_at(address)
    job.future.set_exception(TimeoutError("of the learner"))
    with pytest.raises(TimeoutError, match="of the learner"):
        pool.result(job)


SETTINGS_FRAME = PREFACE[-FRAME_BYTES:]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (SETTINGS_FRAME, "nobody answers"),  # HTTP/2, and then nothing
        (SETTINGS_FRAME + bytes([0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0]), "is no Ray cluster"),
        (SETTINGS_FRAME + bytes([0, 0, 0, HEADERS, 0, 0, 0, 0, 1]), None),
    ],
)
def test_an_address_is_asked_whether_it_answers_a_call(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, words: str | None
) -> None:
    """Ray would wait for minutes."""
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 0.2)
    is_done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reply() -> None:
            with server.accept()[0] as connection:
                connection.sendall(answer)
                is_done.wait(10)

        thread = threading.Thread(target=reply)
        thread.start()
        address = "{}:{}".format(*server.getsockname())
        try:
            if words is None:
                ray_cluster._check(address)
            else:
                with pytest.raises(ConfigError, match=words):
                    ray_cluster._check(address)
        finally:
            is_done.set()
            thread.join()


def ray_that(init: object, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = SimpleNamespace(init=init, is_initialized=lambda: False, shutdown=lambda: None)
    monkeypatch.setattr(ray_cluster, "_import_ray", lambda: ray)


def test_sigterm_while_ray_starts_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's handler of the signal raises SystemExit(15), which is no refusal of the cluster's."""

    def init(*_: object, **__: object) -> None:
        raise SystemExit(signal.SIGTERM.value)

    ray_that(init, monkeypatch)
    with pytest.raises(KeyboardInterrupt), joined_cluster("auto", None):
        pass


def test_what_sigterm_does_is_put_back_once_ray_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ray_that(lambda *_, **__: signal.signal(signal.SIGTERM, signal.SIG_IGN), monkeypatch)
    with joined_cluster("auto", None):
        assert signal.getsignal(signal.SIGTERM) == before
