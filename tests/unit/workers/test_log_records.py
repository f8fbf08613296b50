"""Workers' log records to the supervisor, with real processes and sockets."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.models import Log
from supervisor.service.log_pipe import LogPipe
from tests.unit.logpipe import Output, fork, logging_to, message, records, wait
from workers.log_records import decode, encode

_log = logging.getLogger("filemapd.test")


@pytest.fixture
def output() -> Iterator[Output]:
    """A pipe for stderr."""
    pipe = Output()
    yield pipe
    pipe.close()


def ended(pid: int, _lines: list[str]) -> bool:
    """Return whether a child has ended, as a condition for records()."""
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def test_a_workers_records_arrive(output: Output) -> None:
    """A worker's records arrive with its labels and traceback."""
    with logging_to(output.writer, format="json") as pipe:

        def work() -> None:
            _log.warning("group moved to %d", 9, extra={"group_id": 9})
            try:
                _ = 1 // 0
            except ZeroDivisionError:
                _log.exception("a fault")

        pid = fork(pipe, work, filemap="db01.img", device="vg-lv", group_id=4)
        wait(pid)
        assert output.lines() == []
        assert pipe.drain() == 2
        moved, fault = map(json.loads, output.lines())
    age = datetime.now(UTC) - datetime.fromisoformat(moved.pop("time"))
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert moved == {
        "level": "warning",
        "message": "group moved to 9",
        "file": "db01.img",
        "device": "vg-lv",
        "group_id": 9,
        "pid": pid,
    }
    assert fault["group_id"] == 4
    assert fault["exception"].endswith("ZeroDivisionError: integer division or modulo by zero")


def babble() -> None:
    """Log as fast as possible, forever."""
    while True:
        _log.info("babble")


def babble_from(gate: int, opening: int) -> None:
    """Babble once no process holds `opening` open: until then it takes no CPU from the forking process."""
    os.close(opening)
    os.read(gate, 1)
    babble()


def speak(words: int) -> None:
    """Log that many words, waiting for room in a full buffer."""
    handler: Any = logging.root.handlers[0]
    for number in range(words):
        while True:
            _log.info("word %d", number)
            if not handler.dropped:
                break
            select.select([], [], [], 0.001)


def words_of(lines: list[str]) -> list[str]:
    """Return the words in the log."""
    return [message(line).partition(" (")[0] for line in lines if "word" in line]


def kill(pids: list[int]) -> None:
    """Kill children, and wait for their end."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        wait(pid)


def narrow(pipe: LogPipe) -> None:
    """Shrink the pipe to some 200 records, as with the kernel's default net.core.wmem_max."""
    with socket.socket(fileno=os.dup(pipe.sender_fd)) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 212_992)


def test_killed_workers_silence_nobody(output: Output) -> None:
    """Workers are killed in the middle of logging, again and again: all records of the others arrive."""
    rounds, each = 30, 20
    lines: list[str] = []
    with logging_to(output.writer) as pipe:
        for _ in range(rounds):
            victim = fork(pipe, babble)
            speaker = fork(pipe, partial(speak, each))
            lines += records(pipe, output, lambda seen: sum("babble" in line for line in seen) > 20)
            kill([victim])
            lines += records(pipe, output, partial(ended, speaker))
            pipe.drain()
            lines += output.lines()
    assert sorted(words_of(lines)) == sorted(
        f"word {number}" for number in range(each) for _ in range(rounds)
    )


def test_a_thousand_killed_workers(output: Output) -> None:
    """1,000 workers log as fast as they can and are killed: each record of the others arrives, and nothing
    grows."""
    crowd, rounds, each = 25, 40, 5
    lines: list[str] = []
    with logging_to(output.writer) as pipe:
        narrow(pipe)
        before = psutil.Process().memory_info().rss
        for _ in range(rounds):
            gate, opening = os.pipe()
            victims = [fork(pipe, partial(babble_from, gate, opening)) for _ in range(crowd)]
            os.close(opening)
            os.close(gate)
            lines += records(pipe, output, lambda seen: len(seen) > crowd)
            speaker = fork(pipe, partial(speak, each))
            kill(victims)
            lines += records(pipe, output, partial(ended, speaker))
            while pipe.drain():
                lines += output.lines()
        assert psutil.Process().memory_info().rss - before < 16 << 20
    assert words_of(lines) == [f"word {number}" for number in range(each)] * rounds


