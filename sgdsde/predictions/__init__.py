"""What theory says: stationary laws and their moments, computed without any of the code that simulates.

`gibbs` and `covariances` and the scales of `stable` are linear algebra in jnp, traceable, in JAX's default float type.
Second moments of `regression`, stable densities and the `kernels` run on the host in float64 and refuse tracers.
"""

from sgdsde.predictions.covariances import euler_covariance, sde_covariance, sgd_covariance
from sgdsde.predictions.gibbs import gibbs_density, log_partition_function, partition_function, temperature
from sgdsde.predictions.kernels import StationaryDensity, explicit_transition, implicit_transition, stationary_density
from sgdsde.predictions.noise_densities import (
    elliptical_stable_noise_density,
    gaussian_noise_density,
    minibatch_noise_density,
    stable_noise_density,
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

__all__ = [
    "StationaryDensity",
    "cauchy_density",
    "cauchy_mode",
    "cauchy_second_moment",
    "critical_learning_rate",
    "elliptical_stable_noise_density",
    "euler_covariance",
    "euler_scale",
    "explicit_transition",
    "gaussian_critical_learning_rate",
    "gaussian_noise_density",
    "gaussian_regression_covariance",
    "gibbs_density",
    "implicit_transition",
    "log_partition_function",
    "minibatch_noise_density",
    "partition_function",
    "regression_covariance",
    "regression_spectral_radius",
    "scalar_regression_variance",
    "sde_covariance",
    "sde_scale",
    "sgd_covariance",
    "sgd_scale",
    "stable_noise_density",
    "stationary_density",
    "symmetric_stable_density",
    "temperature",
]
