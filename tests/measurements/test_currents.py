"""Currents against literal loops, a rotation in closed form, and the bias that products of one group would have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde.measurements import angular_momentum, entropy_production, probability_current
from sgdsde.measurements.chains import enlargement_of_largest
from sgdsde.measurements.currents import CurrentField

LIMIT = 5.9
EDGES = (np.array([-2.0, -0.5, 0.3, 2.0]), np.array([-1.5, 0.0, 1.5]))
LAG = 0.1


def walk(seed, num_records, num_chains, matrix, factor, shape=()):
    """Stationary x' = A x + F n: records (*shape, num_records, num_chains, 2), and the covariance."""
    covariance = np.linalg.solve(np.eye(4) - np.kron(matrix, matrix), (factor @ factor.T).ravel()).reshape(2, 2)
    random = np.random.default_rng(seed)
    x = random.standard_normal((*shape, num_chains, 2)) @ np.linalg.cholesky(covariance).T
    records = [x]
    for _ in range(num_records - 1):
        records.append(records[-1] @ matrix.T + random.standard_normal(x.shape) @ factor.T)
    return np.stack(records, axis=-3), covariance


ROTATING = np.array([[0.9, 0.2], [-0.1, 0.8]])
FACTOR = np.array([[0.4, 0.0], [0.1, 0.3]])


def literal(before, after, num_groups):
    """The definition, pair by pair."""
    num_leading, num_chains, _ = before.shape
    shape = (num_groups, len(EDGES[0]) - 1, len(EDGES[1]) - 1)
    count, moved = np.zeros(shape), np.zeros((*shape, 2))
    for r in range(num_leading):
        for n in range(num_chains):
            middle = (before[r, n] + after[r, n]) / 2
            i, j = (np.searchsorted(edge, value, side="right") - 1 for edge, value in zip(EDGES, middle))
            if 0 <= i < shape[1] and 0 <= j < shape[2]:
                g = n // (num_chains // num_groups)
                count[g, i, j] += 1
                moved[g, i, j] += after[r, n] - before[r, n]
    areas = np.outer(np.diff(EDGES[0]), np.diff(EDGES[1]))
    pairs = num_leading * num_chains / num_groups
    return count / (pairs * areas), moved / (pairs * LAG * areas[..., None]), areas


def test_the_field_is_its_definition():
    records, _ = walk(0, 5, 24, ROTATING, FACTOR)
    field = probability_current(records[:-1], records[1:], EDGES, lag=LAG, num_groups=4)
    density, current, areas = literal(records[:-1], records[1:], 4)
    assert density.sum() > 0
    np.testing.assert_allclose(field.areas, areas)
    np.testing.assert_allclose(field.density, density.mean(0), atol=1e-14)
    few = enlargement_of_largest(4, 1)
    np.testing.assert_allclose(field.density_error, few * density.std(0, ddof=1) / 2, atol=1e-12)
    np.testing.assert_allclose(field.current, current.mean(0), atol=1e-13)
    np.testing.assert_allclose(field.current_error, few * current.std(0, ddof=1) / 2, atol=1e-12)


def test_angular_momentum_is_the_midpoint_rule_with_errors_from_chains():
    records, _ = walk(1, 4, 7, ROTATING, FACTOR)
    before, after = records[:-1], records[1:]
    middle, moved = (before + after) / 2, after - before
    turning = (middle[..., 0] * moved[..., 1] - middle[..., 1] * moved[..., 0]).mean(0) / LAG
    estimate, error = angular_momentum(before, after, lag=LAG)
    np.testing.assert_allclose(estimate[0, 1], turning.mean(), rtol=1e-12)
    np.testing.assert_allclose(error[0, 1], turning.std(ddof=1) / np.sqrt(7), rtol=1e-12)
    np.testing.assert_allclose(estimate, -estimate.T, atol=1e-15)


def test_a_rotation_has_its_angular_momentum_and_a_reversible_walk_none():
    """E[x0 x1' - x1 x0'] = (S A^T)_01 - (S A^T)_10; at 20,000 chains the rotation is 40 standard errors from 0, so that
    a factor of two is 20 away."""
    records, covariance = walk(2, 2, 20_000, ROTATING, FACTOR)
    product = covariance @ ROTATING.T / LAG
    estimate, error = angular_momentum(records[0], records[1], lag=LAG)
    assert abs(estimate[0, 1] - (product - product.T)[0, 1]) < LIMIT * error[0, 1]
    assert abs(estimate[0, 1]) > 40 * error[0, 1]
    records, _ = walk(3, 2, 20_000, np.diag([0.9, 0.7]), 0.3 * np.eye(2))  # A commutes with the noise
    estimate, error = angular_momentum(records[0], records[1], lag=LAG)
    assert abs(estimate[0, 1]) < LIMIT * error[0, 1]


