"""Say who can read the updates and the models of a federation: part of its layout, so of its terms.

A layout says nothing where both are public, as all layouts did before there was a choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bcfl.errors import ConfigError
from bcfl.protocol.types import Layout

PRIVACY: Final = "privacy"
MODELS: Final = "models"
CONFIDENTIAL: Final = "confidential"
MEMBERS: Final = "members"


@dataclass(frozen=True)
class Privacy:
    """Who can read what: updates everybody or the round's voters, models everybody or the members."""

    confidential: bool = False
    members: bool = False

    @classmethod
    def of(cls, layout: Layout) -> Privacy:
        """Return what a layout says; raises ConfigError for what this version does not know."""
        said = dict(layout.agreement)
        for name, known in ((PRIVACY, CONFIDENTIAL), (MODELS, MEMBERS)):
            if said.get(name, known) != known:
                raise ConfigError(
                    f"this federation's {name} are {said[name]!r}: use the bcfl it was made with"
                )
        privacy = cls(PRIVACY in said, MODELS in said)
        if privacy.members and not privacy.confidential:
            raise ConfigError("this federation keeps its models from who can compute them: do not join it")
        return privacy

    @property
    def names(self) -> dict[str, str]:
        """Return both in words, as options name them."""
        return {
            "privacy": CONFIDENTIAL if self.confidential else "public",
            "model_access": MEMBERS if self.members else "public",
        }


def agreement(confidential: bool, members: bool) -> tuple[tuple[str, str], ...]:
    """Return what a layout says of privacy, name and value, sorted by name."""
    pairs = ((MODELS, MEMBERS, members), (PRIVACY, CONFIDENTIAL, confidential))
    return tuple((name, value) for name, value, holds in pairs if holds)
