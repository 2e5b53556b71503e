"""Print every round, its leader and its votes: `python examples/query.py [RUN]`.

RUN is the folder of a run (`bcfl run`). Without it the federation of `examples/device.py` is asked, as it was
deployed on the network `local`, and its last model is tested.
"""

import sys
from pathlib import Path

from bcfl.errors import BcflError
from bcfl.federation.query import Query, open_deployment, open_run


def print_rounds(query: Query) -> None:
    """Print what `bcfl round`, `bcfl leader` and `bcfl votes` answer."""
    for number in query.history.rounds:
        round_, line, votes = query.round_view(number), query.leader_view(number), query.votes_view(number)
        accepted = len(round_["accepted"])
        print(f"round {number}: {round_['status']}, led by {line['leader']}, {accepted} updates accepted")
        for candidate in line["order"]:
            print(f"  {candidate['miner']} stood in line with {candidate['share']:.0%} of all weight")
        for update in votes["updates"]:
            print(f"  {update['device']}: {update['verdict']} {sorted(update['verdicts'].values())}")


def print_accuracy(query: Query) -> None:
    """Print how good the last model is, which is read from the store and verified."""
    from device import task

    from bcfl.learning.training import TorchLearner
    from bcfl.protocol.fixedpoint import decode

    layout, lanes = query.read_model(query.history.head)
    learner = TorchLearner(task.with_exponents(layout.exponents), None, task.dataset().test, seed=0)
    print("accuracy:", learner.evaluate(decode(lanes, query.terms.scale_bits)).accuracy)


def main() -> None:
    """Print what the run or the deployment has recorded."""
    if sys.argv[1:]:
        with open_run(Path(sys.argv[1])) as run:
            print_rounds(run)
    else:
        with open_deployment("federation", network="local") as deployment:
            print_rounds(deployment)
            print_accuracy(deployment)


if __name__ == "__main__":
    try:
        main()
    except BcflError as error:
        sys.exit(f"error: {error}")
