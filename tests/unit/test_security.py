"""docs/security.md names tests that exist, and every guarantee names one."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()
TEST_NAMES = re.compile(r"`(tests/[a-z0-9_/]+\.py)::([A-Za-z0-9_]+)`")
GUARANTEES = re.compile(r"^\| (?:guarantee|what is withheld) .*\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)


def test_every_named_test_exists() -> None:
    names = TEST_NAMES.findall(TEXT)
    assert len(names) > 30
    missing = [f"{path}::{name}" for path, name in names if not is_defined(ROOT / path, name)]
    assert missing == []


def test_every_guarantee_names_a_test() -> None:
    rows = [row for table in GUARANTEES.findall(TEXT) for row in table.splitlines()]
    assert len(rows) > 20
    assert [row for row in rows if not TEST_NAMES.search(row)] == []


def test_a_test_that_is_not_there_is_noticed() -> None:
    assert not is_defined(ROOT / "tests" / "unit" / "test_security.py", "test_nothing_of_the_kind")
    assert not is_defined(ROOT / "tests" / "none.py", "test_default_behavior")


def is_defined(path: Path, name: str) -> bool:
    """Whether a file defines a test, as a function or as hypothesis names a machine's."""
    if not path.is_file():
        return False
    return re.search(rf"^(?:    )?def {name}\(|^{name}\b.* = ", path.read_text(), re.MULTILINE) is not None
