"""What disputes of a tree and disputes of an update have in common."""

from __future__ import annotations

from testkit.dispute_driver import DisputeDriver
from testkit.harness import reverts

OTHER = bytes(range(32))  # 32 bytes that are not what belongs there


def check_bond_and_proposal(driver: DisputeDriver) -> None:
    """A dispute opens with at least its price, and of nothing but what was proposed."""
    bond = driver.terms.challenge_bond
    assert driver.federation.contract.call("dispute_price") == bond
    for value in (0, bond - 1):
        with reverts("disputes: not the bond"):
            driver.open(value)
    for part in ("root", "rows"):
        with reverts("proposals: not what was proposed"):
            driver.open(None, **{part: OTHER})


def check_window_and_phase(driver: DisputeDriver) -> None:
    """A dispute does not open after the challenge window, nor in another phase."""
    storage, federation = driver.fixture.storage, driver.federation
    start = federation.clock.deadline - driver.terms.attest_seconds
    federation.chain.warp(start + driver.terms.challenge_seconds)
    with reverts("docket: window over"):
        driver.open(driver.terms.challenge_bond)
    storage.put(("rounds.clock", None, storage.get("rounds.clock") - 1))
    with reverts("rounds: not this phase"):
        driver.open(driver.terms.challenge_bond)


def check_bond_goes_back(driver: DisputeDriver) -> None:
    """The dispute of a proposal that another has refuted ends, and the whole bond goes back."""
    contract, account = driver.federation.contract, driver.challenger.address
    before = contract.call("credits", account)
    (event,) = driver.send("expire", [], []).events
    assert (event.name, event.args["returned"]) == ("DisputeEnded", True)
    assert contract.call("credits", account) == before + driver.terms.challenge_bond
    check_balance(driver)


def check_balance(driver: DisputeDriver) -> None:
    """The contract holds stakes, debts and pool, to the wei."""
    balance, *parts = driver.federation.money()
    assert balance == sum(parts)
