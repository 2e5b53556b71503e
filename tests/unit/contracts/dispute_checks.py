"""What disputes of a tree and disputes of an update have in common."""

from __future__ import annotations

from testkit.dispute_driver import DisputeDriver
from testkit.harness import reverts

OTHER = bytes(range(32))  # 32 bytes that are not what belongs there


def check_bond_and_proposal(driver: DisputeDriver) -> None:
    """A dispute opens with exactly the bond, and of nothing but what was proposed."""
    bond = driver.terms.challenge_bond
    for value in (0, bond - 1, bond + 1):
        with reverts("disputes: not the bond"):
            driver.open(value)
    for part in ("root", "cid", "rows", "layer"):
        with reverts("disputes: not what was proposed"):
            driver.open(None, **{part: OTHER})


def check_deadline_and_phase(driver: DisputeDriver) -> None:
    """A dispute does not open after the deadline, nor in another phase."""
    storage = driver.fixture.storage
    driver.federation.expire()
    with reverts("disputes: too late"):
        driver.open()
    storage.put(("rounds.clock", None, storage.get("rounds.clock") - 1))
    with reverts("rounds: not this phase"):
        driver.open()


def check_bond_goes_back(driver: DisputeDriver) -> None:
    """The dispute of a proposal that was refuted ends without an answerer, and no wei is lost."""
    (event,) = driver.send("expire", [], []).events
    assert (event.name, int(event.args["answerer"], 16)) == ("DisputeEnded", 0)
    balance, *parts = driver.federation.money()
    assert balance == sum(parts)
