"""Functions that close over values which vmap or jvp traces: the simulation is traced with them."""

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde.checkpointing import checkpoints
from sgdsde.dynamics.minibatch import sgd
from sgdsde.problem import Problem
from sgdsde.simulation import simulate

EXAMPLES = np.array([[1.0, 0.5], [-1.0, -0.5], [0.0, 1.0], [0.0, -1.0]])
KEY = jax.random.key(20)


def example_loss(x, z):
    return x @ x + z @ x


def zeros(key):
    return jnp.zeros(2)


def identity(x):
    return x


def closed_rate(rate):
    """Observed with a schedule that closes over its rate."""
    problem = Problem(example_loss, EXAMPLES, zeros)
    dynamics = sgd(problem, learning_rate=lambda step: rate / (1.0 + step), batch_size=2, sampling="epoch")
    start = jnp.array([1.0, 2.0])
    return simulate(dynamics, start, KEY, num_steps=4, num_chains=3, observe=identity, every=2).observed


def test_a_schedule_may_close_over_a_value_that_is_traced(tmp_path):
    rates = jnp.array([0.1, 0.3])
    apart = jnp.stack([closed_rate(rate) for rate in rates])
    np.testing.assert_allclose(jax.vmap(closed_rate)(rates), apart, rtol=1e-12)
    value, slope = jax.jvp(closed_rate, (0.1,), (1.0,))
    np.testing.assert_allclose(value, apart[0], rtol=1e-12)
    np.testing.assert_allclose(slope, (closed_rate(0.1 + 1e-5) - closed_rate(0.1 - 1e-5)) / 2e-5, rtol=1e-6)
    with checkpoints(tmp_path, seconds=0):
        np.testing.assert_allclose(jax.vmap(closed_rate)(rates), apart, rtol=1e-12)


def test_an_observer_and_a_loss_may_close_over_values_that_are_traced():
    def seen(scale):
        problem = Problem(lambda x, z: scale * example_loss(x, z), EXAMPLES, zeros)
        dynamics = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
        observe = lambda x: scale * x
        return simulate(dynamics, zeros, KEY, num_steps=2, num_chains=3, observe=observe, every=1).observed

    scales = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(jax.vmap(seen)(scales), jnp.stack([seen(scale) for scale in scales]), rtol=1e-12)
