"""match: every scaling between an SGD and its SDE, in numbers written out here."""

import functools
import warnings

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sgdsde import landscapes, noise
from sgdsde.dynamics.matching import match
from sgdsde.dynamics.minibatch import optimizer, sgd
from sgdsde.predictions import sde_covariance, sgd_covariance
from sgdsde.problem import Problem

SIGMA = np.diag([0.5, 2.0])  # of the four tilts below


@pytest.fixture(scope="module")
def problem():
    z = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    return Problem(lambda x, z: 0.5 * x @ x + z @ x, z, lambda k: jnp.zeros(2))


def noise_covariance(law, size):
    columns = np.stack([np.asarray(law.apply(jnp.zeros(2), jnp.eye(size)[i])) for i in range(size)], axis=1)
    return columns @ columns.T


def test_momentum_divides_the_rate_and_keeps_the_covariance(problem):
    discrete = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement", momentum=0.9)
    sde = match(discrete, noise.anisotropic, substeps=4)
    assert sde.learning_rate == pytest.approx(0.1 / (1 - 0.9))
    assert sde.duration(0) == pytest.approx(discrete.duration(0))
    assert sde.substeps == 4
    np.testing.assert_allclose(noise_covariance(sde.noise, 4), SIGMA / 2, atol=1e-14)


def test_a_schedule_under_momentum(problem):
    schedule = optax.linear_schedule(0.1, 0.0, 10)
    discrete = sgd(problem, learning_rate=schedule, batch_size=2, sampling="with_replacement", momentum=0.5)
    sde = match(discrete, noise.anisotropic, substeps=1)
    np.testing.assert_allclose(sde.duration(5), 2 * 0.05, rtol=1e-6)


def test_the_finite_population_factor(problem):
    discrete = sgd(problem, learning_rate=0.1, batch_size=2, sampling="without_replacement")
    sde = match(discrete, noise.anisotropic, substeps=1)
    np.testing.assert_allclose(noise_covariance(sde.noise, 4), SIGMA / 2 * (4 - 2) / (4 - 1), atol=1e-14)


def test_trace_matched_kinds(problem):
    discrete = sgd(problem, learning_rate=0.1, batch_size=2, sampling="without_replacement")
    factor, at = (4 - 2) / (2 * 3), jnp.zeros(2)
    variance = factor * np.trace(SIGMA) / 2
    sde = match(discrete, noise.isotropic, substeps=1, at=at)
    np.testing.assert_allclose(noise_covariance(sde.noise, 2), variance * np.eye(2), atol=1e-14)
    sde = match(discrete, noise.constant, substeps=1, at=at)
    np.testing.assert_allclose(noise_covariance(sde.noise, 2), factor * SIGMA, atol=1e-14)
    for kind in (noise.levy, noise.levy_coordinates):
        sde = match(discrete, kind, substeps=1, at=at, tail_index=1.5)
        assert sde.noise.tail_index == 1.5
        draws = (jnp.zeros(()), jnp.array([1.0, 0.0])) if kind is noise.levy else jnp.array([1.0, 0.0])
        unit = np.sqrt(2) if kind is noise.levy else 1.0  # sqrt(2 A) G with A = 1, or a stable coordinate
        scale = np.asarray(sde.noise.apply(jnp.zeros(2), draws))[0] / unit
        np.testing.assert_allclose(scale, np.sqrt(variance / 2), rtol=1e-14)


