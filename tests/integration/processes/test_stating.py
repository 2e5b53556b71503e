"""A miner's process states how good each model is, unless it is told not to, and every query shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.cli.node.watch import Teller
from bcfl.cli.output.statements import stated_text
from bcfl.federation.inbox_statements import last_stated
from bcfl.federation.node import MinerOptions, Node, NodeOptions
from bcfl.federation.query import RemoteQuery
from bcfl.federation.subject import of_deployment
from bcfl.federation.views.summary import summary
from tests.daemons import client_of
from tests.local_federation import LAYOUT, LocalFederation

TURNS = 12


@pytest.mark.parametrize("states", [None, True, False])
def test_a_miner_states_how_good_a_model_is_and_every_query_shows_it(
    tmp_path: Path,
    states: bool | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # the same federation is in each test
    local = LocalFederation(tmp_path)
    local.play()
    client, _ = client_of(local)
    account = local.miner_accounts[0]
    learner = local.learners[0]
    expected = learner.evaluate(local.archive.values(local.history.head))
    options = NodeOptions(None, claim_every=0, states=states)
    node = Node(client, account, LAYOUT, local.store, options)
    with node.miner(learner, MinerOptions()) as daemon:
        for _ in range(TURNS):
            daemon.turn()
        stated = last_stated(client)
        query = RemoteQuery(client, local.store)
        view, of_round = summary(of_deployment(query)), query.statements_view(1)
        Teller(client, as_json=False)._tell()
        gauges = daemon.counters.text()
    if states is False:
        assert (stated["figure"], stated["statements"]) == (None, [])
        assert "bcfl_stated_loss" not in gauges
        return
    (statement,) = stated["statements"]
    assert (statement["party"], statement["role"], statement["round"]) == (account.address, "miner", 1)
    assert statement["loss"] == pytest.approx(expected.loss)
    assert statement["samples"] == expected.samples
    assert of_round["statements"] == stated["statements"]
    assert view["rounds"][0]["figure"] == stated["figure"]
    assert "the median of 1 miner" in (stated_text(stated) or "")
    assert "after round 1 the model has" in capsys.readouterr().out
    assert "bcfl_stated_round 1" in gauges
