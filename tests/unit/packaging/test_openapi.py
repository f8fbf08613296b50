"""The OpenAPI document of the control socket."""

from __future__ import annotations

import json
from pathlib import Path

from builders.openapi import document, routes

DOCUMENT = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_it_is_up_to_date() -> None:
    """The document is up to date: `python -m builders.openapi > docs/openapi.json`."""
    assert json.loads(DOCUMENT.read_text(encoding="utf-8")) == document()


def test_all_keys_are_in_it() -> None:
    """Each route is in it, with the keys of the model that validates its requests."""
    for (method, path), route in routes().items():
        operation = document()["paths"][path][method.lower()]
        if method == "GET":
            keys = {one["name"] for one in operation.get("parameters", ())}
        else:
            keys = set(operation["requestBody"]["content"]["application/json"]["schema"]["properties"])
        assert keys == set(route.request.model_fields)
