# pragma version 0.4.3
"""
@title RegistryMock: a registry that can be filled at once
@license Apache-2.0
"""

from interfaces import IFederation
from modules import terms
from modules import turns
from modules import registry
from modules import directory

initializes: terms
initializes: turns
initializes: registry[terms := terms, turns := turns]
initializes: directory[registry := registry]

exports: (directory.devices_registered, directory.device)


@deploy
def __init__(terms_: IFederation.Terms):
    """
    @notice Fixes the terms.
    @param terms_ What the parties agreed on.
    """
    terms.__init__(terms_)
    registry.__init__()


@external
def pretend_devices(count: uint256):
    """
    @notice Acts as if so many devices had been admitted.
    @param count The number.
    """
    registry.device_count = count


@external
def register_devices(accounts: DynArray[address, 64], round: uint256):
    """
    @notice Admits devices.
    @param accounts Their accounts.
    @param round The running round; they take part from the next one on.
    """
    registry._register_devices(accounts, round)
