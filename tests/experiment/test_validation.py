"""A result may come from anywhere: nothing in it is run, nothing in it moves the cursor, and nonsense is refused."""

import json
import shutil

import netCDF4
import numpy as np
import pytest

from sgdsde.cli import main
from sgdsde.experiment import Check, ExperimentError, results
from sgdsde.experiment.folders import description, plain, shown
from sgdsde.experiment.report import COLUMNS, _fitting, print_result
from sgdsde.experiment.validation import NAME, NUMBER, TEXT, WHOLE, Each, Optional, read_json
from sgdsde.loading import load
from sgdsde.sweeps.folder import read_description

ESCAPES = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202etxt \u2028 \x7f"
DEEP = '{"a":' * 500 + "1" + "}" * 500
NONSENSE = ["", "{", "[]", "null", "7", '"text"', DEEP, "[" * 100_000, '{"a": "\\ud800"}', "\udcff", "1" * 5000]
SWEEP = {
    "schema": 1, "experiment": "toy", "hash": "sweep-0", "title": "", "command": "sgdsde sweep toy", "start": "",
    "config": {}, "axes": [{"mean": [1.0, 2.0]}], "num_seeds": 1, "physical_time": None, "asks_checks": True,
    "smoke": True, "groups": [{"static": {}, "where": [[0, 1]]}], "chunks": [[0, 0, 2]], "num_bytes": 1.0,
}  # fmt: skip


RECORD = {
    "schema": 1, "experiment": "toy", "status": "done", "reason": None, "command": "sgdsde run toy", "smoke": True,
    "seed": 0, "commit": None, "dirty": None, "source": "", "hash": "0", "platform": "cpu", "num_cores": 1,
    "dtype": "float32", "wall_seconds": 1.0, "peak_memory_mib": 1.0,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A result folder of the toy, which nobody has computed; as in a project, but without its experiment."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    folder = tmp_path / "runs" / "toy" / "0"
    folder.mkdir(parents=True)
    check = Check("mean", 1.0, 1.0, 0.01, 0.1, "agree", "definition").as_dict() | {"verdict": None}
    verdict = {"experiment": "toy", "config": {}, "smoke": True, "passed": None, "checks": [check]}
    results.write_json(folder / "verdict.json", verdict)
    results.write_json(folder / "config.json", {})
    results.write_arrays(folder / "data.nc", {"x": np.ones(2)}, {"x": ("x",)}, {})
    results.write_provenance(folder, RECORD, seal=True)
    return folder


def reseal(folder, **changes):
    """A result folder whose checksums are those of its files, as somebody who means harm would leave it."""
    record = json.loads((folder / "provenance.json").read_bytes())
    results.write_provenance(folder, record | changes, seal=True)


def paragraph(text):
    return " ".join(text.split())


@pytest.mark.parametrize("command", ["plot", "judge"])
def test_code_beside_a_result_is_never_run(folder, tmp_path, capsys, command):
    evil = "import pathlib\npathlib.Path('run').touch()\n"
    strange = tmp_path / "downloads" / "results" / "strange"
    shutil.copytree(folder, strange)
    for place in (strange, strange.parent, strange.parents[1], strange.parents[1] / "experiments"):
        place.mkdir(exist_ok=True)
        (place / "other.py").write_text(evil)
    (strange / "other.py").unlink()  # it would not belong to the result
    reseal(strange, experiment="other")
    assert main([command, str(strange)]) == 2
    assert "There is no other.py, which made downloads/results/strange, in experiments" in paragraph(
        capsys.readouterr().err
    )
    for name in ("../../other", str(strange.parent / "other"), "..", "a.b", "", "other.py"):
        reseal(strange, experiment=name)
        assert main([command, str(strange)]) == 2
        assert "not a plain name" in paragraph(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_sweep_file_names_no_path(project, capsys):
    (project / "evil.py").write_text("import pathlib\npathlib.Path('run').touch()\n")
    (project / "sweep.toml").write_text('experiment = "evil.py"\nseeds = 2\n')
    assert main(["sweep", "sweep.toml", "--dry-run"]) == 2
    assert "`experiment` is 'evil.py', not a plain name" in paragraph(capsys.readouterr().err)
    assert not (project / "run").exists()


def test_control_characters_stay_in_the_files(folder, capsys):
    verdict = json.loads((folder / "verdict.json").read_bytes())
    verdict["checks"][0] |= {"name": ESCAPES, "source": ESCAPES}
    results.write_json(folder / "verdict.json", verdict)
    reseal(folder, reason=ESCAPES)
    assert main(["show", str(folder)]) == 0
    assert main(["status", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert plain(ESCAPES).split()[0] in printed
    assert all(character.isprintable() or character == "\n" for character in printed)
    assert results.read_verdict(folder)["checks"][0]["name"] == plain(ESCAPES)


def test_texts_of_arrays_names_and_paths_are_plain(tmp_path, project):
    import xarray

    file = tmp_path / "data.nc"
    dataset = xarray.Dataset({"x": (("check",), [1.0])}, {"check": [ESCAPES]}, {"title": ESCAPES})
    results.write_dataset(file, dataset)
    found = results.read_dataset(file)
    assert (found["check"].item(), found.attrs["title"]) == (plain(ESCAPES),) * 2
    (project / "experiments" / "new.py").write_text(f'"""A {ESCAPES!r}claim.\n\nMore."""'.replace("'", ""))
    assert description(project / "experiments" / "new.py").count("\n") == 2
    assert main(["list"]) == 0
    assert shown(tmp_path / "a\x1bb") == "a b"
    assert shown(tmp_path / "a\udcffb") == r"a\xffb"


@pytest.mark.parametrize("name", ["verdict.json", "config.json", "provenance.json", "search.json", "sweep.json"])
def test_nonsense_in_any_file_is_refused_in_one_paragraph(folder, capsys, name):
    for text in NONSENSE:
        (folder / name).write_text(text, errors="surrogateescape")
        if name != "provenance.json":
            reseal(folder)
        for command in (["show"], ["status"], ["plot"]):
            if main([*command, str(folder)]) == 0:  # of a command that does not read this file
                continue
            error = paragraph(capsys.readouterr().err)
            assert name in error or "no toy.py" in error or "no arrays" in error
            assert "Traceback" not in error
            assert len(error) < 400
        with pytest.raises(ExperimentError):
            read_json(folder / name)


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"n": 1.5, "x": 1, "checks": []}, "`n` is '1.5', not a whole number"),
        ({"n": True, "x": 1, "checks": []}, "`n` is 'true', not a whole number"),
        ({"n": 1, "x": None, "checks": []}, "`x` is 'null', not a number"),
        ({"n": 1, "checks": []}, "`x` is missing"),
        ({"n": 1, "x": "nan", "checks": {}}, r"`checks` is '\{\}', not a list"),
        ({"n": 1, "x": "inf", "checks": [{"name": "a"}, {"name": 1}]}, r"`checks\[1\].name` is '1', not a text"),
        ({"n": 1, "x": 2, "checks": [7]}, r"`checks\[0\]` is '7', not a table"),
        ({"n": 1, "x": 2, "checks": [], "sums": {"a": 1}}, r"`sums.a` is '1', not a text"),
        ({"n": 1, "x": 2, "checks": [], "who": "a b"}, "`who` is 'a b', not a plain name"),
    ],
)
def test_the_place_of_what_is_wrong_is_named(tmp_path, value, wrong):
    kind = {"n": WHOLE, "x": NUMBER, "checks": [{"name": TEXT}], "sums": Optional(Each(TEXT)), "who": Optional(NAME)}
    (tmp_path / "f.json").write_text(json.dumps(value))
    with pytest.raises(ExperimentError, match=wrong):
        read_json(tmp_path / "f.json", kind)


