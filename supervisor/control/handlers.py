"""The handlers of the control socket's requests."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from supervisor.config.problems import ConfigError
from supervisor.control.requests import EventsRequest, Request, RestartRequest, SampleRequest
from supervisor.control.routes import Response, Route, Routes, StreamedResponse
from supervisor.control.status import StatusSource, SupervisorInfo
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.health import HealthCheck
from supervisor.fleet.scheduler import Scheduler
from supervisor.fleet.state_machine import LIVE, Event

# Files whose status is made in one turn of the event loop.
_AT_ONCE: Final = 20


@dataclass(frozen=True, slots=True)
class Handlers:
    """The parts that handle requests. `reload` raises ConfigError; `stop` stops after the response."""

    fleet: Fleet
    status: StatusSource
    health: HealthCheck
    scheduler: Scheduler
    info: Callable[[], SupervisorInfo]
    reload: Callable[[], dict[str, list[str]]]
    stop: Callable[[], None]

    def routes(self) -> Routes:
        """Return the handler of each request."""
        return {
            ("GET", "/v1/status"): Route(Request, self._status),
            ("GET", "/v1/events"): Route(EventsRequest, self._events),
            ("POST", "/v1/sample"): Route(SampleRequest, self._sample),
            ("POST", "/v1/reload"): Route(Request, self._reload),
            ("POST", "/v1/restart"): Route(RestartRequest, self._restart),
            ("POST", "/v1/stop"): Route(Request, self._stop),
        }

    def _status(self, _request: Request) -> StreamedResponse:
        return StreamedResponse(self._status_pieces())

    def _status_pieces(self) -> Iterator[str]:
        """Yield the status as JSON, piece by piece. A file that is removed in between has its last status."""
        about = json.dumps(self.status.supervisor(self.info()))
        yield f'{about[:-1]}, "filemaps": ['
        between = ""
        filemaps = [filemap for _, filemap in sorted(self.fleet.filemaps.items())]
        for start in range(0, len(filemaps), _AT_ONCE):
            some = filemaps[start : start + _AT_ONCE]
            for filemap in some:
                self.health.measure_new(filemap)
            self.fleet.ledger.flush()  # totals that were shown must not decrease, whichever process is killed next
            yield between + ", ".join(json.dumps(self.status.filemap(filemap)) for filemap in some)
            between = ", "
        yield "]}"

    def _events(self, request: EventsRequest) -> Response:
        ledger = self.fleet.ledger
        if request.after is None:
            found = ledger.latest_events(request.limit, request.name)
        else:
            # An id above the last one is from a ledger that was lost.
            after = request.after if request.after <= ledger.last_event else 0
            found = ledger.events_after(after, request.limit, request.name)
        return Response(200, {"events": [one.as_json() for one in found], "last": ledger.last_event})

    def _sample(self, request: SampleRequest) -> Response:
        return Response(202, {"asked": self.scheduler.sample_now(time.monotonic(), request.device)})

    def _reload(self, _request: Request) -> Response:
        try:
            return Response(200, self.reload())
        except ConfigError as error:
            return Response(422, {"error": str(error)})

    def _restart(self, request: RestartRequest) -> Response:
        for filemap in self.fleet.filemaps.values():
            if request.name in (filemap.name, filemap.path) and not filemap.is_leaving:
                live = filemap.record.state in LIVE
                self.fleet.advance(filemap, Event.RESTART, "requested")
                return Response(200, {"name": filemap.name, "restarted": live})
        return Response(404, {"error": f"there is no filemap {request.name!r}"})

    def _stop(self, _request: Request) -> Response:
        self.stop()
        return Response(202, {"pid": os.getpid()})
