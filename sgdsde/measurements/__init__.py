"""What samples say: estimates from independent chains, each with its standard error; nothing here predicts."""

from sgdsde.measurements.convergence import (
    Stationarity,
    effective_sample_size,
    relaxation_time,
    relaxation_time_between_starts,
    rhat,
    stationarity,
)
from sgdsde.measurements.discrepancies import energy_distance, median_bandwidth, squared_mmd
from sgdsde.measurements.distances import (
    cdf_distance,
    cdf_distance_two_samples,
    wasserstein_distance,
    wasserstein_distance_two_samples,
)
from sgdsde.measurements.fractions import cdf_distance_of_fractions, density_of_fractions, fraction_below
from sgdsde.measurements.moments import covariance, mean, whitened_deviation

__all__ = [
    "Stationarity",
    "cdf_distance",
    "cdf_distance_of_fractions",
    "cdf_distance_two_samples",
    "covariance",
    "density_of_fractions",
    "effective_sample_size",
    "energy_distance",
    "fraction_below",
    "mean",
    "median_bandwidth",
    "relaxation_time",
    "relaxation_time_between_starts",
    "rhat",
    "squared_mmd",
    "stationarity",
    "wasserstein_distance",
    "wasserstein_distance_two_samples",
    "whitened_deviation",
]
