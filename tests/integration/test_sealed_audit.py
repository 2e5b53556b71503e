"""What readers, auditors and owners make of a confidential run whose models are the members' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import bcfl
from bcfl.bundle import manifest
from bcfl.bundle import store as car
from bcfl.bundle.query import BundleQuery, open_bundle_query
from bcfl.bundle.reader import open_bundle
from bcfl.cli import main
from bcfl.errors import BundleError, PayloadError, Sealed, Unavailable
from bcfl.explorer.target import bundle_target
from bcfl.federation import keyfile
from bcfl.federation.audits import judge, source_of
from bcfl.federation.evaluation import evaluate
from bcfl.federation.keyring import Keyring, hold_for_audit
from bcfl.federation.query import LocalQuery, open_run
from bcfl.protocol import cid, payload, sealing
from bcfl.protocol.readers import announcement
from bcfl.roles.auditor.verdict import Unopened, Verdict
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.keys import Keys
from tests.explorers import serving
from tests.integration.test_bundle import rebuild_bundle

DEVICES, ROUNDS = 6, 2
ALL_SEALED = Unopened(updates=DEVICES, models=1, sums=1)


@dataclass(frozen=True)
class Played:
    """A run, its bundle without keys, and the auditor's key in a file."""

    run: Path
    bundle: Path
    secret: Path
    public: str

    @contextmanager
    def opened(self) -> Iterator[BundleQuery]:
        with open_bundle_query(self.bundle) as query:
            yield query

    @contextmanager
    def owned(self) -> Iterator[LocalQuery]:
        with open_run(self.run) as query:
            yield query

    def verdict(
        self, given: Keys | None = None, first: int | None = None, last: int | None = None
    ) -> Verdict:
        """Audit the bundle with these keys alone."""
        with open_bundle(self.bundle) as source:
            return judge(replace(source, keyring=Keyring(given=given or Keys())), first, last)

    def keys_of(self, number: int) -> Keys:
        with self.owned() as query:
            return hold_for_audit(query.archive, query.history, number)[0].keys


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("sealed")
    config = bcfl.Config(
        devices=DEVICES, miners=3, rounds=ROUNDS, partition="iid", privacy="confidential",
        model_access="members", run_dir=folder / "run",
    )  # fmt: skip
    bcfl.run(config)
    assert main(["bundle", "--run", str(folder / "run"), "-o", str(folder / "all.car")]) == 0
    public = announcement(keyfile.new_secret(folder / "auditor.key"))
    return Played(folder / "run", folder / "all.car", folder / "auditor.key", public)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command and return its JSON; it has to succeed, or to end with `code`."""

    def tell(*arguments: object, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == code
        output = capsys.readouterr()
        return json.loads(output.out) if code < 2 else output.err

    return tell


def test_without_keys_an_audit_says_what_it_could_not_check(played: Played) -> None:
    verdict = played.verdict()
    assert verdict.passed
    assert [item.sealed for item in verdict.rounds] == [Unopened(), ALL_SEALED, ALL_SEALED, Unopened()]
    assert verdict.sealed == Unopened(updates=12, models=2, sums=2)
    assert verdict.rounds[1].notes == (
        "6 updates and the model are sealed: their bytes were hashed, not opened; the sum was not recomputed",
    )


def test_the_command_says_it_too(played: Played, told: Any, capsys: pytest.CaptureFixture[str]) -> None:
    view = told("audit", played.bundle)
    assert view["passed"]
    assert view["sealed"] == {"updates": 12, "models": 2, "sums": 2}
    assert view["rounds"][2]["sealed"] == {"updates": 6, "models": 1, "sums": 1}
    assert main(["audit", str(played.bundle)]) == 0
    text = capsys.readouterr().out
    assert "all that could be checked holds" in text
    assert "12 updates and 2 models; 2 sums not recomputed" in text


def test_of_a_runs_folder_everything_is_checked(played: Played, told: Any) -> None:
    view = told("audit", "--run", played.run)
    assert view["passed"]
    assert not any(view["sealed"].values())
    assert not any(item["notes"] for item in view["rounds"])


def test_missing_or_short_bytes_are_found_without_keys(played: Played) -> None:
    with played.opened() as query:
        lost = query.update_cid(query.history.rounds[1].submissions[2])
        block = query.history.rounds[2].block
        assert block is not None
        short = query.model_cid(2, block.cid)

        class PoorStore:
            def get(self, name: str, most: int) -> bytes:
                data = query.store.get(name, most)
                if name == lost:
                    raise Unavailable("gone", name)
                return data[:-1] if name == short else data

            has, put = query.store.has, query.store.put

        source = replace(query.source, store=PoorStore())
        found = [(item.round, item.field) for each in judge(source).rounds for item in each.findings]
    assert found == [(1, "updates[2].bytes"), (2, "model.bytes")]


def test_a_disclosure_opens_one_round_for_one_auditor(played: Played, told: Any, tmp_path: Path) -> None:
    path = tmp_path / "round-2.disclosure"
    said = told("disclose", 2, "--run", played.run, "--to", played.public, "-o", path)
    assert said == {
        "file": str(path), "round": 2, "to": played.public,
        "updates": 6, "revealed": 6, "model": True, "model_before": True,
    }  # fmt: skip
    with_keys = ("--keys", path, "--key-file", played.secret)
    view = told("audit", played.bundle, *with_keys)
    assert view["passed"]
    assert view["rounds"][2]["sealed"] == {"updates": 0, "models": 0, "sums": 0}
    assert view["rounds"][1]["sealed"] == {"updates": 6, "models": 0, "sums": 1}  # its model was needed
    alone = told("audit", played.bundle, "--from", 2, "--to", 2, *with_keys)
    assert (alone["passed"], any(alone["sealed"].values())) == (True, False)

    keyfile.new_secret(tmp_path / "other.key")
    refusal = told("audit", played.bundle, "--keys", path, "--key-file", tmp_path / "other.key", code=2)
    assert "is for x25519=" in refusal
    assert "name the file of the key with --key-file" in told("audit", played.bundle, "--keys", path, code=2)
    assert path.name in told("disclose", 2, "--run", played.run, "--to", played.public, "-o", path, code=2)


def test_a_disclosure_of_another_contract_is_refused(played: Played, tmp_path: Path) -> None:
    with played.owned() as query:
        other = replace(query.ledger.domain, contract="0x" + "12" * 20)
    public = keyfile.parse_public(played.public)
    data = keyfile.seal(played.keys_of(1), other, 1, public, bytes(32))
    (tmp_path / "other").write_bytes(data)
    arguments = ["--keys", str(tmp_path / "other"), "--key-file", str(played.secret)]
    assert main(["audit", str(played.bundle), *arguments]) == 2


def test_a_round_is_recomputed_from_a_parent_whose_key_was_given(played: Played) -> None:
    """Without the key of its parent what opens is opened, and only the sum is not recomputed."""
    keys = played.keys_of(2)
    assert sorted(number for number, _ in keys.models) == [1, 2]
    assert played.verdict(keys, 2, 2).rounds[0].sealed == Unopened()
    without_parent = Keys(keys.updates, {})
    (verdict,) = played.verdict(without_parent, 2, 2).rounds
    assert (verdict.passed, verdict.sealed) == (True, Unopened(sums=1))
    assert verdict.notes == ("the model that it starts from is sealed; the sum was not recomputed",)


def test_what_the_voters_keys_open_must_have_the_root(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All voters may accept what they should not: who has their accounts sees it."""
    opened = sealing.open_update

    def open_another(*arguments: Any) -> bytes:
        plain = bytearray(opened(*arguments))
        plain[-1] ^= 1
        return bytes(plain)

    monkeypatch.setattr(sealing, "open_update", open_another)
    with played.owned() as query:
        source = source_of(query.contract, query.store, query.first_block, query.keyring)
        findings = judge(source, 1, 1).rounds[0].findings
    assert [item.field for item in findings] == [f"updates[{place}].bytes" for place in range(DEVICES)]
    assert all("do not have the stated root" in item.message for item in findings)


