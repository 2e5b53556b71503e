# pragma version 0.4.3
"""
@title treasury: the pool and what is owed
@license Apache-2.0
@notice The contract's balance is stakes + owed + pool. What is owed is pulled, never pushed;
        anybody may trigger a withdrawal, and it goes to the account that earned it.
"""

from interfaces import IFederation
from modules import constants


OWED: constant(uint256) = 128  # shift

books: uint256  # owed (128) | pool (128)
credits: public(HashMap[address, uint256])


@external
@view
def pool() -> uint256:
    """
    @notice What rewards are paid from.
    """
    return self.books & constants.MASK128


@external
@view
def owed() -> uint256:
    """
    @notice What is earned and not yet withdrawn.
    """
    return self.books >> OWED


@external
@payable
def fund():
    """
    @notice Adds what was sent to the pool that rewards are paid from.
    """
    self.books += msg.value
    log IFederation.Funded(sender=msg.sender, amount=msg.value)


@external
def withdraw(account: address):
    """
    @notice Sends an account what it has claimed.
    @param account The account.
    """
    amount: uint256 = self.credits[account]
    assert amount != 0, "treasury: nothing to withdraw"
    self.credits[account] = 0
    self.books -= amount << OWED
    log IFederation.Withdrawn(account=account, amount=amount)
    self._send(account, amount)


@internal
def _send(account: address, amount: uint256):
    """
    @notice Pays out, after all books are written.
    @param account The receiver.
    @param amount The amount in wei.
    """
    success: bool = raw_call(account, b"", value=amount, revert_on_failure=False)
    assert success, "treasury: receiver refused"


@internal
def _burn(amount: uint256):
    """
    @notice Destroys what was slashed and is paid to nobody.
    @param amount The amount in wei.
    """
    if amount != 0:
        raw_call(empty(address), b"", value=amount)
