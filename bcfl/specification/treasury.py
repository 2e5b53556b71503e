"""Keep the pool and what is owed. What is owed is pulled, never pushed."""

from __future__ import annotations

from bcfl.specification.call import Call, require, unsigned

# The views.


def pool(call: Call) -> int:
    """Return what rewards are paid from."""
    return call.state.treasury.pool


def owed(call: Call) -> int:
    """Return what is earned and not yet withdrawn."""
    return call.state.treasury.owed


def credits(call: Call, account: str) -> int:
    """Return what an account has claimed and not yet withdrawn."""
    return call.state.treasury.credits.get(account, 0)


# The calls.


def fund(call: Call) -> None:
    """Add what was sent to the pool."""
    call.state.treasury.pool += call.value
    call.log("Funded", sender=call.sender, amount=call.value)


def withdraw(call: Call, account: str) -> None:
    """Send an account what it has claimed."""
    treasury = call.state.treasury
    amount = treasury.credits.get(account, 0)
    require(amount, "treasury: nothing to withdraw")
    treasury.credits[account] = 0
    treasury.owed = unsigned(treasury.owed - amount)
    call.log("Withdrawn", account=account, amount=amount)
    send(call, account, amount)


# For other modules.


def send(call: Call, account: str, amount: int) -> None:
    """Pay out, after all books are written."""
    require(call.pay(account, amount), "treasury: receiver refused")


def credit(call: Call, account: str, amount: int) -> None:
    """Add to what an account may withdraw; `owed` is not touched."""
    credits = call.state.treasury.credits
    credits[account] = credits.get(account, 0) + amount
