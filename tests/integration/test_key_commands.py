"""Who takes part in a deployed confidential federation fetches its keys, and discloses a round."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bcfl.cli import main
from bcfl.cli.node.options import FederationOptions, SignerOptions
from bcfl.federation import keyfile, query, watchtower
from bcfl.federation.audits import judge, source_of
from bcfl.federation.client import FederationClient
from bcfl.federation.keyring import Keyring, hold_round
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from bcfl.roles.auditor.verdict import Unopened
from tests.daemons import client_of
from tests.local_federation import MEMBERS, LocalFederation

Tell = Callable[..., Any]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalFederation:
    """Two rounds of a federation whose models are sealed for the members."""
    local = LocalFederation(tmp_path_factory.mktemp("keys"), layout=MEMBERS)
    local.play(2)
    return local


@pytest.fixture
def tell(local: LocalFederation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Run a command as one account of the deployed federation; return its JSON, or its error."""

    @contextmanager
    def connect(*_: object) -> Iterator[FederationClient]:
        yield client_of(local)[0]

    @contextmanager
    def opened(*_: object) -> Iterator[query.RemoteQuery]:
        yield query.RemoteQuery(client_of(local)[0], local.store)

    monkeypatch.setenv("BCFL_STORE", str(local.store.path))
    monkeypatch.setattr(FederationOptions, "connect", connect)
    monkeypatch.setattr(query, "open_deployment", opened)

    def run(account: Account, *arguments: object, code: int = 0) -> Any:
        monkeypatch.setattr(SignerOptions, "unlock", lambda *_: account)
        capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == code
        output = capsys.readouterr()
        return output.err if code else json.loads(output.out)

    return run


def keys_sealed(local: LocalFederation, path: Path) -> Unopened:
    """Return what stays sealed in an audit with a key file alone."""
    keys = keyfile.load([path], local.ledger.domain)
    verdict = judge(source_of(local.ledger.contract, local.store, 0, Keyring(given=keys)))
    assert verdict.passed
    return verdict.sealed


def test_a_voter_fetches_what_was_sealed_for_it(local: LocalFederation, tell: Tell, tmp_path: Path) -> None:
    path, miner = tmp_path / "keys.json", local.miner_accounts[1]
    said = tell(miner, "keys", "fetch", 1, "-o", path)
    assert said["rounds"] == [
        {"round": 1, "updates": 4, "revealed": 4, "model": True, "voter": True, "reason": None}
    ]
    assert path.stat().st_mode & 0o077 == 0
    assert keys_sealed(local, path) == Unopened(updates=4, models=1, sums=1)
    tell(miner, "keys", "fetch", 2, "-o", path)  # adds to the file
    assert keys_sealed(local, path) == Unopened()
    assert "there is no round 9" in tell(miner, "keys", "fetch", 9, "-o", path, code=2)


def test_who_is_no_member_gets_nothing_and_writes_nothing(
    local: LocalFederation, tell: Tell, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    assert "no key could be had" in tell(local.owner, "keys", "fetch", "-o", path, code=2)
    assert not path.exists()


def test_a_member_has_the_keys_of_models_by_request(local: LocalFederation) -> None:
    """A device votes in no round: miners give it the keys of models, and of no update."""
    archive = local.archive_of(local.device_accounts[3])
    holding = hold_round(archive, local.history, 1)
    assert (holding.opened, holding.model, holding.is_reader) == (0, True, False)
    assert not hold_round(local.archive_of(local.owner), local.history, 1).keys.models


def test_what_one_wrap_does_not_open_other_miners_tell(
    local: LocalFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = local.archive_of(local.miner_accounts[2])
    assert archive.vault is not None
    monkeypatch.setattr(archive.vault, "_own_keys", lambda *_: iter(()))
    assert hold_round(archive, local.history, 1).opened == 4


def test_a_voter_discloses_a_round(local: LocalFederation, tell: Tell, tmp_path: Path) -> None:
    path, secret = tmp_path / "round-2", tmp_path / "auditor.key"
    key = tell(local.owner, "keys", "new", secret)["key"]
    command = ("disclose", 2, "--deployment", "demo", "--to", key, "-o", path)
    said = tell(local.miner_accounts[0], *command)
    assert (said["updates"], said["model"], said["model_before"]) == (4, True, True)
    keys = keyfile.load([path], local.ledger.domain, secret)
    assert {number for number, _, _ in keys.updates} == {2}
    assert {number for number, _ in keys.models} == {1, 2}
    verdict = judge(source_of(local.ledger.contract, local.store, 0, Keyring(given=keys)), 2, 2)
    assert (verdict.passed, verdict.sealed) == (True, Unopened())
    other = ("disclose", 2, "--deployment", "demo", "--to", key, "-o", tmp_path / "other")
    assert "one of its voters" in tell(local.device_accounts[0], *other, code=2)
    again = tell(local.owner, *other, "--keys", path, "--key-file", secret)  # from keys, with no account
    assert again["updates"] == 4
    assert "is not a key" in tell(local.owner, *other[:5], "x25519=abc", *other[6:], code=2)


def test_a_public_federation_has_nothing_to_disclose(
    tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = LocalFederation(tmp_path)
    public.until(Phase.VOTE)

    @contextmanager
    def opened(*_: object) -> Iterator[query.RemoteQuery]:
        yield query.RemoteQuery(client_of(public)[0], public.store)

    monkeypatch.setattr(query, "open_deployment", opened)
    key = tell(public.owner, "keys", "new", tmp_path / "key")["key"]
    command = ("disclose", 1, "--deployment", "demo", "--to", key, "-o", tmp_path / "it")
    assert "seals nothing" in tell(public.owner, *command, code=2)


def test_a_watchtower_gets_the_keys_of_a_file(
    local: LocalFederation, tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, received = tmp_path / "keys.json", []
    tell(local.miner_accounts[0], "keys", "fetch", "-o", path)

    def start(*arguments: Any) -> Callable[[], None]:
        received.append(arguments[-1])
        raise KeyboardInterrupt

    monkeypatch.setattr(watchtower, "start_watchtower", start)
    assert main(["watch", "--challenge", "--keys", str(path)]) == 130
    assert received == [keyfile.load([path], local.ledger.domain)]
