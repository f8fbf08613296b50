"""A user-mode-linux guest that runs one command against the host's files."""

import contextlib
import os
import select
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from sandbox.environment import guest_environment
from sandbox.host import SandboxError, Unavailable, available, make_job_folder, memory_folder, memory_size
from sandbox.job import Job, Status, Terminal
from sandbox.kernel import start_kernel
from sandbox.streams import Console, Control, Copy

__all__ = ["Guest", "GuestLost", "SandboxError", "Unavailable", "available", "run"]

# The guest mounts its own file systems here, which hide the host's.
_HIDDEN = ("/run", "/dev", "/proc", "/sys")
# Seconds to wait for the output of a lost guest. After a normal end the wait has no limit.
_LAST_WORDS = 5.0


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class GuestLost(SandboxError):  # noqa: N818 - the name of a state
    """The guest ended without the command's status. The outcome of the command is unknown."""

    def __init__(self, reason: str, console_tail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.console_tail = console_tail


class Guest:
    """A running guest; leaving the context kills it if it still runs.

    stdout and stderr take the command's output, by default this process's own. If they are terminals, the
    command gets one too. Raises Unavailable if the host can't run it, ValueError for an invalid size.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        memory: str = "2G",
        out: Path | None = None,
        stdout: int | HasFileno | None = None,
        stderr: int | HasFileno | None = None,
        system_kernel: bool = False,
    ) -> None:
        if problem := available(system_kernel=system_kernel):
            raise Unavailable(problem)
        size = memory_size(memory)
        if out is not None:
            out = out.resolve()
            out.mkdir(parents=True, exist_ok=True)
        cwd = Path.cwd()
        if any(cwd.is_relative_to(hidden) for hidden in _HIDDEN):
            raise Unavailable(f"a guest can't see {cwd}: it has a /{cwd.parts[1]} of its own")
        outputs = (_fileno(stdout, 1), _fileno(stderr, 2))
        memory_at = memory_folder(size)
        self._folder = make_job_folder()
        try:
            environment = guest_environment(os.environ, out)
            Job(
                argv=list(command),
                environment=environment,
                cwd=str(cwd),
                out=None if out is None else str(out),
                terminal=_terminal(*outputs),
            ).write(self._folder)
            kernel = start_kernel(self._folder, size, memory_at, system=system_kernel)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._keeper = kernel.keeper
        self._lifeline = kernel.lifeline
        self._control = Control(kernel.control)
        self._console = Console(kernel.console)
        self._copies = [
            Copy(kernel.stdout, outputs[0], self._reader_gone),
            Copy(kernel.stderr, outputs[1], self._reader_gone),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send_signal(self, number: int) -> None:
        """Send a signal to the command: SIGTERM to it alone, any other to its process group."""
        self._control.send(f"signal {int(number)}")

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the command's terminal, if it has one."""
        self._control.send(f"resize {rows} {columns}")

    def kill(self) -> None:
        """Kill the guest. wait() then raises GuestLost."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def wait(self, timeout: float | None = None) -> int:
        """The command's exit status, 128 + N if signal N ended it.

        Raises GuestLost, also after timeout, and OSError if the output could not be written.
        """
        reason = None
        if not self._wait_keeper(timeout):
            reason = f"the guest was still running after {timeout:g} s"
        elif self._lifeline < 0:
            reason = "the guest was killed"
        elif (status := Status.read(self._folder)) is None:
            reason = "the guest ended without the command's status"
        else:
            self._end()
            counts = [copy.count for copy in self._copies]
            self._check_written()
            if counts == [status.stdout, status.stderr]:
                return status.code
            reason = f"output was lost: {counts} bytes came of {[status.stdout, status.stderr]}"
        self.kill()
        self._end(_LAST_WORDS)
        raise GuestLost(reason, self._console.tail())

    def close(self) -> None:
        """Kill the guest if it still runs and remove its files."""
        self.kill()
        self._end(_LAST_WORDS)
        self._control.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, patience: float | None = None) -> None:
        """Wait until the guest's processes have ended and its output is copied."""
        if self._keeper.wait() != 0:
            # The keeper itself was killed. The kernel, in its own process group, still runs.
            with contextlib.suppress(OSError, ValueError):
                os.killpg(int((self._folder / "uml" / "pid").read_text()), signal.SIGKILL)
        for thread in (*self._copies, self._console):
            thread.join(patience)

    def _wait_keeper(self, timeout: float | None) -> bool:
        """Return whether the keeper ended in time. Signal handlers run during the wait."""
        if self._keeper.poll() is not None:
            return True
        ended = os.pidfd_open(self._keeper.pid)
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            return bool(poll.poll(None if timeout is None else timeout * 1000))
        finally:
            os.close(ended)

    def _check_written(self) -> None:
        for copy in self._copies:
            # A reader that closes its pipe is no error, as with any command.
            if copy.error is not None and not isinstance(copy.error, BrokenPipeError):
                raise copy.error

    def _reader_gone(self) -> None:
        self.send_signal(signal.SIGPIPE)


def run(
    command: Sequence[str],
    *,
    memory: str = "2G",
    out: Path | None = None,
    timeout: float | None = None,
    stdout: int | HasFileno | None = None,
    stderr: int | HasFileno | None = None,
) -> int:
    """Run a command in a new guest and return its exit status, 128 + N if signal N ended it.

    Raises GuestLost if the guest returned no status or timeout (seconds, including the boot) has passed,
    Unavailable if this host can't run one.
    """
    with Guest(command, memory=memory, out=out, stdout=stdout, stderr=stderr) as guest:
        return guest.wait(timeout)


def _fileno(stream: int | HasFileno | None, default: int) -> int:
    if stream is None:
        return default
    return stream if isinstance(stream, int) else stream.fileno()


def _terminal(stdout: int, stderr: int) -> Terminal | None:
    on_terminal = [fd for fd in (stdout, stderr) if os.isatty(fd)]
    if not on_terminal:
        return None
    size = os.get_terminal_size(on_terminal[0])
    return Terminal(size.lines, size.columns, stdout=os.isatty(stdout), stderr=os.isatty(stderr))
