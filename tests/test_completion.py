"""Completion: what is offered after each word, quickly, and by the scripts in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sgdsde import cli
from sgdsde.commands import completion
from sgdsde.experiment.folders import ExperimentError

ROOT = Path(__file__).parents[1]
HILL = ROOT / "tests" / "searches" / "hill.py"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with two experiments, a file and some results, as the current folder."""
    (tmp_path / "experiments").mkdir()
    shutil.copyfile(HILL, tmp_path / "experiments" / "hill.py")
    (tmp_path / "experiments" / "broken.py").write_text("def (")
    (tmp_path / "mine.py").write_text(
        "raise RuntimeError('completion imports no experiment')\nclass Config:\n    x: bool"
    )
    (tmp_path / "plan.toml").write_text('experiment = "hill"')
    for folder, file in (
        ("results/hill", "provenance.json"),
        ("runs/hill/0a1", "provenance.json"),
        ("runs/hill/sweep-0a1", "sweep.json"),
        ("runs/hill/.search-0a1.journal", "search.json"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / file).write_text('{"axes": [{"kind": ["plain", "worse"], "rate": [0.5, 1.0]}]}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def offered(project, capsys):
    """What is offered for some words."""

    def offered(*words):
        capsys.readouterr()
        assert completion.complete(["--", *words]) == 0
        return capsys.readouterr().out.splitlines()

    return offered


FIELDS = ["rate", "size", "scales", "kind", "noise", "is_odd", "seed"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ju"], ["judge"]),
        (["s"], ["search", "show", "status", "sweep"]),
        (["--v"], ["--version"]),
        (["run", "h"], ["hill"]),
        (["run", "m"], ["mine.py"]),
        (["run", "p"], []),
        (["sweep", "p"], ["plan.toml"]),
        (["run", "exp"], ["experiments/"]),
        (["run", "experiments/h"], ["experiments/hill.py"]),
        (["run", "hill", "--ra"], ["--rate"]),
        (["run", "hill", "--de"], ["--device"]),
        (["run", "hill", "--is"], ["--is_odd"]),
        (["run", "hill", "--no_"], ["--no_is_odd"]),
        (["run", "mine.py", "--x"], ["--x"]),
        (["sweep", "plan.toml", "--ki"], ["--kind"]),
        (["run", "hill", "--device", ""], ["cpu", "gpu", "tpu"]),
        (["run", "hill", "--device=c"], ["--device=cpu"]),
        (["run", "hill", "--kind", ""], ["plain", "worse"]),
        (["run", "hill", "--kind=p"], ["--kind=plain"]),
        (["run", "hill", "--rate", ""], []),
        (["run", "--output", "ru"], ["runs/"]),
        (["run", "--smoke", "h"], ["hill"]),
        (["reproduce", "hill", "br"], ["broken"]),
        (["search", "hill", "--over", ""], sorted(f"{name}=" for name in FIELDS)),
        (["search", "hill", "--over", "rate=1:2", "k"], ["kind="]),
        (["search", "hill", "--over", "kind=p"], ["kind=plain"]),
        (["search", "hill", "--over", "kind=plain,w"], ["kind=plain,worse"]),
        (["sweep", "hill", "--zip", "is_odd="], ["is_odd=false", "is_odd=true"]),
        (["search", "hill", "--minimise", "l"], ["loss"]),
        (["search", "hill", "--minim"], ["--minimise", "--minimize"]),
        (["plot", "res"], ["results/", "results/hill"]),
        (["judge", "runs/hill/"], ["runs/hill/0a1", "runs/hill/sweep-0a1"]),
        (["plot", "hi"], ["hill"]),
        (["plot", "runs/hill/sweep-0a1", "--at", ""], ["kind=", "rate="]),
        (["plot", "runs/hill/sweep-0a1", "--at", "rate="], ["rate=0.5", "rate=1.0"]),
        (["completion", ""], ["--help", "bash", "fish", "zsh"]),
        (["nothing", ""], []),
        (["run", "broken", "--ra"], []),
        (["run", "hill", "--experiments", "nowhere", "--ra"], []),
    ],
)
def test_what_is_offered(offered, words, expected):
    assert offered(*words) == expected


def test_after_the_experiment_all_its_flags(offered):
    found = offered("run", "hill", "--")
    assert {f"--{name}" for name in FIELDS} <= set(found)
    assert {"--smoke", "--float64", "--device", "--fresh", "--output", "--experiments", "--help"} <= set(found)
    assert not any(word.startswith("--") for word in offered("run", ""))
    assert "--all" in offered("reproduce", "--")


def test_every_command_is_known():
    assert cli.COMMANDS.keys() - {"complete"} <= completion.PARSERS.keys()
    for command, parser in completion.PARSERS.items():
        assert parser().prog == f"sgdsde {command}"


def test_the_scripts_say_how_they_are_installed(capsys):
    for shell, script in completion.SCRIPTS.items():
        assert completion.print_script([shell]) == 0
        assert capsys.readouterr().out == script
        assert "Install it with this" in "".join(script.splitlines()[:3])
    with pytest.raises(SystemExit):
        completion.print_script(["--help"])
    assert "source <(sgdsde completion bash)" in capsys.readouterr().out
    with pytest.raises(ExperimentError, match="invalid choice"):
        completion.print_script(["tcsh"])


def test_nothing_heavy_is_loaded(project):
    program = (
        "import sys\nfrom sgdsde.commands.completion import complete\n"
        "status = complete(['--', 'search', 'hill', '--over', 'ki'])\n"
        "heavy = {'jax', 'numpy', 'tyro', 'matplotlib', 'xarray', 'rich', 'scipy', 'optuna'} & sys.modules.keys()\n"
        "print(*sorted(heavy), file=sys.stderr)\nsys.exit(status)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.split(), done.stderr.strip()) == (0, ["kind="], "")


@pytest.fixture
def shell(project, monkeypatch):
    """Run a program in a shell in which `sgdsde` is a command; its lines."""
    (project / "bin").mkdir()
    command = project / "bin" / "sgdsde"
    program = "import sys; from sgdsde.commands import completion; sys.exit(completion.complete(sys.argv[2:]))"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -c "{program}" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")

    def run(*words):
        if shutil.which(words[0]) is None:
            pytest.skip(f"there is no {words[0]}")
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


BASH_WORDS = [
    (["sgdsde", "ju"], ["judge"]),
    (["sgdsde", "run", "hill", "--device", "="], ["cpu", "gpu", "tpu"]),
    (["sgdsde", "run", "hill", "--device", "=", "c"], ["cpu"]),
    (["sgdsde", "search", "hill", "--over", "rate", "=", "0.1", ":", "1", "ki"], ["kind="]),
    (["sgdsde", "search", "hill", "--over", "kind", "=", "plain,w"], ["plain,worse"]),
    (["sgdsde", "plot", "results/h"], ["results/hill"]),
    (["sgdsde", "nothing", ""], []),
]


def test_in_bash(shell):
    """bash cuts its words at = and :, and replaces only what follows the last of them."""
    lines = [completion.BASH, "compopt() { :; }"]
    for words, _ in BASH_WORDS:
        quoted = " ".join(f"'{word}'" for word in words)
        lines += [f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _sgdsde", 'echo "${COMPREPLY[*]}"']
    answers = shell("bash", "-c", "\n".join(lines))
    assert [answer.split() for answer in answers] == [expected for _, expected in BASH_WORDS]


def test_in_fish(shell):
    lines = [completion.FISH]
    words = ["sgdsde ju", "sgdsde run hill --device ", "sgdsde search hill --over ki"]
    for each in words:
        lines += [f"complete -C '{each}'", "echo ."]
    answers = " ".join(shell("fish", "--no-config", "-c", "\n".join(lines))).split(" .")
    assert [answer.split() for answer in answers][:3] == [["judge"], ["cpu", "gpu", "tpu"], ["kind="]]


def test_in_zsh(shell):
    lines = ["compdef() { :; }", "compadd() { shift $(( ${@[(i)--]} )); print -r -- $@ }", completion.ZSH]
    lines += ["words=(sgdsde run hill --device c); CURRENT=5; PREFIX=c; _sgdsde"]
    lines += ["words=(sgdsde search hill --over ki); CURRENT=5; PREFIX=ki; _sgdsde"]
    answers = shell("zsh", "-f", "-c", "\n".join(lines))
    assert [answer for answer in answers if answer] == ["cpu", "kind="]
