"""Runs in which nothing moves because steps round to nothing: said once with the numbers, and never without cause."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.tree_util import Partial

from sgdsde import noise
from sgdsde.dynamics.exits import first_exit
from sgdsde.dynamics.langevin import euler_maruyama
from sgdsde.dynamics.minibatch import optimizer, sgd
from sgdsde.problem import Problem
from sgdsde.simulation import simulate

START = np.array([1.0, 2.0], np.float32)


def example_loss(x, z):
    return jnp.sum((x - z) ** 2)


def zeros_in_single(key):
    return jnp.zeros(2, jnp.float32)


def zeros_in_double(key):
    return jnp.zeros(2)


def identity(x):
    return x


def never(x):
    return jnp.sum(x) > 1e9


def decaying(scale, step):
    return scale / (1.0 + step)


def beginning_late(scale, step):
    return jnp.where(step < 100, 0.0, scale)


EXAMPLES = jnp.array([[1.0, 0.5], [-1.0, -0.5], [0.0, 0.25]], jnp.float32)
SINGLE = Problem(example_loss, EXAMPLES, zeros_in_single)
DOUBLE = Problem(example_loss, EXAMPLES.astype(jnp.float64), zeros_in_double)


def said(dynamics, start=START, num_steps=4):
    """The warnings of a run, one string each."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        simulate(
            dynamics, start, jax.random.key(1), num_steps=num_steps, num_chains=3, observe=identity, every=num_steps
        )
    return [str(each.message) for each in seen]


def discrete(rate, problem=SINGLE, **options):
    return sgd(problem, learning_rate=rate, batch_size=2, sampling="with_replacement", **options)


STALLING = {
    "SGD": discrete(1e-9),
    "momentum": discrete(1e-9, momentum=0.5),
    "an SDE": euler_maruyama(SINGLE, noise.isotropic(SINGLE, variance=1.0), learning_rate=1e-9, substeps=2),
    "a schedule": discrete(Partial(decaying, 1e-9)),
    "stopped": first_exit(discrete(1e-9), lambda x: jnp.sum(x) > 0),
}


@pytest.mark.parametrize("kind", STALLING)
def test_steps_that_round_to_nothing_are_said_with_their_numbers(kind):
    (sentence,) = said(STALLING[kind])
    assert sentence.startswith(
        "simulate: no parameter of any chain has moved: a step of learning_rate * |gradient of an "
    )
    # the farthest of the second coordinate's examples is at -1/2: its gradient is 2 (2 + 1/2), the largest
    size = 2 * (2 + 1 / 2) * 1e-9 * (2 if kind == "momentum" else 1)
    rounds = "at most rounds to nothing beside 2, where neighbouring numbers of float32 are 2.4e-07 apart"
    assert f"= {size:.2g} {rounds}" in sentence


@pytest.mark.parametrize("start", [1000.0, 1000.5])
@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (3e-5, "no parameter of any chain has moved"),
        (6e-5, "by more than 1 spac"),
        (1e-4, "by more than 2 spac"),
        (9e-4, "by more than 15 spac"),
    ],
)
def test_steps_of_a_few_spacings_are_said(rate, words, start):
    """Minimum at 1000, examples on either side: at 1 and 2 spacings the variance is 11 and 24 times the exact one.
    At the minimum the gradient is 0, those of the examples are not."""
    pair = Problem(
        lambda x, z: jnp.sum((x - 1000 - z) ** 2) / 2, jnp.float32([[-1.0], [1.0]]), lambda key: jnp.float32([start])
    )
    one = sgd(pair, learning_rate=rate * (2 / 3 if start == 1000.5 else 1), batch_size=1, sampling="with_replacement")
    (sentence,) = said(one, np.float32([start]), num_steps=100)
    assert words in sentence


def test_steps_of_many_spacings_are_not():
    pair = Problem(
        lambda x, z: jnp.sum((x - 1000 - z) ** 2) / 2, jnp.float32([[-1.0], [1.0]]), lambda key: jnp.float32([1000.0])
    )
    assert said(sgd(pair, learning_rate=2e-3, batch_size=1, sampling="with_replacement"), np.float32([1000.0])) == []


def test_a_rate_that_is_0_at_every_step_is_said():
    (sentence,) = said(discrete(Partial(decaying, 0.0)))
    assert "the learning rate is 0 at every step looked at" in sentence


QUIET = {
    "what moves": (discrete(1e-3), START),
    "near 0 a small step counts": (discrete(1e-9), np.zeros(2, np.float32)),
    "one coordinate that moves is enough": (discrete(1e-9), np.array([1.0, 0.0], np.float32)),
    "float64": (discrete(1e-9, DOUBLE), np.array([1.0, 2.0])),
    "stopped at once": (first_exit(discrete(0.1), never), START),
    "a warm-up that has only begun": (discrete(Partial(beginning_late, 0.1)), START),
    "an optimizer, which may rescale": (
        optimizer(SINGLE, optax.sgd(0.0), batch_size=2, sampling="with_replacement"),
        START,
    ),
}


@pytest.mark.parametrize("case", QUIET)
def test_nothing_is_said_without_cause(case):
    dynamics, start = QUIET[case]
    assert said(dynamics, start, num_steps=4 if case != "a warm-up that has only begun" else 200) == []


def test_where_no_gradient_pulls_nothing_is_said():
    flat = Problem(lambda x, z: jnp.sum(0.0 * x * z), EXAMPLES, zeros_in_single)
    assert said(discrete(0.1, flat)) == []


def test_a_schedule_whose_rates_are_0_in_the_parameters_precision_is_refused():
    with pytest.raises(ValueError, match=r"^learning_rate: 1e-42 is 0 in float32, the precision of the parameters"):
        said(discrete(Partial(decaying, 1e-42)))
    assert said(discrete(Partial(decaying, 1e-42), DOUBLE), np.zeros(2)) == []
