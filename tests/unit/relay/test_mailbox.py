"""Messages are judged by the owner's thread only, so many at a time; nobody waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from bcfl.errors import RelayError
from bcfl.relay.mailbox import Busy, Mailbox


def test_the_owner_does_it_and_the_sender_waits() -> None:
    mailbox, threads = Mailbox(), []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(mailbox.submit, lambda: threads.append(threading.get_ident()))
        mailbox.process(1)
        future.result(1)
    assert threads == [threading.get_ident()]


def test_a_refusal_reaches_the_sender() -> None:
    def refuse() -> None:
        raise RelayError("no use for it")

    mailbox = Mailbox()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(mailbox.submit, refuse)
        mailbox.process(1)
        with pytest.raises(RelayError, match="no use"):
            future.result(1)


def test_a_defect_that_a_message_finds_does_not_stop_the_owner() -> None:
    mailbox = Mailbox()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(mailbox.submit, lambda: [][0])
        mailbox.process(1)
        with pytest.raises(RelayError, match="could not be judged"):
            future.result(1)


def test_more_than_there_is_room_for_are_refused_at_once() -> None:
    mailbox = Mailbox(capacity=2)
    with ThreadPoolExecutor(2) as pool:
        future = [pool.submit(mailbox.submit, lambda: None) for _ in range(2)]
        while mailbox._letters.qsize() < 2:
            time.sleep(0.001)
        with pytest.raises(Busy):
            mailbox.submit(lambda: None)
        mailbox.process(0.1)
        assert [item.result(1) for item in future] == [None, None]


def test_a_message_that_nobody_waits_for_any_more_is_not_looked_at() -> None:
    mailbox, calls = Mailbox(wait_seconds=0.01), []
    with pytest.raises(Busy):
        mailbox.submit(lambda: calls.append(1))
    mailbox.process(0)
    assert calls == []


def test_a_flood_does_not_hold_the_owner_up() -> None:
    mailbox = Mailbox(capacity=4)
    with ThreadPoolExecutor(4) as pool:
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                with suppress(Busy):
                    mailbox.submit(lambda: None)

        floods = [pool.submit(flood) for _ in range(4)]
        for _ in range(20):
            mailbox.process(0.05)
        stop.set()
        while not all(item.done() for item in floods):
            mailbox.process(0.01)


def test_wake_ends_the_wait() -> None:
    mailbox = Mailbox()
    mailbox.wake()
    start = time.monotonic()
    mailbox.process(5)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize("parties", [2, 3, 5])
def test_owners_that_write_to_each_other_at_once_hear_each_other(parties: int) -> None:
    """In mode full devices are bound to miners in a circle: each waited for the next until all gave up."""
    mailboxes = [Mailbox(wait_seconds=60) for _ in range(parties)]
    together, judged = threading.Barrier(parties, timeout=60), []
    owners = {}

    def write(number: int) -> None:
        owners[number] = threading.get_ident()
        following = (number + 1) % parties
        together.wait()
        mailboxes[number].process_during(
            lambda: mailboxes[following].submit(lambda: judged.append((following, threading.get_ident())))
        )
        while len(judged) < parties:
            mailboxes[number].process(0.05)

    with ThreadPoolExecutor(parties) as pool:
        for future in [pool.submit(write, number) for number in range(parties)]:
            future.result(120)
    assert sorted(judged) == sorted(owners.items())  # each by the thread that owns the mailbox


def test_what_a_call_raises_while_messages_are_processed_is_raised() -> None:
    def fail() -> None:
        raise RelayError("nobody there")

    with pytest.raises(RelayError, match="nobody there"):
        Mailbox().process_during(fail)
