"""Other users of the device, each a process: a program with changing regions, and a reader."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Final

from dmstats.device import Device
from dmstats.errors import DmError
from tests.torture.view import Book

_MOST: Final = 24
_PROGRAMS: Final = ("other", "dmstats")
_fork = multiprocessing.get_context("fork")


class Intruder:
    """A program that creates and deletes regions at random, so that freed ids are taken. It has a book of its
    regions."""

    def __init__(self, dev_t: int, sectors: int, seed: int) -> None:
        self._ours, theirs = _fork.Pipe()
        self._process = _fork.Process(target=_intrude, args=(theirs, dev_t, sectors, seed), daemon=True)
        self._process.start()
        theirs.close()

    @contextmanager
    def paused(self) -> Iterator[tuple[Book, list[str]]]:
        """Pause it while the context lasts; yields its book, and the damage to its regions that it found."""
        self._ours.send("pause")
        try:
            yield self._ours.recv()
        finally:
            self._ours.send("go on")

    def end(self) -> int:
        """Make it delete its regions and end; return the number of its messages."""
        self._ours.send("end")
        count: int = self._ours.recv()
        self._process.join()
        return count


def _intrude(pipe: Connection, dev_t: int, sectors: int, seed: int) -> None:
    rng, device = Random(seed), Device(dev_t)
    book: dict[int, tuple[int, int, bytes, bytes]] = {}
    complaints: list[str] = []
    count = 0
    while True:
        if pipe.poll(rng.uniform(0.002, 0.03)):
            if pipe.recv() == "end":
                break
            pipe.send((book, complaints))
            pipe.recv()
        count += 1
        if len(book) < _MOST and rng.random() < 0.5 + 0.5 * (not book):
            start, length = rng.randrange(sectors - 4096), rng.randint(8, 4096)
            program, aux = rng.choice(_PROGRAMS), f"theirs{count}"
            number = device.create(start, length, program=program, aux=aux)
            if number in book:
                complaints.append(f"another program deleted {number} {book[number]}")
            book[number] = (start, length, program.encode(), aux.encode())
        elif book:
            number = rng.choice(sorted(book))
            mine = book.pop(number)
            try:
                device.delete(number)
            except DmError as error:
                complaints.append(f"{number} {mine}: {error}")
    for number in book:
        device.delete(number)
    pipe.send(count)


class Reader:
    """Reads the files all the time with O_DIRECT, so that there is I/O to count."""

    def __init__(self, paths: list[Path], seed: int) -> None:
        self._process = _fork.Process(target=_read, args=(paths, seed), daemon=True)
        self._process.start()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _read(paths: list[Path], seed: int) -> None:
    rng, page = Random(seed), mmap.mmap(-1, 4096)
    while True:
        time.sleep(0.01)
        try:
            fd = os.open(rng.choice(paths), os.O_RDONLY | os.O_DIRECT)
        except OSError:
            continue
        try:
            os.preadv(fd, [page], rng.randrange(1 + os.fstat(fd).st_size // 4096) * 4096)
        finally:
            os.close(fd)
