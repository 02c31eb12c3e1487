"""Fokker-Planck equations in one and two dimensions, for any drift, state-dependent diffusion and convention.

Host side, NumPy and SciPy in float64: stationary and time-dependent densities with their currents and errors, the
slowest relaxation rate, and what a current is made of.
"""

from sgdsde.predictions.fokker_planck.current_parts import (
    HelmholtzParts,
    circulation,
    entropy_production,
    helmholtz_parts,
)
from sgdsde.predictions.fokker_planck.evolution import fokker_planck_evolution
from sgdsde.predictions.fokker_planck.one_dimension import (
    one_dimensional_density,
    state_dependent_sde_variance,
    state_dependent_sgd_variance,
)
from sgdsde.predictions.fokker_planck.relaxation import relaxation_rate
from sgdsde.predictions.fokker_planck.stationary_states import FokkerPlanckSolution, fokker_planck_density

__all__ = [
    "FokkerPlanckSolution",
    "HelmholtzParts",
    "circulation",
    "entropy_production",
    "fokker_planck_density",
    "fokker_planck_evolution",
    "helmholtz_parts",
    "one_dimensional_density",
    "relaxation_rate",
    "state_dependent_sde_variance",
    "state_dependent_sgd_variance",
]
