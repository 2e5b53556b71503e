"""Name the keys of what is sealed, and hold those that a party has."""

from __future__ import annotations

from dataclasses import dataclass, field

from bcfl.protocol.rounds import Submission

UpdateName = tuple[int, int, bytes]  # round, device and root
ModelName = tuple[int, bytes]  # round and root


@dataclass
class Keys:
    """The keys of sealed updates and models that a party knows to be right, or was given."""

    updates: dict[UpdateName, bytes] = field(default_factory=dict, repr=False)
    models: dict[ModelName, bytes] = field(default_factory=dict, repr=False)


def update_name(submission: Submission) -> UpdateName:
    """Return what the key of an update is known by."""
    return submission.update.round, submission.update.device, submission.update.root