def test_noise_that_follows_the_parameters_needs_no_place(problem):
    """batch_size and sampling are the SGD's; on a backward pass over the examples it is shared with the drift."""
    discrete = sgd(problem, learning_rate=0.1, batch_size=2, sampling="without_replacement", momentum=0.5)
    variance = (4 - 2) / (2 * 3) * np.trace(SIGMA) / 2
    sde = match(discrete, noise.trace_matched_levy, substeps=2, tail_index=1.5)
    found = sde.noise.apply(jnp.zeros(2), (jnp.zeros(()), jnp.ones(2)))
    np.testing.assert_allclose(found, np.sqrt(variance), rtol=1e-14)
    sde = match(discrete, noise.trace_matched, substeps=2)
    found = sde.noise.apply(jnp.zeros(2), (jnp.array([1.0, -1.0, 0.0, 0.0]), jnp.array([0.0, 3.0])))
    weights = np.sqrt((4 - 2) / (2 * 3) / 4)  # each of the two examples (+-1, 0) has it, with the sign of its tilt
    np.testing.assert_allclose(found, [0.0, 2 * weights], rtol=1e-14)
    for kind, options in (
        (noise.anisotropic, {}),
        (noise.anisotropic_levy, {"tail_index": 1.5}),
        (noise.anisotropic_sampled, {"num_sampled": 2}),
    ):
        sde = match(discrete, kind, substeps=2, **options)
        assert sde.shares_pass
        assert sde.learning_rate == pytest.approx(0.2)
    fine = sgd(problem, learning_rate=0.1, batch_size=3, sampling="without_replacement")
    with pytest.raises(ValueError, match=r"num_sampled: .* expected at least 3 examples"):
        match(fine, noise.anisotropic_sampled, substeps=1, num_sampled=2)


def test_a_given_scale_is_kept(problem):
    discrete = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    sde = match(discrete, noise.levy, substeps=1, tail_index=1.5, scale=0.3)
    found = sde.noise.apply(jnp.zeros(2), (jnp.zeros(()), jnp.ones(2)))
    np.testing.assert_allclose(found, 0.3 * np.sqrt(2), rtol=1e-14)


def test_epoch_sampling_says_that_no_white_noise_matches_it(problem):
    discrete = sgd(problem, learning_rate=0.1, batch_size=2, sampling="epoch")
    with pytest.warns(UserWarning, match="covariance of a single step"):
        sde = match(discrete, noise.anisotropic, substeps=1)
    np.testing.assert_allclose(noise_covariance(sde.noise, 4), SIGMA / 2 * 2 / 3, atol=1e-14)


def test_what_has_no_sde_is_refused_with_the_reason(problem):
    plain = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    adam = optimizer(problem, optax.adam(0.1), batch_size=2, sampling="with_replacement")
    clipped = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement", clip=1.0)
    with pytest.raises(ValueError, match="an optimizer has no SDE"):
        match(adam, noise.anisotropic, substeps=1)
    with pytest.raises(ValueError, match="clipping changes the mean"):
        match(clipped, noise.anisotropic, substeps=1)
    with pytest.raises(ValueError, match="expected dynamics made by `sgd`"):
        match(match(plain, noise.anisotropic, substeps=1), noise.anisotropic, substeps=1)
    with pytest.raises(ValueError, match="give `at`"):
        match(plain, noise.isotropic, substeps=1)
    with pytest.raises(TypeError, match="needs tail_index"):
        match(plain, noise.levy, substeps=1, at=jnp.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        match(plain, noise.anisotropic_levy, substeps=1, tail_index=1.5)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (noise.anisotropic, {"tail_indx": 1.5}, "match: anisotropic noise takes no option, got tail_indx"),
        (noise.levy, {"tail_indx": 1.5}, "match: levy noise takes tail_index, scale, got tail_indx"),
        (noise.anisotropic, {"batch_size": 4}, "batch_size is the SGD's own; leave it out"),
        (noise.anisotropic_sampled, {}, "match: anisotropic_sampled noise needs num_sampled"),
        (lambda problem, *, heat: None, {}, "match: <lambda> noise needs heat"),
    ],
)
def test_options_that_a_kind_does_not_take_are_named(problem, kind, options, message):
    plain = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    with pytest.raises(TypeError, match=message):
        match(plain, kind, substeps=1, at=jnp.zeros(2), **options)


def test_kinds_with_options_bound_or_of_any_name(problem):
    plain = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    bound = match(plain, functools.partial(noise.anisotropic_levy, tail_index=1.5), substeps=1)
    assert bound.noise.tail_index == 1.5
    any_name = lambda problem, **options: noise.constant(problem, covariance=options["heat"] * np.eye(2))
    sde = match(plain, any_name, substeps=1, heat=3.0)
    np.testing.assert_allclose(noise_covariance(sde.noise, 2), 3 * np.eye(2), rtol=1e-14)


