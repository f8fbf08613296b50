"""The OpenAPI document of the control socket."""

from __future__ import annotations

import json
from pathlib import Path

from builders.openapi import document, routes

DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_it_is_as_it_would_be_made() -> None:
    """The document is that of the routes as they are: `python -m builders.openapi > docs/openapi.json`."""
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == document()


def test_all_keys_are_in_it() -> None:
    """Each route is in it, with the keys of the model that its questions are validated by."""
    for (method, path), route in routes().items():
        told = document()["paths"][path][method.lower()]
        if method == "GET":
            keys = {one["name"] for one in told.get("parameters", ())}
        else:
            keys = set(told["requestBody"]["content"]["application/json"]["schema"]["properties"])
        assert keys == set(route.request.model_fields)
