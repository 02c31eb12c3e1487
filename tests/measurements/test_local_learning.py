"""Learning coefficients: d/2 of a quadratic, the normal crossing by quadrature, its logarithm, units, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtri

from sgdsde.measurements import learning_coefficient

LIMIT = 5.9
CROSSING_SCALE = 2 * np.exp(np.euler_gamma)  # w1^2 w2^2 / 2 on the square: Z = sqrt(T) (log(S/T) + O(exp(-1/2T)))


def crossing_excess(temperature):
    """E L for L = w1^2 w2^2 / 2 uniform on [-1, 1]^2 times exp(-L/T): u = |w1 w2| has density -log u on (0, 1)."""
    weight = lambda u: -np.log(u) * np.exp(-(u**2) / (2 * temperature))
    points = [np.sqrt(temperature) * k for k in (0.1, 1, 3, 6) if np.sqrt(temperature) * k < 1]
    options = {"points": points, "epsabs": 0, "epsrel": 1e-11, "limit": 400}
    return quad(lambda u: u**2 / 2 * weight(u), 0, 1, **options)[0] / quad(weight, 0, 1, **options)[0]


def test_a_regular_minimum_has_half_its_dimension():
    """E L = L(w0) + T d/2: exact numbers in, d/2 out; a wrong 1/T, T/2 or a forgotten L(w0) is far away."""
    for temperature, d in ((0.02, 3), (0.5, 7)):
        losses = np.full((4, 5), 0.3 + temperature * d / 2)
        estimate, error = learning_coefficient(losses, loss_at_point=0.3, temperature=temperature)
        np.testing.assert_allclose((estimate, error), (d / 2, 0), atol=1e-12)


def test_a_sampled_quadratic_and_its_error_from_chains():
    """Records of one chain are equal here: an error from all records would be sqrt(10) too small. 2,000 ensembles of
    20 chains: z is Student's with 19 degrees of freedom, variance 19/17, known to 5.9 * 4 % of it."""
    random = np.random.default_rng(0)
    d, temperature = 4, 0.1
    losses = np.repeat(temperature * random.chisquare(d, (2_000, 1, 20)) / 2, 10, axis=1) + 1
    estimate, error = jax.vmap(lambda x: learning_coefficient(x, loss_at_point=1.0, temperature=temperature))(losses)
    score = (np.asarray(estimate) - d / 2) / np.asarray(error)
    assert abs(np.mean(estimate) - d / 2) < LIMIT * np.std(estimate) / np.sqrt(2_000)
    assert abs(np.mean(score**2) / (19 / 17) - 1) < LIMIT * np.std(score**2) / np.sqrt(2_000)


@pytest.mark.parametrize("temperature", [0.1, 0.01, 1e-4])
def test_normal_crossing_at_finite_temperature(temperature):
    """1/2 - 1/log(S/T), 0.33 at T = 0.01, whatever one would like; with its multiplicity 2 restored to 1/2, to the
    exponentially small part that lies beyond the square."""
    losses = np.full((1, 2), crossing_excess(temperature))
    plain, _ = learning_coefficient(losses, loss_at_point=0.0, temperature=temperature)
    corrected, _ = learning_coefficient(
        losses, loss_at_point=0.0, temperature=temperature, multiplicity=2, loss_scale=CROSSING_SCALE
    )
    beyond = np.exp(-1 / (2 * temperature))
    np.testing.assert_allclose(plain, 0.5 - 1 / np.log(CROSSING_SCALE / temperature), atol=2 * beyond + 1e-8)
    np.testing.assert_allclose(corrected, 0.5, atol=2 * beyond + 1e-8)
    if temperature == 0.01:
        assert 0.32 < float(plain) < 0.34


def test_units_cancel_and_it_traces():
    losses = np.random.default_rng(1).exponential(size=(6, 5))
    options = {"loss_at_point": 0.1, "temperature": 0.2, "multiplicity": 2, "loss_scale": 3.0}
    scaled = {**options, "loss_at_point": 0.7, "temperature": 1.4, "loss_scale": 21.0}
    expected = learning_coefficient(losses, **options)
    np.testing.assert_allclose(learning_coefficient(7 * losses, **scaled), expected, rtol=1e-12)

    @jax.jit
    def traced(losses, point, temperature, scale):
        return learning_coefficient(
            losses, loss_at_point=point, temperature=temperature, multiplicity=2, loss_scale=scale
        )

    np.testing.assert_allclose(traced(losses, 0.1, 0.2, 3.0), expected, rtol=1e-12)
    single = learning_coefficient(jnp.asarray(losses, jnp.float32), **options)
    assert single[0].dtype == single[1].dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5)


def test_refusals_and_nan():
    good = np.ones((3, 4))
    broken = good.copy()
    broken[1, 2] = np.inf
    assert np.isnan(learning_coefficient(broken, loss_at_point=0.0, temperature=1.0)).all()
    for losses in (np.ones(4), np.ones((4, 1)), np.ones((0, 4))):
        with pytest.raises(ValueError, match=r"losses: expected \(num_records, num_chains\)"):
            learning_coefficient(losses, loss_at_point=0.0, temperature=1.0)
    with pytest.raises(ValueError, match="temperature: expected a number > 0"):
        learning_coefficient(good, loss_at_point=0.0, temperature=0.0)
    with pytest.raises(ValueError, match="multiplicity: expected an integer"):
        learning_coefficient(good, loss_at_point=0.0, temperature=1.0, multiplicity=0)
    with pytest.raises(ValueError, match="loss_scale: expected the loss"):
        learning_coefficient(good, loss_at_point=0.0, temperature=1.0, multiplicity=2)
    with pytest.raises(ValueError, match="loss_scale / temperature"):
        learning_coefficient(good, loss_at_point=0.0, temperature=1.0, multiplicity=2, loss_scale=0.5)


def test_a_tether_that_is_sampled_and_not_counted_lowers_the_coefficient():
    """Samples at the quantiles of the tethered laws: h/(2 (h + g)) for a parabola, 3 T/g^2 for w^4 at T << g^2."""
    normals = ndtri((np.arange(100_000) + 0.5) / 100_000)
    temperature, tether, curvature = 1e-3, 2.0, 3.0
    options = {"loss_at_point": 0.0, "temperature": temperature}
    w = normals * np.sqrt(temperature / (curvature + tether))
    found, _ = learning_coefficient(curvature * w[:, None].repeat(2, axis=1) ** 2 / 2, **options)
    np.testing.assert_allclose(found, curvature / (2 * (curvature + tether)), rtol=1e-3)
    w = normals * np.sqrt(temperature / tether)
    weights = np.exp(-(w**4) / temperature)
    quartic = w**4 * weights / weights.mean()
    found, _ = learning_coefficient(quartic[:, None].repeat(2, axis=1), **options)
    np.testing.assert_allclose(found, 3 * temperature / tether**2, rtol=0.03)
