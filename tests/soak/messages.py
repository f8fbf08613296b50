"""Makes the kernel refuse device-mapper messages."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

from tests.kernel.running import wait_for
from tests.soak.processes import workers
from tests.soak.scene import Scene
from tests.soak.volume import Volume


@contextmanager
def refuse_messages(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Refuse some of all messages, at random, while files change and a worker is restarted."""
    before, pid = scene.refuser.refused(), rng.choice(workers(scene))
    os.kill(pid, signal.SIGKILL)
    with scene.refuser.refusing(rng.choice((errno.ENOMEM, errno.EINVAL)), one_of=rng.choice((1, 2, 5))):
        for one in scene.volumes:
            for image in scene.on(one, counted=False):
                image.change(rng)
        wait_for("some are refused", lambda: scene.refuser.refused() > before + 5, 60)
        yield ()
