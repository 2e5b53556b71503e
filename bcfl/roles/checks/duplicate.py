"""`duplicate`: an exact copy of an update committed earlier, in this round or before (section 5.4)."""

from __future__ import annotations

from bcfl.protocol.rounds import History, Round


def check(history: History, current: Round) -> list[bool]:
    """For each submission of a round, whether nobody committed the same lanes earlier.

    The root stands for the lanes. Within the round the order of commitment decides: that of
    the batches on chain, then that inside the batch.
    """
    seen = {
        item.update.root
        for earlier in history.rounds.values()
        if earlier.number < current.number
        for item in earlier.submissions
    }
    batches = list(current.commits)
    order = sorted(current.submissions, key=lambda item: (batches.index(item.submitter), item.position))
    fresh = {}
    for item in order:
        fresh[item.position] = item.update.root not in seen
        seen.add(item.update.root)
    return [fresh[item.position] for item in current.submissions]
