"""The command: its answers, its exit statuses, and that it loads no more than it needs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from sgdsde.cli import COMMANDS, main
from sgdsde.experiment import results

ROOT = Path(__file__).parents[1]
TOY = ROOT / "tests" / "experiment" / "toy.py"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one experiment, as the current folder."""
    (tmp_path / "experiments").mkdir()
    shutil.copyfile(TOY, tmp_path / "experiments" / "toy.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "120")
    cache = jax.config.jax_compilation_cache_dir
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", cache)


def command(*arguments, **keywords):
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sgdsde", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        **keywords,
    )


def one(folder):
    (path,) = folder.iterdir()
    return path


HELPS = [[name, "--help"] for name in COMMANDS if name != "complete"]


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["--version"], *HELPS], ids=" ".join)
def test_what_names_no_experiment_loads_no_jax(project, arguments):
    program = (
        "import sys\nfrom sgdsde.cli import main\n"
        f"status = main({arguments})\n"
        "heavy = {'jax', 'numpy', 'tyro', 'matplotlib', 'xarray', 'rich', 'scipy'} & sys.modules.keys()\n"
        "print(*sorted(heavy), file=sys.stderr)\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.strip() == ""
    assert done.stdout.strip()


def test_list_names_each_experiment_and_its_claim(project, capsys):
    (project / "experiments" / "broken.py").write_text("def (")
    (project / "experiments" / "silent.py").write_text("x = 1")
    (project / "experiments" / "_private.py").write_text("x = 1")
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("broken  (experiments/broken.py, line 1: this is not valid Python")
    assert "silent  (no docstring)" in lines
    assert lines[-1].startswith("toy     The mean of normal draws is the mean they were drawn with.")
    assert not any("private" in line for line in lines)


def test_experiments_are_found_above_the_current_folder(project, capsys, monkeypatch):
    (project / "deep" / "er").mkdir(parents=True)
    for folder in ("deep/er", "experiments"):
        monkeypatch.chdir(project / folder)
        assert main(["list"]) == 0
        assert "toy" in capsys.readouterr().out
    monkeypatch.chdir("/")
    assert main(["list", "--experiments", str(project / "experiments")]) == 0
    assert main(["list"]) == 2
    assert "No folder `experiments` at or above the current folder." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], ""),
        (["rnu"], "no command `rnu`. Did you mean `run`?"),
        (["run"], "Name the experiment first"),
        (["run", "--mean", "2", "toy"], "Name the experiment first"),
        (["run", "tou"], "no experiment `tou` in experiments. Did you mean `toy`?"),
        (["run", "experiments/tou.py"], "no such experiment file. Did you mean `toy`?"),
        (["run", "nowhere/toy.py"], "Its folder does not exist"),
        (["run", "toy", "--maen", "2"], "no field `maen`. Did you mean `mean`?"),
        (["run", "toy", "--num-drws=2"], "no field `num_drws`. Did you mean `num_draws`?"),
        (["run", "toy", "--smoek"], "no field `smoek`. Did you mean `smoke`?"),
        (["run", "toy", "--mean", "many"], "--mean"),
        (["run", "toy", "--mean"], "--mean"),
        (["run", "toy", "--mean", "nan"], "mean: expected a finite number"),
        (["run", "toy", "--scales"], "scales: expected at least one value"),
        (["run", "toy", "--num_draws", "1.5"], "--num_draws"),
        (["run", "toy", "--trouble", "much"], "--trouble"),
        (["run", "toy", "7"], "7"),
        (["run", "toy", "--device", "abacus"], "invalid choice: 'abacus'"),
        (["run", "toy", "--experiments", "nowhere"], "no such folder"),
        (["run", "toy", "--trouble", "mistake"], "standard_error must not be negative"),
        (["reproduce"], "Name the experiments to reproduce, or say --all"),
        (["reproduce", "toy", "--all"], "Name the experiments to reproduce, or say --all"),
        (["reproduce", "toy", "--smok"], "takes no `--smok`. Did you mean `smoke`?"),
        (["plot", "toy"], "no result of `toy` yet"),
        (["plot", "experiments"], "experiments is not a result folder"),
        (["plot", "/no/such/folder"], "/no/such/folder: there is no such folder"),
        (["run", "toy", "--seed", "4294967296"], "seed: expected a whole number from 0 to 4,294,967,295"),
        (["run", "toy", "--seed", "-1"], "seed: expected a whole number from 0 to 4,294,967,295"),
        (["run", "toy", "--seed", str(2**64)], "seed: expected a whole number from 0 to 4,294,967,295"),
        (["run", "toy", "--scales", "(1,x)"], "--scales"),
        (["run", "toy", "--maen", "2"], "Fields: is_shifted, mean, num_draws, scales, seed, trouble. Flags of the"),
        (["list", "toy"], "takes no `toy`"),
    ],
)
def test_a_mistake_gets_one_paragraph(project, capsys, arguments, message):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    error = " ".join(printed.err.split())
    assert message in error
    assert "Traceback" not in error + printed.out
    assert "\n\n" not in printed.err
    assert not (project / "results").exists()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is an accelerator")
