"""What theory says: stationary laws and their moments, computed without any of the code that simulates.

`gibbs` and `covariances` and the scales of `stable` are linear algebra in jnp, traceable, in JAX's default float type.
Second moments of `regression`, stable densities, the `kernels` and `superposition` run on the host in float64 and
refuse tracers.
"""

from sgdsde.predictions.covariances import euler_covariance, sde_covariance, sgd_covariance
from sgdsde.predictions.deep_linear import (
    balance_changes,
    half_learning_time,
    learning_time,
    mode_noise,
    mode_noise_peak,
    mode_strength,
    plateau_losses,
    saddle_loss,
)
from sgdsde.predictions.gibbs import gibbs_density, log_partition_function, partition_function, temperature
from sgdsde.predictions.kernels import StationaryDensity, explicit_transition, implicit_transition, stationary_density
from sgdsde.predictions.kesten import (
    almost_sure_critical_learning_rate,
    gaussian_almost_sure_critical_learning_rate,
    gaussian_kesten_exponent,
    gaussian_lyapunov_exponent,
    kesten_exponent,
    kesten_exponent_at_small_rates,
    lyapunov_exponent,
    sde_tail_exponent,
)
from sgdsde.predictions.label_noise import label_noise_covariance
from sgdsde.predictions.noise_balance import (
    SlopeMoments,
    balance_density,
    balance_moment_identity,
    collapse_temperature,
    imbalance_decay_rate,
    imbalance_factor,
    slope_moments,
    slope_variance,
)
from sgdsde.predictions.noise_densities import (
    elliptical_stable_noise_density,
    gaussian_noise_density,
    minibatch_noise_density,
    stable_noise_density,
)
from sgdsde.predictions.noisy_quadratic import (
    critical_batch_sizes,
    noisy_quadratic_loss,
    noisy_quadratic_moments,
    steps_to_loss,
)
from sgdsde.predictions.regression import (
    critical_learning_rate,
    gaussian_critical_learning_rate,
    gaussian_regression_covariance,
    regression_covariance,
    regression_spectral_radius,
    scalar_regression_variance,
)
from sgdsde.predictions.stable import (
    cauchy_density,
    cauchy_mode,
    cauchy_second_moment,
    euler_scale,
    sde_scale,
    sgd_scale,
    symmetric_stable_density,
)
from sgdsde.predictions.stochastic_collapse import (
    collapse_density,
    collapse_noise_strength,
    collapse_second_moment,
    collapsed_fraction,
    neuron_collapse_learning_rate,
)
from sgdsde.predictions.superposition import SuperpositionPolygon, superposition_loss, superposition_polygon

__all__ = [
    "SlopeMoments",
    "StationaryDensity",
    "SuperpositionPolygon",
    "almost_sure_critical_learning_rate",
    "balance_changes",
    "balance_density",
    "balance_moment_identity",
    "cauchy_density",
    "cauchy_mode",
    "cauchy_second_moment",
    "collapse_density",
    "collapse_noise_strength",
    "collapse_second_moment",
    "collapse_temperature",
    "collapsed_fraction",
    "critical_batch_sizes",
    "critical_learning_rate",
    "elliptical_stable_noise_density",
    "euler_covariance",
    "euler_scale",
    "explicit_transition",
    "gaussian_almost_sure_critical_learning_rate",
    "gaussian_critical_learning_rate",
    "gaussian_kesten_exponent",
    "gaussian_lyapunov_exponent",
    "gaussian_noise_density",
    "gaussian_regression_covariance",
    "gibbs_density",
    "half_learning_time",
    "imbalance_decay_rate",
    "imbalance_factor",
    "implicit_transition",
    "kesten_exponent",
    "kesten_exponent_at_small_rates",
    "label_noise_covariance",
    "learning_time",
    "log_partition_function",
    "lyapunov_exponent",
    "minibatch_noise_density",
    "mode_noise",
    "mode_noise_peak",
    "mode_strength",
    "neuron_collapse_learning_rate",
    "noisy_quadratic_loss",
    "noisy_quadratic_moments",
    "partition_function",
    "plateau_losses",
    "regression_covariance",
    "regression_spectral_radius",
    "saddle_loss",
    "scalar_regression_variance",
    "sde_covariance",
    "sde_scale",
    "sde_tail_exponent",
    "sgd_covariance",
    "sgd_scale",
    "slope_moments",
    "slope_variance",
    "stable_noise_density",
    "stationary_density",
    "steps_to_loss",
    "superposition_loss",
    "superposition_polygon",
    "symmetric_stable_density",
    "temperature",
]
