"""What is recorded says how, and nothing about the machine's folders."""

import os
import subprocess
from pathlib import Path

import pytest

from sgdsde.experiment import provenance


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["run", "experiments/toy.py", "--mean", "-1"], "sgdsde run experiments/toy.py --mean -1"),
        (["run", "{project}/experiments/toy.py"], "sgdsde run experiments/toy.py"),
        (["run", "{project}/here/../experiments/toy.py"], "sgdsde run experiments/toy.py"),
        (["run", "toy", "--output={project}/out"], "sgdsde run toy --output=out"),
        (["run", "toy", "--output", "{elsewhere}/far/out"], "sgdsde run toy --output out"),
        (["run", "toy", "--label", "two words"], "sgdsde run toy --label 'two words'"),
    ],
)
def test_commands_carry_no_path_of_the_machine(tmp_path, monkeypatch, arguments, command):
    project = tmp_path / "project"
    (project / "here").mkdir(parents=True)
    monkeypatch.chdir(project / "here")
    filled = [argument.format(project=project, elsewhere=tmp_path) for argument in arguments]
    assert provenance.command_line(filled, project) == command


def test_commit_and_dirty(tmp_path):
    def git(*arguments):
        identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
        identity |= {"GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(
            ["git", *arguments], cwd=tmp_path, check=True, capture_output=True, env=dict(os.environ) | identity
        )

    inside = tmp_path / "experiments"
    inside.mkdir()
    assert provenance.commit(inside) == {"commit": None, "dirty": None}
    git("init")
    (inside / "a.py").write_text("1")
    assert provenance.commit(inside) == {"commit": None, "dirty": True}
    git("add", ".")
    git("commit", "-m", "one")
    clean = provenance.commit(inside)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    for output in ("results", "runs"):
        (tmp_path / output / "a").mkdir(parents=True)
        (tmp_path / output / "a" / "data.nc").write_text("new")
    assert provenance.commit(inside) == clean, "results do not make the code dirty"
    (inside / "a.py").write_text("2")
    assert provenance.commit(inside) == clean | {"dirty": True}


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit(tmp_path) == {"commit": None, "dirty": None}


def test_peak_memory_starts_afresh():
    import numpy as np

    np.ones(60_000_000).sum()
    before = provenance.peak_memory()["peak_memory_mib"]
    provenance.reset_peak_memory()
    after = provenance.peak_memory()["peak_memory_mib"]
    if Path("/proc/self/clear_refs").exists():
        assert after < before - 300
    assert after > 0
