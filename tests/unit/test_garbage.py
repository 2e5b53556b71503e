"""What a command loads is kept out of the collections of garbage."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import gc
from bcfl import garbage

{before}
with garbage.loading():
    import {module}
    print(gc.isenabled(), end=" ")
print(gc.isenabled(), gc.get_freeze_count() > 0)
"""


def outcome(before: str, module: str = "decimal") -> str:
    """Return whether garbage is collected in the block and after it, and whether anything is set aside."""
    code = LOADED.format(before=before, module=module)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_what_a_command_loads_is_set_aside() -> None:
    assert outcome("garbage.keep_loaded()") == "False True True"


def test_nothing_is_set_aside_where_nothing_was_loaded() -> None:
    assert outcome("garbage.keep_loaded()", "gc") == "False True False"


def test_a_process_of_somebody_else_is_left_alone() -> None:
    assert outcome("pass") == "True True False"
    assert outcome("garbage.keep_loaded(); gc.disable()") == "False False False"
