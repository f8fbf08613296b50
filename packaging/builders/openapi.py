"""Makes docs/openapi.json, the OpenAPI document of what the control socket is asked and answers:

    python -m builders.openapi > docs/openapi.json

Questions are those of the routes and of the models that they are validated by; what is answered is told here.
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
class _Told:
    """What a question is for, and what is answered to one that is as it has to be, by status."""

    summary: str
    answers: Mapping[int, Schema]


_TOLD: Final = {
    ("GET", "/v1/status"): _Told("All that is known; README.md has the other keys.", {200: _STATUS}),
    ("GET", "/v1/events"): _Told(
        "What happened to the files, the oldest first.",
        {200: _object(events={"type": "array", "items": _EVENT}, last=_WHOLE)},
    ),
    ("POST", "/v1/sample"): _Told(
        "Has counters read now; `asked` is how many workers were.", {202: _object(asked=_WHOLE)}
    ),
    ("POST", "/v1/reload"): _Told(
        "Reads the configuration again; 422 where it is wrong.",
        {200: _object(added=_NAMES, changed=_NAMES, removed=_NAMES), 422: _ERROR},
    ),
    ("POST", "/v1/restart"): _Told(
        "Starts a file's worker anew; 404 where there is no such file.",
        {200: _object(name=_TEXT, restarted={"type": "boolean"}), 404: _ERROR},
    ),
    ("POST", "/v1/stop"): _Told("Ends filemapd, which is process `pid`.", {202: _object(pid=_WHOLE)}),
}


def document() -> dict[str, Any]:
    """Return the document. Raises LookupError for a question that nothing is told of here."""
    paths: dict[str, Any] = {}
    for (method, path), route in routes().items():
        told = _TOLD[method, path]
        question = _in_query(route.request) if method == "GET" else _in_body(route.request)
        answers = {**told.answers, **dict.fromkeys(_refusals(method), _ERROR)}
        paths.setdefault(path, {})[method.lower()] = {
            "summary": told.summary,
            **question,
            "responses": {str(status): _answer(status, schema) for status, schema in sorted(answers.items())},
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "filemapd's control socket",
            "version": "1",
            "description": "HTTP/1.1 on control.sock in runtime_dir, one request a connection. "
            "A body is JSON, whatever its content type.",
        },
        "servers": [{"url": "http://localhost"}],
        "paths": paths,
    }


def routes() -> Routes:
    """Return the routes; they are there to be looked at, not to answer anything."""
    nothing: Any = None
    return Handlers(nothing, nothing, nothing, nothing, nothing, nothing, nothing).routes()


def _refusals(method: str) -> tuple[int, ...]:
    """Return with which statuses any such question may be refused; one for another method or path is not in here."""
    return (400, 431) if method == "GET" else (400, 413, 431)


def _answer(status: int, schema: Schema) -> Schema:
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