def test_a_device_that_is_not_there(project, capsys):
    assert main(["run", "toy", "--device", "gpu"]) == 2
    assert "JAX finds none on this machine, only cpu" in " ".join(capsys.readouterr().err.split())


def test_run_prints_the_verdicts_and_the_figure(project, capsys):
    assert main(["run", "toy", "--mean", "2", "--scales", "1", "--no-is_shifted"]) == 0
    output = capsys.readouterr().out
    folder = one(project / "runs" / "toy")
    for expected in ("mean at scale 1", "±", "10 %", "agree", "pass", "toy: PASSED, 1 of 1 checks"):
        assert expected in output
    assert f"figure: runs/toy/{folder.name}/figure.png" in output.splitlines()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["command"] == "sgdsde run toy --mean 2 --scales 1 --no-is_shifted"


def test_exit_statuses(project, capsys):
    assert main(["run", "toy", "--is_shifted", "--num-draws=1000"]) == 1
    assert "FAILED, 0 of 2 checks" in capsys.readouterr().out
    assert main(["run", "toy", "--smoke", "--is_shifted"]) == 0
    assert "not judged at smoke size" in capsys.readouterr().out
    assert main(["run", "toy", "--trouble", "compute"]) == 3
    error = capsys.readouterr().err
    assert "the computation is broken (toy.py, line" in " ".join(error.split())
    assert "Traceback" in error, "a defect of the experiment file shows where it is"
    assert main(["run", "toy", "--trouble", "interrupt"]) == 130
    assert capsys.readouterr().err.startswith("Interrupted.")


def test_a_full_disk_is_said(project, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["run", "toy", "--smoke"]) == 3
    error = " ".join(capsys.readouterr().err.split())
    assert "No space left on device." in error
    assert "MB are free in runs." in error
    assert list((project / "runs" / "toy").iterdir()) == []


def test_reproduce_publishes_and_smoke_does_not(project, capsys):
    assert main(["reproduce", "toy", "--smoke"]) == 0
    assert not (project / "results").exists()
    assert main(["reproduce", "--all"]) == 0
    published = json.loads((project / "results" / "toy" / "provenance.json").read_text())
    assert published["command"] == "sgdsde reproduce toy"
    assert "figure: results/toy/figure.png" in capsys.readouterr().out
    shutil.rmtree(project / "runs")
    assert main(["reproduce", "toy"]) == 0, "the published result is found"
    assert "already computed" in capsys.readouterr().out
    assert not (project / "runs").exists()
    assert main(["gallery", "--check"]) == 1
    assert main(["gallery"]) == 0
    assert main(["gallery", "--check"]) == 0
    assert "2 of 2" in (project / "results" / "README.md").read_text()


def test_plot_by_name_and_by_folder(project, capsys):
    assert main(["run", "toy", "--smoke"]) == 0
    folder = one(project / "runs" / "toy")
    figure = (folder / "figure.png").read_bytes()
    file = project / "experiments" / "toy.py"
    file.write_text(file.read_text().replace('ylabel="mean"', 'ylabel="another mean"'))
    assert main(["plot", "toy"]) == 0
    assert "the code has changed since" in capsys.readouterr().out
    assert (folder / "figure.png").read_bytes() != figure
    assert main(["plot", f"runs/toy/{folder.name}"]) == 0
    assert main(["run", "toy", "--smoke", "--output", "elsewhere"]) == 0
    assert main(["plot", str(one(project / "elsewhere" / "toy"))]) == 0
    (folder / "data.nc").write_bytes(b"damaged")
    assert main(["plot", "toy"]) == 2
    assert "data.nc is damaged" in " ".join(capsys.readouterr().err.split())


def test_judge_asks_the_checks_of_today_of_saved_arrays(project, capsys):
    assert main(["run", "toy"]) == 0
    folder = one(project / "runs" / "toy")
    data, record = (folder / "data.nc").read_bytes(), results.verified(folder)
    file = project / "experiments" / "toy.py"
    file.write_text(file.read_text().replace("config.mean + config.is_shifted", "config.mean + 1"))
    assert main(["plot", "toy"]) == 0
    assert results.read_verdict(folder)["passed"] is True
    capsys.readouterr()
    assert main(["judge", "toy"]) == 1
    assert "FAILED" in capsys.readouterr().out
    judged = results.verified(folder)
    assert results.read_verdict(folder)["passed"] is False
    assert (folder / "data.nc").read_bytes() == data
    assert judged["source"] == record["source"] != judged["judged"]["source"]
    assert {"time", "commit", "dirty", "source"} == judged["judged"].keys()
    assert main(["run", "toy", "--smoke"]) == 0
    small = max((project / "runs" / "toy").iterdir(), key=lambda path: path.stat().st_mtime)
    assert main(["judge", str(small)]) == 0
    assert results.read_verdict(small)["passed"] is None


