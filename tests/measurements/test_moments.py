"""Means and covariances: tiny arrays by hand, NumPy, the literal jackknife, then coverage over many small ensembles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from sgdsde.measurements import covariance, fraction, mean, whitened_deviation, whitened_deviation_of_groups

LIMIT = 5.9  # false-alarm rate of one comparison: 4e-9


def autoregressive(seed, num_chains, num_samples, coefficient, factor):
    """Stationary x' = coefficient x + noise with covariance factor factor^T, samples (num_chains, num_samples, d)."""
    normals = np.random.default_rng(seed).standard_normal((num_samples, num_chains, len(factor))) @ factor.T
    samples = [normals[0]]
    for noise in normals[1:]:
        samples.append(coefficient * samples[-1] + np.sqrt(1 - coefficient**2) * noise)
    return np.stack(samples, axis=1)


def enlargement(num_chains, num_entries=1):
    """5.9 enlarged errors of the chi-square quantile's variance reach the true one."""
    rare = chi2.ppf(5e-7 / num_entries, num_chains) / num_chains
    return max(1, (1 / rare - 1) / (LIMIT * np.sqrt(2 / num_chains)))


def test_fraction_by_hand():
    assert fraction(np.array([True, False, True, True])) == pytest.approx((0.75, np.sqrt((4 / 6) * (2 / 6) / 4)))
    assert fraction(np.zeros(16, bool)) == pytest.approx((0.0, np.sqrt((1 / 18) * (17 / 18) / 16)))
    for flags in (np.zeros((2, 2), bool), np.zeros(0, bool), np.array(True)):
        with pytest.raises(ValueError, match="flags: expected shape"):
            fraction(flags)


def test_mean_by_hand():
    estimate, error = mean(np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 2.0]]))
    np.testing.assert_allclose(estimate, [3, 2])
    np.testing.assert_allclose(error, [2 / np.sqrt(3), 0])


def test_mean_averages_within_a_chain_first():
    samples = np.random.default_rng(0).standard_normal((5, 7, 2))
    estimate, error = mean(samples, sample_axis=1)
    chains = samples.mean(axis=1)
    np.testing.assert_allclose(estimate, chains.mean(axis=0))
    np.testing.assert_allclose(error, chains.std(axis=0, ddof=1) / np.sqrt(5))
    np.testing.assert_allclose(mean(np.moveaxis(samples, 1, -1), sample_axis=-1)[1], error)


def test_mean_of_occupations_counts_booleans():
    estimate, error = mean(np.array([True, True, False, False]))
    np.testing.assert_allclose((estimate, error), (0.5, np.sqrt(1 / 3 / 4)))


def test_mean_error_of_autocorrelated_chains():
    """AR(1), coefficient a: N Var = ((1 + a)/(1 - a) - 2a(1 - a^M)/(M (1 - a)^2))/M. 2,000 chains know it to 1.6 %.

    The formula for independent samples, 1/M, is too small by a factor 2.6: 38 standard errors.
    """
    num_chains, num_samples, a = 2_000, 50, 0.8
    samples = autoregressive(1, num_chains, num_samples, a, np.eye(1))
    estimate, error = mean(samples[..., 0], sample_axis=1)
    variance = ((1 + a) / (1 - a) - 2 * a * (1 - a**num_samples) / (num_samples * (1 - a) ** 2)) / num_samples
    relative = float(error) / np.sqrt(variance / num_chains) - 1
    assert abs(relative) < LIMIT / np.sqrt(2 * num_chains)
    assert abs(float(estimate)) < LIMIT * float(error)


