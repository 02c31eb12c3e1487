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
from sgdsde.predictions.superposition import SuperpositionPolygon, superposition_loss, superposition_polygon

__all__ = [
    "StationaryDensity",
    "SuperpositionPolygon",
    "balance_changes",
    "cauchy_density",
    "cauchy_mode",
    "cauchy_second_moment",
    "critical_batch_sizes",
    "critical_learning_rate",
    "elliptical_stable_noise_density",
    "euler_covariance",
    "euler_scale",
    "explicit_transition",
    "gaussian_critical_learning_rate",
    "gaussian_noise_density",
    "gaussian_regression_covariance",
    "gibbs_density",
    "half_learning_time",
    "implicit_transition",
    "learning_time",
    "log_partition_function",
    "minibatch_noise_density",
    "mode_noise",
    "mode_noise_peak",
    "mode_strength",
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
    "sgd_covariance",
    "sgd_scale",
    "stable_noise_density",
    "stationary_density",
    "steps_to_loss",
    "superposition_loss",
    "superposition_polygon",
    "symmetric_stable_density",
    "temperature",
]