def test_entropy_production_of_given_groups_by_hand():
    """One cell of area 1/2, D = diag(1, 4): J = (1, 2), (3, 2), (2, -4), p = 1, 2, 3."""
    currents = np.array([[1.0, 2.0], [3.0, 2.0], [2.0, -4.0]])[:, None, None, :]
    densities = np.array([1.0, 2.0, 3.0])[:, None, None]
    mean = lambda x: x.mean(0)
    field = CurrentField(
        *(jnp.asarray(x) for x in (mean(densities), mean(densities), mean(currents), mean(currents))),
        jnp.full((1, 1), 0.5), jnp.asarray(densities), jnp.asarray(currents),
    )  # fmt: skip
    products = {(0, 1): 3 + 1, (0, 2): 2 - 2, (1, 2): 6 - 2}
    estimate, error = entropy_production(field, np.diag([1.0, 4.0]))
    np.testing.assert_allclose(estimate, 0.5 * (sum(products.values()) / 3) / 2)
    left_out = 0.5 * np.array([products[1, 2] / 2.5, products[0, 2] / 2, products[0, 1] / 1.5])
    few = enlargement_of_largest(3, 1)
    np.testing.assert_allclose(error, few * np.sqrt(2 * np.mean((left_out - left_out.mean()) ** 2)))
    each = np.broadcast_to(np.diag([1.0, 4.0]), (1, 1, 2, 2))
    np.testing.assert_allclose(entropy_production(field, each)[0], estimate)


def test_entropy_production_has_no_bias_from_squared_noise():
    """400 ensembles of a reversible walk, true value 0: mean z within 5.9; the square of the pooled current is far."""
    records, _ = walk(4, 5, 32, np.diag([0.9, 0.7]), 0.3 * np.eye(2), shape=(400,))
    diffusion = 0.09 / (2 * LAG) * np.eye(2)
    edges = tuple(jnp.asarray(edge) for edge in EDGES)

    def both(records):
        field = probability_current(records[:-1], records[1:], edges, lag=LAG, num_groups=16)
        safe = jnp.where(field.density > 0, field.density, 1)
        squares = jnp.sum(field.current**2, axis=-1) / diffusion[0, 0] / safe
        return *entropy_production(field, diffusion), jnp.sum(squares * field.areas)

    estimate, error, naive = (np.asarray(x) for x in jax.jit(jax.vmap(both))(jnp.asarray(records)))
    spread = estimate.std(ddof=1) / np.sqrt(400)
    assert abs(estimate.mean()) < LIMIT * spread
    assert naive.mean() > 20 * spread
    error = error / enlargement_of_largest(16, 1)
    ratio = np.sqrt(np.mean(error**2)) / estimate.std(ddof=1)  # of a degenerate U-statistic: sqrt(2 (n - 1)/(n - 2))
    assert abs(ratio / np.sqrt(2 * 15 / 14) - 1) < LIMIT * 0.05  # 1/sqrt(2 * 400), more for a kurtosis up to 6


def test_float32_and_nan():
    records, _ = walk(0, 5, 24, ROTATING, FACTOR)
    single = jnp.asarray(records, jnp.float32)
    field = probability_current(single[:-1], single[1:], EDGES, lag=LAG, num_groups=4)
    exact = probability_current(records[:-1], records[1:], EDGES, lag=LAG, num_groups=4)
    results = *field, *entropy_production(field, np.eye(2)), *angular_momentum(single[:-1], single[1:], lag=LAG)
    assert {result.dtype for result in results} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(field.current, exact.current, atol=1e-5)
    np.testing.assert_allclose(entropy_production(field, np.eye(2)), entropy_production(exact, np.eye(2)), rtol=1e-3)
    broken = records.copy()
    broken[2, 3, 0] = np.nan
    field = probability_current(broken[:-1], broken[1:], EDGES, lag=LAG, num_groups=4)
    assert np.isnan(field.current).all()
    assert np.isnan(entropy_production(field, np.eye(2))).all()
    assert np.isnan(angular_momentum(broken[:-1], broken[1:], lag=LAG)[0]).all()


def test_refusals():
    records = np.zeros((3, 24, 2))
    with pytest.raises(ValueError, match="num_groups: expected 2 or more equal groups of the 24 chains"):
        probability_current(records[:-1], records[1:], EDGES, lag=LAG, num_groups=5)
    with pytest.raises(ValueError, match="before: expected shape"):
        probability_current(np.zeros((3, 24, 3)), np.zeros((3, 24, 3)), EDGES, lag=LAG)
    with pytest.raises(ValueError, match="after: expected the shape"):
        angular_momentum(records, records[:-1], lag=LAG)
    with pytest.raises(ValueError, match="edges"):
        probability_current(records, records, (np.zeros((2, 2)), EDGES[1]), lag=LAG, num_groups=4)
    field = probability_current(records[:-1], records[1:], EDGES, lag=LAG, num_groups=4)
    with pytest.raises(ValueError, match="diffusion: expected shape"):
        entropy_production(field, np.eye(3))
