"""Euler-Maruyama: the scaling line, schemes, diffrax on the same increments."""

import dataclasses

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from sgdsde import noise
from sgdsde.dynamics.flows import diffrax_terms, gradient_flow
from sgdsde.dynamics.langevin import euler_maruyama, explicit, implicit, tamed
from sgdsde.problem import Problem, gradient

HESSIAN = np.array([[2.0, 0.3], [0.3, 0.5]])


def quadratic(x):
    return 0.5 * x @ jnp.asarray(HESSIAN, x.dtype) @ x


def make(dtype=jnp.float64):
    z = np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -0.5], [-1.0, 0.5]])
    return Problem(
        lambda x, z: quadratic(x) + z @ x, jnp.asarray(z, dtype), lambda k: jnp.zeros(2, dtype), mean_loss=quadratic
    )


@pytest.fixture(scope="module")
def problem():
    return make()


def step(dynamics, x, draws):
    return np.asarray(dynamics.advance(dynamics.init(x), draws, 0).params)


@pytest.mark.parametrize("tail_index", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("substeps", [1, 4])
def test_the_scaling_line(problem, key, tail_index, substeps):
    """x' = x - dt grad L - eta^(1-1/a) dt^(1/a) noise; at one substep eta (drift + noise) for every tail index."""
    law = noise.levy_coordinates(problem, tail_index=tail_index, scale=0.7)
    dynamics = euler_maruyama(problem, law, learning_rate=0.1, substeps=substeps)
    x, draws = jnp.array([1.0, -2.0]), dynamics.draw(key, 3, 0)
    dt = 0.1 / substeps
    expected = x - dt * HESSIAN @ x - 0.1 ** (1 - 1 / tail_index) * dt ** (1 / tail_index) * 0.7 * draws
    np.testing.assert_allclose(step(dynamics, x, draws), expected, rtol=1e-13)
    if substeps == 1:
        np.testing.assert_allclose(step(dynamics, x, draws), x - 0.1 * (HESSIAN @ x + 0.7 * draws), rtol=1e-13)


@pytest.mark.parametrize("tail_index", [0.8, 1.0, 1.5, 2.0])
def test_a_schedule_that_touches_0_stands_still_there(problem, key, tail_index):
    law = noise.levy(problem, tail_index=tail_index, scale=0.7)
    warm = euler_maruyama(problem, law, learning_rate=lambda step: 0.1 * (step > 0), substeps=4)
    even = euler_maruyama(problem, law, learning_rate=0.1, substeps=4)
    x, draws = jnp.array([1.0, -2.0]), even.draw(key, 3, 0)
    np.testing.assert_array_equal(step(warm, x, draws), x)
    later = warm.advance(warm.init(x), draws, 1).params
    np.testing.assert_allclose(later, step(even, x, draws), rtol=1e-14)


@pytest.mark.parametrize("tail_index", [1.5, 2.0])
def test_drift_and_anisotropic_noise_share_one_pass_over_the_examples(key, tail_index):
    """The same step as drift and noise apart, with a penalty; and a noise of another problem is left apart."""
    examples = jax.random.normal(jax.random.key(2), (6, 2))
    make_problem = lambda z: Problem(lambda x, z: jnp.sum(jnp.sin(x * z)), z, lambda k: jnp.zeros(2), penalty=jnp.sum)
    problem, other = make_problem(examples), make_problem(examples + 1.0)
    options = {"tail_index": tail_index, "batch_size": 2, "sampling": "without_replacement"}
    x = jnp.array([1.0, -2.0])
    for source, shares in ((problem, True), (other, False)):
        law = noise.anisotropic_levy(source, **options)
        dynamics = euler_maruyama(problem, law, learning_rate=0.1, substeps=4)
        assert dynamics.shares_pass == shares
        draws, dt = dynamics.draw(key, 3, 1), 0.1 / 4
        kick = 0.1 ** (1 - 1 / tail_index) * dt ** (1 / tail_index) * law.apply(x, draws)
        np.testing.assert_allclose(step(dynamics, x, draws), x - dt * gradient(problem, x) - kick, rtol=1e-12)


def test_the_shared_pass_survives_replacements_and_yields_to_another_drift(key):
    """Of fields: microbatches and rates keep it; a closed mean_loss or another scheme take their own drift, and the
    noise its own pass."""
    z = jax.random.normal(jax.random.key(2), (6, 2))
    problem = Problem(lambda x, z: 0.5 * x @ x + jnp.sum(jnp.sin(x * z)), z, lambda k: jnp.zeros(2))
    mean_loss = lambda x: 0.5 * x @ x + jnp.mean(jnp.sum(jnp.sin(x[None, :] * z), axis=1))
    closed = dataclasses.replace(problem, mean_loss=mean_loss)
    small, x = dataclasses.replace(problem, microbatch=4), jnp.array([1.0, -2.0])
    law = noise.anisotropic(problem, batch_size=2, sampling="with_replacement")
    dynamics = euler_maruyama(problem, law, learning_rate=0.1, substeps=2)
    draws = dynamics.draw(key, 0, 0)
    for changes, shares in (
        ({}, True),
        ({"problem": small}, True),
        ({"learning_rate": 0.2, "substeps": 4}, True),
        ({"problem": closed}, False),
        ({"scheme": tamed}, False),
    ):
        changed = dataclasses.replace(dynamics, **changes)
        assert changed.shares_pass == shares
        dt = changed.learning_rate / changed.substeps
        kick = (changed.learning_rate * dt) ** 0.5 * law.apply(x, draws)
        np.testing.assert_allclose(step(changed, x, draws), changed.scheme(problem, x, dt, kick), rtol=1e-12)


@pytest.mark.parametrize("kind", ["anisotropic", "constant", "isotropic", "diagonal"])
def test_diffrax_euler_on_the_same_increments(problem, key, kind):
    """Four steps of four substeps each; diffrax's Euler fed with sqrt(dt) times our normals agrees to 1e-12."""
    options = {
        "anisotropic": {"batch_size": 2, "sampling": "with_replacement"},
        "diagonal": {"batch_size": 2, "sampling": "without_replacement"},
        "constant": {"covariance": np.array([[1.0, 0.5], [0.5, 2.0]])},
        "isotropic": {"variance": 0.8},
    }[kind]
    dynamics = euler_maruyama(problem, getattr(noise, kind)(problem, **options), learning_rate=0.1, substeps=4)
    dt = 0.1 / 4
    state, normals = dynamics.init(jnp.array([1.0, -2.0])), []
    for count in range(16):
        normals.append(dynamics.draw(key, count // 4, count % 4))
        state = dynamics.advance(state, normals[-1], count // 4)
    path = jnp.cumsum(jnp.stack([jnp.zeros_like(normals[0]), *normals]) * np.sqrt(dt), axis=0)

    class Increments(diffrax.AbstractPath):
        t0 = 0.0
        t1 = 0.4

        def evaluate(self, t0, t1=None, left=True, use_levy=False):
            at = lambda t: path[jnp.round(t / dt).astype(int)]
            return at(t0) if t1 is None else at(t1) - at(t0)

    with jax.numpy_dtype_promotion("standard"):
        solution = diffrax.diffeqsolve(
            diffrax_terms(dynamics, Increments()), diffrax.Euler(), 0.0, 0.4, dt, jnp.array([1.0, -2.0])
        )
    np.testing.assert_allclose(state.params, solution.ys[-1], rtol=0, atol=1e-12)


def test_diffrax_takes_any_of_its_brownian_paths(problem, key):
    law = noise.anisotropic(problem, batch_size=2, sampling="with_replacement")
    dynamics = euler_maruyama(problem, law, learning_rate=0.1)
    shape = jax.eval_shape(lambda: law.draw(key))
    with jax.numpy_dtype_promotion("standard"):
        path = diffrax.VirtualBrownianTree(0.0, 1.0, 1e-3, shape=shape, key=key)
        solution = diffrax.diffeqsolve(diffrax_terms(dynamics, path), diffrax.Euler(), 0.0, 1.0, 0.01, jnp.ones(2))
    assert np.isfinite(solution.ys).all()
    with pytest.raises(ValueError, match="stable noise"):
        diffrax_terms(euler_maruyama(problem, noise.levy(problem, tail_index=1.5, scale=1.0), learning_rate=0.1), path)


def test_gradient_flow_of_a_quadratic_is_its_matrix_exponential(problem):
    times = np.array([0.5, 1.0, 3.0])
    found = gradient_flow(problem, jnp.array([1.0, -2.0]), times, rtol=1e-9, atol=1e-12)
    exact = [scipy.linalg.expm(-HESSIAN * t) @ np.array([1.0, -2.0]) for t in times]
    np.testing.assert_allclose(found, exact, atol=1e-7)
    with pytest.raises(ValueError, match="times: expected non-negative, strictly increasing"):
        gradient_flow(problem, jnp.ones(2), jnp.array([1.0, 0.5]))


def quartic_problem(dtype=jnp.float64, curvature=-1.0):
    potential = lambda x: jnp.sum(curvature * x**2 / 2 + x**4 / 4)
    z = jnp.array([[1.0, 0.5], [-1.0, -0.5]], dtype)
    return Problem(lambda x, z: potential(x) + z @ x, z, lambda k: jnp.zeros(2, dtype), mean_loss=potential)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_implicit_step_solves_its_equation(key, dtype):
    """Against Brent's method, over ordinary kicks and stable ones of any size."""
    problem = quartic_problem(dtype)
    kicks = np.concatenate([np.linspace(-3, 3, 21), [1e3, -1e6, 1e9]])
    step_of = jax.jit(lambda x, k: implicit(problem, x, 0.05, k))
    for kick in kicks:
        x = jnp.array([1.0, -0.2], dtype)
        found = step_of(x, jnp.full(2, kick, dtype))
        for coordinate in range(2):
            target = float(x[coordinate] - dtype(kick))
            equation = lambda y, r=target: y + 0.05 * (y**3 - y) - r
            size = 10 + 4 * abs(target)
            root = scipy.optimize.brentq(equation, -size, size, xtol=1e-14)
            np.testing.assert_allclose(found[coordinate], root, rtol=1e-5 if dtype == jnp.float32 else 1e-10)


def test_an_implicit_step_too_large_for_its_curvature_is_nan_not_wrong():
    problem = quartic_problem(curvature=-50.0)
    found = implicit(problem, jnp.zeros(2), 1.0, jnp.array([1e-3, 1e-3]))
    residual = found + (-50 * found + found**3) + 1e-3
    assert np.isnan(found).all() or np.abs(residual).max() < 1e-2


def test_the_tamed_step(problem):
    x, kick = jnp.array([100.0, -2.0]), jnp.array([0.1, 0.2])
    drift = HESSIAN @ x
    expected = x - 0.1 * drift / (1 + 0.1 * np.linalg.norm(drift)) - kick
    np.testing.assert_allclose(tamed(problem, x, 0.1, kick), expected, rtol=1e-13)


def test_implicit_refuses_a_drift_that_is_not_separable(problem):
    law = noise.isotropic(problem, variance=1.0)
    with pytest.raises(ValueError, match="scheme=implicit: needs a separable drift"):
        euler_maruyama(problem, law, learning_rate=0.1, scheme=implicit)
    euler_maruyama(
        quartic_problem(), noise.isotropic(quartic_problem(), variance=1.0), learning_rate=0.1, scheme=implicit
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate: expected a number > 0"),
        ({"substeps": 0}, "substeps: expected an integer >= 1"),
    ],
)
def test_wrong_arguments_are_refused_by_name(problem, options, message):
    law = noise.isotropic(problem, variance=1.0)
    with pytest.raises(ValueError, match=message):
        euler_maruyama(problem, law, **{"learning_rate": 0.1, "substeps": 1, "scheme": explicit, **options})


def test_float32_stays_float32(key):
    problem = make(jnp.float32)
    for law in (
        noise.anisotropic(problem, batch_size=2, sampling="with_replacement"),
        noise.levy(problem, tail_index=1.5, scale=0.5),
        noise.constant(problem, covariance=np.eye(2)),
    ):
        dynamics = euler_maruyama(problem, law, learning_rate=0.1)
        state = dynamics.advance(dynamics.init(jnp.ones(2, jnp.float32)), dynamics.draw(key, 0, 0), 0)
        assert state.params.dtype == jnp.float32
