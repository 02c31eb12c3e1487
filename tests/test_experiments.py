"""Every experiment at smoke size in one process, through the runner; and the committed results."""

import dataclasses
import json
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.stats

from sgdsde.cli import main
from sgdsde.experiment.config import load_experiment
from sgdsde.measurements.stable_law import distribution_function

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))
COMPUTED = [file for file in EXPERIMENTS if (ROOT / "results" / file.stem).exists()]
"""at full size; the others run, but nobody has seen yet what they find"""
SINGLE = [file for file in EXPERIMENTS if "\nSWEEP = " not in file.read_text()]
"""those with a SWEEP always run traced"""


@pytest.fixture(autouse=True)
def ordinary_promotion():
    """An experiment is run as a user runs it: JAX's own rules of promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_it_runs_at_smoke_size_and_is_not_judged(file, tmp_path, capsys):
    assert main(["run", str(file), "--smoke", "--output", str(tmp_path)]) == 0
    (folder,) = (tmp_path / file.stem).iterdir()
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["passed"] is None
    assert "check_failure" not in verdict
    assert len(verdict["checks"]) >= 8
    assert (folder / "figure.png").stat().st_size > 10_000
    assert "not judged" in capsys.readouterr().out


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_it_says_source_command_what_to_see_and_what_it_does_not_say(file):
    text = file.read_text()
    words = ("What it does not say:",) if "\nSEE = " in text else ("minute", "One should see")
    for word in ("Source:", f"sgdsde reproduce {file.stem}", *words):
        assert word in text.split('"""')[1]


@pytest.mark.parametrize("file", COMPUTED, ids=lambda file: file.stem)
def test_the_committed_result_passed_and_came_from_a_clean_tree(file):
    folder = ROOT / "results" / file.stem
    verdict = json.loads((folder / "verdict.json").read_text())
    provenance = json.loads((folder / "provenance.json").read_text())
    assert verdict["passed"] is True
    assert verdict["smoke"] is False
    assert provenance["dirty"] is False
    assert all(np.isfinite(float(check["measured"])) for check in verdict["checks"])
    assert (folder / "data.nc").stat().st_size < 1_000_000


def traced(experiment):
    """What a sweep calls, (key, floats) -> arrays, and the floats of the smoke size."""
    config = experiment.smoke
    kinds = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    is_float = lambda value: isinstance(value, float) or (isinstance(value, tuple) and isinstance(value[0], float))
    floats = {name: value for name, value in kinds.items() if is_float(value)}
    return lambda key, floats: experiment.run(dataclasses.replace(config, **floats), key), floats


@pytest.mark.slow
@pytest.mark.parametrize("file", SINGLE, ids=lambda file: file.stem)
def test_it_can_be_swept(file):
    """Floats of the Config and seeds are traced, integers are compiled; nothing is computed here."""
    experiment = load_experiment(file)
    run, floats = traced(experiment)
    arrays = jax.eval_shape(run, jax.random.key(0), floats)
    assert {name: len(dimensions) for name, dimensions in experiment.dimensions.items()} == {
        name: array.ndim for name, array in arrays.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["double_well_gibbs", "grokking_mlp"])
def test_a_run_under_jit_and_vmap_with_traced_floats_is_the_same_run(name):
    """SGD and its SDEs in two dimensions, and a network."""
    experiment = load_experiment(ROOT / "experiments" / f"{name}.py")
    run, floats = traced(experiment)
    keys = jax.random.split(jax.random.key(0), 2)
    together = jax.jit(jax.vmap(run, in_axes=(0, None)))(keys, floats)
    alone = experiment.run(experiment.smoke, keys[1])
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(together[name][1], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_noises_of_equal_interquartile_range_have_the_quartiles_of_gauss_and_cauchy():
    upper_quartile = runpy.run_path(str(ROOT / "experiments" / "levy_against_gaussian.py"))["upper_quartile"]
    np.testing.assert_allclose(upper_quartile(2.0), scipy.stats.norm.ppf(0.75, scale=np.sqrt(2)), rtol=1e-6)
    np.testing.assert_allclose(upper_quartile(1.0), 1.0, rtol=1e-4)
    np.testing.assert_allclose(distribution_function(float(upper_quartile(1.3)), 1.3), 0.75, atol=1e-6)
