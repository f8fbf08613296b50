"""The pages: their contents, escaped names, and valid links."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from urllib.parse import urldefrag, urlencode, urljoin

import pytest

from supervisor.text.times import rfc3339
from supervisor.web.charts import figures
from supervisor.web.server import HEADERS
from tests.unit.serving import recorded_status, serving
from tests.unit.web_fleet import T0, Fleet, Page

GIB_SECTORS = (1 << 30) // 512
HOSTILE = (
    "<script>alert(1)</script>.img",
    '" onmouseover="alert(1).img',
    "&lt;b&gt;</svg></title><img src=x onerror=alert(1)>.img",
    "two\\nlines\\x1b[31m.img",
    "bad\\udcff.img",
    "{{ 7*7 }}{% raw %}.img",
    "ä名.img",
    "x" * 255,
)


@pytest.fixture
def fleet() -> Fleet:
    """A fleet of a busy image and a failed one."""
    made = Fleet()
    made.supervisor()
    made.busy("db01.img", labels={"tenant": "acme"})
    made.file("web01.img", state="FAILED", reason="on btrfs", device="vg1-fast")
    made.places("db01.img", [(0, 2 * GIB_SECTORS, 600), (8 * GIB_SECTORS, GIB_SECTORS, 0)])
    return made


def image(name: str) -> str:
    """Return the address of an image's page."""
    return f"/image?{urlencode({'name': name})}"


def check(page: Page) -> None:
    """Assert that a page complies with the policy and is usable with a screen reader."""
    ids = Counter(attributes["id"] for _, attributes in page.read.elements if "id" in attributes)
    assert ids.most_common(1)[0][1] == 1, ids.most_common(3)
    for tag, attributes in page.read.elements:
        assert tag not in {"style", "iframe", "object", "base"}
        assert not any(name == "style" or name.startswith("on") for name in attributes), attributes
        if tag == "script":
            assert attributes["src"] == "/static/live.js"
        for reference in ("aria-labelledby", "for"):
            assert attributes.get(reference) is None or attributes[reference] in ids
        if tag == "svg" and attributes.get("role"):
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
    tags = [tag for tag, _ in page.read.elements]
    assert (tags.count("h1"), tags.count("main"), tags.count("script")) == (1, 1, 1)
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h\d", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_the_fleet_is_a_table(fleet: Fleet) -> None:
    """Each image has a row with its state and rates. An image with problems comes first, with the reason."""
    page = fleet.get("/")
    assert page.status == 200
    check(page)
    _, failed, reason, busy = page.rows("images")
    assert failed.startswith("web01.img ✖ FAILED vg1-fast")
    assert reason == "on btrfs"
    assert re.fullmatch(r"db01.img ● RUNNING vg0-images 10 .* 40 KiB/s 5 ms .* 9\.9 ms 1", busy)
    assert "at most 10" in busy
    _, device = page.rows("devices")
    assert device.startswith("vg0-images 1 ")
    assert device.endswith(" of 2,000")
    assert "Images 2 ✖ FAILED 1, ● RUNNING 1" in page.text
    assert "I/Os a second 10 all images, now" in page.text


def test_a_device_near_its_limit_is_highlighted(fleet: Fleet) -> None:
    """From 90% of its regions upwards."""
    for regions, text in ((1799, " of 2,000"), (1800, " of 2,000 nearly full")):
        device = fleet.store.supervisor["devices"][0] | {"regions": regions}
        fleet.supervisor(devices=[device])
        assert fleet.get("/").rows("devices")[1].endswith(f" {figures.count(regions)}{text}")


def test_too_few_ios(fleet: Fleet) -> None:
    """With fewer than 100 I/Os in five minutes there is no 99th percentile, and the page shows why."""
    fleet.now += 3600
    fleet.busy("slow.img", rate=1)
    fleet.now += 290
    (row,) = [row for row in fleet.get("/").rows("images") if row.startswith("slow.img")]
    assert "too few I/Os" in row


