"""What was answered by another library's words, or in silence, at the doors of the package: now by a sentence."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgdsde import noise
from sgdsde.checkpointing import checkpoints
from sgdsde.comparison import compare
from sgdsde.dynamics.exits import first_exit
from sgdsde.dynamics.matching import match
from sgdsde.dynamics.minibatch import optimizer, sgd
from sgdsde.problem import Problem, gradient
from sgdsde.simulation import simulate

KEY = jax.random.key(4)
EXAMPLES = np.array([[1.0, 0.5], [-1.0, -0.5], [0.0, 1.0], [0.0, -1.0]])


def example_loss(x, z):
    return x @ x + z @ x


def zeros(key):
    return jnp.zeros(2)


def zeros_in_single(key):
    return jnp.zeros(2, jnp.float32)


def identity(x):
    return x


def branching(x):
    return x[0] > 0 and x[1] > 0


def enter(folder, **options):
    with checkpoints(folder, **options):
        pass


PROBLEM = Problem(example_loss, EXAMPLES, zeros)
SGD = sgd(PROBLEM, learning_rate=0.1, batch_size=2, sampling="with_replacement")
DRAWN = {"batch_size": 2, "sampling": "with_replacement"}
RUN = {"learning_rate": 0.1, "num_steps": 4, "num_chains": 4} | DRAWN
matched = lambda at: match(SGD, noise.isotropic, substeps=1, at=at)

REFUSED = {
    "a region that branches": (
        lambda: first_exit(SGD, branching), TypeError, "inside: branching (test_doors.py, line",
    ),
    "whole params": (lambda: matched(jnp.array([1, 2])), TypeError, "at: expected float64 as problem.init gives, got"),
    "complex params": (lambda: matched(jnp.array([1j, 2.0])), TypeError, "at: expected float64 as problem.init gives"),
    "params that are NaN": (lambda: matched(jnp.array([jnp.nan, 1.0])), ValueError, "at: contains NaN or inf"),
    "a gradient at whole params": (lambda: gradient(PROBLEM, jnp.array([1, 2])), TypeError, "params: expected float64"),
    "a complex rate": (
        lambda: optimizer(PROBLEM, optax.sgd(0.1j), **DRAWN), TypeError, "transformation: its updates are complex",
    ),
    "a time as text": (lambda: enter("runs", seconds="1"), TypeError, "seconds: expected a number >= 0"),
    "no folder": (lambda: enter(""), TypeError, "folder: expected the name of a folder"),
    "a number for a folder": (lambda: enter(3), TypeError, "folder: expected the name of a folder"),
    "a list for examples": (
        lambda: Problem(example_loss, [1.0, 2.0], zeros), ValueError,
        "Problem.examples: every array needs the same leading axis num_examples >= 1, but examples[0] is a scalar, "
        "examples[1] is a scalar; a list or tuple is a pytree of its entries, so write jnp.array([...])",
    ),
    "many keys": (lambda: compare(PROBLEM, jax.random.split(KEY, 3), **RUN), TypeError, "key: expected one key, got 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_by_name(case):
    call, kind, message = REFUSED[case]
    with jax.numpy_dtype_promotion("standard"), pytest.raises(kind, match=f"^{re.escape(message)}"):
        call()


def test_an_endless_time_between_checkpoints_is_one(tmp_path):
    enter(tmp_path, seconds=np.inf)


def run_in_single(start, num_chains):
    problem = Problem(example_loss, EXAMPLES.astype(np.float32), zeros_in_single)
    dynamics = sgd(problem, learning_rate=0.1, **DRAWN)
    return simulate(dynamics, start, KEY, num_steps=1, num_chains=num_chains, observe=identity, every=1)


def test_what_rounding_takes_from_a_start_in_float64_is_said(ordinary_settings, recwarn):
    cast = "start: float64 is cast to float32, because jax_enable_x64 is off"
    with pytest.raises(ValueError, match=rf"^{cast}, and numbers like 1e\+300 do not fit"):
        run_in_single(np.array([1e300, 1.0]), 2)
    run_in_single(np.array([0.1, 1 / 3]), 2)
    run_in_single(np.array([[0.1, 1 / 3], [0.2, 2 / 3]]), 2)
    assert not [each for each in recwarn.list if str(each.message).startswith("start")]
    with pytest.warns(UserWarning, match=rf"^{cast}, which rounds numbers by up to 0\.00039 where .* over 0\.5; shift"):
        run_in_single(np.array([[1e4 + 0.1, 1.0], [1e4 + 0.6, 2.0]]), 2)
