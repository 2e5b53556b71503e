"""Run an audit while pages are shown: one at a time, in a thread of its own, its verdicts line by line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from bcfl.errors import BcflError, one_line
from bcfl.explorer.target import Target, audit_source
from bcfl.federation.audits import judge
from bcfl.federation.statements import StatementTally
from bcfl.federation.subject import tally_of
from bcfl.roles.auditor.verdict import RoundVerdict, Verdict


class Auditing:
    """The audit that runs, or the last one. Its thread calls `changed` when there is more to show."""

    def __init__(self, target: Target, changed: Callable[[], None]) -> None:
        self.target, self.changed = target, changed
        self.state = "never run"  # then running, done or failed
        self.error: str | None = None
        self.verdicts: list[RoundVerdict] = []
        self.count = 0
        self.believed: tuple[str, ...] = ()
        self.statements: StatementTally | None = None
        self.block: int | None = None
        self.seconds = 0.0
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Start an audit; return False where one is running."""
        if self.state == "running":
            return False
        self.state, self.error, self.verdicts, self.count = "running", None, [], 0
        self.believed, self.statements, self.block, self.seconds = (), None, None, 0.0
        self._thread = threading.Thread(target=self._run, name="bcfl-audit", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """End the audit after the round that it is at."""
        self._stopped = True
        if self._thread is not None:
            self._thread.join(timeout=10)

    def view(self) -> dict[str, Any]:
        """Return where the audit stands; `passed` is None until it is done."""
        verdicts = list(self.verdicts)
        wrong = [finding for verdict in verdicts for finding in verdict.findings]
        return {
            "state": self.state,
            "error": self.error,
            "passed": not wrong if self.state == "done" else None,
            "audited": len(verdicts),
            "count": self.count,
            "block": self.block,
            "seconds": round(self.seconds, 2),
            "first": asdict(wrong[0]) if wrong else None,
            "rounds": [{**asdict(verdict), "passed": verdict.passed} for verdict in verdicts],
            "statements": self.statements,
            "sealed": asdict(Verdict(verdicts).sealed),
            "believed": list(self.believed),
        }

    def _run(self) -> None:
        begin = time.monotonic()
        try:
            with self.target.open() as query:
                source = audit_source(query)
                self.believed, self.block = source.assumptions, source.transcript.storage_snapshot.block
                judge(source, track=self._track)
                self.statements = tally_of(source)
            self.state = "failed" if self._stopped else "done"
        except Exception as error:  # a thread's errors are seen on the page or nowhere
            self.error = str(error) if isinstance(error, BcflError) else one_line(error)
            self.state = "failed"
        self.seconds = time.monotonic() - begin
        self.changed()

    def _track(self, verdicts: Iterator[RoundVerdict], count: int) -> Iterable[RoundVerdict]:
        """Keep the verdicts as they come; tell of them twice a second at most."""
        self.count, last = count, 0.0
        for verdict in verdicts:
            self.verdicts.append(verdict)
            if time.monotonic() - last > 0.5:
                last = time.monotonic()
                self.changed()
            if self._stopped:
                return
            yield verdict