def test_a_bundle_with_keys_is_checked_whole(played: Played, told: Any, tmp_path: Path) -> None:
    path = tmp_path / "keys.car"
    said = told("bundle", "--with-keys", "--run", played.run, "-o", path)
    assert said["keys"] == {"updates": 12, "models": 2}
    assert said["missing"] == []
    assert path.stat().st_mode & 0o077 == 0
    view = told("audit", path)
    assert (view["passed"], any(view["sealed"].values())) == (True, False)
    with open_bundle_query(path) as query, played.owned() as run:
        assert (query.read_model(query.history.head)[1] == run.read_model(run.history.head)[1]).all()


def test_a_bundle_with_keys_that_are_none_is_refused(played: Played, tmp_path: Path) -> None:
    with played.opened() as query:
        domain = replace(query.ledger.domain, chain_id=1)
    for data in (b"nonsense", keyfile.encode(Keys(), domain)):
        path = with_key_file(played.bundle, tmp_path / "odd.car", data)
        with pytest.raises(BundleError), open_bundle(path):
            pass
    path = rebuild_bundle(played.bundle, tmp_path / "many.car", keys=["x"] * 65)
    with pytest.raises(BundleError, match="more than 64 files of keys"), open_bundle(path):
        pass


def with_key_file(path: Path, target: Path, data: bytes) -> Path:
    """Write a bundle again, without its vectors, that names a file of keys."""
    with car.BundleStore(path) as store:
        content = json.loads(store.get(str(store.root), manifest.MOST)) | {"keys": [cid.compute(data)]}
        parts = [store.get(name, manifest.MOST) for name in content["records"]]
    head = json.dumps(content).encode()
    with target.open("wb") as stream:
        car.write(stream, cid.compute(head), [head, *parts, data])
    return target


