"""What `bcfl up` shows: a line an event, and on a terminal where everything stands below them."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcfl.cli.output.printing import shortened

if TYPE_CHECKING:
    from bcfl.federation.node import FederationClient
    from bcfl.federation.supervisor import Supervisor
    from bcfl.protocol.rounds import Round


class View:
    """Plain lines on stderr, for a log or a pipe."""

    def event(self, kind: str, text: str, **fields: Any) -> None:
        """Tell something that has happened."""
        del kind, fields
        print(text, file=sys.stderr, flush=True)

    def round(self, found: Round) -> None:
        """Tell how a round ended."""
        taken, sent = len(found.taken()), len(found.submissions)
        reason = f" ({found.void.name.lower().replace('_', ' ')})" if found.void is not None else ""
        text = f"round {found.number} {found.status}{reason}: {taken} of {sent} updates accepted"
        leader = found.leader if found.block is not None else None
        engine = found.engine.name.lower()
        text += f", led by {shortened(leader)} ({engine})" if leader else ""
        self.event(
            "round",
            text,
            round=found.number,
            status=found.status,
            accepted=taken,
            leader=leader,
            engine=engine,
        )

    def standing(self, text: str, supervisor: Supervisor | None) -> None:
        """Show where things stand; a log has no place for it."""

    def moment(self, client: FederationClient, supervisor: Supervisor) -> None:
        """Show where the running round stands; a log has no place for it."""


class JsonView(View):
    """One JSON object an event on stdout."""

    def event(self, kind: str, text: str, **fields: Any) -> None:
        """Tell something that has happened."""
        print(json.dumps({"event": kind, "text": text, **fields}), flush=True)


class LiveView(View):
    """The same on a terminal, with a part that moves; drawn by the caller's thread, for it forks."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def event(self, kind: str, text: str, **fields: Any) -> None:
        """Tell something that has happened, above the part that moves."""
        del fields
        from rich.text import Text

        style = {"died": "yellow", "round": "bold"}.get(kind, "")
        self._console.print(Text(text, style), soft_wrap=True)

    def standing(self, text: str, supervisor: Supervisor | None) -> None:
        """Show where things stand."""
        from rich.text import Text

        lines = [text, *([] if supervisor is None else [processes_line(supervisor)])]
        self.live.update(Text("\n".join(lines), "cyan", no_wrap=True, overflow="ellipsis"), refresh=True)

    def moment(self, client: FederationClient, supervisor: Supervisor) -> None:
        """Show where the running round stands."""
        from bcfl.cli.node.status import standing, standing_line

        self.standing(standing_line(standing(client)), supervisor)


def processes_line(supervisor: Supervisor) -> str:
    """How many processes are in which state, and who had to be started again."""
    states = Counter(child.state for child in supervisor.children)
    words = [f"{count} {state}" for state, count in sorted(states.items())]
    words += [f"{child.name} restarted {child.restarts}x" for child in supervisor.children if child.restarts]
    return "processes: " + " · ".join(words)


@contextmanager
def view(as_json: bool, folder: Path) -> Iterator[View]:
    """What suits stdout and stderr."""
    if as_json:
        yield JsonView()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        made = LiveView()
        made.event("start", f"keeping everything in {folder}")
        with made.live:
            yield made
    else:
        yield View()
