"""The head of a Ray cluster that ends is told in one line, before Ray ends the process of the run."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from bcfl.errors import RunError
from bcfl.federation import ray_cluster, ray_pool
from bcfl.federation.jobs import Call, Job
from bcfl.federation.ray_cluster import Head
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
