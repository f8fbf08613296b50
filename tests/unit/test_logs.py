"""The log, with real processes, sockets and pipes."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TextIO

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import Log
from supervisor.logs import LogPipe, install
from workers.records import decode, encode, join

_log = logging.getLogger("filemapd.test")


class Output:
    """A pipe for stderr, and who reads it."""

    def __init__(self) -> None:
        read, write = os.pipe()
        os.set_blocking(read, False)
        self.reader = os.fdopen(read, "rb", buffering=0)
        self.writer = os.fdopen(write, "w")

    def lines(self) -> list[str]:
        """Return what has been written since the last time."""
        content = b""
        while data := self.reader.read(1 << 20):
            content += data
        return content.decode().splitlines()

    def close(self) -> None:
        """Close both ends."""
        self.reader.close()
        self.writer.close()


@pytest.fixture
def output() -> Iterator[Output]:
    """A pipe for stderr."""
    pipe = Output()
    yield pipe
    pipe.close()


@contextmanager
def logging_to(stream: TextIO, **config: Any) -> Iterator[LogPipe]:
    """Have the log go to `stream`."""
    pipe = install(Log(**config), stream)
    try:
        yield pipe
    finally:
        pipe.close()


def fork(pipe: LogPipe, work: Callable[[], object], **labels: object) -> int:
    """Run `work` in a child that has only the pipe's end to log by, and ends without pytest's doings; return its
    pid."""
    pid = os.fork()
    if pid == 0:
        try:
            os.close(pipe.fileno())
            join(socket.socket(fileno=pipe.end), logging.root.level, labels)
            work()
        finally:
            os._exit(0)
    return pid


def wait(pid: int) -> None:
    """Wait for a child's end."""
    os.waitpid(pid, 0)


def ended(pid: int, _lines: list[str]) -> bool:
    """Tell whether a child has ended, as a condition for records()."""
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def records(pipe: LogPipe, output: Output, done: Callable[[list[str]], bool]) -> list[str]:
    """Drain into a list of lines until `done` with them."""
    lines: list[str] = []
    deadline = time.monotonic() + 30
    while not done(lines):
        assert time.monotonic() < deadline, lines[-5:]
        select.select([pipe], [], [], 0.01)
        pipe.drain(100)
        lines += output.lines()
    return lines


def message(line: str) -> str:
    """Return a text line without time, level and process."""
    return line.split("]: ", 1)[1]


def test_the_supervisors_records_are_written_at_once(output: Output) -> None:
    """A record of the supervisor's own is a line with its time, level and process."""
    with logging_to(output.writer):
        _log.info("started %d", 3)
        _log.debug("not asked for")
        (line,) = output.lines()
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO  filemapd\[{os.getpid()}\]: started 3", line
    )


def test_neither_thread_nor_queue(output: Output) -> None:
    """The handler has no thread, and two descriptors, which close() gives back."""
    before = (threading.active_count(), os.listdir("/proc/self/fd"))
    root = (logging.root.level, logging.root.handlers[:])
    with logging_to(output.writer):
        assert threading.active_count() == before[0]
        assert len(os.listdir("/proc/self/fd")) == len(before[1]) + 2
    assert (threading.active_count(), os.listdir("/proc/self/fd")) == before
    assert (logging.root.level, logging.root.handlers) == root


def test_a_workers_records_arrive(output: Output) -> None:
    """A worker's records come with what it was labelled, and with its traceback."""
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
    """Log as fast as may be, for ever."""
    while True:
        _log.info("babble")


def babble_from(gate: int, opening: int) -> None:
    """Babble as soon as nobody else has `opening` open: before that it takes no time from whoever forks others."""
    os.close(opening)
    os.read(gate, 1)
    babble()


def speak(words: int) -> None:
    """Log so many words. A full buffer is no excuse here, so it waits for room."""
    handler: Any = logging.root.handlers[0]
    for number in range(words):
        while True:
            _log.info("word %d", number)
            if not handler.untold:
                break
            select.select([], [], [], 0.001)


def words_of(lines: list[str]) -> list[str]:
    """Return the words among what was logged."""
    return [message(line).partition(" (")[0] for line in lines if "word" in line]


def kill(pids: list[int]) -> None:
    """Kill children, and wait for their end."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        wait(pid)


def test_killed_workers_silence_nobody(output: Output) -> None:
    """Workers are killed in the middle of logging, again and again: what the others say arrives, all of it."""
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
    """1,000 workers log as fast as they can and are killed: each record of those that live arrives, nothing grows."""
    crowd, rounds, each = 25, 40, 5
    lines: list[str] = []
    with logging_to(output.writer) as pipe:
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
        assert psutil.Process().memory_info().rss - before < 64 << 20
    assert words_of(lines) == [f"word {number}" for number in range(each)] * rounds


def test_a_slow_supervisor_blocks_no_worker(output: Output) -> None:
    """With nobody draining a worker goes on; what was lost is told with the next record that gets through."""
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
    """A worker whose supervisor has gone logs into the void, and lives."""
    done = os.pipe()
    gone = os.pipe()

    def supervise() -> None:
        fork(install(Log(), output.writer), work)

    def work() -> None:
        os.close(gone[1])
        os.read(gone[0], 1)  # returns when nobody can write any more
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


def test_a_slow_reader_of_stderr_blocks_nothing(output: Output) -> None:
    """A full stderr, shared with others and so a blocking one, costs records, which are counted and told."""
    with logging_to(output.writer) as pipe:
        for number in range(3000):
            _log.info("record %d", number)
        assert os.get_blocking(output.writer.fileno())
        content = output.reader.read(1 << 20) or b""
        lost = pipe.dropped
        _log.info("the last")
        content += output.reader.read(1 << 20) or b""
    *kept, last = map(message, content.decode().splitlines())
    assert kept == [f"record {number}" for number in range(3000 - lost)]
    assert 0 < lost < 3000
    assert last == f"the last (records dropped before this one: {lost})"


def test_no_line_is_torn(output: Output) -> None:
    """What doesn't fit of a line comes before anything else, so all lines together are whole."""
    content = b""
    with logging_to(output.writer, format="json") as pipe:
        for number in range(300):
            _log.info("%d %s", number, "x" * 7000)
            if number % 7 == 0:
                content += output.reader.read(5000) or b""
        while data := output.reader.read(1 << 20):
            content += data
            pipe.drain()
    lines = [json.loads(line) for line in content.splitlines()]
    assert len(lines) + pipe.dropped == 300
    assert pipe.dropped > 0