def test_a_slow_supervisor_blocks_no_worker(output: Output) -> None:
    """When the supervisor doesn't drain, a worker goes on; the number of lost records comes with the next one
    that fits."""
    with logging_to(output.writer) as pipe:
        ready, go = os.pipe(), os.pipe()

        def work() -> None:
            for number in range(20_000):
                _log.info("%d %s", number, "x" * 100)
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            _log.info("the last")

        pid = fork(pipe, work)
        os.read(ready[0], 1)
        drained = 0
        while count := pipe.drain(100):
            drained += count
            output.lines()
        assert 50 < drained < 20_000
        os.write(go[1], b"x")
        wait(pid)
        assert pipe.drain() == 1
        (line,) = output.lines()
        lost = 20_000 - drained
        assert message(line) == f"the last (records dropped before this one: {lost})"
        assert pipe.dropped == lost
        for fd in (*ready, *go):
            os.close(fd)


def test_a_gone_supervisor_blocks_no_worker(output: Output) -> None:
    """A worker whose supervisor is gone loses its records, and goes on."""
    done = os.pipe()
    gone = os.pipe()

    def supervise() -> None:
        fork(LogPipe(Log(), output.writer), work)

    def work() -> None:
        os.close(gone[1])
        os.read(gone[0], 1)  # returns when all writers are gone
        _log.info("is there anybody?")
        os.write(done[1], b"yes")

    supervisor = os.fork()
    if supervisor == 0:
        try:
            supervise()
        finally:
            os._exit(0)
    os.close(gone[1])
    wait(supervisor)
    assert os.read(done[0], 3) == b"yes"
    assert output.lines() == []
    for fd in (gone[0], *done):
        os.close(fd)


def test_a_long_record_is_cut(output: Output) -> None:
    """A worker's huge message fits in a packet; its beginning and end arrive."""
    with logging_to(output.writer) as pipe:
        text = "begin" + "\U0001f600" * 1_000_000 + "end"
        wait(fork(pipe, lambda: _log.info(text)))
        assert pipe.drain() == 1
        assert pipe.dropped == 0
        line = "".join(output.lines())
    assert "begin" in line
    assert line.endswith("end")


HOSTILE: list[Any] = [
    b"",
    b"\xff",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"levelno":20,"created":1.0,"process":1}',
    b'{"levelno":20,"created":NaN,"process":1,"msg":""}',
    b'{"levelno":20,"created":1e300,"process":1,"msg":""}',
    b'{"levelno":"x","created":1.0,"process":1,"msg":""}',
    b'{"levelno":20,"created":1.0,"process":1,"msg":{}}',
    b'{"levelno":20,"created":1.0,"process":1,"msg":"","getMessage":"x"}',
    b'{"levelno":20,"created":1.0,"process":1,"msg":"","dropped":-1}',
    b'{"levelno":20,"created":1.0,"process":1,"msg":"","dropped":true}',
    b'{"levelno":20,"created":1.0,"process":1,"msg":"","group_id":1' + b"0" * 5000 + b"}",
]


def test_a_hostile_worker_harms_nobody(output: Output) -> None:
    """Invalid records are counted and dropped, and later ones are read."""
    with logging_to(output.writer) as pipe:
        with socket.socket(fileno=os.dup(pipe.sender_fd)) as worker:
            for packet in HOSTILE:
                worker.send(packet)
                pipe.drain()
        assert pipe.dropped == len(HOSTILE)
        assert output.lines() == []
        wait(fork(pipe, lambda: _log.info("well")))
        assert pipe.drain() == 1
        assert [message(line) for line in output.lines()] == ["well"]


@given(st.binary(max_size=200) | st.sampled_from(HOSTILE))
def test_decode_raises_nothing_but_value_error(packet: bytes) -> None:
    """Any packet is a record or a ValueError."""
    try:
        record = decode(packet)
    except ValueError:
        return
    assert isinstance(record.getMessage(), str)


@given(st.text(max_size=200), st.integers(0, 50), st.text(max_size=50), st.integers(0, 2**31))
def test_a_record_survives_the_way(text: str, level: int, name: str, group_id: int) -> None:
    """The supervisor reads what a worker sent, including lone surrogates and per cent signs."""
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "levelno": level})
    back = decode(encode(record, {"filemap": name, "group_id": group_id}, 7))
    assert (back.getMessage(), back.levelno, back.created) == (text, level, record.created)
    assert vars(back).items() >= {"filemap": name, "group_id": group_id, "dropped": 7}.items()
