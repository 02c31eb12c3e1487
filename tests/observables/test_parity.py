"""Progress measures on networks whose answers are known: an explicit parity, a random start, one that cannot see."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import observables, parity, sgd, simulate
from sgdsde.problem import loss

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

NUM_BITS = 7
RELEVANT = (1, 4, 5)


def explicit_parity(relevant, num_bits, dtype=jnp.float64):
    """The parity of k bits as k + 1 neurons of the sum s of the relevant bits: the piecewise linear function through
    (s, (-1)^((k - s)/2)) at s = -k, -k + 2, ..., k."""
    k = len(relevant)
    knots = np.arange(-k, k + 2, 2)
    values = (-1.0) ** ((k - knots) // 2)
    slopes = np.diff(values) / 2
    turns = np.diff(slopes, prepend=0)
    weights = np.zeros((num_bits, k + 1))
    weights[list(relevant), :k] = 1
    return {
        "hidden_weights": jnp.asarray(weights, dtype),
        "hidden_biases": jnp.asarray([*(-knots[:-1]), 1.0], dtype),
        "output_weights": jnp.asarray([*turns, 0.0], dtype),
        "output_bias": jnp.asarray(values[0], dtype),
    }


@pytest.mark.parametrize(
    ("relevant", "dtype"), [((2,), jnp.float64), (RELEVANT, jnp.float64), (RELEVANT[::-1], jnp.float32)]
)
def test_explicit_parity_is_right_everywhere(relevant, dtype):
    """Accuracy 1, coefficient 1 and loss 0: f is the parity itself. Any other set of bits has the coefficient 0."""
    params = explicit_parity(relevant, NUM_BITS, dtype)
    inputs = jnp.asarray(list(itertools.product((1.0, -1.0), repeat=NUM_BITS)), dtype)
    labels = np.prod(np.asarray(inputs)[:, list(relevant)], axis=1)
    np.testing.assert_array_equal(parity.outputs(params, inputs), labels)
    assert observables.accuracy(parity.outputs, inputs, labels > 0, params) == 1
    assert observables.parity_coefficient(relevant, inputs, params) == 1
    assert observables.parity_coefficient((*relevant[1:], 6), inputs, params) == 0
    assert observables.relevant_weight_share(relevant, params) == 1
    assert observables.relevant_weight_share(relevant, params).dtype == dtype


def test_its_loss_is_zero():
    problem, examples = parity.complete_parity(num_bits=NUM_BITS, relevant=RELEVANT, width=len(RELEVANT) + 1)
    assert loss(problem, explicit_parity(RELEVANT, NUM_BITS)) == 0
    assert len(examples["labels"]) == 2**NUM_BITS


def test_measures_against_numpy(key):
    problem, test = parity.sparse_parity(
        key, num_bits=NUM_BITS, relevant=RELEVANT, width=50, num_examples=30, num_test_examples=40
    )
    params = problem.init(key)
    hidden = np.asarray(params["hidden_weights"])
    share = (hidden[list(RELEVANT)] ** 2).sum() / (hidden**2).sum()
    np.testing.assert_allclose(observables.relevant_weight_share(RELEVANT, params), share, rtol=1e-12)
    coefficient = np.mean(np.asarray(parity.outputs(params, test["inputs"])) * np.asarray(test["labels"]))
    found = observables.parity_coefficient(RELEVANT, test["inputs"], params)
    np.testing.assert_allclose(found, coefficient, rtol=1e-12)
    moved = params | {"hidden_weights": params["hidden_weights"].at[2, 3].add(-0.25).at[1, 1].add(0.125)}
    np.testing.assert_allclose(observables.largest_movement(params, moved), 0.25, rtol=1e-12)


def test_a_network_without_relevant_weights_has_no_coefficient(key):
    """Half the inputs of every pair that differ in one relevant bit have the other label, so that the mean is 0."""
    problem, examples = parity.complete_parity(num_bits=NUM_BITS, relevant=RELEVANT, width=20)
    params = problem.init(key)
    params = params | {"hidden_weights": params["hidden_weights"].at[RELEVANT[0]].set(0)}
    found = observables.parity_coefficient(RELEVANT, examples["inputs"], params)
    np.testing.assert_allclose(found, 0, atol=1e-14)


def test_progress_while_a_network_learns(key):
    """Two bits of six. Once the hinge loss is zero everywhere, every y f >= 1, so the coefficient is at least 1."""
    relevant = (0, 3)
    problem, examples = parity.complete_parity(num_bits=6, relevant=relevant, width=40)
    dynamics = sgd(problem, learning_rate=0.1, batch_size=16, sampling="with_replacement")
    start = problem.init(key)
    inputs, labels = examples["inputs"], examples["labels"]
    watched = {
        "loss": observables.observer(observables.mean_example_loss, problem, examples),
        "share": observables.observer(observables.relevant_weight_share, relevant),
        "coefficient": observables.observer(observables.parity_coefficient, relevant, inputs),
        "movement": observables.observer(observables.largest_movement, start),
        "accuracy": observables.observer(observables.accuracy, parity.outputs, inputs, labels > 0),
    }
    observe = observables.observer(observables.all_of, watched)
    run = simulate(dynamics, start, key, num_steps=600, num_chains=2, observe=observe, every=300)
    last = {name: values[-1] for name, values in run.observed.items()}
    assert (last["loss"] == 0).all()
    assert (last["accuracy"] == 1).all()
    assert (last["coefficient"] >= 1).all()
    assert (last["share"] > 1.2 * observables.relevant_weight_share(relevant, start)).all()
    assert (last["movement"] > 0.1).all()