def test_it_can_be_filtered(fleet: Fleet) -> None:
    """Each word is searched in names, paths, devices, states and labels. The form contains the search text."""
    for text in ("db01", "ACME", "tenant=acme running", "vg0", "/images/db"):
        page = fleet.get(f"/?{urlencode({'q': text})}")
        check(page)
        assert [row.split()[0] for row in page.rows("images")[1:]] == ["db01.img"]
        (field,) = [attributes for tag, attributes in page.read.elements if attributes.get("id") == "q"]
        assert field["value"] == text
    assert "No image has “nothing” in its name" in fleet.get("/?q=nothing").text


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("", "c.img"),
        ("name", "a.img"),
        ("ios", "b.img"),
        ("bytes", "b.img"),
        ("latency", "a.img"),
        ("p99", "a.img"),
        ("regions", "c.img"),
        ("device", "b.img"),
        ("nonsense", "c.img"),
    ],
)
def test_it_can_be_sorted(sort: str, first: str) -> None:
    """By each column, the largest first; the column has aria-sort. By default, images with problems are first."""
    fleet = Fleet()
    fleet.supervisor()
    fleet.busy("a.img", rate=5, latency_ns=50_000_000, regions=3, device="vg2")
    fleet.busy("b.img", rate=50, latency_ns=50_000, regions=1, device="vg1")
    fleet.file("c.img", state="BACKOFF", reason="killed by SIGKILL", regions=9, device="vg3")
    page = fleet.get(f"/?sort={sort}")
    assert page.rows("images")[1].startswith(first)
    sorted_columns = [
        attributes["aria-sort"] for _, attributes in page.read.elements if "aria-sort" in attributes
    ]
    assert sorted_columns == ["ascending" if sort in {"name", "device"} else "descending"]


def test_a_thousand_files_are_light() -> None:
    """There are a hundred on a page, and pages are small. The last page has no link to a next one."""
    fleet = Fleet()
    fleet.supervisor()
    for number in range(1001):
        fleet.file(f"vm{number:04}.img")
    page = fleet.get("/?sort=name")
    assert len(page.rows("images")) == 101
    assert len(page.source) < 150_000
    assert "Page 1 of 11" in page.text
    last = fleet.get("/?sort=name&page=11")
    assert [row.split()[0] for row in last.rows("images")[1:]] == ["vm1000.img"]
    relations = [attributes.get("rel") for tag, attributes in last.read.elements if tag == "a"]
    assert "prev" in relations
    assert "next" not in relations
    for beyond in ("99", "0", "-1", "x", "9" * 30):
        assert fleet.get(f"/?page={beyond}").status == 200


def test_an_image_has_its_figures(fleet: Fleet) -> None:
    """Its page shows its rates, place, configuration and totals."""
    page = fleet.get(image("db01.img"))
    check(page)
    assert page.status == 200
    heads, now, minutes, hour = page.rows("figures")
    assert heads == "Reads/s Writes/s Read Written Read latency Write latency Median p99"
    assert now == "now 10 0 40 KiB/s 0 B/s 5 ms - 5.5 ms 9.9 ms"
    assert minutes.startswith("last 5 min 10 ")
    assert hour.startswith("last hour 10 ")
    for text in (
        "● RUNNING",
        "/images/db01.img",
        "tenant acme",
        "Reads 6,000, 23 MiB",
        "1 ms to 10 ms 6,000",
    ):
        assert text in page.text
    assert "at most 10 I/Os a second" in page.source


