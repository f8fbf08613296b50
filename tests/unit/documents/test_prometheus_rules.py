"""The files for Prometheus and Grafana are valid by Prometheus's own tool, and use existing metrics."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from builders.roff import section
from prometheus_client.parser import text_string_to_metric_families

from supervisor.web.metrics.exposition import Metrics
from supervisor.web.state.store import Store
from tests.unit.dashboard import DEPLOY, dashboard, panel_queries, panels, variable_queries
from tests.unit.documents.test_documents import code, rows, text
from tests.unit.serving import recorded_status

PROMETHEUS: Final = DEPLOY / "prometheus"
VARIABLES: Final = {"host": ".*", "device": ".*", "file": ".*", "top": "10", "__rate_interval": "1m"}


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool."""
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)


def sections(*names: str) -> Iterator[dict[str, Any]]:
    """Yield the mappings in the list `names[-1]` of each mapping in the list before it, and so on, of all
    files in the folder `names[0]`."""
    folder, *keys = names
    found = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (PROMETHEUS / folder).glob("*.yml")]
    for key in keys:
        found = [inner for outer in found for inner in outer.get(key, [])]
    yield from found


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Return the rules of a kind, `record` or `alert`, by their names."""
    return {rule[kind]: rule for rule in sections("rules", "groups", "rules") if kind in rule}


def exported() -> set[str]:
    """Return the names of all series that filemapd exports."""
    store, status = Store(), recorded_status()
    for filemap in status["filemaps"]:
        store.put(["file", filemap])
    store.put(["supervisor", status])
    body, _ = Metrics(store).render("", 0)
    families = text_string_to_metric_families(body.decode())
    return {sample.name for family in families for sample in family.samples}


def names(expression: str) -> set[str]:
    """Return the names of filemapd's series, recorded ones too, in PromQL without its label matchers."""
    return set(re.findall(r"\b(?:\w+:)?filemapd_\w+(?::\w+)?", re.sub(r"\{[^}]*\}", "", expression)))


def test_configuration_is_right() -> None:
    """promtool finds no error and no duplicate rule."""
    done = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert "2 rule files found" in done.stdout
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *(PROMETHEUS / "rules").glob("*.yml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda path: path.stem)
def test_rules_do_what_their_tests_say(path: Path) -> None:
    """promtool's tests of the rules pass."""
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_targets_have_a_host(tmp_path: Path) -> None:
    """A target needs only a name: port and `host` are added, and its own labels stay."""
    (tmp_path / "targets").mkdir()
    (tmp_path / "prometheus.yml").write_bytes((PROMETHEUS / "prometheus.yml").read_bytes())
    targets = [
        {"targets": ["hv1", "hv2.example.net:1234", "[2001:db8::1]", "[2001:db8::2]:1234"]},
        {"targets": ["192.0.2.1:1234"], "labels": {"host": "hv3", "rack": "a1"}},
    ]
    (tmp_path / "targets/some.yml").write_text(json.dumps(targets))
    (tmp_path / "rules").mkdir()
    # It waits for the given time, and then prints what it found.
    for timeout in ("1s", "5s", "30s"):
        found = promtool(
            "check", "service-discovery", f"--timeout={timeout}", tmp_path / "prometheus.yml", "filemapd"
        )
        labels = [one["labels"] for one in json.loads(found.stdout or "[]")]
        if len(labels) == 5:
            break
    # The order of the groups of targets is random.
    assert sorted((one["host"], one["instance"], one.get("rack")) for one in labels) == [
        ("[2001:db8::1]", "[2001:db8::1]:9737", None),
        ("[2001:db8::2]", "[2001:db8::2]:1234", None),
        ("hv1", "hv1:9737", None),
        ("hv2.example.net", "hv2.example.net:1234", None),
        ("hv3", "192.0.2.1:1234", "a1"),
    ]


def test_alerts_are_complete() -> None:
    """Every alert has a delay and a severity, and explains the problem and the remedy. No image's name is in
    text that looks like a command."""
    alerts = rules("alert")
    assert len(alerts) == 9
    for name, alert in alerts.items():
        assert re.fullmatch(r"\d+m", alert["for"]), name
        assert alert["labels"] == {"severity": "warning"}, name
        summary, description = (alert["annotations"][key] for key in ("summary", "description"))
        assert "$labels.host" in summary, name
        assert len(description) > 100, name
        assert not any("$labels.file" in command for command in re.findall("`[^`]*`", description)), name


def test_every_alert_is_tested() -> None:
    """Every alert has a test in which it fires, and one in which it doesn't."""
    tested = [
        (test["alertname"], bool(test["exp_alerts"]))
        for test in sections("tests", "tests", "alert_rule_test")
    ]
    assert set(tested) == {(name, fires) for name in rules("alert") for fires in (True, False)}


def test_every_alert_is_explained() -> None:
    """The README's table lists all alerts."""
    part = section(text("README.md"), "## Many hosts")
    assert [name for row in rows(part) for name in code(row[0])] == list(rules("alert"))


def test_every_record_is_tested() -> None:
    """Every recorded rule has a test of its values."""
    tested = {
        name
        for test in sections("tests", "tests", "promql_expr_test")
        if test["exp_samples"]
        for name in names(test["expr"])
    }
    assert tested == set(rules("record"))


def test_metrics_of_rules_exist() -> None:
    """Rules query only exported or recorded series."""
    there = exported() | set(rules("record"))
    asked = {
        name for kind in ("record", "alert") for rule in rules(kind).values() for name in names(rule["expr"])
    }
    assert len(asked) > 20
    assert asked - there == set()


def test_metrics_of_the_dashboard_exist() -> None:
    """Panels and variables query only exported or recorded series."""
    there = exported() | set(rules("record"))
    asked = [query for _, query in panel_queries(VARIABLES)]
    asked += [series for _, series, _ in variable_queries(VARIABLES)]
    assert len(asked) > 30
    assert {name for query in asked for name in names(query)} - there == set()


def test_queries_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    """promtool can parse each of them."""
    queries = [
        {"record": f"panel:query:{i}", "expr": expr} for i, (_, expr) in enumerate(panel_queries(VARIABLES))
    ]
    rule_file = tmp_path / "queries.yml"
    rule_file.write_text(json.dumps({"groups": [{"name": "panels", "rules": queries}]}))
    done = promtool("check", "rules", rule_file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_are_well_placed() -> None:
    """Each panel has a unique id and a description, queries the chosen Prometheus, and overlaps no other."""
    every = dashboard()["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in panels():
        assert panel["description"], panel["title"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
    places = [(panel["title"], panel["gridPos"]) for panel in every]
    assert all(place["x"] + place["w"] <= 24 for _, place in places)
    assert [(one, other) for (one, a), (other, b) in combinations(places, 2) if overlap(a, b)] == []


def overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    """Return whether two panels share a cell of the grid."""
    return all(a[at] < b[at] + b[size] and b[at] < a[at] + a[size] for at, size in (("x", "w"), ("y", "h")))