def test_a_file_outside_experiments_keeps_its_runs_beside_it(project, capsys):
    shutil.copyfile(TOY, project / "mine.py")
    assert main(["run", "mine.py", "--smoke"]) == 0
    folder = str(one(project / "runs" / "mine"))
    assert main(["plot", folder, "--experiments", "."]) == 0
    capsys.readouterr()
    assert main(["plot", folder]) == 2
    assert "There is no mine.py, which made runs/mine/" in " ".join(capsys.readouterr().err.split())


def test_help_of_an_experiment_names_its_fields(project, capsys):
    assert main(["run", "toy", "--help"]) == 0
    output = capsys.readouterr().out
    for expected in ("--smoke", "--output DIR", "--mean FLOAT", "mean of the draws (default: 1.0)", "--scales"):
        assert expected in output
    assert main(["run", "toy", "--smoke", "--help"]) == 0
    assert "(default: 100)" in capsys.readouterr().out
    assert not (project / "runs").exists()


@pytest.mark.slow
def test_precision_is_single_unless_asked(project):
    for flag, dtype in (([], "float32"), (["--float64"], "float64")):
        process = command("run", "toy", "--smoke", *flag)
        output, error = process.communicate()
        assert process.returncode == 0, error
        assert f"toy: smoke size, {dtype}, cpu" in output
    folders = list((project / "runs" / "toy").iterdir())
    dtypes = [json.loads((folder / "provenance.json").read_text())["dtype"] for folder in folders]
    assert sorted(dtypes) == ["float32", "float64"]


@pytest.mark.slow
def test_two_processes_on_one_result(project):
    processes = [command("run", "toy", "--smoke") for _ in range(2)]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error
    folder = one(project / "runs" / "toy")
    assert main(["plot", str(folder)]) == 0


@pytest.mark.slow
def test_killed_and_interrupted_runs_leave_what_was_there(project):
    assert main(["run", "toy", "--smoke", "--trouble", "none"]) == 0
    earlier = one(project / "runs" / "toy")
    before = {file.name: file.read_bytes() for file in earlier.iterdir()}
    for kind, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        process = command("run", "toy", "--smoke", "--trouble", "wait")
        limit = time.monotonic() + 60
        while not Path("waiting").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.05)
        Path("waiting").unlink()
        process.send_signal(kind)
        _, error = process.communicate()
        assert process.returncode == status
        assert "Traceback" not in error
        assert {file.name: file.read_bytes() for file in earlier.iterdir()} == before
    folders = set((project / "runs" / "toy").iterdir())
    assert len(folders) == 2, "what the killed process left is removed by the next one"
    interrupted = json.loads((folders - {earlier}).pop().joinpath("provenance.json").read_text())
    assert interrupted["status"] == "interrupted"


def test_help_is_wrapped_and_every_field_has_a_text(project, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    assert main(["run", "toy", "--help"]) == 0
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 70
    assert "\n\nSource: the mean <x>, by definition.\n" in output
    assert "--seed INT" in output
    assert "of all random numbers, from 0 to 2^32 - 1 (default: 0)" in " ".join(output.split())
    assert "--is_shifted, --no_is_shifted" in output
    assert main(["search", "--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()[0]) <= 80


@pytest.mark.parametrize(
    "words", [["--scales", "1,2.5"], ["--scales", "(1, 2.5)"], ["--scales=1,2.5"], ["--scales", "1", "2.5"]]
)
def test_tuples_are_written_with_commas_or_without(project, words):
    from sgdsde.experiment.config import load_experiment
    from sgdsde.experiment.flags import parsed_config

    toy = load_experiment(project / "experiments" / "toy.py")
    default = toy.config_class()
    config = parsed_config(toy, [*words, "--trouble", "none", "--mean=-1"], command="run", default=default)
    assert (config.scales, config.mean) == ((1.0, 2.5), -1.0)


def test_a_smoke_run_outlives_its_checks(project, capsys):
    assert main(["run", "toy", "--smoke", "--trouble", "checks"]) == 0
    folder = one(project / "runs" / "toy")
    told = " ".join(capsys.readouterr().out.split())
    assert "checks() could not be asked: ZeroDivisionError: the checks are broken (toy.py, line" in told
    assert results.load_result(folder).arrays["means"].shape == (2,)
    assert (folder / "figure.png").is_file()
    assert main(["run", "toy", "--trouble", "checks"]) == 3


def test_list_shows_the_whole_claim(project, capsys):
    (project / "experiments" / "wide.py").write_text('"""A claim that goes\non and ends here.\n\nMore."""')
    assert main(["list"]) == 0
    assert "wide  A claim that goes on and ends here." in capsys.readouterr().out
