"""Read what a trial of a sweep came to; its file may be damaged, or written by somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from bcfl.errors import RunError

MAX_BYTES: Final = 1 << 28
MOST_ROUNDS: Final = 1_000_000
MOST_METRICS: Final = 100
DEEPEST: Final = 64  # brackets that stand open at once; many more exhaust the stack of a parser
LARGEST: Final = 1e100  # of a figure: its square is a number too
NUMBERS: Final = (
    "final_loss",
    "attack_success",
    "false_accepts",
    "false_rejects",
    "gas_per_participant",
    "seconds",
)


def averageable(content: Any) -> Any:
    """Return what came of a run with None for each number that is too large to be averaged."""
    if isinstance(content, dict):
        return {name: averageable(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [averageable(value) for value in content]
    return None if isinstance(content, float) and not -LARGEST < content < LARGEST else content


def read_outcome(path: Path) -> dict[str, Any] | None:
    """Return the report in a file, None where there is no file; raises RunError for anything else."""
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_BYTES:
            raise _odd(path, f"it has more than {MAX_BYTES:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    if _depth(data) > DEEPEST:
        raise _odd(path, f"its brackets stand more than {DEEPEST} deep")
    try:
        content = json.loads(data)
    except ValueError:
        raise _odd(path, "it is not JSON") from None
    reason = _reason(content)
    if reason is not None:
        raise _odd(path, reason)
    report: dict[str, Any] = content
    return report


def _odd(path: Path, reason: str) -> RunError:
    return RunError(f"{path} is not what came of a run: {reason}")


def _depth(data: bytes) -> int:
    """Return how many brackets stand open at once, those in texts counted too."""
    depth = most = 0
    for letter in data.translate(None, bytes(set(range(256)) - set(b"[]{}"))):
        depth += 1 if letter in b"[{" else -1
        most = max(most, depth)
    return most


def _reason(content: object) -> str | None:
    """Return why content is no report of a run; None where it is one."""
    if not isinstance(content, dict):
        return "it is no object"
    rounds = content.get("rounds")
    if not isinstance(rounds, list) or len(rounds) > MOST_ROUNDS:
        return "rounds is no list of rounds"
    for place, item in enumerate(rounds):
        if not _is_round(item):
            return f"rounds[{place}] is no round"
    final = content.get("final_metrics") or {}
    if not _is_metrics(final):
        return "final_metrics are no metrics"
    names = {name for metrics in (final, *(item["metrics"] for item in rounds)) for name in metrics}
    if len(names) > MOST_METRICS:
        return f"its rounds have more than {MOST_METRICS} metrics"
    return next((f"{name} is no number" for name in NUMBERS if not _is_number(content.get(name))), None)


def _is_round(item: object) -> bool:
    return (
        isinstance(item, dict)
        and all(isinstance(item.get(name), list) for name in ("accepted", "rejected"))
        and isinstance(item.get("status"), str)
        and "loss" in item
        and _is_number(item["loss"])
        and _is_metrics(item.get("metrics"))
    )


def _is_metrics(item: object) -> bool:
    return isinstance(item, dict) and all(map(_is_number, item.values()))


def _is_number(value: object) -> bool:
    """Return whether a value is a number that can be averaged, or None."""
    return value is None or (type(value) in (int, float) and -LARGEST < value < LARGEST)  # type: ignore[operator]
