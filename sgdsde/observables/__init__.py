"""What is watched along a run: functions of what they hold and, last, the parameters.

`jax.tree_util.Partial(f, held)` makes one an observer of `simulate`, `observer(f, held)` one that also holds counts,
strings and functions; `all_of` watches several at once.
"""

from sgdsde.observables.curvature import hessian_eigenvalues, hessian_extremes, hessian_trace, sharpness
from sgdsde.observables.fourier import (
    circuit_progress,
    excluded_loss,
    frequency_power,
    inverse_participation_ratio,
    key_frequencies,
    num_key_frequencies,
    restricted_loss,
    shares_of_power,
)
from sgdsde.observables.losses import accuracy, mean_example_loss, weight_norm
from sgdsde.observables.modes import balances, mode_noise, mode_strengths, singular_values
from sgdsde.observables.noise_statistics import (
    gradient_noise_scale,
    noise_tail_index,
    projected_noise,
    sampled_gradient_covariance_trace,
    sampled_gradient_variance,
    two_batch_moments,
)
from sgdsde.observables.parity import largest_movement, parity_coefficient, relevant_weight_share
from sgdsde.observables.watching import all_of, observer

__all__ = [
    "accuracy",
    "all_of",
    "balances",
    "circuit_progress",
    "excluded_loss",
    "frequency_power",
    "gradient_noise_scale",
    "hessian_eigenvalues",
    "hessian_extremes",
    "hessian_trace",
    "inverse_participation_ratio",
    "key_frequencies",
    "largest_movement",
    "mean_example_loss",
    "mode_noise",
    "mode_strengths",
    "noise_tail_index",
    "num_key_frequencies",
    "observer",
    "parity_coefficient",
    "projected_noise",
    "relevant_weight_share",
    "restricted_loss",
    "sampled_gradient_covariance_trace",
    "sampled_gradient_variance",
    "shares_of_power",
    "sharpness",
    "singular_values",
    "two_batch_moments",
    "weight_norm",
]
