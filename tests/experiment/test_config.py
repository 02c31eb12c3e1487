"""Loading an experiment file, and what its Config accepts."""

import dataclasses
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from sgdsde.experiment import ExperimentError
from sgdsde.experiment.config import (
    changed,
    config_as_dict,
    content_hash,
    load_experiment,
    reason,
    source_hash,
)
from sgdsde.experiment.runner import identity_of
from sgdsde.experiment.sources import imported_files


def test_loads(toy):
    assert toy.name == "toy"
    assert toy.smoke.num_draws == 100
    assert toy.dimensions == {"means": ("scale",), "errors": ("scale",)}
    assert toy.description.startswith("The mean of normal draws")


def test_an_edit_within_the_same_second_is_seen(project, monkeypatch):
    """Python's bytecode of a file is fresh by its size and the second of its change."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = project / "experiments" / "toy.py"
    for number in ("100_000", "200_000"):
        file.write_text(file.read_text().replace("num_draws: int = 100_000", f"num_draws: int = {number}"))
        os.utime(file, (1e9, 1e9))
        assert load_experiment(file).config_class().num_draws == int(number)


def test_integers_become_floats_where_floats_are_meant(toy):
    config = changed(toy.config_class(), {"mean": 2, "scales": [1, np.float32(2)], "num_draws": np.int64(7)})
    assert (config.mean, config.scales, config.num_draws) == (2.0, (1.0, 2.0), 7)
    assert type(config.mean) is float
    assert type(config.scales[0]) is float
    assert type(config.num_draws) is int
    assert changed(config, config_as_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"maen": 1.0}, "no field `maen`. Did you mean `mean`?"),
        ({"num_draw": 1}, "Did you mean `num_draws`?"),
        ({"mean": "1"}, "mean: expected a number, got '1'"),
        ({"mean": True}, "mean: expected a number, got True"),
        ({"mean": float("nan")}, "mean: expected a finite number"),
        ({"scales": (1.0, float("inf"))}, r"scales\[1\]: expected a finite number"),
        ({"scales": 1.0}, "scales: expected a tuple"),
        ({"scales": ()}, "scales: expected at least one value"),
        ({"num_draws": 1.0}, "num_draws: expected a whole number, got 1.0"),
        ({"num_draws": True}, "num_draws: expected a whole number"),
        ({"is_shifted": 1}, "is_shifted: expected True or False"),
        ({"trouble": "nonne"}, "trouble: got 'nonne'. Did you mean `none`?"),
    ],
)
def test_a_wrong_value_is_named(toy, values, message):
    with pytest.raises(ExperimentError, match=message):
        changed(toy.config_class(), values)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SMOKE = Config(num_draws=100)", "", "defines no `SMOKE`"),
        ("SMOKE = Config(num_draws=100)", "SMOKE = {}", "SMOKE must be a Config"),
        ("def plot", "def plott", "defines no `plot`"),
        ("@dataclass(frozen=True)", "@dataclass", r"decorated with @dataclass\(frozen=True\)"),
        ("mean: float = 1.0", "mean: list = None", "Config.mean is annotated .*list"),
        ("mean: float = 1.0", "mean: float | None = None", "Config.mean is annotated"),
        ("mean: float = 1.0", "mean: float = 'x'", "mean: expected a number"),
        ("mean: float = 1.0", "device: float = 1.0", "Config.device is a flag of the command"),
        ("    seed: int = 0", "", "needs a field `seed: int = 0`"),
        ("def run(", "def run)(", "SyntaxError"),
        ("class Config:", "class Config:\n    first: float", "cannot be imported: TypeError: .*'first'"),
        ("SMOKE = ", "STEP = 1 / 0\nSMOKE = ", r"ZeroDivisionError: division by zero \(toy.py, line \d+\)"),
        ("SMOKE = ", "GRID = jnp.ones(3)\nSMOKE = ", "makes a JAX array at import: `GRID`"),
        ("DIMENSIONS = {", "DIMENSIONS = {1} #", "DIMENSIONS must be a dictionary"),
    ],
)
def test_a_file_that_breaks_the_contract_is_explained(project, old, new, message):
    file = project / "experiments" / "toy.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ExperimentError, match=message):
        load_experiment(file)


def test_a_check_of_the_files_own_becomes_a_readable_error(project):
    file = project / "experiments" / "toy.py"
    file.write_text(
        file.read_text().replace(
            "    seed: int = 0\n",
            "    seed: int = 0\n\n    def __post_init__(self):\n        if self.mean < 0:\n"
            "            raise ValueError('mean must not be negative')\n",
        )
    )
    with pytest.raises(ExperimentError, match="mean must not be negative"):
        changed(load_experiment(file).config_class(), {"mean": -1})


def test_annotations_may_be_strings(project):
    file = project / "experiments" / "toy.py"
    text = file.read_text()
    file.write_text(text.replace("import time", "from __future__ import annotations\n\nimport time", 1))
    assert changed(load_experiment(file).config_class(), {"mean": 2}).mean == 2.0


def test_the_hash_sees_config_and_code(toy):
    source = source_hash(toy.file)
    base = content_hash(source, config=config_as_dict(toy.config_class()), smoke=False)
    for field, value in {"mean": 1.5, "seed": 1, "scales": (1.0,)}.items():
        other = config_as_dict(changed(toy.config_class(), {field: value}))
        assert content_hash(source, config=other, smoke=False) != base
    assert content_hash(source, config=config_as_dict(toy.config_class()), smoke=True) != base
    toy.file.write_text(toy.file.read_text() + "\n# changed\n")
    assert source_hash(toy.file) != source


def test_an_experiment_is_immutable(toy):
    with pytest.raises(dataclasses.FrozenInstanceError):
        toy.name = "other"


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64, 10**400])
def test_seeds_do_not_wrap(toy, seed):
    with pytest.raises(ExperimentError, match=r"seed: expected a whole number from 0 to 4,294,967,295"):
        changed(toy.config_class(), {"seed": seed})
    keys = [jax.random.key_data(jax.random.key(each)).tolist() for each in (0, 1, 2**31, 2**32 - 1)]
    assert len({tuple(key) for key in keys}) == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": 10**400}, "mean: expected a finite number, got a number of more than 308 digits"),
        ({"num_draws": 2**63}, "num_draws: expected a whole number of at most 18 digits"),
        ({"scales": [10**400]}, "finite number"),
    ],
)
def test_numbers_that_nothing_holds(toy, values, message):
    with pytest.raises(ExperimentError, match=message):
        changed(toy.config_class(), values)


def test_the_hash_sees_the_modules_that_the_experiment_imports(toy, project, monkeypatch):
    monkeypatch.syspath_prepend(str(project))
    helping, inner = project / "experiments" / "helping.py", project / "mine" / "inner.py"
    inner.parent.mkdir()
    (inner.parent / "__init__.py").write_text("from .inner import second\n")
    inner.write_text("import numpy, json, nowhere_at_all\nsecond = 2\n")
    helping.write_text("def first():\n    from mine import second\n    return second\n")
    alone = source_hash(toy.file)
    toy.file.write_text(toy.file.read_text() + "\n\ndef later():\n    from experiments.helping import first\n")
    assert imported_files(toy.file).keys() == {"experiments.helping", "mine", "mine.inner"}
    hashes = [alone, source_hash(toy.file)]
    for file in (helping, inner, inner.parent / "__init__.py"):
        file.write_text(file.read_text() + "third = 3\n")
        hashes.append(source_hash(toy.file))
    assert len(set(hashes)) == 5


def test_the_identity_sees_the_generator_of_random_numbers(toy):
    found = set()
    for name in ("threefry2x32", "rbg"):
        with jax.default_prng_impl(name):
            found.add(identity_of(toy, config=config_as_dict(toy.config_class())))
    with jax.threefry_partitionable(False):
        found.add(identity_of(toy, config=config_as_dict(toy.config_class())))
    assert len(found) == 3


def test_a_setting_of_jax_that_is_none_is_no_fault_of_the_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import jax\n")
    script = (
        f"from pathlib import Path; from sgdsde.experiment.config import load_experiment as f; f(Path({str(file)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"JAX_ENABLE_X64": "bogus"}, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1]
    assert "JAX cannot be imported: invalid truth value 'bogus' for environment 'JAX_ENABLE_X64'. Mend or unset" in last


def test_what_jax_says_of_a_branch_is_said_with_the_way_out(tmp_path):
    import jax

    file = tmp_path / "branching.py"
    file.write_text("def run(x):\n    if x > 0:\n        return x\n")
    names: dict = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    with pytest.raises(jax.errors.TracerBoolConversionError) as caught:
        jax.make_jaxpr(names["run"])(1.0)
    assert reason(caught.value, file) == (
        "TracerBoolConversionError: branches on a value that is not known yet; write the branch as jnp.where or "
        "jax.lax.cond (branching.py, line 2)"
    )
