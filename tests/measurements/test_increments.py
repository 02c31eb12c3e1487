"""Whitened increments: recovered exactly, their statistics against NumPy, and each way of being wrong is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sgdsde.measurements import increment_test, whitened_increments

LIMIT = 5.9
COVARIANCE = np.array([[0.5, 0.3], [0.3, 0.4]])


def steps(seed, noise, num_steps=40, num_chains=1_000):
    """x' = 0.8 x + noise(x, normals), from 0: (before, after), each (num_steps, num_chains, 2)."""
    random = np.random.default_rng(seed)
    records = [random.standard_normal((num_chains, 2))]
    for normals in random.standard_normal((num_steps, num_chains, 2)):
        records.append(0.8 * records[-1] + noise(records[-1], normals))
    return np.stack(records[:-1]), np.stack(records[1:])


def examined(before, after):
    whitened = whitened_increments(before, after, step_mean=-0.2 * before, step_covariance=COVARIANCE)
    return increment_test(before, whitened)


def scores(test):
    return {
        name: np.abs(np.asarray(value) / np.asarray(error)).max() for name, (value, error) in test._asdict().items()
    }


def root():
    values, vectors = np.linalg.eigh(COVARIANCE)
    return vectors * np.sqrt(values) @ vectors.T


def test_the_right_law_passes_in_every_statistic():
    """28 z-scores below 5.9; the cdf distance is positive and below the 1e-8 quantile of Kolmogorov's law."""
    before, after = steps(0, lambda x, n: n @ root())
    found = examined(before, after)
    measured = scores(found)
    del measured["cdf_distance"]
    assert max(measured.values()) < LIMIT, measured
    assert np.all(found.cdf_distance[0] < scipy.stats.kstwobign.isf(1e-8) / np.sqrt(40_000))


def test_each_statistic_is_numpys():
    before, after = steps(1, lambda x, n: n @ root() + 0.1 * x**2, num_steps=3, num_chains=50)
    z = np.asarray(whitened_increments(before, after, step_mean=-0.2 * before, step_covariance=COVARIANCE))
    np.testing.assert_allclose(z @ root(), after - 0.8 * before, rtol=1e-10)
    found = examined(before, after)
    mean = lambda per_chain: (per_chain.mean(0), per_chain.std(0, ddof=1) / np.sqrt(50))
    products = lambda a, b: np.einsum("rni,rnj->nij", a, b) / len(a)
    scaled = lambda x: (x - x.mean((0, 1))) / x.std((0, 1))
    expected = {
        "mean": mean(z.mean(0)),
        "covariance": mean(products(z, z) - np.eye(2)),
        "kurtosis": mean((z**4).mean(0) - 3),
        "with_position": mean(products(z, scaled(before))),
        "with_square": mean(products(z, scaled(scaled(before) ** 2))),
        "spread_with_square": mean(products((z**2 - 1) / np.sqrt(2), scaled(scaled(before) ** 2))),
        "autocorrelation": mean(products(z[:-1], z[1:])),
    }
    for name, pair in expected.items():
        np.testing.assert_allclose(getattr(found, name), pair, rtol=1e-9, atol=1e-13, err_msg=name)
    distances = [scipy.stats.kstest(z[..., i].ravel(), "norm").statistic for i in range(2)]
    np.testing.assert_allclose(found.cdf_distance[0], distances, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "noise"),
    [
        ("mean", lambda x, n: n @ root() + 0.05),
        ("covariance", lambda x, n: 1.04 * n @ root()),
        ("kurtosis", lambda x, n: np.sign(n) * np.abs(n) ** 1.5 / 1.26 @ root()),
        ("with_position", lambda x, n: (n + 0.05 * x) @ root()),
        ("with_square", lambda x, n: (n + 0.1 * (np.minimum(x**2, 4) - 1)) @ root()),
        ("spread_with_square", lambda x, n: n * np.sqrt(0.9 + 0.1 * x**2 / (x**2).mean()) @ root()),
        ("autocorrelation", lambda x, n: (n + 0.05 * np.roll(n, 1, axis=0)) @ root()),
        ("cdf_distance", lambda x, n: np.sign(n) @ root()),
    ],
)
def test_a_wrong_law_is_seen_by_its_statistic(name, noise):
    before, after = steps(2, noise)
    if name == "autocorrelation":  # consecutive noise of one chain that shares a part
        normals = np.random.default_rng(3).standard_normal((41, 1_000, 2))
        after = 0.8 * before + (normals[1:] + 0.05 * normals[:-1]) @ root()
    assert scores(examined(before, after))[name] > 8


def test_single_steps_float32_and_nan():
    before, after = steps(4, lambda x, n: n @ root(), num_steps=3, num_chains=50)
    covariances = np.broadcast_to(COVARIANCE, (3, 50, 2, 2))
    each = whitened_increments(before, after, step_mean=-0.2 * before, step_covariance=covariances)
    found = examined(before, after)
    np.testing.assert_allclose(increment_test(before, each).covariance, found.covariance)
    single = examined(jnp.asarray(before[0], jnp.float32), jnp.asarray(after[0], jnp.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {jnp.dtype(jnp.float32)}
    assert np.isnan(single.autocorrelation[0]).all()
    z = np.asarray(each[0])
    np.testing.assert_allclose(single.covariance[0], z.T @ z / 50 - np.eye(2), atol=1e-5)
    after[1, 2, 0] = np.nan
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(examined(before, after)))


def test_refusals():
    x = np.zeros((3, 50, 2))
    with pytest.raises(ValueError, match="step_mean"):
        whitened_increments(x, x, step_mean=np.zeros(2), step_covariance=COVARIANCE)
    with pytest.raises(ValueError, match="step_covariance"):
        whitened_increments(x, x, step_mean=x, step_covariance=np.eye(3))
    with pytest.raises(ValueError, match="whitened"):
        increment_test(x, x[0])
