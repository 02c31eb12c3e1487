"""Momentum variants against SciPy's Lyapunov solver on the derivative of optax's own step, and closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.linalg
from jax.flatten_util import ravel_pytree

from sgdsde.predictions import averaged_momentum_covariance, nesterov_covariance

HESSIAN = np.array([[2.0, 0.6, 0.1], [0.6, 1.1, -0.2], [0.1, -0.2, 0.5]])
NOISE = np.array([[0.7, -0.4, 0.2], [-0.4, 1.3, 0.1], [0.2, 0.1, 0.4]])  # does not commute with HESSIAN
RATE = 0.23
OPTAX = {
    nesterov_covariance: lambda mu: optax.sgd(RATE, momentum=mu, nesterov=True),
    averaged_momentum_covariance: lambda mu: optax.chain(optax.ema(mu, debias=False), optax.sgd(RATE)),
}
VARIANTS = pytest.mark.parametrize("predicted", list(OPTAX), ids=lambda function: function.__name__)


@functools.cache
def recursion(predicted, momentum):
    """z' = F z + G xi of (x, optimizer state) on the quadratic, by differentiating optax's own update."""
    transformation = OPTAX[predicted](momentum)
    with jax.numpy_dtype_promotion("standard"):
        state = transformation.init(jnp.zeros(3))
        moving, unravel = ravel_pytree([leaf for leaf in jax.tree.leaves(state) if leaf.dtype == float])

        def step(z, xi):
            leaves, rest = jax.tree.leaves(state), iter(unravel(z[3:]))
            full = jax.tree.unflatten(
                jax.tree.structure(state), [next(rest) if leaf.dtype == float else leaf for leaf in leaves]
            )
            updates, after = transformation.update(jnp.asarray(HESSIAN) @ z[:3] + xi, full, z[:3])
            kept = [leaf for leaf in jax.tree.leaves(after) if leaf.dtype == float]
            return jnp.concatenate([z[:3] + updates, ravel_pytree(kept)[0]])

        return tuple(
            np.asarray(m) for m in jax.jacobian(step, argnums=(0, 1))(jnp.zeros(3 + moving.size), jnp.zeros(3))
        )


@VARIANTS
@pytest.mark.parametrize("momentum", [0.3, 0.9])
def test_it_is_the_law_of_optax_own_recursion(predicted, momentum):
    drift, kick = recursion(predicted, momentum)
    assert np.max(np.abs(np.linalg.eigvals(drift))) < 1
    expected = scipy.linalg.solve_discrete_lyapunov(drift, kick @ NOISE @ kick.T)[:3, :3]
    found = predicted(HESSIAN, NOISE, learning_rate=RATE, momentum=momentum)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("h", "mu"), [(1.7, 0.8), (0.01, 0.9), (3.0, 0.0)])
def test_one_dimensional_closed_forms(h, mu):
    c, a = 0.6, 1 - RATE * h
    above = (1 + mu * a) * (1 + 2 * mu + 2 * mu**2) - 2 * mu * (1 + mu) ** 2 * a
    nesterov = RATE**2 * c * above / ((1 - mu * a) * (1 - a) * (1 + a + 2 * mu * a))
    options = {"learning_rate": RATE, "momentum": mu}
    np.testing.assert_allclose(nesterov_covariance(h, c, **options), nesterov, rtol=1e-9)
    averaged = RATE * c * (1 + mu) / (h * (2 * (1 + mu) - RATE * h * (1 - mu)))
    np.testing.assert_allclose(averaged_momentum_covariance(h, c, **options), averaged, rtol=1e-12)


@VARIANTS
def test_beyond_stability_concrete_values_are_refused_and_traced_ones_are_nan(predicted):
    """The limits are where the recursion's own spectral radius passes 1."""
    mu, largest = 0.5, np.linalg.eigvalsh(HESSIAN)[-1]
    limit = {nesterov_covariance: 2 * 1.5 / 2, averaged_momentum_covariance: 2 * 1.5 / 0.5}[predicted]
    drift, _ = recursion(predicted, mu)
    assert np.max(np.abs(np.linalg.eigvals(drift))) < 1
    rates = jnp.array([0.999, 1.001]) * limit / largest
    assert np.isfinite(predicted(HESSIAN, NOISE, learning_rate=float(rates[0]), momentum=mu)).all()
    with pytest.raises(ValueError, match="no stationary law"):
        predicted(HESSIAN, NOISE, learning_rate=float(rates[1]), momentum=mu)
    traced = jax.vmap(lambda rate: predicted(HESSIAN, NOISE, learning_rate=rate, momentum=mu))(rates)
    assert np.isfinite(traced[0]).all()
    assert np.isnan(traced[1]).all()
    e, one = limit, {nesterov_covariance: 1.0, averaged_momentum_covariance: 0.5}[predicted]
    if predicted is nesterov_covariance:
        step = np.array([[1 - (1 + mu) * e, -(mu**2)], [e, mu]])
    else:
        step = np.array([[1 - one * e, -mu], [one * e, mu]])
    assert np.max(np.abs(np.linalg.eigvals(step))) == pytest.approx(1)


def test_float32_is_as_good_as_its_rounding():
    drift, kick = recursion(nesterov_covariance, 0.9)
    expected = scipy.linalg.solve_discrete_lyapunov(drift, kick @ NOISE @ kick.T)[:3, :3]
    with jax.enable_x64(False):
        measured = nesterov_covariance(HESSIAN, NOISE, learning_rate=RATE, momentum=0.9)
    assert measured.dtype == jnp.float32
    np.testing.assert_allclose(measured, expected, rtol=2e-3)


@VARIANTS
def test_bad_arguments_are_named(predicted):
    for change, message in (
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"noise_covariance": np.eye(2)}, "noise_covariance: expected the shape"),
        ({"hessian": np.ones((2, 3))}, "hessian: expected a scalar or a square"),
        ({"hessian": -HESSIAN}, "positive smallest eigenvalue"),
    ):
        arguments = {"hessian": HESSIAN, "noise_covariance": NOISE, "learning_rate": RATE, "momentum": 0.5} | change
        with pytest.raises(ValueError, match=message):
            predicted(arguments.pop("hessian"), arguments.pop("noise_covariance"), **arguments)
