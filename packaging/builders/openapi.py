"""Makes docs/openapi.json, the OpenAPI document of the control socket:

    python -m builders.openapi > docs/openapi.json

Requests come from the routes and the models that validate them; responses are described here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel

from supervisor.control.handlers import Handlers
from supervisor.control.routes import Routes
from supervisor.fleet.state_machine import State

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer"}
_NAMES: Final[Schema] = {"type": "array", "items": _TEXT}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_ERROR: Final = _object(error=_TEXT)
_EVENT: Final = _object(
    id=_WHOLE, at=_TEXT, kind=_TEXT, path=_TEXT, name=_TEXT, reason=_TEXT, details={"type": "object"}
)
_FILEMAP: Final = _object(
    name=_TEXT,
    path=_TEXT,
    device=_or_null(_TEXT),
    state={"enum": [state.value for state in State]},
    pid=_or_null(_WHOLE),
    group_id=_or_null(_WHOLE),
)
_STATUS: Final = _object(
    version=_TEXT,
    at=_TEXT,
    pid=_WHOLE,
    started=_TEXT,
    ledger_problem=_or_null(_TEXT),
    devices={"type": "array", "items": _object(device=_TEXT)},
    filemaps={"type": "array", "items": _FILEMAP},
)


@dataclass(frozen=True, slots=True)
class _Operation:
    """A request's summary, and the responses to a valid one, by status."""

    summary: str
    responses: Mapping[int, Schema]


_OPERATIONS: Final = {
    ("GET", "/v1/status"): _Operation("The whole status; README.md has the other keys.", {200: _STATUS}),
    ("GET", "/v1/events"): _Operation(
        "The events of the files, the oldest first.",
        {200: _object(events={"type": "array", "items": _EVENT}, last=_WHOLE)},
    ),
    ("POST", "/v1/sample"): _Operation(
        "Reads the counters now; `asked` is the number of workers asked.", {202: _object(asked=_WHOLE)}
    ),
    ("POST", "/v1/reload"): _Operation(
        "Reads the configuration again; 422 where it is wrong.",
        {200: _object(added=_NAMES, changed=_NAMES, removed=_NAMES), 422: _ERROR},
    ),
    ("POST", "/v1/restart"): _Operation(
        "Restarts a file's worker; 404 where there is no such file.",
        {200: _object(name=_TEXT, restarted={"type": "boolean"}), 404: _ERROR},
    ),
    ("POST", "/v1/stop"): _Operation("Ends filemapd, which is process `pid`.", {202: _object(pid=_WHOLE)}),
}


def document() -> dict[str, Any]:
    """Return the document. Raises LookupError for a route without a description here."""
    paths: dict[str, Any] = {}
    for (method, path), route in routes().items():
        operation = _OPERATIONS[method, path]
        request = _in_query(route.request) if method == "GET" else _in_body(route.request)
        responses = {**operation.responses, **dict.fromkeys(_refusals(method), _ERROR)}
        paths.setdefault(path, {})[method.lower()] = {
            "summary": operation.summary,
            **request,
            "responses": {
                str(status): _response(status, schema) for status, schema in sorted(responses.items())
            },
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "filemapd's control socket",
            "version": "1",
            "description": "HTTP/1.1 on control.sock in runtime_dir, one request a connection. "
            "A body is JSON, with any content type.",
        },
        "servers": [{"url": "http://localhost"}],
        "paths": paths,
    }


def routes() -> Routes:
    """Return the routes; their handlers can't be called."""
    nothing: Any = None
    return Handlers(nothing, nothing, nothing, nothing, nothing, nothing, nothing).routes()


def _refusals(method: str) -> tuple[int, ...]:
    """Return the statuses of refusals that every request of the method may get, except for a wrong path."""
    return (400, 431) if method == "GET" else (400, 413, 431)


def _response(status: int, schema: Schema) -> Schema:
    return {"description": HTTPStatus(status).phrase, "content": {"application/json": {"schema": schema}}}


def _in_query(model: type[BaseModel]) -> Schema:
    parameters = list(_parameters(model.model_json_schema()))
    return {"parameters": parameters} if parameters else {}


def _parameters(schema: Schema) -> Iterator[Schema]:
    for name, property_ in schema["properties"].items():
        # What is null without a key has none: nothing in a query is null.
        plain = next((one for one in property_.get("anyOf", ()) if one["type"] != "null"), property_)
        kept = {key: value for key, value in plain.items() if key != "title"}
        yield {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": kept}


def _in_body(model: type[BaseModel]) -> Schema:
    schema = model.model_json_schema()
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": bool(schema.get("required")), "content": content}}


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=2)
    sys.stdout.write("\n")
