"""Python users ask a federation for what the command line prints: a run's folder, or a deployment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from bcfl.errors import ConfigError, RunError, Unavailable
from bcfl.explorer.views.models import check_page
from bcfl.federation.query import LocalQuery, RemoteQuery, open_deployment, open_run
from bcfl.federation.runs import Run, list_runs
from bcfl.federation.views.model import to_safetensors
from bcfl.federation.views.run import ROUND_OPENED, run_view
from bcfl.protocol.fixedpoint import decode
from bcfl.protocol.rewards import block_hash
from testkit.harness import TERMS, Federation
from tests.daemons import client_of
from tests.local_federation import LocalFederation
from tests.unit.cli.conftest import play_two_rounds


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Federation, Path]:
    """Two rounds of which the first has ended, and the folder of their run."""
    runs = tmp_path_factory.mktemp("recorded") / "runs"
    federation = play_two_rounds(runs)
    (folder,) = runs.iterdir()
    return federation, folder


@pytest.fixture
def query(recorded: tuple[Federation, Path]) -> Iterator[LocalQuery]:
    with open_run(recorded[1]) as query:
        yield query


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> RemoteQuery:
    """A played federation as a process reaches it, with its models on a store."""
    local = LocalFederation(tmp_path_factory.mktemp("deployed"))
    local.play()
    client, _ = client_of(local)
    return RemoteQuery(client, local.store)


def test_a_run_is_opened_by_its_folder_by_its_name_or_as_the_latest(
    recorded: tuple[Federation, Path],
) -> None:
    federation, folder = recorded
    for path, runs in ((folder, Path("runs")), (Path(folder.name), folder.parent), (None, folder.parent)):
        with open_run(path, runs) as query:
            assert query.contract.address == federation.contract.address
            assert query.path == folder
    with pytest.raises(RunError, match="there is no run in"):
        open_run(runs=folder / "none").__enter__()


def test_a_round(query: LocalQuery, recorded: tuple[Federation, Path]) -> None:
    federation, view = recorded[0], query.round_view(1)
    block = federation.block(1)
    assert (view["status"], view["reason"], view["leader"]) == ("finalized", None, block.leader)
    assert (view["global_root"], view["block_hash"]) == (block.root, block_hash(block))
    assert [item["verdict"] for item in view["submissions"]] == [
        "accepted", "quality", "accepted", "accepted",
    ]  # fmt: skip
    assert view["gas"] == sum(phase["gas"] for phase in view["phases"])
    assert view == query.round_view("1") == query.round_view()
    assert query.round_view(2)["due"] is not None


def test_who_led_and_what_was_voted(query: LocalQuery) -> None:
    line, votes = query.leader_view(1), query.votes_view(1)
    assert line["leader"] in [candidate["miner"] for candidate in line["order"]]
    assert sum(candidate["share"] for candidate in line["order"]) == pytest.approx(1, abs=1e-5)
    assert [vote["matches"] for vote in votes["miners"]] == [4, 3, 4]
    assert sorted(votes["updates"][1]["verdicts"].values()) == ["duplicate", "quality", "quality"]
    assert len(votes["unexplained"]) == 3  # no miner of this federation keeps a journal


def test_a_device_and_a_miner_by_index_or_address(query: LocalQuery) -> None:
    (rejected,) = query.round_view(1)["rejected"]
    device, miner = query.device_view(rejected["device"]), query.miner_view(0)
    assert (device["submitted"], device["accepted"], device["samples"]) == (1, 0, 0)
    assert query.device_view(device["index"]) == device == query.device_view(device["device"][:10])
    assert (miner["voted"], miner["penalties"], miner["credits"]) == (1, 0, 0)
    assert query.miner_view(miner["miner"]) == miner


def test_a_model(query: LocalQuery) -> None:
    latest = query.model_view()
    assert (latest["round"], latest["block_round"], latest["held"]) == (1, 1, False)
    assert latest["parent"] == query.model_view(0)["block_hash"]
    with pytest.raises(Unavailable, match="does not hold the model of round 1"):
        query.read_model(query.history.head)


def test_a_model_that_attesters_say_lies_elsewhere(deployed: RemoteQuery) -> None:
    query = copy(deployed)
    query.__dict__["history"] = deepcopy(deployed.history)
    head, history = query.history.head, query.history
    history.blocks[-1] = replace(head, cid=bytes(32))
    history.rounds[head.round].proposals.clear()
    assert not query.model_view()["held"]
    history.rounds[head.round].corrected_cids["0x"] = head.cid
    view = query.model_view()
    assert (view["held"], view["other_cids"]) == (True, [query.model_cid(head.round, head.cid)])
    assert query.read_model(history.head)[1].shape == (query.terms.parameters,)


def test_a_model_whose_leader_names_the_bytes_of_another(deployed: RemoteQuery) -> None:
    """It would be called wrong, and could not be exported, though the right bytes are at hand."""
    query = copy(deployed)
    query.__dict__["history"] = deepcopy(deployed.history)
    head, history = query.history.head, query.history
    history.blocks[-1] = replace(head, cid=history.blocks[0].cid)
    history.rounds[head.round].corrected_cids["0x"] = head.cid
    assert check_page(query, head.round).view["holds"] is True
    history.rounds[head.round].corrected_cids.clear()
    history.rounds[head.round].proposals.clear()
    assert check_page(query, head.round).view["holds"] is False


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda query: query.round_view(3), "there is no round 3: the federation has rounds 1 to 2"),
        (lambda query: query.round_view("x"), "'x' is not the number of a round"),
        (lambda query: query.model_view(2), "there is no round 2: the federation has rounds 0 to 1"),
        (lambda query: query.device_view(9), "there is no device 9: the federation has devices 0 to 3"),
        (lambda query: query.miner_view("0x"), "there is no miner 0x"),
        (lambda query: query.call("start"), "start changes the chain"),
        (lambda query: query.call("binding", "one"), "'one' is not a whole number"),
    ],
)
def test_what_cannot_be_asked(query: LocalQuery, ask: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(query)


def test_a_call_names_the_fields_of_its_result(query: LocalQuery) -> None:
    view = query.call("agreed")
    assert view["result"]["min_stake"] == TERMS.min_stake
    assert query.call("binding", "0")["arguments"] == [0]


def test_a_deployed_federation_answers_as_a_run(
    deployed: RemoteQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def connect(*_: object) -> Iterator[object]:
        yield deployed.client

    monkeypatch.setattr("bcfl.federation.client.connect", connect)
    with open_deployment("demo", network="local", store=str(tmp_path / "store")) as query:
        view = query.round_view(1)
        assert (view["status"], len(view["accepted"])) == ("finalized", 4)
        assert view == deployed.round_view(1)
        assert not query.model_view()["held"]


def test_a_model_of_the_store_is_verified_and_becomes_a_file(deployed: RemoteQuery) -> None:
    assert deployed.model_view()["held"]
    layout, lanes = deployed.read_model(deployed.history.head)
    tensors = load(to_safetensors(layout, lanes, deployed.terms.scale_bits, {"round": "1"}))
    values = np.concatenate([tensors[tensor.name].ravel() for tensor in layout.tensors])
    with pytest.raises(ConfigError, match="task digits has another model than this federation"):
        to_safetensors(layout, lanes, deployed.terms.scale_bits, {}, deployed.task("digits"))
    np.testing.assert_array_equal(values, decode(lanes, deployed.terms.scale_bits))


def test_the_status_of_a_deployed_federation(deployed: RemoteQuery) -> None:
    view = deployed.status_view()
    assert (view["round"], view["phase"], view["blocks"], view["void"]) == (2, "commit", 1, 0)
    assert {item["role"] for item in view["awaited"]} == {"miner", "device"}
    assert view["last"]["root"] == deployed.round_view(1)["global_root"]


def test_a_run_in_the_list(recorded: tuple[Federation, Path]) -> None:
    (listed,) = list_runs(recorded[1].parent)
    view = run_view(listed)
    assert (view["state"], view["rounds"], view["error"]) == ("stopped", 1, None)
    with Run.open(recorded[1]):
        assert run_view(list_runs(recorded[1].parent)[0])["state"] == "running"


def test_the_list_says_what_the_contract_says(recorded: tuple[Federation, Path], query: LocalQuery) -> None:
    (listed,) = list_runs(recorded[1].parent)
    assert query.contract.abi.event("RoundOpened").topic == ROUND_OPENED
    assert run_view(listed)["rounds"] == query.clock.round - 1
    view = run_view(replace(listed, contract="0x" + "12" * 20))
    assert (view["state"], view["rounds"]) == ("damaged", 0)
    assert "there is no contract with round_clock at 0x1212" in str(view["error"])


def test_the_list_needs_no_evm(recorded: tuple[Federation, Path]) -> None:
    code = """
import sys
from pathlib import Path
from bcfl.federation.runs import list_runs
from bcfl.federation.views.run import ROUND_OPENED, run_view
(view,) = [run_view(run) for run in list_runs(Path(sys.argv[1]))]
assert view["rounds"] == 1, view
assert not {"eth", "eth_abi", "numpy", "bcfl.federation.query"} & set(sys.modules)
"""
    command = [sys.executable, "-c", code, str(recorded[1].parent)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


def test_every_view_is_json_but_for_its_bytes(query: LocalQuery) -> None:
    views = [query.round_view(), query.leader_view(), query.votes_view(), query.model_view()]
    for view in [*views, query.device_view(0), query.miner_view(0)]:
        assert json.loads(json.dumps(view, default=bytes.hex)).keys() == view.keys()
