"""State-dependent noise is read at the start of a step (Ito), shown by the mean of one and by the stationary law.

L = h x^2/2, Sigma = a0 + b x^2: the variance is (a0/b)/(2h/(e b) - j), e = eta/B, with j = 1 for Ito, 2 for
Stratonovich, 3 for Haenggi-Klimontovich. SGD and Euler-Maruyama are Ito.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde import landscapes, match, noise, sgd
from sgdsde.predictions import explicit_transition, gaussian_noise_density, stationary_density

CURVATURE, ADDITIVE, MULTIPLICATIVE, RATE, BATCH = 1.0, 0.5, 2.0, 0.2, 2


def make(substeps):
    problem = landscapes.state_dependent(
        curvature=CURVATURE, additive=ADDITIVE, multiplicative=MULTIPLICATIVE, num_examples=16
    )
    discrete = sgd(problem, learning_rate=RATE, batch_size=BATCH, sampling="with_replacement")
    return match(discrete, noise.anisotropic, substeps=substeps)


def second_moment(substeps):
    """Exactly: E x'^2 is affine in E x^2 for this family. Normals by three-point Gauss-Hermite, exact to degree 5."""
    dynamics = make(substeps)
    nodes = np.array([-np.sqrt(3.0), 0.0, np.sqrt(3.0)])
    weights = np.array([1 / 6, 2 / 3, 1 / 6])

    def step(x, w):
        return dynamics.advance(dynamics.init(x.reshape(1)), w, 0).params[0]

    pairs = jnp.array([[a, b] for a in nodes for b in nodes])
    mass = np.outer(weights, weights).ravel()

    def after(x):
        return float(mass @ np.asarray(jax.vmap(lambda w: step(jnp.array(x), w))(pairs)) ** 2)

    constant = after(0.0)
    slope = after(1.0) - constant
    return constant / (1 - slope)


def ito(j):
    e = RATE / BATCH
    return (ADDITIVE / MULTIPLICATIVE) / (2 * CURVATURE / (e * MULTIPLICATIVE) - j)


def test_the_mean_of_a_step_carries_no_noise_induced_drift():
    dynamics = make(4)
    draws = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    after = jax.vmap(lambda w: dynamics.advance(dynamics.init(jnp.array([0.7])), w, 0).params[0])(draws)
    np.testing.assert_allclose(after.mean(), 0.7 * (1 - CURVATURE * RATE / 4), rtol=1e-13)


def test_the_stationary_variance_tends_to_itos():
    """Two resolutions extrapolated; Stratonovich would be 12 % more."""
    coarse, fine = second_moment(64), second_moment(128)
    np.testing.assert_allclose(2 * fine - coarse, ito(1), rtol=1e-4)
    assert abs(fine / ito(2) - 1) > 0.05


def test_the_kernel_solver_gives_the_same_law():
    dynamics = make(8)
    assert dynamics.substeps == 8
    covariance = lambda x: ((ADDITIVE + MULTIPLICATIVE * x[..., 0] ** 2) / BATCH)[..., None, None]
    kernel = explicit_transition(
        lambda x: CURVATURE * x, gaussian_noise_density(covariance), learning_rate=RATE, substeps=8
    )
    grid = np.linspace(-4, 4, 801)
    density = stationary_density(kernel, grid).density
    np.testing.assert_allclose(np.trapezoid(density * grid**2, grid), second_moment(8), rtol=1e-4)
