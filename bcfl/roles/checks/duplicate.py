"""`duplicate`: an exact copy of an update committed earlier, in this round or before (section 5.4)."""

from __future__ import annotations

from bcfl.protocol.rounds import History, Round


def check(history: History, current: Round) -> list[bool]:
    """For each submission of a round, whether nobody committed the same lanes earlier.

    The root stands for the lanes. Within the round the order of commitment decides: that of
    the batches on chain, then that inside the batch.
    """
    places = {submitter: place for place, submitter in enumerate(current.commits)}
    last = len(places)
    order = sorted(current.submissions, key=lambda item: (places.get(item.submitter, last), item.position))
    seen: set[bytes] = set()
    fresh = {}
    for item in order:
        root = item.update.root
        fresh[item.position] = root not in seen and history.roots.get(root, current.number) >= current.number
        seen.add(root)
    return [fresh[item.position] for item in current.submissions]
