"""How cost grows: axes, plots, and the computed storage of Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.__main__ import main
from bench.axis import axis
from bench.hosts import OF_FILE, OF_HOST, Counted, counted
from bench.plots import plots
from bench.results import Row, Run, Series, load, save
from bench.table import cells
from tests.unit.bench.test_bench import row, run

SVG = "{http://www.w3.org/2000/svg}"


def point(
    size: int, filemapd: float, peer: float | None = None, series: Series = "pss", note: str = ""
) -> Row:
    """Return a plot's point."""
    samples = () if peer is None else (peer,)
    return row(filemapd, name=f"{series} {size}", peer=samples, series=series, size=size, note=note)


def texts(picture: str) -> list[str]:
    """Return all texts in a plot, which is XML."""
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]  # noqa: S314 - our own


def lines(picture: str) -> dict[str, list[tuple[float, float]]]:
    """Return the points of a plot's lines by their class."""
    found = ET.fromstring(picture).iter(f"{SVG}polyline")  # noqa: S314 - our own
    return {
        line.attrib["class"].split()[1]: [
            (float(x), float(y)) for x, y in re.findall(r"([\d.]+)[, ]([\d.]+)", line.attrib["points"])
        ]
        for line in found
    }


@pytest.mark.parametrize(
    ("values", "ends", "ticks"),
    [
        ((10, 1000), (10, 1000), [10, 20, 50, 100, 200, 500, 1000]),
        ((0.3, 0.7), (0.2, 1), [0.2, 0.5, 1]),
        ((11, 190), (10, 200), [10, 20, 50, 100, 200]),
        ((0.02, 9000), (0.02, 10000), [0.1, 1, 10, 100, 1000, 10000]),
        ((5,), (5, 10), [5, 10]),
    ],
    ids=str,
)
def test_axes(values: tuple[float, ...], ends: tuple[float, float], ticks: list[float]) -> None:
    """An axis spans all values between 1, 2 or 5 times powers of ten, with a readable number of ticks."""
    made = axis(values, "ms")
    assert (made.low, made.high) == ends
    assert made.ticks() == ticks


def test_places_are_logarithmic() -> None:
    """The distance from 1 to 10 equals that from 10 to 100."""
    made = axis((1, 100), "ms")
    assert [made.place(value) for value in (1, 10, 100)] == pytest.approx([0, 0.5, 1])


def test_what_prometheus_stores() -> None:
    """Computed by hand: 100 hosts of 200 images of 50 series, 10 of each host and 5 of its scrape, every 15
    s."""
    series = Counted(file=50, host=10)
    assert series.of(100) == 100 * (10_000 + 15)
    assert series.samples(100) == pytest.approx(66_766.7, abs=0.1)
    assert series.stored(100, 2) == pytest.approx(11.537e9, rel=1e-3)
    assert series.of(1, images=1) == 65


def test_counted_in_a_run() -> None:
    """The counts are those of the run's rows; with a missing one there is no result."""
    file, host = (
        Row(name=name, unit="count", filemapd=(n,)) for name, n in ((OF_FILE, 45.0), (OF_HOST, 9.0))
    )
    assert counted(run(file, host)) == Counted(45, 9)
    assert counted(run(file)) is None
    assert list(plots(run(file, host))) == ["growth-hosts.svg"]


def test_plots_are_of_what_was_measured() -> None:
    """Each series is a file; a subject with fewer than two points has no line."""
    drawn = plots(run(point(10, 1, 7), point(100, 5), point(10, 1, series="update"), row(3)))
    assert list(drawn) == ["growth-memory.svg"]
    assert list(lines(drawn["growth-memory.svg"])) == ["filemapd"]


def test_a_plot() -> None:
    """Lines connect the medians in order of size, for any order of rows. Each is labelled, with the
    reason if the peer's ends early; the axes have labels with units."""
    stops = "ends at 128 files"
    picture = plots(run(point(1000, 100), point(10, 1, 10), point(100, 10, 100, note=stops)))[
        "growth-memory.svg"
    ]
    drawn = lines(picture)
    xs, ys = zip(*drawn["filemapd"], strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys, reverse=True)
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert drawn["peer"] == [(xs[0], ys[1]), (xs[1], ys[2])]
    written = texts(picture)
    assert {"files", "PSS, MiB", "filemapd", "dmfilemapd", stops, "1,000"} <= set(written)
    assert re.search(f'class="peer end"[^>]*>{stops}<', picture), "over the end of its line"


def test_zero_is_not_drawn() -> None:
    """Zero has no logarithm: values too small to measure are left out."""
    drawn = lines(plots(run(point(10, 0), point(100, 1), point(1000, 2)))["growth-memory.svg"])
    assert len(drawn["filemapd"]) == 2


def test_labels_of_the_axes() -> None:
    """Numbers have no insignificant digits and no exponent."""
    written = texts(plots(run(point(10, 0.001), point(50_000, 0.01)))["growth-memory.svg"])
    assert {"0.001", "0.002", "0.01", "10", "10,000"} <= set(written)


def test_labels_do_not_overlap() -> None:
    """The labels of lines that end at the same place are a line's height apart."""
    picture = plots(run(point(10, 1, 1), point(100, 2, 2)))["growth-memory.svg"]
    ys = [
        float(element.attrib["y"])
        for element in ET.fromstring(picture).iter(f"{SVG}text")  # noqa: S314 - our own
        if element.text in {"filemapd", "dmfilemapd"}
    ]
    assert abs(ys[0] - ys[1]) >= 16


def test_after_another_region() -> None:
    """Updates after another program's region was created have their own line in the plot of updates."""
    points = [point(n, n, series=series) for n in (1, 10) for series in ("update", "update-other")]
    assert list(plots(run(*points))) == ["growth-update.svg"]
    assert list(lines(plots(run(*points))["growth-update.svg"])) == ["filemapd", "other"]


def test_points_are_not_in_the_table() -> None:
    """The table has only the other rows."""
    assert [line[0] for line in cells((row(1, name="a"), point(10, 1), row(1, name="b")))] == ["a", "b"]


def test_a_run_without_series_can_be_read(tmp_path: Path) -> None:
    """A run saved before series existed has none."""
    path = tmp_path / "run.json"
    save(run(row(1)), path)
    text = path.read_text()
    without = re.sub(r',\s*"series": "",\s*"size": 0', "", text)
    assert without != text
    path.write_text(without)
    assert load(path) == run(row(1))


def test_plot_writes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plot` writes the plots into a folder; without one, or with an invalid run, it prints the error with
    status 2."""
    path, made = tmp_path / "run.json", run(point(10, 1), point(100, 2))
    save(made, path)

    def status(file: Path, folder: Path) -> int:
        monkeypatch.setattr("sys.argv", ["bench", "plot", str(file), str(folder)])
        return main()

    assert status(path, tmp_path) == 0
    assert (tmp_path / "growth-memory.svg").read_text() == plots(made)["growth-memory.svg"]
    assert status(path, tmp_path / "none") == 2
    assert status(tmp_path / "none", tmp_path) == 2
    assert capsys.readouterr().err.count("No such file") == 2


def test_a_name_can_not_be_markup() -> None:
    """Text from a run's JSON is escaped."""
    note = "<b>&"
    assert note in texts(plots(run(point(1, 1, 1), point(9, 2, 2, note=note)))["growth-memory.svg"])


def test_a_run_has_points(tmp_path: Path) -> None:
    """The points of a saved run are loaded again."""
    path = tmp_path / "run.json"
    made = Run(made=run().made, rows=(point(10, 1, 2, note="n"),))
    save(made, path)
    assert load(path) == made
