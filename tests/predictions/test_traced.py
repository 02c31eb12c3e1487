"""A sweep never returns a number for an argument that would be refused: what is refused where it is known is NaN where
it is traced. Every argument of every prediction that can be traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype.roar import BeartypeException

from tests.wrong_inputs.fuzz import right_answer
from tests.wrong_inputs.of_predictions import CALLS

WRONG = [
    lambda right: right,  # of which the answer has no NaN
    lambda right: -right,
    lambda right: 0 * right,
    lambda right: right + 0.3,
    lambda right: 0 * right + 2.5,
    lambda right: 0 * right + 1e30,
    lambda right: np.full_like(right, np.inf),
    lambda right: np.full_like(right, np.nan),
]
MENDED = {
    "basin_occupations", "gibbs_density", "label_noise_covariance", "levy_escape_rate", "levy_quartic_tail",
    "neuron_collapse_learning_rate", "noisy_quadratic_moments", "sde_angular_momentum", "sde_entropy_production",
    "sgd_covariance", "state_dependent_sgd_variance", "steps_to_loss", "temperature",
}  # fmt: skip
NUMERIC = [
    pytest.param(name, argument, marks=() if name in MENDED else pytest.mark.slow)
    for name, (_, right) in CALLS.items()
    for argument, value in right.items()
    if isinstance(value, int | float | np.ndarray) and np.asarray(value).dtype != bool
]


def is_refused(function, options):
    try:
        right_answer(function, options)
    except (TypeError, ValueError):
        return True
    return False


def traced_answers(function, options, argument, values):
    """The numbers of the answers, the values along their first axis; None if the argument cannot be traced."""
    answers = jax.jit(jax.vmap(lambda value: numbers_of(function(**options | {argument: value}))))
    try:
        return [np.asarray(leaf) for leaf in answers(jnp.asarray(values))]
    except (TypeError, BeartypeException):
        return None


def numbers_of(result):
    return [leaf for leaf in jax.tree.leaves(result) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]


@pytest.mark.parametrize(("name", "argument"), NUMERIC)
def test_what_is_refused_is_nan_where_it_is_traced(name, argument):
    function, right = CALLS[name]
    values = np.stack([wrong(np.asarray(right[argument], float)) for wrong in WRONG])
    found = traced_answers(function, right, argument, values)
    if found is None:  # whole numbers that are shapes, and what runs on the host
        assert name not in ("temperature", "sgd_covariance")
        return
    is_nan = np.any([np.isnan(leaf.reshape(len(values), -1)).any(axis=1) for leaf in found], axis=0)
    assert not is_nan[0]
    for value, answered in zip(values, ~is_nan, strict=True):
        refused = is_refused(function, right | {argument: value if value.ndim else float(value)})
        assert not (answered and refused), value
