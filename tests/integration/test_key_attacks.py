"""Who lies with keys: wrong ones accuse nobody, hostile files stall nobody, and no key leaves its file."""

from __future__ import annotations

import json
import os
import re
import stat
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bcfl
from bcfl.bundle.reader import open_bundle
from bcfl.cli import main
from bcfl.errors import BundleError, Unavailable
from bcfl.explorer.target import Target, bundle_target
from bcfl.federation import keyfile
from bcfl.federation.audits import AuditSource, judge, source_of
from bcfl.federation.keyring import Keyring, hold_for_audit, hold_rounds
from bcfl.federation.query import open_run
from bcfl.protocol import sealing
from bcfl.protocol.accounts import Account
from bcfl.protocol.readers import announcement
from bcfl.roles.auditor.verdict import RoundVerdict, Unopened, Verdict
from bcfl.roles.common.keys import Keys
from tests.explorers import run_target, serving
from tests.integration.test_bundle import rebuild_bundle
from tests.integration.test_sealed_audit import PAGES, with_key_file
from tests.local_federation import MEMBERS, LocalFederation
from tests.sealed_attacks import only_for, seal_wrongly

DEVICES = 6
SECOND = b"\x02" * 32  # a key that opens the same bytes to another content
SMALL_ORDER = (
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
)


class Played:
    """A run of two rounds with sealed models, all its keys, and its bundle without them."""

    def __init__(self, folder: Path) -> None:
        self.run, self.bundle, self.secret = folder / "run", folder / "all.car", folder / "auditor.key"
        config = bcfl.Config(
            devices=DEVICES, miners=3, rounds=2, partition="iid", privacy="confidential",
            model_access="members", run_dir=self.run,
        )  # fmt: skip
        bcfl.run(config)
        assert main(["bundle", "--run", str(self.run), "-o", str(self.bundle)]) == 0
        self.public = announcement(keyfile.new_secret(self.secret))
        with open_run(self.run) as query:
            self.keys = hold_rounds(query.archive, query.history, [1, 2])
            self.second = hold_for_audit(query.archive, query.history, 2)[0].keys
            self.domain = query.ledger.domain
            miners = [Account.derive(0, "miner", i) for i in range(3)]
            readers = [item.secret("reader key", self.domain.separator, 0) for item in miners]
        self.secrets = [*self.keys.updates.values(), *self.keys.models.values(), *readers]

    @contextmanager
    def source(self, given: Keys) -> Iterator[AuditSource]:
        with open_bundle(self.bundle) as source:
            yield replace(source, keyring=Keyring(given=given))

    def verdict(self, given: Keys, first: int | None = None) -> Verdict:
        """Audit the bundle with these keys alone."""
        with self.source(given) as source:
            return judge(source, first)

    def tells(self, data: bytes) -> bool:
        """Whether bytes have one of the run's keys, in any of the usual ways to write it."""
        forms = (bytes, bytes.hex, lambda key: b64encode(key)[:42], lambda key: urlsafe_b64encode(key)[:42])
        texts = [form(key) for form in forms for key in self.secrets]
        lower = data.lower()
        return any((text.encode() in lower) if isinstance(text, str) else text in data for text in texts)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return Played(tmp_path_factory.mktemp("keys"))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return in what words a command is refused: one line, and exit code 2."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    return text


def notes(verdict: RoundVerdict) -> str:
    return "; ".join(verdict.notes)


@pytest.mark.parametrize("opens", [False, True], ids=["nothing", "another content"])
def test_a_liars_key_of_an_update_accuses_nobody(
    played: Played, monkeypatch: pytest.MonkeyPatch, opens: bool
) -> None:
    """A voter, or whoever writes a bundle, gives the auditor of an honest training a wrong key."""
    right = sealing.open_update

    def open_update(data: bytes, readers: int, key: bytes, seal: sealing.Seal) -> bytes:
        return b"another content" if opens and key == SECOND else right(data, readers, key, seal)

    monkeypatch.setattr(sealing, "open_update", open_update)
    name = min(played.keys.updates)
    verdict = played.verdict(Keys({**played.keys.updates, name: SECOND}, played.keys.models))
    assert [item.findings for item in verdict.rounds] == [()] * 4
    assert [item.sealed for item in verdict.rounds[1:3]] == [Unopened(updates=1, sums=1), Unopened()]
    assert "keys that were given and open nothing that is right: 1" in notes(verdict.rounds[1])


def test_a_liars_key_of_a_model_accuses_nobody(played: Played) -> None:
    places = sorted(played.keys.models)
    verdict = played.verdict(Keys({}, dict.fromkeys(places, SECOND)))
    assert verdict.passed
    assert verdict.sealed == Unopened(updates=12, models=2, sums=2)
    assert all("open nothing that is right: 1" in notes(item) for item in verdict.rounds[1:3])
    only_second = Keys(played.second.updates, {**played.second.models, places[0]: SECOND})
    verdict = played.verdict(only_second, 2)
    assert verdict.passed
    assert verdict.rounds[0].sealed == Unopened(sums=1)
    assert played.verdict(Keys(played.keys.updates, dict.fromkeys(places, SECOND))).sealed == Unopened()


