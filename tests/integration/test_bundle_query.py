"""A bundle answers what its run answers, as far as a file can."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bcfl.bundle import writer
from bcfl.bundle.manifest import MOST_STATEMENTS
from bcfl.bundle.query import open_bundle_query
from bcfl.bundle.writer import write_bundle
from bcfl.cli import main
from bcfl.errors import BundleError, LedgerError
from bcfl.explorer.target import bundle_target
from bcfl.federation.query import open_run
from bcfl.federation.statements import add_to_run
from bcfl.federation.subject import of_bundle, of_run
from bcfl.federation.views.summary import summary
from bcfl.ports import ContractCall
from bcfl.protocol import cid as cids
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from bcfl.relay.statements import Statement, seal
from bcfl.roles.background.claims import claim_calls
from tests.explorers import serving
from tests.integration.test_bundle import rebuild_bundle
from tests.local_federation import LocalFederation
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
            assert bundle.time_origin == query.time_origin
            with pytest.raises(LedgerError, match="nobody answers target there"):
                bundle.call("target")


@pytest.fixture
def stated(tmp_path: Path) -> tuple[LocalFederation, Path, dict[str, bytes]]:
    """Return a run whose owner, a miner and a device state something, its bundle, and what they state."""
    local = begin_run(tmp_path / "runs")
    local.play()
    block, domain = local.history.head, local.ledger.domain
    parties = (
        ("owner", local.owner),
        ("miner", local.miner_accounts[0]),
        ("device", local.device_accounts[0]),
    )
    said: dict[str, bytes] = {}
    for role, account in parties:
        statement = Statement(block.round, block.root, role, account.address, 9, 0.5, {"accuracy": 0.75})
        data = seal(statement, account, domain)
        said[local.store.put(data)] = data
        add_to_run(local.path, local.store.put(data))
    add_to_run(local.path, local.store.put(b"no statement"))
    path = tmp_path / "all.car"
    assert main(["bundle", "--run", str(local.path), "-o", str(path)]) == 0
    return local, path, said


def test_a_bundle_carries_what_parties_state(
    stated: tuple[LocalFederation, Path, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    local, path, said = stated
    with open_run(local.path) as query, open_bundle_query(path) as bundle:
        assert bundle.statements_view(1) == query.statements_view(1)
        assert bundle.statements().contents == said
        assert summary(of_bundle("x", bundle.source))["rounds"] == summary(of_run(query))["rounds"]
    capsys.readouterr()
    assert main(["bundle", "--run", str(local.path), "-o", str(tmp_path / "again.car"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["statements"], answer["unreachable"]) == (3, [])
    assert (tmp_path / "again.car").read_bytes() == path.read_bytes()
    assert main(["report", str(path), "--format", "md", "-o", str(path.with_suffix(".md"))]) == 0
    assert "75.00%" in path.with_suffix(".md").read_text()
    with serving(bundle_target(path, None)) as served:
        page = served.ask("/rounds/1")[1].decode()
    assert all(cid in page for cid in said)


def test_an_audit_counts_whose_statements_a_bundle_carries(
    stated: tuple[LocalFederation, Path, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    local, path, said = stated
    block, domain, stranger = local.history.head, local.ledger.domain, Account.derive(9, "stranger")
    odd = [
        seal(Statement(1, block.root, "miner", stranger.address, 9, 0.1, {}), stranger, domain),
        seal(Statement(1, bytes(32), "owner", local.owner.address, 9, 0.1, {}), local.owner, domain),
        next(iter(said.values())).replace(b"0.5", b"0.1"),
        b"[" * 4_000,
    ]
    names = [*said, *map(cids.compute, odd), cids.compute(b"not there"), "no CID"]
    forged = rebuild_bundle(path, tmp_path / "odd.car", statements=names, more=[*said.values(), *odd])
    capsys.readouterr()
    assert main(["audit", str(forged), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["passed"]
    assert answer["statements"] == {"members": 3, "others": 4, "missing": 2}
    assert main(["audit", str(forged)]) == 0
    words = "statements  3 signed by members of right models, 4 not, 2 not in the file"
    assert words in capsys.readouterr().out
    with open_bundle_query(forged) as bundle:
        assert bundle.statements().contents == said


def test_a_bundle_of_the_former_format_is_read_without_statements(
    stated: tuple[LocalFederation, Path, dict[str, bytes]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    former = rebuild_bundle(stated[1], tmp_path / "former.car", format="bcfl bundle 2", statements=None)
    capsys.readouterr()
    assert main(["audit", str(former), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statements"] == {"members": 0, "others": 0, "missing": 0}
    with open_bundle_query(former) as bundle:
        assert bundle.statements_view(1)["statements"] == []


def test_a_bundle_names_no_more_statements_than_it_may(
    stated: tuple[LocalFederation, Path, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, path, said = stated
    many = rebuild_bundle(path, tmp_path / "many.car", statements=[min(said)] * (MOST_STATEMENTS + 1))
    with pytest.raises(BundleError, match="more than 5,000 statements"), open_bundle_query(many):
        pass
    monkeypatch.setattr(writer, "MOST_STATEMENTS", 2)
    with open_run(local.path) as query:
        report = write_bundle(
            query.contract, query.store, tmp_path / "few.car", collection=query.statements()
        )
    assert report.statements == 2
