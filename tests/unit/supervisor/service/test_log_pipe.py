"""The log of the supervisor, with real pipes."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.config.models import Log
from tests.unit.logpipe import Output, fork, logging_to, message, wait

_log = logging.getLogger("filemapd.test")


@pytest.fixture
def output() -> Iterator[Output]:
    """A pipe for stderr."""
    pipe = Output()
    yield pipe
    pipe.close()


def test_the_supervisors_records_are_written_at_once(output: Output) -> None:
    """A record of the supervisor is a line with time, level and process."""
    with logging_to(output.writer):
        _log.info("started %d", 3)
        _log.debug("not asked for")
        (line,) = output.lines()
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO  filemapd\[{os.getpid()}\]: started 3", line
    )


def test_a_fault_is_logged_with_its_traceback(output: Output) -> None:
    """The traceback is included, in either format."""
    for form in ("text", "json"):
        with logging_to(output.writer, format=form):
            try:
                int("none")
            except ValueError:
                _log.exception("a fault")
        text = "\n".join(output.lines())
        assert "a fault" in text
        assert "ValueError: invalid literal" in text
        assert "test_a_fault_is_logged_with_its_traceback" in text


def test_neither_thread_nor_queue(output: Output) -> None:
    """The handler has no thread, and two descriptors, which close() closes."""
    before = (threading.active_count(), os.listdir("/proc/self/fd"))
    root = (logging.root.level, logging.root.handlers[:])
    with logging_to(output.writer):
        assert threading.active_count() == before[0]
        assert len(os.listdir("/proc/self/fd")) == len(before[1]) + 2
    assert (threading.active_count(), os.listdir("/proc/self/fd")) == before
    assert (logging.root.level, logging.root.handlers) == root


def test_a_slow_reader_of_stderr_blocks_nothing(output: Output) -> None:
    """When stderr is full, and blocking because it is shared, records are dropped, counted and the count
    logged."""
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
    """The rest of a partly written line is written before anything else, so all lines are whole."""
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
    """A closed pipe behind stderr is no error of the supervisor."""
    with logging_to(output.writer) as pipe:
        output.reader.close()
        _log.info("one")
        _log.info("two")
        assert pipe.dropped == 2


def test_a_reload_changes_level_and_format(output: Output) -> None:
    """New level and format apply at once, also to records of workers forked before."""
    with logging_to(output.writer) as pipe:
        go = os.pipe()

        def work() -> None:
            os.read(go[0], 1)
            _log.info("not any more")
            _log.error("still")

        pid = fork(pipe, work)
        pipe.configure(Log(level="error", format="json"))
        os.write(go[1], b"x")
        wait(pid)
        pipe.drain()
        _log.warning("nor this")
        assert [json.loads(line)["message"] for line in output.lines()] == ["still"]
        pipe.configure(Log(level="debug"))
        _log.debug("all of it")
        assert [message(line) for line in output.lines()] == ["all of it"]
        for fd in go:
            os.close(fd)


def test_the_journal_gets_levels(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has its own time and process; it reads the level from a prefix, and strips that."""
    about = os.fstat(output.writer.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{about.st_dev}:{about.st_ino}")
    with logging_to(output.writer, level="debug") as pipe:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            _log.log(level, "said")
        assert output.lines() == ["<7>said", "<6>said", "<4>said", "<3>said", "<2>said"]
        _log.info("said", extra={"filemap": "db01.img"})
        assert output.lines() == [f"<6>db01.img[{os.getpid()}]: said"]
        pipe.configure(Log(format="json"))
        _log.info("said")
        assert output.lines()[0].startswith('<6>{"time": ')


def test_a_stale_journal_stream_is_no_journal(output: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stderr redirected, JOURNAL_STREAM no longer applies."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with logging_to(output.writer):
        _log.info("said")
        assert output.lines()[0].endswith(f" INFO  filemapd[{os.getpid()}]: said")


@pytest.mark.parametrize("form", ["text", "json"])
def test_hostile_names_stay_on_their_line(output: Output, form: str) -> None:
    """A file's name can't end a line or send control sequences, neither in the message nor as the worker's
    name."""
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


def test_a_wrong_log_call_is_logged(output: Output) -> None:
    """A log call that can't be formatted is logged as such, with its place, and does no harm."""
    with logging_to(output.writer) as pipe:
        call: Any = _log.info
        call("%d of %d", "x")
        wait(fork(pipe, lambda: call("%d of %d", "x")))
        pipe.drain()
        lines = output.lines()
    assert len(lines) == 2
    assert all(
        re.search(r"ERROR .*: the log call at .*test_log_pipe.py:\d+ is wrong: TypeError", line)
        for line in lines
    )
