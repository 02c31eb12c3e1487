"""Tilts: exact covariance, the law they claim, and minibatches of them by exhaustive enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from sgdsde.dynamics.minibatch import minibatch_gradient
from sgdsde.problem import gradient, gradient_covariance
from sgdsde.problems import landscapes

COVARIANCE = np.array([[1.0, 0.4], [0.4, 0.5]])


@pytest.mark.parametrize("num_examples", [3, 50, 2000])
@pytest.mark.parametrize("tail_index", [0.7, 1.5, 3.0, None])
def test_sum_and_covariance_are_exact(num_examples, tail_index):
    if tail_index is None:
        tilts = landscapes.gaussian_tilts(COVARIANCE, num_examples)
    else:
        tilts = landscapes.heavy_tailed_tilts(COVARIANCE, num_examples, tail_index=tail_index)
    assert tilts.shape == (num_examples, 2)
    np.testing.assert_allclose(tilts.sum(axis=0) / num_examples, 0, atol=1e-13)
    np.testing.assert_allclose(tilts.T @ tilts / num_examples, COVARIANCE, atol=1e-12)


def test_sample_depends_on_size_and_law_alone():
    root = np.linalg.cholesky(COVARIANCE)
    plain = landscapes.gaussian_tilts(np.eye(2), 50)
    other = landscapes.gaussian_tilts(COVARIANCE, 50)
    rotation = np.linalg.solve(root, np.asarray(other).T) @ plain / 50
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(2), atol=1e-12)  # the same sample, up to the root's frame
    np.testing.assert_array_equal(plain, landscapes.gaussian_tilts(np.eye(2), 50))
    np.testing.assert_allclose(landscapes.heavy_tailed_tilts(np.eye(2), 50, tail_index=1e12), plain, atol=1e-9)
    traced = jax.jit(lambda c, a: landscapes.heavy_tailed_tilts(c, 50, tail_index=a))(COVARIANCE, 1.5)
    np.testing.assert_allclose(traced, landscapes.heavy_tailed_tilts(COVARIANCE, 50, tail_index=1.5), atol=1e-12)


def test_gaussian_tilts_are_gaussian():
    """False-alarm rate 1e-6; a uniform law of the same variance is 0.057 away, against the bound 0.019."""
    tilts = np.asarray(landscapes.gaussian_tilts(4.0, 20_000))[:, 0] / 2
    assert scipy.stats.kstest(tilts, "norm").statistic < 2.7 / np.sqrt(20_000)


@pytest.mark.parametrize("tail_index", [1.5, 3.0])
def test_heavy_tailed_tilts_are_slash(tail_index):
    """The law's shape, P(|z| > t) = E 2 Phi(-t u^(1/tail_index)), with the medians of |z| matched (its scale is the
    exact covariance's affair). False-alarm rate below 1e-6 at the bound
    0.0085; a normal law is 0.044 and 0.016 away."""
    tilts = np.asarray(landscapes.heavy_tailed_tilts(1.0, 100_000, tail_index=tail_index))[:, 0]
    uniform = (np.arange(4000) + 0.5) / 4000

    def below(t):
        return scipy.stats.norm.cdf(t * uniform ** (1 / tail_index)).mean()

    scale = scipy.optimize.brentq(lambda t: below(t) - 0.75, 0.1, 10) / np.median(np.abs(tilts))
    points = np.quantile(tilts, np.linspace(0.001, 0.999, 999))
    found = np.searchsorted(np.sort(tilts), points, side="right") / 100_000
    assert np.abs([below(t * scale) for t in points] - found).max() < 2.7 / np.sqrt(100_000)


def test_excess_kurtosis_of_heavy_tailed_tilts():
    """12 / (12 (12 - 4)) = 0.125 at tail index 12, with the standard error of n independent draws; normal tilts: 0."""
    heavy, normal = (
        np.asarray(tilts)[:, 0] ** 4
        for tilts in (
            landscapes.heavy_tailed_tilts(1.0, 200_000, tail_index=12.0),
            landscapes.gaussian_tilts(1.0, 200_000),
        )
    )
    for fourth, predicted in ((heavy, 3.125), (normal, 3.0)):
        assert abs(fourth.mean() - predicted) < 5.9 * fourth.std() / np.sqrt(200_000)


def test_power_tail_of_heavy_tailed_tilts():
    """Exceedances beyond t and 4 t are in the ratio 4^tail_index; Poisson errors of the counts, 5.9 of them."""
    tilts = np.abs(np.asarray(landscapes.heavy_tailed_tilts(1.0, 100_000, tail_index=1.5))[:, 0])
    threshold = np.quantile(tilts, 0.97)
    near, far = (tilts > threshold).sum(), (tilts > 4 * threshold).sum()
    assert abs(far - near / 8) < 5.9 * np.sqrt(near / 8)


@pytest.mark.parametrize("heavy", [False, True])
def test_every_minibatch_of_a_small_problem(heavy):
    """Sigma/B with replacement, Sigma/B (n - B)/(n - 1) without, over all n^B and binomial(n, B) minibatches."""
    n, B = 5, 3
    problem = landscapes.double_well(
        barrier=0.8, transverse_curvature=(1.7,), gradient_covariance=COVARIANCE, num_examples=n
    )
    if heavy:
        problem = landscapes.with_tilts(problem, landscapes.heavy_tailed_tilts(COVARIANCE, n, tail_index=1.2))
    x = jnp.array([0.6, -0.3])
    for batches, factor in (
        (itertools.product(range(n), repeat=B), 1 / B),
        (itertools.combinations(range(n), B), (n - B) / (B * (n - 1))),
    ):
        slopes = jax.jit(jax.vmap(lambda i: minibatch_gradient(problem, x, i)))(jnp.array(list(batches)))
        np.testing.assert_allclose(slopes.mean(axis=0), gradient(problem, x), rtol=1e-12)
        np.testing.assert_allclose(np.cov(slopes.T, bias=True), factor * COVARIANCE, atol=1e-12)


def test_with_tilts_replaces_examples_and_factor():
    problem = landscapes.quadratic(np.eye(2), gradient_covariance=COVARIANCE, num_examples=12)
    tilts = landscapes.heavy_tailed_tilts(3 * COVARIANCE, 40, tail_index=1.5)
    other = landscapes.with_tilts(problem, tilts)
    x = jnp.array([0.6, -0.3])
    np.testing.assert_allclose(gradient_covariance(other, x), 3 * COVARIANCE, atol=1e-12)
    np.testing.assert_allclose(other.noise_factor(x) @ other.noise_factor(x).T, 3 * COVARIANCE, atol=1e-12)
    np.testing.assert_allclose(gradient(other, x), x, rtol=1e-14)
    assert other.num_examples == 40
    traced = jax.jit(lambda t: gradient_covariance(landscapes.with_tilts(problem, t), x))(tilts)
    np.testing.assert_allclose(traced, 3 * COVARIANCE, atol=1e-12)


def test_bad_tilts_name_the_argument():
    problem = landscapes.quadratic(np.eye(2), gradient_covariance=COVARIANCE, num_examples=12)
    for tilts, message in (
        (np.ones((4, 2)), "sum to zero"),
        (np.zeros((4, 3)), "shape"),
        (np.full((4, 2), np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=f"tilts: .*{message}"):
            landscapes.with_tilts(problem, tilts)
    with pytest.raises(TypeError, match="tilts is float32"):
        landscapes.with_tilts(problem, np.zeros((4, 2), np.float32))
    state_dependent = landscapes.state_dependent(curvature=1.0, additive=1.0, multiplicative=1.0, num_examples=5)
    with pytest.raises(ValueError, match=r"problem: .*state_dependent"):
        landscapes.with_tilts(state_dependent, np.zeros((4, 2)))
    for tail_index in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="tail_index"):
            landscapes.heavy_tailed_tilts(np.eye(2), 10, tail_index=tail_index)
    with pytest.raises(ValueError, match=r"covariance: .*semi-definite"):
        landscapes.gaussian_tilts(-np.eye(2), 10)
    with pytest.raises(ValueError, match=r"num_examples: .*at least 3"):
        landscapes.gaussian_tilts(np.eye(2), 2)
