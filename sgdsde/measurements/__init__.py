"""What samples say: estimates from independent chains, each with its standard error; nothing here predicts."""

from sgdsde.measurements.convergence import (
    Stationarity,
    effective_sample_size,
    relaxation_time,
    relaxation_time_between_starts,
    rhat,
    stationarity,
)
from sgdsde.measurements.crossings import first_crossing, halfway_crossing
from sgdsde.measurements.currents import CurrentField, angular_momentum, entropy_production, probability_current
from sgdsde.measurements.discrepancies import energy_distance, median_bandwidth, squared_mmd
from sgdsde.measurements.distances import (
    cdf_distance,
    cdf_distance_two_samples,
    wasserstein_distance,
    wasserstein_distance_two_samples,
)
from sgdsde.measurements.exits import (
    Exponentiality,
    exponentiality,
    log_log_slope,
    mean_exit_time,
    survival,
    weighted_slope,
)
from sgdsde.measurements.fluctuation_dissipation import (
    euler_virial_ratio,
    fluctuation_dissipation_ratio,
    minibatch_gradients,
    ratio_of_means,
)
from sgdsde.measurements.fractions import cdf_distance_of_fractions, density_of_fractions, fraction_below
from sgdsde.measurements.increments import IncrementTest, increment_test, whitened_increments
from sgdsde.measurements.local_learning import learning_coefficient
from sgdsde.measurements.moments import (
    covariance,
    fraction,
    mean,
    whitened_deviation,
    whitened_deviation_of_groups,
)
from sgdsde.measurements.power_tails import (
    TailExponent,
    loss_exponent,
    loss_exponent_of_mean,
    tail_exponent,
    tail_exponents,
)
from sgdsde.measurements.tail_reports import TailReport, tail_report
from sgdsde.measurements.tails import (
    block_tail_index,
    characteristic_tail_index,
    log_moment_tail_index,
    quantile_tail_index,
)

__all__ = [
    "CurrentField",
    "Exponentiality",
    "IncrementTest",
    "Stationarity",
    "TailExponent",
    "TailReport",
    "angular_momentum",
    "block_tail_index",
    "cdf_distance",
    "cdf_distance_of_fractions",
    "cdf_distance_two_samples",
    "characteristic_tail_index",
    "covariance",
    "density_of_fractions",
    "effective_sample_size",
    "energy_distance",
    "entropy_production",
    "euler_virial_ratio",
    "exponentiality",
    "first_crossing",
    "fluctuation_dissipation_ratio",
    "fraction",
    "fraction_below",
    "halfway_crossing",
    "increment_test",
    "learning_coefficient",
    "log_log_slope",
    "log_moment_tail_index",
    "loss_exponent",
    "loss_exponent_of_mean",
    "mean",
    "mean_exit_time",
    "median_bandwidth",
    "minibatch_gradients",
    "probability_current",
    "quantile_tail_index",
    "ratio_of_means",
    "relaxation_time",
    "relaxation_time_between_starts",
    "rhat",
    "squared_mmd",
    "stationarity",
    "survival",
    "tail_exponent",
    "tail_exponents",
    "tail_report",
    "wasserstein_distance",
    "wasserstein_distance_two_samples",
    "weighted_slope",
    "whitened_deviation",
    "whitened_deviation_of_groups",
    "whitened_increments",
]
