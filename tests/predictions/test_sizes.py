"""Sizes far from any use: the right limit, or a refusal that names the argument before hours of compute."""

import jax
import numpy as np
import pytest
from scipy.stats import norm

from sgdsde import predictions as p

CAUCHY = {"quadratic": 0.3, "quartic": 1.0, "scale": 0.5}
COLLAPSE = {"growth": 1.0, "noise_strength": 0.8}
COLUMN = np.array([1.0, -0.6, 0.3, 1.5])
MOMENTS = p.slope_moments(COLUMN, np.array([1.0, -0.5, 0.2, 0.9]))
HUGE, EPOCH = 10**30, {"num_examples": 6, "batch_size": 2}
MATRICES = {"learning_rate": 0.1, "hessian": np.eye(2), "gradient_covariance": np.eye(2)}
NORMAL = {"input_variance": 0.7, "learning_rate": 0.2}
LAYERS = {"target": 2.0, "start": 0.1}


def step(x, y):
    return norm.cdf((y - 0.9 * x) / 0.5)


REFUSED = {
    "num_lags": lambda: p.epoch_autocovariance(num_lags=HUGE, **MATRICES, **EPOCH),
    "num_examples": lambda: p.epoch_covariance(**MATRICES, **EPOCH | {"num_examples": HUGE}),
    "batch_size": lambda: p.lyapunov_exponent(COLUMN, learning_rate=0.3, batch_size=HUGE),
    "batch_size ": lambda: p.gaussian_lyapunov_exponent(**NORMAL, batch_size=HUGE),
    "dimension": lambda: p.free_levy_exit_time(0.2, tail_index=1.5, scale=0.5, half_width=1.0, dimension=HUGE),
    "num_layers": lambda: p.half_learning_time(num_layers=HUGE, **LAYERS),
    "num_layers ": lambda: p.mode_noise_peak(target=2.0, num_layers=HUGE),
    "num_vertices": lambda: p.superposition_polygon(HUGE),
    "example_noise": lambda: p.minibatch_noise_density(np.array([[np.inf], [-1.0]]), batch_size=3, smoothing=0.1),
    "lower, upper": lambda: p.chain_exit_steps(step, start=0.1, lower=-1.0, upper=1e30, num_cells=16),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_size_without_an_answer_is_refused_by_name_at_once(name):
    with pytest.raises(ValueError, match=rf"^{name.strip()}.*: expected"):
        REFUSED[name]()


def test_a_quadratic_whose_powers_overflow_is_refused_and_traced_nan(ordinary_settings):
    with pytest.raises(ValueError, match=r"^quadratic: expected one whose powers fit into float32"):
        p.cauchy_mode(**CAUCHY | {"quadratic": 1e30})
    assert np.isnan(jax.jit(lambda a: p.cauchy_mode(**CAUCHY | {"quadratic": a}))(1e30))


def test_densities_far_away_are_their_tails():
    """Of Cauchy's R z / (pi x^4): no overflow on the way, 0 at infinity; a position that is NaN stays NaN."""
    far = np.array([0.9e6, 1.1e6, 1e30, np.inf, -np.inf])
    found = p.cauchy_density(far, **CAUCHY)
    np.testing.assert_allclose(found, 0.5 / np.pi / far**4, rtol=1e-10)
    single = jax.jit(lambda x: p.cauchy_density(x, **CAUCHY))(far.astype(np.float32))
    np.testing.assert_allclose(single, found, rtol=1e-4, atol=1e-30)
    np.testing.assert_array_equal(p.collapse_density(np.array([1e30, np.inf, -np.inf]), **COLLAPSE), np.zeros(3))
    assert np.isnan(p.cauchy_density(np.nan, **CAUCHY))
    assert np.isnan(p.collapse_density(np.nan, **COLLAPSE))
    np.testing.assert_array_equal(p.slope_variance(np.array([np.inf, -np.inf]), MOMENTS), [np.inf, np.inf])
