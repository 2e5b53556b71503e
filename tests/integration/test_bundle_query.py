"""A bundle answers what its run answers, as far as a file can."""

from __future__ import annotations

from pathlib import Path

import pytest

from bcfl.bundle.query import open_bundle_query
from bcfl.bundle.writer import write_bundle
from bcfl.errors import LedgerError
from bcfl.federation.query import open_run
from bcfl.ports import ContractCall
from bcfl.protocol.types import Phase
from bcfl.roles.background.claims import claim_calls
from tests.played_run import begin_run


def test_a_bundle_answers_as_its_run(tmp_path: Path) -> None:
    local = begin_run(tmp_path / "runs")
    local.play()
    account = local.device_accounts[0]
    local.ledger.send(account, claim_calls(local.history, local.ledger.domain, account.address))
    local.ledger.send(local.owner, [ContractCall("withdraw", (account.address,))])
    local.until(Phase.VOTE)
    with open_run(local.path) as query:
        write_bundle(query.contract, query.store, tmp_path / "all.car")
        with open_bundle_query(tmp_path / "all.car") as bundle:
            for number in (1, 2):
                assert bundle.round_view(number) == {**query.round_view(number), "due": None}
                assert bundle.leader_view(number) == query.leader_view(number)
            for index in range(5):
                assert bundle.device_view(index, query.journals) == query.device_view(index)
            for index in range(4):
                assert {**bundle.miner_view(index), "rest": None} == {**query.miner_view(index), "rest": None}
            assert bundle.model_view() == query.model_view()
            assert bundle.events == query.events
            with pytest.raises(LedgerError, match="nobody answers target there"):
                bundle.call("target")
