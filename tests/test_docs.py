"""The pages under docs/: their Python runs, and what they say is printed is what is printed."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import sgdsde
from sgdsde import load, measurements, predictions, style
from sgdsde.cli import main
from sgdsde.sweeps import folder

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "your_own_model.md").read_text()
SWEEPS = (DOCS / "sweeps.md").read_text()
THEORY = (DOCS / "theory.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
PRINTED = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)[1]
SMALLER = {
    "num_steps=200": "num_steps=4",
    "every=50": "every=2",
    "num_chains=16": "num_chains=2",
    "1200": "60",
    "heavy = match(": "heavy = (lambda *_, **__: None)(",  # half of the compilations; the slow test runs it
    ', "Levy SDE": heavy': "",
}
LINE = re.compile(r"(.{16}) test accuracy (0\.\d{3}) \+- (0\.\d{3})   test loss (\d\.\d{3}) \+- (\d\.\d{3})")


def rows(printed):
    found = [LINE.fullmatch(line) for line in printed.splitlines()]
    assert found, printed
    assert all(found), printed
    return {match[1].strip(): np.array([float(number) for number in match.groups()[1:]]) for match in found}


def run_page(blocks, replacements, capsys):
    source = "\n".join(blocks)
    for written, instead in replacements.items():
        assert written in source, f"the page no longer says {written}"
        source = source.replace(written, instead)
    names = {"__name__": "page"}
    exec(compile(source, "docs/your_own_model.md", "exec"), names)
    return names, rows(capsys.readouterr().out)


@pytest.mark.slow
def test_the_page_on_theory_prints_what_it_says(ordinary_settings, capsys):
    (block,), (said,) = (re.findall(rf"```{kind}\n(.*?)```", THEORY, re.DOTALL) for kind in ("python", "text"))
    exec(compile(block, "docs/theory.md", "exec"), {})
    number = re.compile(r"-?\d+\.\d+")
    printed = capsys.readouterr().out
    assert number.sub("", printed) == number.sub("", said)
    values = [[float(found) for found in number.findall(text)] for text in (printed, said)]
    np.testing.assert_allclose(*values, rtol=0.004)


def test_the_page_on_theory_names_what_there_is():
    experiments = {file.stem for file in (DOCS.parent / "experiments").glob("*.py")}
    tables = THEORY.split("## Stationary laws")[1]
    named = set(re.findall(r"`(?:measurements\.)?([a-z][a-z_0-9]*)(?=[`(])", tables))
    known = experiments | {*predictions.__all__, *measurements.__all__, *sgdsde.__all__}
    assert named <= known, sorted(named - known)


@pytest.mark.slow
def test_every_block_of_the_page_runs(ordinary_settings, capsys):
    names, printed = run_page(BLOCKS, SMALLER, capsys)
    assert [*printed, "Levy SDE"] == list(rows(PRINTED))
    problem = names["problem"]
    assert problem.num_examples == 60
    assert names["frugal"].microbatch == 100
    assert names["dropped"].num_examples == 240
    assert names["in_linen"].params_like.keys() == {"Dense_0", "Dense_1"}
    assert names["in_equinox"].params_like.keys() >= {"layers[0].weight", "layers[1].bias"}


@pytest.mark.slow
def test_the_page_prints_what_it_says(ordinary_settings, capsys):
    """Within 5.9 standard errors of the page's and this run's together (and the last digit): not bit for bit, because
    other versions round otherwise."""
    _, printed = run_page(BLOCKS[:1], {}, capsys)
    for name, said in rows(PRINTED).items():
        for value, error in ((0, 1), (2, 3)):
            limit = 5.9 * np.hypot(said[error], printed[name][error]) + 1e-3
            assert abs(said[value] - printed[name][value]) <= limit, name


@pytest.mark.slow
def test_the_commands_of_the_page_on_sweeps_run(ordinary_settings, tmp_path, monkeypatch, capsys):
    """At a few steps of a few chains, and without drawing; every command is that of the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setattr(folder, "sweep_figure", lambda dataset, **chosen: style.figure()[0])
    experiment, _ = re.findall(r"```python\n(.*?)```", SWEEPS, re.DOTALL)
    (tmp_path / "experiments").mkdir()
    small = experiment.replace("num_steps: int = 400", "num_steps: int = 20").replace("= 10_000", "= 3")
    (tmp_path / "experiments" / "parabola.py").write_text(small)
    (tmp_path / "parabola.toml").write_text(re.search(r"```toml\n(.*?)```", SWEEPS, re.DOTALL)[1])
    lines = [line for block in re.findall(r"```sh\n(.*?)```", SWEEPS, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines] + [["sweep", "parabola.toml"]]
    ran = set()
    for command in commands:
        command = [{"400,800": "20,40"}.get(word, word) for word in command]
        if command[0] in ("sweep", "search"):
            fewer = {"--seeds": "2", "--trials": "4", "--num_steps": "20"}
            command = [fewer.get(before, word) for before, word in zip(["", *command], command)]
        found = sorted(map(str, tmp_path.glob("runs/parabola/sweep-*")))
        instead = {
            "runs/parabola/sweep-*": found[:1],
            "runs/parabola/sweep-A": found[:1],
            "runs/parabola/sweep-B": found[:1],
        }
        command = [each for word in command for each in instead.get(word, [word])]
        assert main(command) == 0, (command, capsys.readouterr().err)
        ran.add(command[0])
    assert ran == {"sweep", "show", "plot", "compare", "status", "search"}
    assert load(found[0]).sizes["seed"] == 2