def test_keys_of_another_round_open_nothing_under_this_rounds_name(played: Played) -> None:
    first = [key for (number, _, _), key in sorted(played.keys.updates.items()) if number == 1]
    names = [name for name in sorted(played.keys.updates) if name[0] == 2]
    verdict = played.verdict(Keys(dict(zip(names, first, strict=True)), {}))
    assert (verdict.passed, verdict.sealed) == (True, Unopened(updates=12, models=2, sums=2))
    assert "that is right: 6" in notes(verdict.rounds[2])


def test_lost_bytes_stay_a_finding_whatever_key_was_given(played: Played) -> None:
    """A wrong key hides nothing that is found without it."""
    wrong = Keys(dict.fromkeys(played.keys.updates, SECOND), dict.fromkeys(played.keys.models, SECOND))
    for given in (Keys(), wrong, played.keys):
        with played.source(given) as source:
            lost = _first_update(source)

            class PoorStore:
                def get(self, name: str, most: int, lost: str = lost, source: AuditSource = source) -> bytes:
                    if name == lost:
                        raise Unavailable("gone", name)
                    return source.store.get(name, most)

                has, put = source.store.has, source.store.put

            poor = judge(replace(source, store=PoorStore()))
        found = [(item.round, item.field) for each in poor.rounds for item in each.findings]
        assert (1, "updates[0].bytes") in found
        assert {number for number, _ in found} == {1}


def _first_update(source: AuditSource) -> str:
    from bcfl.protocol import cid
    from bcfl.protocol.events import take_in
    from bcfl.protocol.rounds import History

    history = take_in(History.under(source.transcript.terms), source.transcript.events)
    return str(cid.Cid(cid.RAW, history.rounds[1].submissions[0].update.cid))


def test_keys_open_what_was_wrapped_wrongly_and_no_more(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, layout=MEMBERS)
    seal_wrongly(local, 1, only_for(0))
    local.play()
    keys = hold_rounds(local.archive_of(local.miner_accounts[0]), local.history, [1])
    source = source_of(local.ledger.contract, local.store)
    assert judge(source, 1, 1).sealed == Unopened(updates=4, models=1, sums=1)
    verdict = judge(replace(source, keyring=Keyring(given=keys)), 1, 1)
    assert (verdict.passed, verdict.sealed, verdict.rounds[0].notes) == (True, Unopened(), ())


def test_a_bundle_whose_keys_lie_accuses_nobody(played: Played, tmp_path: Path) -> None:
    wrong = Keys(dict.fromkeys(played.keys.updates, SECOND), dict.fromkeys(played.keys.models, SECOND))
    path = with_key_file(played.bundle, tmp_path / "liar.car", keyfile.encode(wrong, played.domain))
    with open_bundle(path) as lying, open_bundle(played.bundle) as source:
        verdict = judge(replace(source, keyring=lying.keyring))
        better = judge(replace(source, keyring=lying.keyring.adding(played.keys)))
    assert (verdict.passed, verdict.sealed) == (True, Unopened(updates=12, models=2, sums=2))
    assert (better.passed, better.sealed) == (True, Unopened())  # who has the right ones names them


def test_a_bundle_that_names_a_file_of_keys_twice_is_refused(played: Played, tmp_path: Path) -> None:
    """Else a file of 16 MiB is parsed 64 times."""
    path = rebuild_bundle(played.bundle, tmp_path / "twice.car", keys=["x", "x"])
    with pytest.raises(BundleError, match="names a file of keys twice"), open_bundle(path):
        pass


@pytest.mark.parametrize("point", SMALL_ORDER, ids=range(len(SMALL_ORDER)))
def test_nothing_is_disclosed_to_a_point_of_small_order(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str], point: bytes
) -> None:
    path = tmp_path / "it"
    command = ("disclose", 2, "--run", played.run, "--to", announcement(point), "-o", path)
    assert "is not a key" in refusal(capsys, *command)
    assert not path.exists()


