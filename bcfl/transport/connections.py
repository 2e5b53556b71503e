"""Count the connections of a server: bounded in all and by address, and none is kept by doing nothing."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

SITE_BITS: Final = 64  # of an IPv6 address; the other half is the machine's to choose, anew each time


@dataclass(eq=False)
class Connection:
    """One connection; `is_waiting`: until a whole request of it is there, and again after the answer."""

    address: str
    socket: socket.socket
    is_waiting: bool = True
    is_counted: bool = True


def client_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the network of an IPv6 one."""
    number = ip_address(address)
    if not isinstance(number, IPv6Address):
        return address
    if number.ipv4_mapped is not None:
        return str(number.ipv4_mapped)
    return f"{IPv6Address(int(number) >> SITE_BITS << SITE_BITS)}/{SITE_BITS}"


class Connections:
    """At most `total` connections, and `per_address` of one address.

    Where all places are taken, one that waits loses its place to somebody with fewer connections: the one
    that has waited longest, of the address with the most. So who connects and says nothing, from a few
    addresses, keeps nobody out.
    """

    def __init__(self, total: int, per_address: int) -> None:
        self._total, self._per_address = total, per_address
        self._connections: dict[Connection, None] = {}  # the one that has waited longest first
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def admit(self, address: str, socket_: socket.socket) -> Connection | None:
        """Return one more connection of an address; None where there is no place for it."""
        with self._lock:
            count = self._counts[address]
            is_full = self._counts.total() >= self._total
            if count >= self._per_address or (is_full and not self._evict(count)):
                return None
            connection = Connection(address, socket_)
            self._connections[connection] = None
            self._counts[address] = count + 1
            return connection

    def hold(self, connection: Connection) -> None:
        """Note that a whole request has come: the connection is not ended before its answer."""
        with self._lock:
            connection.is_waiting = False

    def wait(self, connection: Connection) -> None:
        """Note that a connection waits for a request from now on."""
        with self._lock:
            if not connection.is_waiting:
                connection.is_waiting = True
                del self._connections[connection]
                self._connections[connection] = None

    def release(self, connection: Connection) -> None:
        """Give the place of a connection back."""
        with self._lock:
            self._connections.pop(connection, None)
            self._discount(connection)

    def _evict(self, count: int) -> bool:
        """End a waiting connection of the address that has the most, if these are two more than `count`."""
        waiting = [one for one in self._connections if one.is_waiting and one.is_counted]
        if not waiting:
            return False
        victim = max(waiting, key=lambda one: self._counts[one.address])  # the first of the largest
        if self._counts[victim.address] < count + 2:
            return False
        self._discount(victim)
        with suppress(OSError):  # its thread reads the end, and goes; no farewell of TLS, which could block
            socket.socket.shutdown(victim.socket, socket.SHUT_RDWR)
        return True

    def _discount(self, connection: Connection) -> None:
        if connection.is_counted:
            connection.is_counted = False
            self._counts[connection.address] -= 1
            if not self._counts[connection.address]:
                del self._counts[connection.address]
