"""Runs the job's command in the guest: copies output, forwards signals, reaps orphans, writes the status."""

import os
import signal
import subprocess
import termios
import threading
import time
import tty
from dataclasses import dataclass, field

from sandbox import syscalls
from sandbox.job import CONTROL_LINE, READY, STATUS, STDERR_LINE, STDOUT_LINE, Job, Status, Terminal

_CHUNK = 65536
# A killed process ends at once, unless it blocks in the kernel. The status must not wait for that.
_LAST_WORDS = 10.0


def serve(job: Job, job_fd: int) -> None:
    """Run the command until it exits and write its status. Raises OSError."""
    streams = _Streams.open(job.terminal)
    code = _run(job, streams)
    _kill_all()
    counts = streams.finish()
    if job.out is not None:
        _write_out(job.out)
    _write_status(job_fd, Status(code, *counts))


@dataclass
class _Stream:
    """Copies one of the command's outputs to a serial line."""

    source: int
    line: int
    count: int = 0
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        self.thread = threading.Thread(target=self._copy, daemon=True)
        self.thread.start()

    def _copy(self) -> None:
        while data := self._read():
            view = memoryview(data)
            while view:
                written = os.write(self.line, view)
                self.count += written
                view = view[written:]
        termios.tcdrain(self.line)

    def _read(self) -> bytes:
        try:
            return os.read(self.source, _CHUNK)
        except OSError:  # EIO: no process has the terminal open
            return b""


@dataclass
class _Streams:
    stdout: int
    stderr: int
    master: int | None
    copies: list[_Stream]

    @classmethod
    def open(cls, terminal: Terminal | None) -> "_Streams":
        """Open a terminal or pipes for the command, and the streams that copy them to the serial lines."""
        master = None
        slave = -1
        if terminal is not None:
            master, slave = os.openpty()
            tty.setraw(slave)  # the host's terminal translates line ends
            termios.tcsetwinsize(master, (terminal.rows, terminal.columns))
        ends: dict[int, int] = {}
        copies: list[_Stream] = []
        for number, on_terminal in (
            (STDOUT_LINE, terminal is not None and terminal.stdout),
            (STDERR_LINE, terminal is not None and terminal.stderr),
        ):
            if on_terminal and master is not None:
                ends[number] = os.dup(slave)
                source = master
            else:
                source, ends[number] = os.pipe()
            # If both are on the terminal, one copy carries both in order.
            if source not in [copy.source for copy in copies]:
                copies.append(_Stream(source, open_line(number)))
        if slave >= 0:
            os.close(slave)
        return cls(ends[STDOUT_LINE], ends[STDERR_LINE], master, copies)

    def start(self) -> None:
        """Close our ends, now that the command has its own, and start to copy."""
        for end in (self.stdout, self.stderr):
            os.close(end)
        for copy in self.copies:
            copy.start()

    def finish(self) -> tuple[int, int]:
        """Wait until all output is written. Return the number of bytes on each line."""
        deadline = time.monotonic() + _LAST_WORDS
        for copy in self.copies:
            copy.thread.join(max(0.0, deadline - time.monotonic()))
        first, *others = [copy.count for copy in self.copies]
        return first, sum(others)


def open_line(number: int) -> int:
    """Open a serial line as a plain stream of bytes. Raises OSError."""
    fd = os.open(f"/dev/ttyS{number}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(fd)
    return fd


def _run(job: Job, streams: _Streams) -> int:
    try:
        command = subprocess.Popen(
            job.argv,
            stdin=subprocess.DEVNULL,
            stdout=streams.stdout,
            stderr=streams.stderr,
            env=job.environment,
            cwd=job.cwd,
            start_new_session=True,
        )
    except OSError as error:
        os.write(streams.stderr, f"sandbox: {error.filename or job.argv[0]}: {error.strerror}\n".encode())
        streams.start()
        missing = isinstance(error, FileNotFoundError) and error.filename != job.cwd
        return 127 if missing else 126
    streams.start()
    control = threading.Thread(target=_handle_control, args=(command.pid, streams.master), daemon=True)
    control.start()
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == command.pid:
            code = os.waitstatus_to_exitcode(status)
            command.returncode = code  # Popen must not wait for it again
            return code if code >= 0 else 128 - code


def _handle_control(pid: int, master: int | None) -> None:
    """Announce READY, then handle the host's lines: "signal N" and "resize ROWS COLUMNS"."""
    line_fd = open_line(CONTROL_LINE)
    os.write(line_fd, READY)
    with os.fdopen(line_fd, "rb", buffering=0) as control:
        for line in control:
            name, *numbers = line.split()
            if name == b"signal":
                _send(pid, int(numbers[0]))
            elif name == b"resize" and master is not None:
                termios.tcsetwinsize(master, (int(numbers[0]), int(numbers[1])))
                _send(pid, signal.SIGWINCH)


def _send(pid: int, number: int) -> None:
    try:
        if number == signal.SIGTERM:  # as kill(1) does; a terminal sends the others to its process group
            os.kill(pid, number)
        else:
            os.killpg(pid, number)
    except ProcessLookupError:
        return


def _kill_all() -> None:
    """Kill the processes that the command left behind, so that its output ends."""
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return


def _write_out(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Not sync(): it would block forever on a suspended device of the guest.
        syscalls.sync_filesystem(fd)
    finally:
        os.close(fd)


def _write_status(job_fd: int, status: Status) -> None:
    fd = os.open(STATUS, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=job_fd)
    os.write(fd, status.encode())
    os.fsync(fd)
    os.close(fd)
