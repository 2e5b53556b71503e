"""The query commands ask a deployed federation as they ask a run."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from pathlib import Path

import pytest

from bcfl.cli.options import RunOption
from bcfl.cli.query.networked import PLACE, networked
from bcfl.cli.query.rounds import round_, round_view
from bcfl.errors import ConfigError
from bcfl.federation import remote
from tests.daemons import client_of
from tests.local_federation import LocalFederation

seen: list[object] = []


def command(number: int = 1, run: RunOption = None) -> None:
    """What is asked."""
    seen.append((number, run, PLACE.get()))


def test_a_command_takes_the_options_of_a_network_too() -> None:
    asked = networked(round_)
    assert asked.__doc__ == round_.__doc__
    names = list(inspect.signature(asked).parameters)
    assert names == [
        "number",
        "run",
        "runs",
        "as_json",
        "network",
        "deployment",
        "folder",
        "store",
        "gateway",
    ]


def test_what_they_name_holds_for_that_command_only() -> None:
    place = {"network": None, "folder": Path("deployments"), "store": "store", "gateway": None}
    asked = networked(command)
    asked(number=2, run=None, deployment=None, **place)
    asked(number=3, run=None, deployment="demo", **place)
    assert [item[0] for item in seen] == [2, 3]  # type: ignore[index]
    assert seen[0][2] is None  # type: ignore[index]
    assert seen[1][2].deployment == "demo"  # type: ignore[index]
    assert PLACE.get() is None
    with pytest.raises(ConfigError, match="--run is for runs on this machine"):
        asked(number=3, run=Path("run"), deployment="demo", **place)


def test_the_network_of_the_environment_is_asked_unless_a_run_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BCFL_NETWORK", "lab")
    place = {"network": None, "folder": Path("deployments"), "store": "store", "gateway": None}
    asked = networked(command)
    asked(number=4, run=None, deployment=None, **place)
    asked(number=5, run=Path("run"), deployment=None, **place)
    assert seen[-2][2].deployment == "federation"  # type: ignore[index]
    assert seen[-1][1:] == (Path("run"), None)  # type: ignore[index]


def test_a_deployed_federation_answers_as_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    client, _ = client_of(local)
    monkeypatch.setattr(remote, "joined", contextmanager(lambda *_: iter([client])))
    with remote.elsewhere() as found:
        assert found is None

    def ask() -> None:
        with remote.elsewhere() as found:
            assert found is not None
            view = round_view(found, found.round("1"))
            assert view["status"] == "finalized"
            assert len(view["accepted"]) == 4
            assert found.model_bytes(found.history.head)

    store = str(tmp_path / "store")
    networked(ask)(network=None, deployment="x", folder=Path(), store=store, gateway=None)