@pytest.mark.parametrize("value", [[], {}, "../x", 7, -1, None, True, "inf", 1e999])
def test_a_value_of_any_kind_in_any_place_is_taken_or_refused(folder, capsys, value):
    verdict, refused = json.loads((folder / "verdict.json").read_bytes()), 0
    for key in (*results.VERDICT, *results.CHECK):
        inside = results.CHECK.keys() - results.VERDICT.keys()
        changed = verdict | ({"checks": [verdict["checks"][0] | {key: value}]} if key in inside else {key: value})
        results.write_json(folder / "verdict.json", changed)
        refused += is_refused(lambda: print_result(folder))
    results.write_json(folder / "verdict.json", verdict)
    for key in results.PROVENANCE.keys() - {"checksums"}:
        reseal(folder, **{key: value})
        refused += is_refused(lambda: results.verified(folder))
        reseal(folder, **RECORD | {"judged": None, "code": None})
    assert refused >= 7


def is_refused(read):
    try:
        read()
    except ExperimentError:
        return True
    return False


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": []}, {"axes": [{}]}, {"axes": [{"mean": []}]}, {"axes": [{"mean": [1.0], "scale": [1.0, 2.0]}]},
        {"groups": [{"static": {}, "where": [[0, 5]]}]}, {"groups": [{"static": {}, "where": [[0]]}]}, {"groups": []},
        {"groups": [{"static": {}, "where": [[-1, 0]]}]}, {"chunks": [[0, 0]]}, {"chunks": [[9, 0, 2]]},
        {"num_seeds": 0}, {"num_seeds": "2"}, {"command": "sgdsde sweep toy; rm -rf /"}, {"experiment": "../toy"},
        {"schema": 2}, {"config": None},
    ],
)  # fmt: skip
def test_the_parts_of_a_sweep_fit_each_other(tmp_path, changes):
    results.write_json(tmp_path / "sweep.json", SWEEP)
    assert read_description(tmp_path) == SWEEP
    results.write_json(tmp_path / "sweep.json", SWEEP | changes)
    with pytest.raises(ExperimentError, match=r"sweep\.json"):
        read_description(tmp_path)


