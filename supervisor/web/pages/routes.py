"""Maps addresses to HTML pages, which are rendered from memory."""

from __future__ import annotations

import mimetypes
import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from supervisor.text.printable import printable
from supervisor.web.charts import figures
from supervisor.web.pages import device as device_page
from supervisor.web.pages import fleet as fleet_page
from supervisor.web.pages import image as image_page
from supervisor.web.state.recent import Recent
from supervisor.web.state.store import Store

# The supervisor sends a heartbeat every ten seconds.
_SILENCE: Final = 25.0
_SIGNS: Final = {
    "STARTING": "◔",
    "RUNNING": "●",
    "WAITING": "○",
    "BACKOFF": "▲",
    "STOPPING": "◒",
    "STOPPED": "■",
    "FAILED": "✖",
}
_COLUMNS: Final = (
    ("name", "Image", ""),
    ("trouble", "State", ""),
    ("device", "Device", "less"),
    ("ios", "I/Os/s", "number"),
    (None, "Last hour", "spark-head"),
    ("bytes", "Throughput", "number"),
    ("latency", "Latency", "number"),
    (None, "Last hour", "spark-head less"),
    ("p99", "p99", "number"),
    ("regions", "Regions", "number less"),
)
_SORTED: Final = {
    "trouble": "with problems first, then the busiest",
    "name": "by name",
    "device": "by device",
    "ios": "busiest first",
    "bytes": "highest throughput first",
    "latency": "slowest in the last 5 minutes first",
    "p99": "highest p99 in the last 5 minutes first",
    "regions": "most regions first",
}


def environment() -> Environment:
    """Return the loaded templates. They escape all values."""
    made = Environment(
        loader=PackageLoader("supervisor.web"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": figures.count,
        "rate": figures.rate,
        "size": figures.size,
        "speed": figures.speed,
        "latency": figures.latency,
        "ago": figures.ago,
        "clock": figures.clock,
        "moment": figures.moment,
        "place": figures.place,
        "shown": lambda value: printable(str(value)),
        "sign": lambda state: _SIGNS.get(state, "?"),
        "image_address": image_page.address,
        "device_address": device_page.address,
    }
    for name in made.list_templates():
        made.get_template(name)
    return made


class Pages:
    """Renders the pages at the time of each request. `host` is the name of the machine."""

    def __init__(
        self, store: Store, recent: Recent, host: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._recent = recent
        self._host = host
        self._clock = clock
        self._templates = environment()

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the pages, the style sheet, the script and the icon."""
        static = [one for one in files("supervisor.web").joinpath("static").iterdir() if one.is_file()]
        return [
            Route("/", self.fleet),
            Route("/image", self.image),
            Route("/device", self.device),
            *(Route(f"/static/{one.name}", _fixed(one.read_bytes(), one.name)) for one in static),
        ]

    async def fleet(self, request: Request) -> Response:
        """Show all images."""
        now = self._clock()
        found = fleet_page.fleet(self._store.files.values(), self._recent, request.query_params, now)
        found |= {
            "devices": self._devices(now),
            "columns": _COLUMNS,
            "sorted_by": _SORTED[found["query"].sort],
        }
        return self._page("fleet.html", request, now, found)

    async def image(self, request: Request) -> Response:
        """Show one image, by its name."""
        now, name = self._clock(), request.query_params.get("name", "")
        for status in self._store.files.values():
            if status["name"] == name:
                size = (self._device(status["device"]) or {}).get("size_bytes", 0)
                events = [event for event in self._store.events if event["path"] == status["path"]]
                found = image_page.image(status, self._recent, events, size, now)
                return self._page("image.html", request, now, found)
        return self._missing(request, f"There is no image {name!r}, or it was removed.")

    async def device(self, request: Request) -> Response:
        """Show one device, by its name. `start` and `end` are the bytes that the map shows."""
        now, name = self._clock(), request.query_params.get("name", "")
        statuses = [status for status in self._store.files.values() if status["device"] == name]
        device_status = self._device(name)
        if device_status is None and not statuses:
            return self._missing(
                request, f"There is no device {name!r} with images, or the images were removed."
            )
        try:
            found = device_page.device(name, statuses, device_status, self._recent, request.query_params, now)
        except ValueError as error:
            return self._problem(request, 400, "Invalid part of the device", str(error))
        return self._page("device.html", request, now, found)

    def _device(self, name: str | None) -> dict[str, Any] | None:
        devices: list[dict[str, Any]] = self._store.supervisor.get("devices", [])
        return next((status for status in devices if status["device"] == name), None)

    def _devices(self, now: float) -> list[fleet_page.DeviceRow]:
        devices = self._store.supervisor.get("devices", [])
        return fleet_page.device_rows(devices, self._store.files.values(), self._recent, now)

    def _missing(self, request: Request, text: str) -> Response:
        return self._problem(request, 404, "Not found", text)

    def _problem(self, request: Request, status: int, title: str, text: str) -> Response:
        return self._page("problem.html", request, self._clock(), {"title": title, "text": text}, status)

    def _page(
        self, template: str, request: Request, now: float, found: Mapping[str, Any], status: int = 200
    ) -> Response:
        silent = now - self._store.last_message_at
        text = self._templates.get_template(template).render(
            found,
            supervisor=self._store.supervisor,
            host=self._host,
            now=now,
            silent=silent if silent > _SILENCE else None,
            this_address=f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path,
        )
        return HTMLResponse(text, status, {"Cache-Control": "no-store"})


def _fixed(body: bytes, name: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint for a static file. Browsers may cache it only for a while, because the next version has the
    same address."""
    kind = mimetypes.guess_type(name)[0]

    async def respond(_request: Request) -> Response:
        return Response(body, media_type=kind, headers={"Cache-Control": "max-age=600"})

    return respond