def test_covariance_matches_numpy_for_one_sample_a_chain():
    samples = np.random.default_rng(2).standard_normal((10, 2)) + 5
    np.testing.assert_allclose(covariance(samples)[0], np.cov(samples.T), rtol=1e-12)
    products = np.einsum("ni,nj->nij", samples - 5, samples - 5)
    estimate, error = covariance(samples, center=np.full(2, 5.0))
    np.testing.assert_allclose(estimate, products.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(error / enlargement(10), products.std(axis=0, ddof=1) / np.sqrt(10), rtol=1e-9)
    many = np.random.default_rng(2).standard_normal((800, 1))  # from 700 chains on nothing is added
    assert covariance(many, center=np.zeros(1))[1] == pytest.approx(np.std(many**2, ddof=1) / np.sqrt(800), rel=1e-13)


@pytest.mark.parametrize("num_samples", [1, 4])
def test_covariance_with_estimated_mean_is_the_u_statistic_and_its_jackknife(num_samples):
    """Literal: average of x x^T within chains minus that of m_i m_k^T over different chains; leave each chain out."""
    samples = np.random.default_rng(3).standard_normal((6, num_samples, 2)) @ np.array([[1.0, 0.4], [0, 2]]) + 3

    def u_statistic(chains):
        averages = chains.mean(axis=1)
        number = len(chains)
        inside = np.einsum("nmi,nmj->ij", chains, chains) / (number * num_samples)
        pairs = [np.outer(averages[i], averages[k]) for i in range(number) for k in range(number) if i != k]
        return inside - np.mean([(pair + pair.T) / 2 for pair in pairs], axis=0)

    left_out = np.array([u_statistic(np.delete(samples, i, axis=0)) for i in range(6)])
    jackknife = np.sqrt(5 * np.var(left_out, axis=0))
    estimate, error = covariance(samples)
    np.testing.assert_allclose(estimate, u_statistic(samples), rtol=1e-12)
    np.testing.assert_allclose(error / enlargement(6), jackknife, rtol=1e-9)


@pytest.mark.parametrize("known", [True, False])
def test_covariance_is_unbiased_and_its_error_right_for_few_autocorrelated_chains(known):
    """5,000 ensembles of 6 chains x 3 correlated samples, with the error before it is enlarged.

    A divisor N M instead of the unbiased one is 11 % off: 15 standard errors here. The average squared error must be
    the variance of the estimate (known center: unbiased; jackknife: up to 1/N too large).
    """
    factor = np.array([[1.0, 0.0], [0.8, 0.6]])
    samples = autoregressive(4, 5_000 * 6, 3, 0.7, factor).reshape(5_000, 6, 3, 2)
    center = jnp.zeros(2) if known else None
    estimates, errors = jax.vmap(lambda x: covariance(x, center=center))(jnp.asarray(samples))
    across, across_error = mean(estimates)
    assert np.all(np.abs(across - factor @ factor.T) < LIMIT * across_error)
    if not known:
        plain = mean(jax.vmap(lambda x: jnp.cov(x.reshape(-1, 2).T, ddof=0))(jnp.asarray(samples)))[0]
        assert np.all(np.abs(plain - factor @ factor.T) > 10 * across_error)
    spread = np.var(estimates, axis=0, ddof=1)
    reported, reported_error = mean((errors / enlargement(6)) ** 2)
    slack = LIMIT * (np.asarray(reported_error) + spread * np.sqrt(12 / 5_000))  # kurtosis of the estimates below 12
    assert np.all(reported > spread - slack)
    assert np.all(reported < spread * (1 if known else 1.25) + slack)


def test_whitened_deviation_accepts_the_right_covariance_and_rejects_a_factor():
    """20,000 chains: 10 % off is 10 standard errors (diagonal error sqrt(2/N) = 1 %)."""
    covariance_matrix = np.array([[2.0, 0.9], [0.9, 0.5]])
    samples = np.random.default_rng(5).standard_normal((20_000, 2)) @ np.linalg.cholesky(covariance_matrix).T
    deviation, error = whitened_deviation(samples, covariance_matrix)
    assert abs(deviation) < LIMIT * error
    assert 0.006 < error < 0.011  # off the diagonal sqrt(1/N), on it sqrt(2/N)
    deviation, error = whitened_deviation(samples, 2 * covariance_matrix)
    assert deviation < -10 * error
    np.testing.assert_allclose(deviation, -0.5, atol=LIMIT * error)
    deviation, error = whitened_deviation(samples, np.diag(np.diag(covariance_matrix)))
    assert abs(deviation - 0.9) < LIMIT * error  # the correlation that a diagonal prediction misses


def test_whitened_deviation_by_hand():
    """Known center 0, four points: S = diag(4, 1/2); P = diag(2, 1): S/P - 1 = (1, -1/2); the worst entry is 1."""
    samples = np.array([[2 * np.sqrt(2), 0], [-2 * np.sqrt(2), 0], [0, 1.0], [0, -1.0]])
    deviation, error = whitened_deviation(samples, np.diag([2.0, 1.0]), center=np.zeros(2))
    np.testing.assert_allclose(deviation, 1.0)
    np.testing.assert_allclose(error / enlargement(4, 3), np.std([4, 4, 0, 0], ddof=1) / 2)


def test_moments_run_under_jit():
    samples = jnp.asarray(np.random.default_rng(6).standard_normal((10, 2)))
    eager = whitened_deviation(samples, jnp.eye(2))
    np.testing.assert_allclose(jax.jit(whitened_deviation)(samples, jnp.eye(2)), eager, rtol=1e-12)


def test_moments_keep_float32():
    samples = np.random.default_rng(6).standard_normal((10, 2))
    single = jnp.asarray(samples, jnp.float32)
    for result in (*mean(single), *covariance(single), *whitened_deviation(single, np.eye(2))):
        assert result.dtype == jnp.float32
    np.testing.assert_allclose(covariance(single), covariance(samples), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_chain_that_is_not_finite_makes_moments_nan(bad):
    samples = np.random.default_rng(7).standard_normal((10, 2))
    samples[3, 0] = bad
    for result in (
        *covariance(samples),
        *covariance(samples, center=np.zeros(2)),
        *whitened_deviation(samples, np.eye(2)),
    ):
        assert np.all(np.isnan(result))
    estimate, error = mean(samples)
    assert np.isnan(estimate[0])
    assert np.isnan(error[0])
    assert np.isfinite(estimate[1])
    assert np.all(np.isnan(jax.jit(whitened_deviation)(jnp.ones((5, 2)), -jnp.eye(2))))


def test_moments_refuse_wrong_shapes():
    good = np.random.default_rng(8).standard_normal((10, 2))
    with pytest.raises(ValueError, match="at least 2 chains"):
        mean(good[:1])
    with pytest.raises(ValueError, match="sample_axis"):
        mean(good, sample_axis=0)
    with pytest.raises(ValueError, match="d = 1 for a number"):
        covariance(good[:, 0])
    with pytest.raises(ValueError, match="at least 3 independent chains"):
        covariance(good[:2])
    with pytest.raises(ValueError, match="center"):
        covariance(good, center=np.zeros(3))
    with pytest.raises(ValueError, match="predicted_covariance: expected shape"):
        whitened_deviation(good, np.eye(3))
    with pytest.raises(ValueError, match="positive definite"):
        whitened_deviation(good, np.diag([1.0, 0.0]))
    with pytest.raises(ValueError, match="symmetric"):
        whitened_deviation(good, np.array([[1.0, 0.5], [0.0, 1.0]]))


def test_groups_are_judged_like_the_chains_they_are_made_of():
    chains = np.random.default_rng(3).standard_normal((400, 2)) @ np.array([[1.0, 0.4], [0.0, 0.8]])
    predicted = np.array([[1.2, 0.3], [0.3, 0.7]])
    expected = whitened_deviation(jnp.asarray(chains), predicted, center=jnp.zeros(2))
    found = whitened_deviation_of_groups(chains[:, :, None] * chains[:, None, :], predicted)
    np.testing.assert_allclose(found, (expected[0], expected[1] / enlargement(400, 3)), rtol=1e-9)
    with pytest.raises(ValueError, match="num_groups"):
        whitened_deviation_of_groups(np.eye(2), predicted)
    with pytest.raises(ValueError, match="positive definite"):
        whitened_deviation_of_groups(chains[:, :, None] * chains[:, None, :], -predicted)
