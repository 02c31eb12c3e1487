"""A folder with one toy experiment, as the current folder."""

import shutil
from pathlib import Path

import jax
import pytest


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose only experiment is `toy`; the compilation cache lies in it too."""
    (tmp_path / "experiments").mkdir()
    shutil.copyfile(Path(__file__).with_name("toy.py"), tmp_path / "experiments" / "toy.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    cache = jax.config.jax_compilation_cache_dir
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", cache)


@pytest.fixture
def toy(project):
    """The toy experiment, loaded."""
    from sgdsde.experiment.config import load_experiment

    return load_experiment(project / "experiments" / "toy.py")


@pytest.fixture
def compute(toy, project, monkeypatch):
    """Compute the toy with some fields changed; returns its folder. Without `figure` two stand-ins save a second."""
    from sgdsde import style
    from sgdsde.experiment.config import changed
    from sgdsde.experiment.runner import run_experiment

    save = style.save

    def stand_in(drawn, folder):
        for name in ("figure.pdf", "figure.png"):
            (folder / name).write_text(str(drawn))

    def compute(*, smoke=False, fresh=False, figure=False, say=lambda line: None, **values):
        monkeypatch.setattr(style, "save", save if figure else stand_in)
        config = changed(toy.smoke if smoke else toy.config_class(), values)
        return run_experiment(
            toy, config, smoke=smoke, fresh=fresh, runs=project / "runs", command="sgdsde run toy", say=say
        )

    return compute