def test_arrays_that_a_file_cannot_hold_are_not_asked_for(tmp_path):
    file = tmp_path / "data.nc"
    with netCDF4.Dataset(file, "w") as contents:
        contents.createDimension("x", 10**9)
        contents.createVariable("x", "f8", ("x",), zlib=True)
    assert file.stat().st_size < 20_000
    with pytest.raises(ExperimentError, match="bytes cannot hold the 8,000,000,000 that it asks for"):
        results.read_dataset(file)
    results.write_arrays(file, {"x": np.zeros(2_000_000)}, {"x": ("x",)}, {})
    assert results.read_dataset(file)["x"].size == 2_000_000, "zeros are the most compressible"
    file.write_bytes(b"no netCDF")
    with pytest.raises(ExperimentError, match=r"data\.nc cannot be read as netCDF"):
        results.read_dataset(file)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000, "seeds = 'two'", "seeds = true", "over = 7", "zip = [1]", "config = []", "experiment = 7",
        'experiment = "toy"\n[over]\nmean = {a = 1}', "seeds = 1" + "0" * 5000, 'experiment = "\x00"', "experiment",
    ],
)  # fmt: skip
def test_a_sweep_file_of_another_kind_is_refused(project, capsys, text):
    (project / "sweep.toml").write_text(text)
    assert main(["sweep", "sweep.toml", "--dry-run"]) == 2
    error = paragraph(capsys.readouterr().err)
    assert "Traceback" not in error
    assert len(error) < 400


def test_a_sweep_with_arrays_of_another_one_is_refused(tmp_path):
    results.write_json(tmp_path / "sweep.json", SWEEP | {"hash": "0"})
    results.write_arrays(tmp_path / "group-000.nc", {"x": np.ones((3, 1))}, {"x": ("mean", "seed")}, {})
    results.write_provenance(tmp_path, RECORD, seal=True)
    with pytest.raises(ExperimentError, match=r"are not those of its sweep\.json"):
        load(tmp_path)


def test_ten_checks_the_worst_first(folder, capsys):
    """Failed ones, then by how much of their allowance they use, or of the distance that they need."""
    rows = [Check(f"fine {i}", 1.0 + i / 1000, 1.0, 0.0, 0.1, "agree", "s").as_dict() for i in range(20)]
    rows.insert(3, Check("close", 1.0, 2.0, 0.16, 0.0, "below", "s").as_dict())
    rows.insert(7, Check("wrong", 1.2, 1.0, 0.0, 0.1, "agree", "s").as_dict())
    rows.insert(9, Check("lost", float("nan"), 1.0, 0.0, 0.1, "agree", "s").as_dict())
    verdict = {"experiment": "toy", "config": {}, "smoke": False, "passed": False, "checks": rows}
    results.write_json(folder / "verdict.json", verdict)
    reseal(folder)
    assert main(["show", str(folder)]) == 1
    lines = [line.split("  ")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line in {row["name"] for row in rows}] == [
        "lost", "wrong", "close", *(f"fine {i}" for i in range(19, 12, -1))
    ]  # fmt: skip
    assert "all 23 checks: sgdsde show runs/toy/0 --all" in lines
    assert main(["show", str(folder), "--all"]) == 1
    shown_rows = [line for line in capsys.readouterr().out.splitlines() if " agree " in line or " below " in line]
    assert len(shown_rows) == 23
    (folder / "verdict.json").unlink()
    reseal(folder, status="failed", reason="run: ValueError")
    assert main(["show", str(folder)]) == 0
    assert "toy: failed: run: ValueError; it has no verdict" in capsys.readouterr().out


@pytest.mark.parametrize(("width", "columns"), [(160, 7), (100, 6), (90, 5), (30, 4)])
def test_names_of_checks_have_room_on_a_narrow_screen(width, columns):
    texts = ("a check of some length " * 2, "0.01314 ± 0.00042", "0.01316", "0.0", "10 %", "agree", "underpowered")
    assert len(_fitting([dict(zip(COLUMNS, texts))], width)) == columns
