"""One right call of every public prediction, small enough to be repeated hundreds of times."""

import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from sgdsde import predictions as p

PUBLIC = p.__all__
LEFT_OUT = {name for name in PUBLIC if name[0].isupper()}  # results
SPARED = {
    # distances and bounds that may be infinite, and the wall that may be absent
    "levy_escape_rate": set(),
    "first_passage_time": {("None", "wall")},
    "saddle_loss": {"is_learnt"},
    # what float32 does not hold is NaN, as their texts say
    "noisy_quadratic_loss": {("1e30", "learning_rate")},
    "noisy_quadratic_moments": {("1e30", "learning_rate")},
    "sde_current": {("1e30", "learning_rate")},
}

HESSIAN, NOISE = np.array([[1.0, 0.2], [0.2, 0.6]]), np.array([[0.7, -0.2], [-0.2, 0.4]])
LINE = np.linspace(-4.0, 4.0, 65)
GAUSS = norm.pdf(LINE)
PLANE = np.stack(np.meshgrid(np.linspace(-4, 4, 17), np.linspace(-4, 4, 19), indexing="ij"), axis=-1)
PLANE_DENSITY = np.exp(-np.sum(PLANE**2, axis=-1) / 2) / (2 * np.pi)
CURRENT = PLANE_DENSITY[..., None] * np.stack([-PLANE[..., 1], PLANE[..., 0]], axis=-1)
INPUTS, TARGETS = np.array([[1.0, 0.5], [-0.7, 1.2], [0.3, -1.1], [1.4, 0.2]]), np.array([1.0, -0.5, 0.2, 0.9])
COLUMN = np.array([1.0, -0.6, 0.3, 1.5])
MOMENTS = p.slope_moments(COLUMN, TARGETS)
GAUSSIAN = p.gaussian_noise_density(0.3)


def drift(params):
    return -params


def diffusion(params):
    return jnp.asarray(0.5, params.dtype)


def gradient(x):
    return x**3


def potential(params):
    return jnp.sum(params**2) / 2


def transition(x, y):
    return norm.cdf((y - 0.9 * x) / 0.5)


def kernel(following, current):
    return norm.pdf((following - 0.7 * current)[..., 0] / 0.7) / 0.7


MATRICES = {"hessian": HESSIAN, "noise_covariance": NOISE, "learning_rate": 0.1}
SAMPLED = {"batch_size": 2, "sampling": "with_replacement", "momentum": 0.3}
LINEAR = SAMPLED | {"learning_rate": 0.1}
NORMAL = {"input_variance": 0.7, "learning_rate": 0.2, "batch_size": 3}
STABLE = {"curvature": 1.2, "scale": 0.4, "tail_index": 1.5, "learning_rate": 0.1}
CAUCHY = {"quadratic": 0.3, "quartic": 1.0, "scale": 0.5}
SDE = {"drift": drift, "diffusion": diffusion, "convention": "ito"}
LEVY = {"gradient": gradient, "grid": np.sinh(np.linspace(-4, 4, 33)) / 4, "tail_index": 1.4, "scale": 0.5}
EPOCH = {"gradient_covariance": NOISE, "num_examples": 6, "batch_size": 2}
PROPORTIONAL = {"curvature": 1.1, "learning_rate": 0.1, "batch_size": 2}
MODES = {"curvatures": np.array([1.0, 0.3]), "noise_variances": np.array([0.5, 0.2]), "start_variances": np.ones(2)}
MODES |= {"learning_rate": 0.1, "momentum": 0.5}
WEIGHED = MODES | {"multiplicities": np.array([1.0, 2.0])}
GROWING = {"curvature": 1.0, "additive": 0.5, "multiplicative": 0.3, "learning_rate": 0.1, "batch_size": 2}
LAYERS = {"target": 2.0, "start": 0.1, "num_layers": 2}
CELLS = {"num_cells": 16, "input_variance": 0.7, "label_variance": 0.5, "learning_rate": 0.2, "batch_size": 2}