def test_events_and_moves(fleet: Fleet) -> None:
    """The page has the image's own events, newest first, and moves that are no longer in the event log."""
    event = {"path": "/images/db01.img", "name": "db01.img"}
    move = {"from": 3, "to": 9, "at": rfc3339(T0 + 1), "reason": "its leader went"}
    fleet.file("db01.img", moves=[move | {"at": rfc3339(T0 - 5), "reason": None}, move])
    for number, (seconds, kind, reason, details) in enumerate(
        (
            (0, "restarted", "killed by SIGKILL", {"restarts": 4}),
            (1, "moved", "its leader went", {"from": 3, "to": 9, "device": "vg0-images"}),
            (9, "state", "empty", {"from": "RUNNING", "to": "WAITING"}),
        )
    ):
        fields = {
            "id": number,
            "at": rfc3339(T0 + seconds),
            "kind": kind,
            "reason": reason,
            "details": details,
        }
        fleet.store.put(["event", event | fields])
        fleet.store.put(["event", event | fields | {"path": "/images/web01.img", "reason": "not here"}])
    rows = fleet.get(image("db01.img")).rows("events")
    assert [row.split(" ", 2)[2] for row in rows[1:]] == [
        "State RUNNING → WAITING: empty",
        "Group moved: 3 → 9: its leader went",
        "Worker restarted (restart 4): killed by SIGKILL",
        "Group moved: 3 → 9",
    ]


def test_unknown_values() -> None:
    """A file without a sample, extents and a device has a page, too."""
    fleet = Fleet()
    unknown = dict.fromkeys(("device", "inode", "group_id", "pid", "rss_bytes", "cpu_percent", "sampled_at"))
    fleet.file("new.img", **unknown, moves=[], histogram=[], bounds_ns=[], state="STARTING")
    assert "No data from the supervisor yet" in fleet.get("/").text
    page = fleet.get(image("new.img"))
    check(page)
    for text in (
        "There is no sample of its counters yet",
        "It has no extents on disk",
        "There are no events, and its group has never moved",
    ):
        assert text in page.text
    assert "No image" in Fleet().get("/?q=x").text
    assert "There are no images" in Fleet().get("/").text


def test_a_silent_supervisor(fleet: Fleet) -> None:
    """After half a minute without a message, the page shows its age."""
    fleet.store.last_message_at = fleet.now - 20
    assert "The last message" not in fleet.get("/").text
    fleet.store.last_message_at = fleet.now - 300
    assert "The last message of the supervisor was 5 min ago" in fleet.get("/").text
    fleet.supervisor(ledger_problem="disk full")
    assert "Totals are only in memory: disk full" in fleet.get("/").text


def test_a_device_is_a_map(fleet: Fleet) -> None:
    """Its images and their parts are drawn and listed."""
    page = fleet.get("/device?name=vg0-images")
    check(page)
    assert page.status == 200
    (name,) = page.rows("here")[1:]
    assert re.fullmatch(r"1 db01\.img 10 3\.0 GiB 2", name)
    assert [row.split()[:4] for row in page.rows("parts")[1:]] == [
        ["0", "B", "2", "GiB"],
        ["8", "GiB", "9", "GiB"],
    ]
    assert "1: db01.img\n0 B to 2 GiB, 2.0 GiB, 1 region\n10 I/Os a second" in "".join(page.read.texts)
    assert "1.0 TiB, number 254:0" in page.text


