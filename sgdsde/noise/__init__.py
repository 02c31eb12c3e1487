"""The law of (minibatch gradient - full gradient), as the noise of an SDE.

Every noise is in *gradient units*: it stands where SGD's own gradient noise stands, x' = x - eta (g + noise), and its
covariance is the minibatch covariance C = factor * Sigma(params), factor = 1/B with replacement and
(n - B)/(B (n - 1)) without. How it scales with the time step is written once, in `dynamics/langevin.py`.

Stable noise has characteristic function exp(-(scale |k|)^tail_index): tail index 2 is variance 2 scale^2.

What a step costs beside its drift, on a problem of n examples:

    isotropic, constant, levy, levy_coordinates        random numbers
    anisotropic, anisotropic_levy                      nothing: the explicit scheme's drift shares their backward pass
    anisotropic_sampled                                nothing, and that pass is over num_sampled examples
    trace_matched                                      one more backward pass over all examples
    diagonal, trace_matched_levy                       the n gradients one by one (see `Problem.microbatch`)
"""

from sgdsde.noise.contract import Noise, check_batch, covariance_factor
from sgdsde.noise.gaussian import anisotropic, constant, diagonal, isotropic
from sgdsde.noise.mixtures import anisotropic_sampled, trace_matched
from sgdsde.noise.stable import anisotropic_levy, levy, levy_coordinates, trace_matched_levy

__all__ = [
    "Noise",
    "anisotropic",
    "anisotropic_levy",
    "anisotropic_sampled",
    "check_batch",
    "constant",
    "covariance_factor",
    "diagonal",
    "isotropic",
    "levy",
    "levy_coordinates",
    "trace_matched",
    "trace_matched_levy",
]