def test_a_disclosure_that_is_damaged_or_hostile_is_refused_in_a_line(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, hostile = tmp_path / "it", tmp_path / "hostile"
    assert main(["disclose", "2", "--run", str(played.run), "--to", played.public, "-o", str(path)]) == 0
    data = path.read_bytes()
    deep, content = b'{"format":' + b"[" * 1_000_000, json.loads(data)
    for bad in (
        b"", deep, data[:-40], data.replace(b'"round":2', b'"round":1'), data + data, b"\xff" + data,
        json.dumps(content | {"sealed": content["sealed"][2:]}).encode(),
        json.dumps(content | {"sealed": "00" * 2_000_000}).encode(),
        json.dumps(content | {"round": 2**64}).encode(),
    ):  # fmt: skip
        hostile.write_bytes(bad)
        text = refusal(capsys, "audit", played.bundle, "--keys", hostile, "--key-file", played.secret)
        assert not played.tells(text.encode())


def test_a_file_that_is_none_is_refused_and_not_waited_for(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe, link, disclosure = tmp_path / "pipe", tmp_path / "link", tmp_path / "it"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    disclosure.write_bytes(
        keyfile.seal(played.second, played.domain, 2, keyfile.parse_public(played.public), bytes(32))
    )
    for place in (pipe, link, tmp_path, tmp_path / "nowhere", Path("/dev/zero"), Path("/dev/null")):
        refusal(capsys, "audit", played.bundle, "--keys", place)
        refusal(capsys, "audit", played.bundle, "--keys", disclosure, "--key-file", place)


def test_a_file_may_be_named_a_thousand_times(played: Played, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    keyfile.save(path, played.keys, played.domain)
    assert main(["audit", str(played.bundle), *["--keys", str(path)] * 1_000]) == 0


def test_a_new_key_takes_nothing_away_and_is_its_owners_whatever_the_umask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    umask = os.umask(0)
    try:
        assert main(["keys", "new", str(tmp_path / "key")]) == 0
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    secret = json.loads((tmp_path / "key").read_bytes())["secret"]
    assert secret not in capsys.readouterr().out
    (tmp_path / "away").symlink_to(tmp_path / "gone")
    for name in ("key", "away", ".", "none/key", "key/key", "k" * 300):
        refusal(capsys, "keys", "new", tmp_path / name)
    assert json.loads((tmp_path / "key").read_bytes())["secret"] == secret
    assert sorted(item.name for item in tmp_path.iterdir()) == ["away", "key"]


def test_disclosures_and_bundles_with_keys_are_their_owners_whatever_the_umask(
    played: Played, tmp_path: Path
) -> None:
    umask = os.umask(0)
    try:
        for command in (
            ["disclose", "1", "--to", played.public, "-o", str(tmp_path / "disclosure")],
            ["bundle", "--with-keys", "-o", str(tmp_path / "keys.car")],
        ):
            assert main([*command, "--run", str(played.run)]) == 0
    finally:
        os.umask(umask)
    assert {stat.S_IMODE(item.stat().st_mode) for item in tmp_path.iterdir()} == {0o600}


def everything(target: Target) -> Iterator[tuple[str, bytes]]:
    """Yield all that an explorer serves, page after page, as JSON too."""
    with serving(target) as served:
        served.explorer.auditing.start()
        thread = served.explorer.auditing._thread
        assert thread is not None
        thread.join()
        todo, seen = [*PAGES, *(f"{page}.json" for page in PAGES if page != "/")], set[str]()
        while todo:
            path = todo.pop()
            if path in seen or len(seen) > 150:
                continue
            seen.add(path)
            body = served.ask(path)[1]
            yield path, body
            todo += [link.decode() for link in re.findall(rb'href="(/[^"#]*)"', body)]


@pytest.mark.parametrize("kind", ["run", "bundle", "bundle with keys"])
def test_no_page_shows_a_key(played: Played, tmp_path: Path, kind: str) -> None:
    path = played.bundle
    if kind == "bundle with keys":
        path = tmp_path / "keys.car"
        assert main(["bundle", "--with-keys", "--run", str(played.run), "-o", str(path)]) == 0
        assert played.tells(path.read_bytes())  # where they are they are found
    target = run_target(played.run) if kind == "run" else bundle_target(path, None)
    assert [page for page, body in everything(target) if played.tells(body)] == []


def test_no_bundle_report_or_log_has_a_key_unless_it_is_told_to(played: Played, tmp_path: Path) -> None:
    for form in ("html", "md", "csv", "json"):
        path = tmp_path / f"report.{form}"
        assert main(["report", "--run", str(played.run), "-o", str(path)]) == 0
    files = [played.bundle, *tmp_path.iterdir(), *(item for item in played.run.rglob("*") if item.is_file())]
    assert [item for item in files if played.tells(item.read_bytes())] == []


def test_no_error_shows_a_key_though_everything_is_shown(
    played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys"
    whole = keyfile.encode(played.keys, played.domain)
    for bad in (
        whole[:-30],
        whole.replace(b'"key":"', b'"key":"0', 1),
        whole.replace(b'"key"', b'"kex"'),
        whole.replace(b'"device":', b'"device":9999999999999'),
        whole.replace(b'"format":"bcfl keys 1"', b'"format":"bcfl keys 9"'),
    ):
        path.write_bytes(bad)
        capsys.readouterr()
        assert main(["audit", str(played.bundle), "--keys", str(path), "--debug"]) == 2
        output = capsys.readouterr()
        assert not played.tells((output.out + output.err).encode())


def test_no_key_stands_in_the_text_of_what_is_parsed(played: Played) -> None:
    values: list[Any] = [
        keyfile._KeyFile.model_validate_json(keyfile.encode(played.keys, played.domain)),
        keyfile._Secret.model_validate_json(played.secret.read_bytes()),
        Keyring(given=played.keys),
    ]
    secrets = [
        *played.keys.updates.values(),
        keyfile._Secret.model_validate_json(played.secret.read_bytes()).secret,
    ]
    for value in values:
        assert not any(repr(key)[2:-1] in repr(value) or key.hex() in repr(value) for key in secrets)
