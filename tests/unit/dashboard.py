"""The queries of Grafana's dashboard, as Grafana sends them to Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
Queries = list[tuple[str, str]]
"""Titles and PromQL."""


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana/filemapd.json").read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """Return the panels with queries."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def panel_queries(values: Mapping[str, str]) -> Queries:
    """Return each panel's queries, with `values` for the variables."""
    return [
        (f"{panel['title']} ({target['refId']})", substituted(target["expr"], values))
        for panel in panels()
        for target in panel["targets"]
    ]


def variable_queries(values: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the query variables: name, series, and the label whose values they take."""
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert found, variable
            yield variable["name"], substituted(found[1], values), found[2]


def substituted(query: str, values: Mapping[str, str]) -> str:
    """Return a query with `values` for its variables. Raises KeyError if one is missing."""
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], query)