def test_a_map_can_be_zoomed(fleet: Fleet) -> None:
    """A window shows only the parts in it. The controls and the rows link to other windows."""
    page = fleet.get(f"/device?name=vg0-images&start={6 << 30}&end={30 << 30}")
    check(page)
    assert "From 6 GiB to 30 GiB of 1.0 TiB" in page.text
    assert [row.split()[:2] for row in page.rows("parts")[1:]] == [["8", "GiB"]]
    links = [str(attributes["href"]) for tag, attributes in page.read.elements if tag == "a"]
    assert f"/device?name=vg0-images&start={12 << 30}&end={24 << 30}" in links
    assert f"/device?name=vg0-images&start={7 << 30}&end={8 << 30}" in links
    assert fleet.get(f"/device?name=vg0-images&start={100 << 30}&end={101 << 30}").text.count(" here.") == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str) -> None:
    """The names of an image and its VM, its labels and its reason are escaped. The pages have the same elements as
    with any other name."""
    plain, hostile = Fleet(), Fleet()
    for fleet, called in ((plain, "plain"), (hostile, name)):
        fleet.supervisor()
        vm = {"name": called, "uuid": called, "role": "backing", "others": 2}
        fleet.busy(called, vm=vm, labels={"k": called}, state="FAILED", reason=called, degraded=called)
        fleet.places(called, [(0, 900 * GIB_SECTORS, 600)])
    for address in ("/{}", "/image?name={}", "/device?name=vg0-images&x={}", "/?q={}", "/image?name=x{}"):
        before, after = (
            fleet.get(address.format(urlencode({"": called})[1:]) if "=" in address else "/")
            for fleet, called in ((plain, "plain"), (hostile, name))
        )
        check(after)
        assert [tag for tag, _ in after.read.elements if tag != "text"] == [
            tag for tag, _ in before.read.elements if tag != "text"
        ]
        assert ("plain" in before.source) == (name in "".join(after.read.texts) or "name=x" in address)


def test_undecodable_names_and_control_characters(fleet: Fleet) -> None:
    """Undecodable bytes and control characters are escaped, and the page is valid UTF-8."""
    fleet.file(
        "odd.img", path="/images/\udcff\n\x1b[31m\u202e.img", labels={"k": "a\udc80\0b"}, reason="\udcff"
    )
    for address in ("/", image("odd.img"), "/device?name=vg0-images"):
        source = fleet.get(address).source
        assert not set(re.findall(r"[^\x20-\x7e\n]", source)) & set("\x1b\0\u202e")
    assert "/images/\\udcff\\n\\x1b[31m\\u202e.img" in fleet.get(image("odd.img")).text


@pytest.mark.parametrize(
    ("address", "status", "text"),
    [
        ("/image?name=none", 404, "There is no image 'none'"),
        ("/image", 404, "There is no image ''"),
        ("/device?name=none", 404, "There is no device 'none' with images"),
        ("/device?name=vg0-images&start=x", 400, "start='x' is not a number of bytes; an example is start=0"),
        ("/device?name=vg0-images&start=9&end=5", 400, "start=9 is not before end=5"),
        ("/image?name=%FF%00", 404, "There is no image"),
    ],
)
def test_errors(fleet: Fleet, address: str, status: int, text: str) -> None:
    """The page shows the invalid value, and a valid example."""
    page = fleet.get(address)
    check(page)
    assert page.status == status
    assert text in page.text


def test_all_links_are_valid() -> None:
    """The web process serves all links of its pages, with the policy, also with an awkward name."""
    with serving() as web:
        status = recorded_status()
        for filemap in status["filemaps"]:
            if filemap["device"] is not None:
                web.send("regions", filemap["path"], [[8 * filemap["inode"], 2048, 5]])
        web.send_all(status)
        todo, seen = ["/"], set[str]()
        while todo:
            address = todo.pop()
            response = web.get(address)
            seen.add(address)
            assert response.status == 200, address
            assert dict(HEADERS).items() <= dict(response.headers).items()
            if response.headers["content-type"].startswith("text/html") and "start=" not in address:
                page = Page(response.status, response.body.decode())
                check(page)
                found = {
                    urldefrag(urljoin(address, str(value))).url
                    for _, a in page.read.elements
                    for k, value in a.items()
                    if k in {"href", "src"}
                }
                assert all(link.startswith(("/", "#")) for link in found), found
                todo += [link for link in found - seen - set(todo) if link.startswith("/")]
        assert {"/", "/metrics", "/static/style.css", "/static/live.js", "/static/icon.svg"} <= seen
        assert sum(address.startswith("/image") for address in seen) == len(status["filemaps"])
        assert web.records() == []