RIGHT = {
    "almost_sure_critical_learning_rate": {"inputs": COLUMN, "batch_size": 2},
    "averaged_momentum_covariance": MATRICES | {"momentum": 0.5},
    "balance_changes": {"gradients": [np.ones((3, 2)), np.ones((2, 3))], "learning_rate": 0.1},
    "balance_density": {"strengths": np.array([0.2, 0.9]), "moments": MOMENTS, "temperature": 0.1, "depth": 1},
    "balance_moment_identity": {"mean": 0.5, "mean_square": 0.4, "moments": MOMENTS, "temperature": 0.1},
    "basin_occupations": {"density": GAUSS, "grid": LINE, "borders": np.array([-0.3, 1.0])},
    "cauchy_bimodality_switch": {"quartic": 1.0, "scale": 0.5},
    "cauchy_density": {"position": 0.3} | CAUCHY,
    "cauchy_mode": CAUCHY,
    "cauchy_second_moment": CAUCHY,
    "chain_exit_steps": {"transition": transition, "start": 0.1, "lower": -1.0, "upper": 1.0, "num_cells": 16},
    "circulation": {"current": CURRENT, "grid": PLANE},
    "clipped_exit_exponent": {"tail_index": 1.4, "half_width": 1.0, "clip": 0.4},
    "collapse_density": {"points": 0.7, "growth": 1.0, "noise_strength": 0.8},
    "collapse_noise_strength": {"growth": 1.0},
    "collapse_second_moment": {"growth": 1.0, "noise_strength": 0.8},
    "collapse_temperature": {"moments": MOMENTS},
    "collapsed_fraction": {"threshold": 0.1, "growth": 1.0, "noise_strength": 0.8},
    "critical_batch_sizes": {
        "moments": np.array([0.3, 0.2]), "curvatures": np.array([1.0, 0.5]), "gradient_variances": np.array([1.0, 0.5]),
        "multiplicities": np.array([1.0, 2.0]),
    },
    "critical_learning_rate": {"inputs": INPUTS} | SAMPLED,
    "density_modes": {"grid": LINE, "density": GAUSS},
    "elliptical_stable_noise_density": {"tail_index": 1.5, "covariance": NOISE},
    "entropy_production": {"density": PLANE_DENSITY, "current": CURRENT, "diffusion": diffusion, "grid": PLANE},
    "epoch_autocovariance": {"hessian": HESSIAN, "learning_rate": 0.1, "num_lags": 2, "momentum": 0.3} | EPOCH,
    "epoch_covariance": {"hessian": HESSIAN, "learning_rate": 0.1, "momentum": 0.3} | EPOCH,
    "epoch_noise_autocovariance": EPOCH,
    "euler_balanced_law": {"moments": MOMENTS, "temperature": 0.02, "time_step": 0.01, "num_points": 51},
    "euler_covariance": MATRICES | {"substeps": 3},
    "euler_scale": STABLE | {"substeps": 3},
    "explicit_transition": {
        "gradient": gradient, "noise_density": GAUSSIAN, "learning_rate": 0.1, "substeps": 2, "tail_index": 1.5,
    },
    "first_passage_time": SDE | {"start": 0.1, "boundary": 1.0, "wall": -1.0},
    "fokker_planck_density": SDE | {"grid": np.linspace(-5, 5, 17)},
    "fokker_planck_evolution": SDE | {"initial_density": GAUSS, "grid": LINE, "duration": 0.1},
    "free_levy_exit_time": {"start": 0.2, "tail_index": 1.5, "scale": 0.5, "half_width": 1.0, "dimension": 1},
    "gaussian_almost_sure_critical_learning_rate": {"input_variance": 0.7, "batch_size": 2},
    "gaussian_critical_learning_rate": {"input_covariance": HESSIAN, "batch_size": 2, "momentum": 0.3},
    "gaussian_kesten_exponent": NORMAL,
    "gaussian_lyapunov_exponent": NORMAL,
    "gaussian_noise_density": {"covariance": NOISE},
    "gaussian_regression_covariance": {
        "input_covariance": HESSIAN, "label_variance": 0.5, "learning_rate": 0.1, "batch_size": 2, "momentum": 0.3,
    },
    "gaussian_regression_law": CELLS | {"largest": 9.0},
    "gaussian_regression_passage_steps": CELLS | {"distance": 1.0},
    "gibbs_density": {"potential": potential, "temperature": 0.5, "grid": LINE},
    "half_learning_time": LAYERS,
    "helmholtz_parts": {"current": CURRENT, "grid": PLANE},
    "imbalance_decay_rate": {"strength": 0.4, "moments": MOMENTS, "temperature": 0.1},
    "imbalance_factor": {"slope": 0.4, "learning_rate": 0.1},
    "implicit_levy_density": {
        "gradient": np.tanh, "curvature": np.cosh, "grid": np.linspace(-3, 3, 61), "tail_index": 1.5, "scale": 0.5,
        "time_step": 0.1,
    },
    "implicit_transition": {
        "gradient": gradient, "curvature": gradient, "noise_density": GAUSSIAN, "learning_rate": 0.1, "substeps": 2,
        "tail_index": 1.5,
    },
    "interval_exit": SDE | {"start": 0.1, "lower": -1.0, "upper": 1.0},
    "kesten_exponent": {"inputs": COLUMN, "learning_rate": 1.5, "batch_size": 2},
    "kesten_exponent_at_small_rates": NORMAL,
    "kramers_rate": {
        "hessian_minimum": HESSIAN, "hessian_saddle": HESSIAN - np.eye(2), "barrier": 1.0, "temperature": 0.1,
    },
    "label_noise_covariance": {"hessian": HESSIAN, "label_variance": 0.5, "learning_rate": 0.1, "batch_size": 2},
    "learning_time": {"strength": 0.5} | LAYERS,
    "levy_density_evolution": LEVY | {"initial_density": np.ones(33), "durations": np.array([0.1, 0.3])},
    "levy_escape_rate": {"tail_index": 1.5, "scale": 0.5, "left": 1.0, "right": 2.0},
    "levy_mean_exit_time": LEVY | {"grid": np.linspace(-1, 1, 17), "interval": (-1.0, 1.0)},
    "levy_quartic_second_moment": {"quartic": 1.0, "tail_index": 1.5, "scale": 0.5},
    "levy_quartic_tail": {"position": 3.0, "quartic": 1.0, "tail_index": 1.5, "scale": 0.5},
    "levy_stationary_density": LEVY,
    "log_partition_function": {"potential": potential, "temperature": 0.5, "grid": LINE},
    "lyapunov_exponent": {"inputs": COLUMN, "learning_rate": 0.3, "batch_size": 2},
    "minibatch_noise_density": {"example_noise": COLUMN[:, None] - 0.55, "batch_size": 3, "smoothing": 0.1},
    "mode_noise": {"strength": 0.4, "target": 2.0, "num_layers": 3, "label_variance": 0.1},
    "mode_noise_peak": {"target": 2.0, "num_layers": 3},
    "mode_strength": {"times": 0.1} | LAYERS,
    "moved_boundary": {"boundary": 1.0, "start": 0.1, "temperature": 0.1, "time_step": 0.01},
    "nesterov_covariance": MATRICES | {"momentum": 0.5},
    "neuron_collapse_learning_rate": {"inputs": COLUMN, "labels": TARGETS, "label_variance": 0.3},
    "noisy_quadratic_loss": {"num_steps": 5} | WEIGHED,
    "noisy_quadratic_moments": {"num_steps": 5} | MODES,
    "one_dimensional_density": SDE | {"grid": LINE},
    "partition_function": {"potential": potential, "temperature": 0.5, "grid": LINE},
    "plateau_losses": {"targets": np.array([2.0, 1.0])},
    "proportional_noise_escape_exponent": PROPORTIONAL | {"num_directions": 2},
    "proportional_noise_escape_rate": PROPORTIONAL | {
        "saddle_curvature": -1.0, "minimum_loss": 0.5, "saddle_loss": 1.0,
    },
    "proportional_noise_exponent": PROPORTIONAL,
    "proportional_noise_passage_time": PROPORTIONAL | {"minimum_loss": 0.5, "loss": 1.0, "start_loss": 0.7},
    "regression_covariance": {"inputs": INPUTS, "targets": TARGETS} | LINEAR,
    "regression_loss_exponent": PROPORTIONAL,
    "regression_spectral_radius": {"inputs": INPUTS} | LINEAR,
    "relaxation_rate": SDE | {"grid": np.linspace(-5, 5, 65)},
    "saddle_loss": {"targets": np.array([2.0, 1.0]), "is_learnt": np.array([True, False])},
    "scalar_regression_variance": {
        "second_moment": 1.0, "fourth_moment": 3.0, "label_variance": 0.5, "learning_rate": 0.1, "batch_size": 2,
    },
    "sde_angular_momentum": MATRICES | {"lag": 0.1},
    "sde_covariance": MATRICES,
    "sde_current": {"points": np.array([[0.1, 0.2]])} | MATRICES | {"lag": 0.1},
    "sde_entropy_production": MATRICES | {"lag": 0.1},
    "sde_scale": STABLE,
    "sde_tail_exponent": {"curvature": 1.0, "noise_growth": 2.0, "learning_rate": 0.1, "batch_size": 2},
    "sgd_angular_momentum": MATRICES | {"num_steps": 2},
    "sgd_balanced_law": {
        "inputs": np.array([0.3, -1.2, 1.6]),
        "labels": np.array([0.8, -0.7, 1.5]),
        "learning_rate": 0.02,
        "num_points": 51,
    },
    "sgd_covariance": MATRICES | {"momentum": 0.5},
    "sgd_current": {"points": np.array([[0.1, 0.2]])} | MATRICES | {"num_steps": 2},
    "sgd_entropy_production": MATRICES | {"num_steps": 2},
    "sgd_scale": STABLE,
    "slope_moments": {"inputs": COLUMN, "labels": TARGETS},
    "slope_variance": {"strength": 0.4, "moments": MOMENTS},
    "stable_noise_density": {"tail_index": 1.5, "scale": 0.5},
    "state_dependent_sde_variance": GROWING | {"convention": "ito"},
    "state_dependent_sgd_variance": GROWING,
    "stationary_density": {"transition_density": kernel, "grid": np.linspace(-6, 6, 65)},
    "steps_to_loss": {"target": 0.5} | WEIGHED,
    "superposition_loss": {"num_vertices": 3, "num_features": 5, "num_biased": 1},
    "superposition_polygon": {"num_vertices": 3},
    "symmetric_stable_density": {"distance": np.array([0.1, 2.0]), "tail_index": 2.0, "scale": 0.5, "dimension": 1},
    "temperature": {"learning_rate": 0.1, "batch_size": 2, "gradient_variance": 0.5},
}  # fmt: skip
CALLS = {name: (getattr(p, name), right) for name, right in RIGHT.items()}
