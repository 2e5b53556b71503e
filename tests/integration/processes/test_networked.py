"""The query commands ask a deployed federation as they ask a run."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bcfl.cli.groups import grouped
from bcfl.cli.query.rounds import round_
from bcfl.cli.query.target import QueryTarget
from bcfl.errors import ConfigError
from bcfl.federation.client import FederationClient
from tests.daemons import client_of
from tests.local_federation import LocalFederation

OPTIONS = {
    "run": None,
    "runs": None,
    "network": None,
    "deployment": None,
    "gateway": None,
    "keys": None,
    "key_file": None,
}


def test_a_command_takes_the_options_of_a_run_and_of_a_network() -> None:
    command = grouped(round_)
    assert command.__doc__ == round_.__doc__
    names = list(inspect.signature(command).parameters)
    assert names == [
        "run",
        "runs",
        "network",
        "deployment",
        "folder",
        "store",
        "gateway",
        "keys",
        "key_file",
        "number",
        "as_json",
    ]


def test_the_command_gets_what_they_name() -> None:
    targets = []

    def command(target: QueryTarget, number: int = 1) -> None:
        targets.append((number, target))

    options = {**OPTIONS, "folder": Path("deployments"), "store": "store"}
    grouped(command)(number=2, **options)
    grouped(command)(number=3, **{**options, "deployment": "demo"})
    assert targets == [(2, QueryTarget()), (3, QueryTarget(deployment="demo"))]
    assert [target.is_deployed for _, target in targets] == [False, True]


def test_a_run_and_a_deployment_are_not_asked_together() -> None:
    for target in (
        QueryTarget(run=Path("run"), deployment="demo"),
        QueryTarget(run=Path("run"), network="lab"),
    ):
        with pytest.raises(ConfigError, match="--run is for runs on this machine"), target.open():
            pass


def test_the_network_of_the_environment_is_asked_unless_a_run_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BCFL_NETWORK", "lab")
    assert QueryTarget().is_deployed
    assert not QueryTarget(run=Path("run")).is_deployed
    assert not QueryTarget(runs=Path("runs")).is_deployed


def test_a_deployed_federation_answers_as_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    client, _ = client_of(local)
    deployments = []

    @contextmanager
    def connect(_: object, deployment: str, folder: Path) -> Iterator[FederationClient]:
        deployments.append((deployment, folder))
        yield client

    monkeypatch.setattr("bcfl.federation.client.connect", connect)
    target = QueryTarget(deployment="demo", store=str(tmp_path / "store"))
    round_(target, "1", as_json=True)
    view = json.loads(capsys.readouterr().out)
    assert (view["status"], len(view["accepted"])) == ("finalized", 4)
    assert deployments == [("demo", Path("deployments"))]
    with target.open() as query:
        assert query.model_bytes(query.history.head)
