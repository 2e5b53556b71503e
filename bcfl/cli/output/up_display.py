"""What `bcfl up` shows: a line an event, and on a terminal where everything stands below them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bcfl.cli.output.display import Display, JsonDisplay, open_display
from bcfl.cli.output.printing import shortened

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.federation.supervisor import Supervisor
    from bcfl.protocol.rounds import Round

STYLES: Final = {"died": "yellow", "round": "bold", "warning": "yellow"}  # of kinds of events


class UpDisplay:
    """What happens to the processes and rounds of a federation on this machine."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def event(self, kind: str, text: str, **fields: Any) -> None:
        """Show something that has happened."""
        self._display.event(kind, text, STYLES.get(kind, ""), **fields)

    def round(self, round_: Round) -> None:
        """Show how a round ended."""
        accepted, total = len(round_.accepted_submissions()), len(round_.submissions)
        reason = f" ({round_.void.name.lower().replace('_', ' ')})" if round_.void is not None else ""
        text = f"round {round_.number} {round_.status}{reason}: {accepted} of {total} updates accepted"
        leader = round_.leader if round_.block is not None else None
        engine = round_.engine.name.lower()
        text += f", led by {shortened(leader)} ({engine})" if leader else ""
        self.event(
            "round",
            text,
            round=round_.number,
            status=round_.status,
            accepted=accepted,
            leader=leader,
            engine=engine,
            root=None if round_.block is None else round_.block.root,
        )

    def status(self, text: str, supervisor: Supervisor | None = None) -> None:
        """Show where things stand, with the processes of `supervisor`."""
        if self._display.is_live:
            lines = [text, *([] if supervisor is None else [processes_line(supervisor)])]
            self._display.status("\n".join(lines))

    def round_status(self, client: FederationClient, supervisor: Supervisor) -> None:
        """Show where the running round stands."""
        if self._display.is_live:
            from bcfl.cli.node.status import status_line
            from bcfl.federation.views.status import status_view

            self.status(status_line(status_view(client)), supervisor)


def processes_line(supervisor: Supervisor) -> str:
    """Return how many processes are in which state, and which had to be started again."""
    states = Counter(child.state for child in supervisor.children)
    words = [f"{count} {state}" for state, count in sorted(states.items())]
    words += [f"{child.name} restarted {child.restarts}x" for child in supervisor.children if child.restarts]
    return "processes: " + " · ".join(words)


@contextmanager
def open_up_display(as_json: bool, folder: Path) -> Iterator[UpDisplay]:
    """Open what suits stdout and stderr."""
    display = JsonDisplay() if as_json else open_display(spins=False)
    if display.is_live:
        display.line(f"keeping everything in {folder}")
    with display:
        yield UpDisplay(display)