MOMENTUM = {"learning_rate": 0.1, "batch_size": 1, "sampling": "with_replacement", "momentum": 0.9}
COUPLED = np.array([[1.0, 0.9], [0.9, 1.0]])


def test_momentum_between_coupled_modes_is_warned_of():
    """S_12 of SGD is 0.0514, the matched SDE's 0.409: overdamped motion has not the covariance of modes that oscillate
    apart. Their ratio is near 1 + excess, of the kinetic equation."""
    hessian, rate = np.diag([2.0, 0.2]), 0.1 / (1 - 0.9)
    discrete = sgd_covariance(hessian, COUPLED, learning_rate=0.1, momentum=0.9)
    continuous = sde_covariance(hessian, COUPLED, learning_rate=rate)
    np.testing.assert_allclose([discrete[0, 1], continuous[0, 1]], [0.0514, 0.409], rtol=2e-3)
    np.testing.assert_allclose(np.diag(continuous), np.diag(discrete), rtol=0.06)
    problem = landscapes.quadratic(hessian, gradient_covariance=COUPLED, num_examples=8)
    with pytest.warns(
        UserWarning, match=r"for 0\.2 and 2 it is 7\.36: its covariance between them is 8\.36 times SGD's"
    ):
        match(sgd(problem, **MOMENTUM), noise.anisotropic, substeps=16)
    with pytest.warns(UserWarning, match=r"it is 7\.36"):
        match(
            sgd(problem, **MOMENTUM | {"learning_rate": lambda step: 0.1 / (1 + step)}), noise.anisotropic, substeps=1
        )


def test_no_warning_where_modes_are_not_coupled_or_alike_or_there_is_no_momentum():
    """Warnings are errors here."""
    rotation = np.array([[0.6, -0.8], [0.8, 0.6]])
    for hessian, covariance, options in (
        (np.diag([2.0, 0.2]), COUPLED, MOMENTUM | {"momentum": 0.0}),
        (np.diag([2.0, 0.2]), np.diag([1.0, 3.0]), MOMENTUM),
        (rotation @ np.diag([2.0, 0.2]) @ rotation.T, rotation @ np.diag([1.0, 3.0]) @ rotation.T, MOMENTUM),
        (np.diag([2.0, 0.2]), COUPLED, MOMENTUM | {"learning_rate": 1e-3}),
        (np.diag([2.0, 1.8]), COUPLED, MOMENTUM),
    ):
        problem = landscapes.quadratic(hessian, gradient_covariance=covariance, num_examples=8)
        match(sgd(problem, **options), noise.anisotropic, substeps=1)


def test_a_hessian_of_few_parameters_is_looked_at_where_the_place_is_given():
    bowl = lambda x, tilt: x[0] ** 2 + 0.1 * x[1] ** 2 + tilt @ x
    tilts = landscapes.gaussian_tilts(COUPLED, 8)
    discrete = sgd(Problem(bowl, tilts, lambda key: jnp.zeros(2)), **MOMENTUM)
    match(discrete, noise.anisotropic, substeps=1)
    with pytest.warns(UserWarning, match=r"for 0\.2 and 2 it is 7\.36"):
        match(discrete, noise.anisotropic, substeps=1, at=jnp.ones(2))


@pytest.mark.parametrize("at", [0.0, np.zeros(()), np.zeros(1), np.zeros((5, 2)), [0.0, 0.0], {"x": np.zeros(2)}])
def test_a_place_of_another_shape_is_refused(problem, at):
    """An elementwise loss takes it, and the variance comes out wrong."""
    discrete = sgd(problem, learning_rate=0.1, batch_size=2, sampling="with_replacement")
    with pytest.raises((TypeError, ValueError), match=r"at: expected .* as problem\.init gives"):
        match(discrete, noise.isotropic, substeps=1, at=at)