def test_nobody_reads_stderr(output: Output) -> None:
    """A closed pipe behind stderr is no fault of the supervisor's."""
    with logging_to(output.writer) as pipe:
        output.reader.close()
        _log.info("one")
        _log.info("two")
        assert pipe.dropped == 2


def test_a_reload_changes_level_and_format(output: Output) -> None:
    """The new level and format hold at once, for the records of workers forked before too."""
    with logging_to(output.writer) as pipe:
        go = os.pipe()

        def work() -> None:
            os.read(go[0], 1)
            _log.info("not any more")
            _log.error("still")

        pid = fork(pipe, work)
        pipe.set(Log(level="error", format="json"))
        os.write(go[1], b"x")
        wait(pid)
        pipe.drain()
        _log.warning("nor this")
        assert [json.loads(line)["message"] for line in output.lines()] == ["still"]
        pipe.set(Log(level="debug"))
        _log.debug("all of it")
        assert [message(line) for line in output.lines()] == ["all of it"]
        for fd in go:
            os.close(fd)


def test_the_journal_gets_levels(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal keeps time and process itself; it takes the level from a prefix, and strips that."""
    about = os.fstat(output.writer.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{about.st_dev}:{about.st_ino}")
    with logging_to(output.writer, level="debug") as pipe:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            _log.log(level, "said")
        assert output.lines() == ["<7>said", "<6>said", "<4>said", "<3>said", "<2>said"]
        _log.info("said", extra={"filemap": "db01.img"})
        assert output.lines() == [f"<6>db01.img[{os.getpid()}]: said"]
        pipe.set(Log(format="json"))
        _log.info("said")
        assert output.lines()[0].startswith('<6>{"time": ')


def test_a_stale_journal_stream_is_no_journal(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stderr redirected, what systemd said of it doesn't hold any more."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with logging_to(output.writer):
        _log.info("said")
        assert output.lines()[0].endswith(f" INFO  filemapd[{os.getpid()}]: said")


@pytest.mark.parametrize("form", ["text", "json"])
def test_hostile_names_stay_on_their_line(output: Output, form: str) -> None:
    """A file's name can't end a line or steer a terminal, be it in the message or as the worker's name."""
    name = "a\n<0>forged\x1b[2J\u2028\x85\udcff"
    with logging_to(output.writer, format=form) as pipe:
        _log.info("found %s", name, extra={"filemap": name})
        wait(fork(pipe, lambda: _log.info("found %s", name, extra={"filemap": name})))
        pipe.drain()
        lines = output.lines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    if form == "json":
        assert {json.loads(line)["file"] for line in lines} == {name}
    else:
        assert lines[0].endswith("found a\\n<0>forged\\x1b[2J\\u2028\\x85\\udcff")


def test_a_long_record_is_cut(output: Output) -> None:
    """A huge message of a worker still fits in a packet; its beginning and end arrive."""
    with logging_to(output.writer) as pipe:
        text = "begin" + "\U0001f600" * 1_000_000 + "end"
        wait(fork(pipe, lambda: _log.info(text)))
        assert pipe.drain() == 1
        assert pipe.dropped == 0
        line = "".join(output.lines())
    assert "begin" in line
    assert line.endswith("end")


def test_a_wrong_log_call_is_told(output: Output) -> None:
    """A log call that can't be formatted is logged as such, with its place, and harms nothing."""
    with logging_to(output.writer) as pipe:
        call: Any = _log.info
        call("%d of %d", "x")
        wait(fork(pipe, lambda: call("%d of %d", "x")))
        pipe.drain()
        lines = output.lines()
    assert len(lines) == 2
    assert all(
        re.search(r"ERROR .*: the log call at .*test_logs.py:\d+ is wrong: TypeError", line) for line in lines
    )


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
    """What is no record is counted and dropped, and what follows it is read."""
    with logging_to(output.writer) as pipe:
        with socket.socket(fileno=os.dup(pipe.end)) as worker:
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
    """Whatever arrives is a record or a ValueError."""
    try:
        record = decode(packet)
    except ValueError:
        return
    assert isinstance(record.getMessage(), str)


@given(st.text(max_size=200), st.integers(0, 50), st.text(max_size=50), st.integers(0, 2**31))
def test_a_record_survives_the_way(text: str, level: int, name: str, group_id: int) -> None:
    """What a worker sends is what the supervisor reads, lone surrogates and per cent signs included."""
    record = logging.makeLogRecord({"msg": "%s", "args": (text,), "levelno": level})
    back = decode(encode(record, {"filemap": name, "group_id": group_id}, 7))
    assert (back.getMessage(), back.levelno, back.created) == (text, level, record.created)
    assert vars(back).items() >= {"filemap": name, "group_id": group_id, "dropped": 7}.items()
