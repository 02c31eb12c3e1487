"""Numbers of 64 bits where JAX is set to 32: a prediction says what is lost, and never loses it silently."""

import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import predictions as p

GRID = np.linspace(0.0, 10.0, 19) + 1e6
PULLED = (lambda x: 1e6 + 5 - x, lambda x: 1.0, GRID)
WIDE = np.eye(2) * 1e300
RATE = {"learning_rate": 0.1}
CALLS = {
    "slope_moments": (lambda: p.slope_moments(GRID, np.ones(19)), "inputs"),
    "relaxation_rate": (
        lambda: p.relaxation_rate(*PULLED, convention="ito"),
        "grid",
    ),
    "one_dimensional_density": (
        lambda: p.one_dimensional_density(*PULLED, convention="ito"),
        "grid",
    ),
    "gibbs_density": (lambda: p.gibbs_density(jnp.sum, 0.5, GRID), "grid"),
}
TOO_LARGE = {
    "sde_covariance": (lambda: p.sde_covariance(np.eye(2), WIDE, **RATE), "noise_covariance"),
    "label_noise_covariance": (
        lambda: p.label_noise_covariance(WIDE, label_variance=1.0, batch_size=1, **RATE),
        "hessian",
    ),
    "balance_changes": (lambda: p.balance_changes([np.eye(2), WIDE], **RATE), r"gradients\[1\]"),
    "cauchy_density": (lambda: p.cauchy_density(1e300, quadratic=1.0, quartic=1.0, scale=1.0), "position"),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_rounding_takes_is_said(name, ordinary_settings):
    call, argument = CALLS[name]
    with pytest.warns(UserWarning, match=rf"^{argument}: float64 is cast to float32.*; subtract their mean first"):
        call()


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_does_not_fit_is_refused(name, ordinary_settings):
    call, argument = TOO_LARGE[name]
    with pytest.raises(ValueError, match=rf"^{argument}: float64 is cast to float32.* like 1e[+]300 do not fit"):
        call()


def test_whole_gradients_change_the_balance_too():
    """A rate of the kind of the gradients would be 0."""
    (change,) = p.balance_changes([np.array([[1, 2]]), np.array([[3]])], learning_rate=0.5)
    assert change == 0.25 * (9 - 5)
