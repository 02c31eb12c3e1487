"""The commands of sweeps, as a person types them."""

import json
import shutil
from pathlib import Path

import jax
import pytest

from sgdsde import load, style
from sgdsde.cli import main
from sgdsde.experiment import results
from sgdsde.sweeps import folder as folder_module
from sgdsde.sweeps.program import Program

ROOT = Path(__file__).parents[1]
SWEPT = """
SWEEP = {"over": {"mean": (1.0, 2.0, 4.0), "num_draws": (1000, 2000)}, "seeds": 3}
def checks(config, arrays):
    assert arrays["means"].shape[:3] == (len(arrays["mean"]), len(arrays["num_draws"]), len(arrays["seed"]))
    largest = arrays["means"].mean((1, 2, 3)).max()
    return [Check("largest mean", largest, arrays["mean"].max(), 0.02, 0.1, "agree", "all")]
def plot(config, arrays):
    figure, axes = style.figure()
    axes.plot(arrays["mean"], arrays["means"].mean((1, 2, 3)))
    return figure
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the toy and a toy that sweeps itself; sweeps' figures are stand-ins, which saves seconds."""
    (tmp_path / "experiments").mkdir()
    toy = (ROOT / "tests" / "experiment" / "toy.py").read_text()
    (tmp_path / "experiments" / "toy.py").write_text(toy.replace("100_000", "100"))
    (tmp_path / "experiments" / "swept.py").write_text(toy + SWEPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(folder_module, "sweep_figure", lambda dataset, **chosen: style.figure()[0])
    cache = jax.config.jax_compilation_cache_dir
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield tmp_path
    jax.config.update("jax_compilation_cache_dir", cache)


def one(pattern):
    (path,) = Path().glob(pattern)
    return path


SWEEP = ["sweep", "toy", "--over", "mean=1:4:log2", "num_draws=50,60", "--seeds", "3"]


def test_a_sweep_is_shown_and_looked_at_again(project, capsys):
    assert main(SWEEP) == 0
    told = capsys.readouterr().out
    assert "6 points x 3 seeds = 18 runs, 2 to compile" in told
    assert "checks passed" in told
    folder = one("runs/toy/sweep-*")
    assert f"figure: {folder}/figure.png" in told
    assert load(folder).sizes["mean"] == 3
    for command, text in (
        (["status", str(folder)], "done, 2 chunks"),
        (["show", str(folder)], "6 points x 3 seeds"),
        (["show", str(folder), "--values", "means"], "means[scale=2]"),
        (["plot", str(folder), "--values", "means", "--at", "mean=2"], "figure.png"),
        (SWEEP, "already computed"),
    ):
        assert main(command) == 0
        assert text in capsys.readouterr().out
    load(folder)
    assert main([*SWEEP, "--seed", "7"]) == 0
    other = next(path for path in Path("runs/toy").iterdir() if path.name != folder.name)
    assert list(load(other)["seed"].values) == [7, 8, 9]
    assert main(["compare", str(folder), str(other)]) == 0


def test_the_exit_status_counts_no_verdict_and_failed_runs_only_where_all_are(project, capsys, monkeypatch):
    wrong = ["sweep", "toy", "--over", "num_draws=50,60", "--is_shifted"]
    assert main(wrong) == 0
    assert "0 of 4 checks passed" in capsys.readouterr().out
    assert main(["show", str(one("runs/toy/sweep-*"))]) == 0
    computed, lost = Program.__call__, {50}

    def limited(self, items):
        if self.group.static["num_draws"] in lost:
            raise RuntimeError("the device is lost")
        return computed(self, items)

    monkeypatch.setattr(Program, "__call__", limited)
    assert main([*wrong, "--fresh"]) == 0
    assert "the device is lost" in capsys.readouterr().out
    lost.add(60)
    assert main([*wrong, "--fresh"]) == 3


def test_a_dry_run_tells_what_it_would_cost_and_writes_nothing(project, capsys):
    assert main([*SWEEP, "--dry-run", "--chunk", "4"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for text in (
        "6 x 3 seeds = 18 runs",
        "2, one compilation each",
        "6 of up to 3 runs",
        "MiB",
        "known once a chunk is computed",
    ):
        assert text in told
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--over", "maen=1,2"], "no field `maen`. Did you mean `mean`"),
        (["--over", "mean=1,2", "--num_drawz", "3"], "Did you mean `num_draws`"),
        (["--over", "mean=1,two"], "mean: 'two' is not a number"),
        (["--over", "num_draws=1.5,2"], "num_draws: expected a whole number, got 1.5"),
        (["--over", "mean=1,2", "--seeds", "0"], "--seeds: expected at least 1"),
        (["--over", "mean=1,2", "--chunk", "0"], "--chunk: expected at least 1"),
        (["--over", "mean=1,2", "--mean"], "mean"),
        ([], "Nothing to sweep"),
        (["--over", "mean=1,2", "--physical_time", "3"], "no fields `learning_rate"),
        (["--over", "mean=1,2", "--partition", "gpu"], "--partition is for --launcher slurm"),
        (["--over", "mean=1,2", "--workers", "2"], "--workers is for --launcher"),
        (["--over", "mean=1,2", "--launcher", "local", "--distributed"], "exclude each other"),
        (["--over", "mean=1,2", "--trouble", "run"], "the run is broken"),
        (["--over", "mean=1,2", "--trouble", "untraceable"], "cannot be swept"),
        (["--over", "trouble=none,rnu"], "Did you mean `run`"),
    ],
)
def test_a_mistake_is_one_paragraph_before_any_compute(project, capsys, arguments, message):
    assert main(["sweep", "toy", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in " ".join(told.split())
    assert "Traceback" not in told
    assert len(told) < 800
    assert not Path("runs").exists()


def test_a_sweep_from_a_file(project, capsys):
    (project / "plan.toml").write_text(
        'experiment = "toy"\nseeds = 2\n[config]\nis_shifted = true\n[over]\nmean = "1:3:3"\n'
        "[[zip]]\nnum_draws = [50, 60]\nscales = [[1.0, 2.0], [2.0, 3.0]]\n"
    )
    assert main(["sweep", "plan.toml", "--seed", "4"]) == 0
    folder = one("runs/toy/sweep-*")
    dataset = load(folder)
    assert json.loads(dataset.attrs["config"])["is_shifted"] is True
    assert dict(dataset.sizes) | {"mean": 3, "num_draws": 2, "seed": 2} == dict(dataset.sizes)
    assert list(dataset["scales"].values) == ["(1.0, 2.0)", "(2.0, 3.0)"]
    for text, message in (
        ("seeds = 2", "name the experiment"),
        ('experiment = "toy"\nseed = 3', "no key `seed`. Did you mean `seeds`"),
        ('experiment = "toy"\nseeds = "many"', "plan.toml: `seeds` is 'many', not a whole number. See docs/sweeps.md."),
        ('experiment = "toy"\nzip = [1]', "`zip[0]` is '1', not a table"),
        ("experiment", "not valid TOML"),
        ('experiment = "toy"\n[over]\nmean = "1,2"', "give it once"),
    ):
        (project / "plan.toml").write_text(text)
        capsys.readouterr()
        over = ["--over", "mean=1,2"] if "give it once" in message else []
        assert main(["sweep", "plan.toml", *over]) == 2
        assert message.replace("\\", "") in " ".join(capsys.readouterr().err.split())
    assert main(["sweep", "no.toml"]) == 2


@pytest.mark.slow
def test_an_experiment_that_sweeps_itself(project, capsys):
    assert main(["reproduce", "swept"]) == 0
    folder = Path("results/swept")
    verdict = results.read_verdict(folder)
    assert verdict["passed"] is True
    assert load(folder)["means"].dims == ("mean", "num_draws", "seed", "scale")
    assert not list(Path("runs/swept").glob(".*"))
    assert main(["reproduce", "swept"]) == 0
    assert "already computed" in capsys.readouterr().out
    assert main(["judge", "swept"]) == 0
    assert main(["run", "swept", "--smoke"]) == 0
    assert main(["sweep", "swept", "--smoke"]) == 0
    assert dict(load(one("runs/swept/sweep-*")).sizes) == {"mean": 2, "num_draws": 2, "seed": 2, "scale": 2}


def test_what_is_no_sweep_is_told(project, capsys):
    assert main(["run", "toy", "--smoke"]) == 0
    single = one("runs/toy/*")
    capsys.readouterr()
    assert main(["status", str(single)]) == 0
    assert "done" in capsys.readouterr().out
    assert main(["show", str(single)]) == 0
    assert load(single)["means"].dims == ("scale",)
    for command in (["compare", str(single), str(single)], ["status", "nowhere"], ["show", "nowhere/at/all"]):
        assert main(command) == 2
    assert main(["plot", str(single), "--values", "means"]) == 2
    shutil.rmtree(single)


def test_a_sweep_under_way_has_a_status(project, capsys):
    from sgdsde.experiment.config import load_experiment
    from sgdsde.sweeps.axes import axes_of
    from sgdsde.sweeps.folder import begin, place_of
    from sgdsde.sweeps.plan import Sweep
    from sgdsde.sweeps.work import compute_missing

    toy = load_experiment(project / "experiments" / "toy.py")
    config = toy.config_class()
    sweep = Sweep(toy, config, axes_of(config, {"mean": "1,2,3,4"}), 2, False)
    folder = place_of(sweep, Path("runs"))
    plan = begin(sweep, folder, size=2, fresh=False, command="sgdsde sweep toy --over mean=1,2,3,4 --seeds 2")
    compute_missing(sweep, plan.groups, plan.chunks, folder / "chunks", only=[0, 2, 3])
    assert main(["status", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "3 of 4 chunks done" in told
    assert "nobody is at work" in told
    assert "left" in told
    assert main(["show", str(folder)]) == 2
    assert "sgdsde sweep toy --over mean=1,2,3,4 --seeds 2" in " ".join(capsys.readouterr().err.split())
