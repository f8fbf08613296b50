"""The evaluation of `python -m bench`: noise, goals, comparison, table."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.compare import Change, compare, missing
from bench.context import Bench
from bench.latency import region_bytes
from bench.libdm import Peer
from bench.machine import made
from bench.noise import UNKNOWN, median, noise, percentile, ratios
from bench.registry import MEASUREMENTS, chosen
from bench.results import Goal, Made, ResultsError, Row, Run, load, save
from bench.table import cells, markdown, number

MADE = Made(
    at="2026-11-25T10:00:00+00:00",
    command="python -m bench",
    kernel="Linux 6.1",
    machine="x86_64, host",
    cpus=1,
    memory_mib=3072,
    python="3.11.7",
    filemapd="0.1.0",
    peer=None,
    quick=False,
)


def row(*filemapd: float, name: str = "update", **others: object) -> Row:
    """Return a row of milliseconds."""
    return Row.model_validate({"name": name, "unit": "ms", "filemapd": filemapd, **others})


def run(*rows: Row) -> Run:
    """Return a run with these rows."""
    return Run(made=MADE, rows=rows)


def only(old: Row, new: Row) -> Change:
    """Return the only change between two runs of one row each."""
    (change,) = compare(run(old), run(new))
    return change


def test_percentiles_are_samples() -> None:
    """A percentile is the least sample that so many don't exceed, never an interpolation."""
    samples = [float(n) for n in range(100, 0, -1)]
    assert [percentile(samples, p) for p in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([7.0], 99) == 7
    for function in (median, lambda s: percentile(s, 50)):
        with pytest.raises(ValueError, match="no samples"):
            function([])


def test_noise_is_a_part_of_the_median() -> None:
    """It grows with the spread, shrinks with the number of samples, and is the same in all units; one outlier
    doesn't change it."""
    samples = [98.0, 99.0, 100.0, 101.0, 102.0]
    assert 0 < noise(samples) < 0.02
    assert noise([sample * 1000 for sample in samples]) == pytest.approx(noise(samples))
    assert noise(samples * 4) == pytest.approx(noise(samples) / 2)
    assert noise([96.0, 98.0, 100.0, 102.0, 104.0]) == pytest.approx(2 * noise(samples))
    assert noise([98.0, 99.0, 100.0, 101.0, 900.0]) == noise(samples)


def test_noise_of_few_samples() -> None:
    """With one or two samples the noise is assumed to be large; zeros alone have none."""
    assert noise([1.0]) == noise([1.0, 1.0]) == UNKNOWN
    assert noise([0.0, 0.0, 5.0]) == UNKNOWN
    assert noise([0.0, 0.0, 0.0]) == 0


def test_ratios_are_taken_in_turns() -> None:
    """Equally many samples are paired; otherwise each is compared with the other's median; zeros are left
    out."""
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2, 3]
    assert ratios([2.0, 4.0], [1.0, 2.0, 9.0]) == [1, 2]
    assert ratios([2.0, 4.0], [0.0, 2.0]) == [2]
    assert ratios([2.0], [0.0, 0.0]) == []


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal(most=10), True),
        (Goal(most=9.9), False),
        (Goal(most=5, plus=5), True),
        (Goal(most=1.3, of="floor"), True),
        (Goal(most=1.2, of="floor"), False),
        (Goal(most=1.2, of="floor", plus=1), True),
        (Goal(most=0.2, of="peer"), None),
    ],
    ids=str,
)
def test_goals(goal: Goal, met: bool | None) -> None:
    """A goal is judged by the medians; without the compared value it isn't judged."""
    assert row(9, 10, 99, floor=(8, 8), goals=(goal,)).met() is met


def test_all_goals_have_to_be_met() -> None:
    """A goal that can't be judged doesn't count."""
    goals = (Goal(most=0.2, of="peer"), Goal(most=20), Goal(most=9))
    assert row(10, goals=goals[:2]).met() is True
    assert row(10, goals=goals).met() is False
    assert row(10).met() is None


def test_a_slower_machine_is_no_change() -> None:
    """If everything takes three times as long, the floor included, nothing got worse."""
    change = only(row(10, 11, 12, floor=(5, 5.5, 6)), row(30, 33, 36, floor=(15, 16.5, 18)))
    assert (change.of, change.factor, change.worse, change.better) == ("floor", 1, False, False)


def test_worse_and_better_beyond_noise() -> None:
    """Changes beyond margin and noise are reported in both directions; with noisy samples the same changes
    are not."""
    steady, slower = row(10, 10, 10, floor=(5, 5, 5)), row(12, 12, 12, floor=(5, 5, 5))
    assert only(steady, slower).worse
    assert only(slower, steady).better
    assert not only(steady, row(10.9, 10.9, 10.9, floor=(5, 5, 5))).worse
    assert not only(row(7, 10, 13, floor=(5, 5, 5)), row(8, 12, 16, floor=(5, 5, 5))).worse


def test_compared_with_what_both_have() -> None:
    """If a run has no floor the peer is compared, or else the value itself with a larger margin."""
    peer = (100.0, 100.0, 100.0)
    assert only(row(10, 10, 10, floor=(5,), peer=peer), row(10, 10, 10, peer=peer)).of == "peer"
    absolute = only(row(10, 10, 10, floor=(5,)), row(12, 12, 12))
    assert (absolute.of, absolute.worse) == ("", False)
    assert only(row(10, 10, 10), row(13, 13, 13)).worse


