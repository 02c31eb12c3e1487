"""Noise of the modes of a small deep linear network, every day; `test_modes` has larger ones."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde import deep_linear, observables


def test_noise_of_one_mode_of_a_chain_by_hand():
    """f = w2 w1 x: with r = (w2 w1 x - y) x, the gradients are (w2 r, w1 r), and the rate of u = w2 w1 moves by
    (w2^2 + w1^2) r, whose variance has the square of the squared length."""
    inputs, targets = np.array([[1.0], [-2.0], [0.5], [3.0]]), np.array([[1.0], [0.0], [-1.0], [2.5]])
    first, second = 0.7, -1.3
    params = (jnp.full((1, 1), first), jnp.full((1, 1), second))
    problem = deep_linear.linear_network(
        inputs, targets, start=deep_linear.random_start((1, 1, 1), standard_deviation=1.0)
    )
    variance = np.var((second * first * inputs - targets) * inputs)
    length = first**2 + second**2
    bases = (jnp.ones((1, 1)),) * 3
    for each in (problem, dataclasses.replace(problem, noise_factor=None)):
        found = jax.jit(observables.mode_noise)(each, bases, params)
        np.testing.assert_allclose(found["weights"], [length * variance], rtol=1e-12)
        np.testing.assert_allclose(found["strength"], [length**2 * variance], rtol=1e-12)