def test_a_model_is_read_with_a_key_and_else_the_error_says_how(
    played: Played, told: Any, tmp_path: Path
) -> None:
    with played.opened() as query:
        with pytest.raises(Sealed, match="`bcfl keys fetch` or of `bcfl disclose`"):
            query.read_model(query.history.head)
        assert query.model_view()["held"]
        assert query.model_view()["sealed"]
        assert not query.model_view(0)["sealed"]
        query.read_model(query.history.blocks[0])  # the genesis is public
    path = tmp_path / "model.safetensors"
    told("export", "--run", played.run, "-o", path)
    assert path.stat().st_size > 4 * 4_810


def test_the_key_of_a_model_follows_from_those_of_its_updates(played: Played) -> None:
    keys = Keys(played.keys_of(2).updates, {})
    with played.opened() as query:
        query.keyring = Keyring(given=keys)
        query.read_model(query.history.head)
        with pytest.raises(Sealed):
            query.read_model(query.history.blocks[1])


def test_who_evaluates_without_a_key_is_told(played: Played) -> None:
    with played.opened() as query:
        for number in (1, 2):
            with pytest.raises(Sealed, match=f"round {number} is sealed for the members"):
                evaluate(query, None, number)  # type: ignore[arg-type]


PAGES = ("/", "/rounds", "/rounds/1", "/rounds/2", "/models", "/models/1", "/models/2", "/models/1/check",
         "/parties", "/devices/0", "/miners/0", "/contract", "/events", "/audit")  # fmt: skip


def test_the_explorer_shows_a_bundle_without_keys(played: Played) -> None:
    with serving(bundle_target(played.bundle, None)) as served:
        for page in PAGES:
            name = "/overview" if page == "/" else page
            for path in (page, name + ".json"):
                answer, body = served.ask(path)
                assert answer.status == 200, (path, body)
        check = json.loads(served.ask("/models/2/check.json")[1])
        assert (check["holds"], "bcfl disclose" in check["reason"]) == (None, True)
        assert served.ask("/models/2/stored.safetensors")[0].status == 200
        answer, body = served.ask("/models/2/model.safetensors")
        assert (answer.status, b"sealed for the members" in body) == (404, True)
        served.explorer.auditing.start()
        thread = served.explorer.auditing._thread
        assert thread is not None
        thread.join()
        text = served.ask("/audit")[1].decode()
        assert "All that could be checked holds." in text
        assert "12 updates and 2 models" in text


def test_the_explorer_opens_it_with_keys(played: Played) -> None:
    keys = played.keys_of(2)
    target = bundle_target(played.bundle, None, lambda keyring, _: keyring.adding(keys))
    with serving(target) as served:
        assert json.loads(served.ask("/models/2/check.json")[1])["holds"] is True
        assert served.ask("/models/2/model.safetensors")[0].status == 200


def test_a_report_needs_no_key(played: Played, told: Any, tmp_path: Path) -> None:
    for form in ("html", "md", "csv", "json"):
        told("report", played.bundle, "-o", tmp_path / f"report.{form}")


def test_a_sealed_model_of_another_length_is_no_model(played: Played) -> None:
    with played.owned() as query:
        head, archive = query.history.head, query.archive
        data = query.store.get(query.model_cid(head.round, head.cid), query.max_bytes)
        assert len(data) == payload.size(archive.layout, 32) + 16
        archive = Archive(_Shortened(data), archive.layout, archive.terms)  # type: ignore[arg-type]
        with pytest.raises(PayloadError, match=r"bytes, expected \d+"):
            archive.fetch_model(head.round, head.root, head.cid)


class _Shortened:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def get(self, _: str, most: int) -> bytes:
        return self._data[: most - 1]