def test_counts_have_no_noise() -> None:
    """One message more is worse; so is one instead of none."""
    one, two, none = (Row(name="creates", unit="count", filemapd=(n,)) for n in (1, 2, 0))
    assert only(one, two).worse
    assert only(two, one).better
    assert not only(one, one).worse
    assert only(none, one).worse
    assert not only(none, none).worse


def test_what_only_one_run_has() -> None:
    """A new row can't be compared; a missing one is listed."""
    old, new = run(row(1, name="a"), row(1, name="b")), run(row(1, name="b"), row(1, name="c"))
    assert [change.name for change in compare(old, new)] == ["b"]
    assert missing(old, new) == ["a"]


def test_compare_reports_what_got_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1 if something got worse, with the row's name; 0 if not; 2 for an invalid file."""
    old, new, bad = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "bad.json"
    save(run(row(10, 10, 10, name="quiet [red]"), row(1, name="gone")), old)
    save(run(row(20, 20, 20, name="quiet [red]")), new)
    bad.write_text('{"format": 1}')

    def status(*files: Path) -> int:
        monkeypatch.setattr("sys.argv", ["bench", "compare", *map(str, files)])
        return main()

    assert status(old, new) == 1
    output = capsys.readouterr().out
    assert "worse  quiet [red]: 10 to 20 (noise" in output
    assert "not measured  gone" in output
    assert status(old, old) == 0
    assert "0 got worse" in capsys.readouterr().out
    for file, why in ((bad, "bad.json: made: Field required"), (tmp_path / "none", "none: No such file")):
        assert status(old, file) == 2
        assert why in capsys.readouterr().err


def test_no_path_is_published() -> None:
    """The conditions of a run are published: they have the peer's name and version, not its path."""
    program = Path("/home/me/lvm2/dmfilemapd")
    conditions = made(Bench(peer=Peer(program, program, "1.02.214")), ["--quick", "--peer", str(program)])
    assert conditions.command == "python -m bench --quick --peer dmfilemapd"
    assert "/home/me" not in conditions.model_dump_json()
    assert "1.02.214" in (conditions.peer or "")


def test_a_run_is_what_was_saved(tmp_path: Path) -> None:
    """Saved and loaded it is the same; an unknown key is an error."""
    run_made = run(row(1.5, 2, floor=(1,), goals=(Goal(most=1.3, of="floor"),), note="quick"))
    path = tmp_path / "a" / "run.json"
    save(run_made, path)
    assert load(path) == run_made
    path.write_text(path.read_text().replace('"rows"', '"notes": 1, "rows"', 1))
    with pytest.raises(ResultsError, match="notes"):
        load(path)


def test_the_table() -> None:
    """Medians with units, the limits of goals, and rows under the one they belong to."""
    rows = (
        row(8, 10, 90, floor=(8.0, 8.0), goals=(Goal(most=1.3, of="floor"), Goal(most=0.2, of="peer"))),
        Row(name="update: creates", unit="count", filemapd=(1,), goals=(Goal(most=1),)),
        row(1234.5, name="start", goals=(Goal(most=1.5, of="floor", plus=15),), note="once"),
    )
    assert list(cells(rows)) == [
        ("update", "-", "10 ms", "8 ms", "1.3 floor, 1/5 peer", "yes"),
        ("- creates", "-", "1", "-", "1", "yes"),
        ("start (once)", "-", "1,234 ms", "-", "1.5 floor + 15", "-"),
    ]
    assert markdown(rows).splitlines()[1:3] == [
        "| --- | --: | --: | --: | --- | --- |",
        "| update | - | 10 ms | 8 ms | 1.3 floor, 1/5 peer | yes |",
    ]


def test_the_table_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`table` prints a run's JSON as Markdown."""
    path = tmp_path / "run.json"
    save(run(row(10)), path)
    monkeypatch.setattr("sys.argv", ["bench", "table", str(path)])
    assert main() == 0
    assert capsys.readouterr().out == markdown((row(10),))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.00123, "0.0012"), (0.0123, "0.0123"), (1.234, "1.23"), (99.96, "100"), (12345.6, "12,346")],
)
def test_numbers(value: float, text: str) -> None:
    """Three significant digits, never an exponent."""
    assert number(value) == text


def test_names_choose(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--only takes names of measurements and retains the table's order; an unknown name is an error that
    lists all."""
    names = [measurement.name for measurement in MEASUREMENTS]
    assert len(set(names)) == len(names)
    assert [m.name for m in chosen([names[-1], names[0]])] == [names[0], names[-1]]
    assert chosen(None) == MEASUREMENTS
    monkeypatch.setattr("sys.argv", ["bench", "--only", "speed"])
    assert main() == 2
    assert f"there is no measurement 'speed': there are {', '.join(sorted(names))}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "why"), [("/nowhere", "is no program"), ("/bin/true", "finds no libdevmapper")]
)
def test_another_peer_is_refused(
    program: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--peer requires lvm2's dmfilemapd, and is checked before anything is measured."""
    monkeypatch.setattr("sys.argv", ["bench", "--peer", program])
    assert main() == 2
    assert f"bench: {program} {why}" in capsys.readouterr().err


def test_kernel_memory_of_a_region() -> None:
    """On one CPU it equals the allocation observed in a kernel built for one CPU; on a large host it is much
    more."""
    assert (region_bytes(0, 1, 1), region_bytes(6, 1, 1)) == (360, 456)
    assert region_bytes(6, 8192, 64) == 128 + 8192 * 8 + 120 + 48 + 64 * (104 + 48)
