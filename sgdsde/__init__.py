"""sgdsde: discrete SGD side by side with its stochastic differential equations, and what theory says of both.

The public face is imported on first use, so `import sgdsde` makes no array and starts no device.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sgdsde import measurements as measurements
    from sgdsde import noise as noise
    from sgdsde import observables as observables
    from sgdsde import predictions as predictions
    from sgdsde import style as style
    from sgdsde.checkpointing import checkpoints as checkpoints
    from sgdsde.comparison import compare as compare
    from sgdsde.dynamics.exits import first_exit as first_exit
    from sgdsde.dynamics.flows import diffrax_terms as diffrax_terms
    from sgdsde.dynamics.flows import gradient_flow as gradient_flow
    from sgdsde.dynamics.langevin import euler_maruyama as euler_maruyama
    from sgdsde.dynamics.langevin import explicit as explicit
    from sgdsde.dynamics.langevin import implicit as implicit
    from sgdsde.dynamics.langevin import tamed as tamed
    from sgdsde.dynamics.matching import match as match
    from sgdsde.dynamics.minibatch import optimizer as optimizer
    from sgdsde.dynamics.minibatch import sgd as sgd
    from sgdsde.dynamics.thermometer import temperatures as temperatures
    from sgdsde.ensemble import Trajectory as Trajectory
    from sgdsde.experiment.check import Check as Check
    from sgdsde.interruption import Interrupted as Interrupted
    from sgdsde.loading import load as load
    from sgdsde.problem import Problem as Problem
    from sgdsde.problem import example_gradients as example_gradients
    from sgdsde.problem import gradient as gradient
    from sgdsde.problem import gradient_covariance as gradient_covariance
    from sgdsde.problem import gradient_covariance_trace as gradient_covariance_trace
    from sgdsde.problem import gradient_variance as gradient_variance
    from sgdsde.problem import loss as loss
    from sgdsde.problems import deep_linear as deep_linear
    from sgdsde.problems import landscapes as landscapes
    from sgdsde.problems import modular_addition as modular_addition
    from sgdsde.problems import parity as parity
    from sgdsde.problems import regression as regression
    from sgdsde.problems import superposition as superposition
    from sgdsde.problems.adapters import from_equinox as from_equinox
    from sgdsde.problems.adapters import from_linen as from_linen
    from sgdsde.problems.adapters import from_nnx as from_nnx
    from sgdsde.problems.adapters import model_of as model_of
    from sgdsde.simulation import simulate as simulate

__version__ = "0.1.0"

_HOMES = {
    "Check": "sgdsde.experiment.check",
    "Interrupted": "sgdsde.interruption",
    "Problem": "sgdsde.problem",
    "Trajectory": "sgdsde.ensemble",
    "checkpoints": "sgdsde.checkpointing",
    "compare": "sgdsde.comparison",
    "diffrax_terms": "sgdsde.dynamics.flows",
    "euler_maruyama": "sgdsde.dynamics.langevin",
    "example_gradients": "sgdsde.problem",
    "explicit": "sgdsde.dynamics.langevin",
    "first_exit": "sgdsde.dynamics.exits",
    "from_equinox": "sgdsde.problems.adapters",
    "from_linen": "sgdsde.problems.adapters",
    "from_nnx": "sgdsde.problems.adapters",
    "gradient": "sgdsde.problem",
    "gradient_covariance": "sgdsde.problem",
    "gradient_covariance_trace": "sgdsde.problem",
    "gradient_flow": "sgdsde.dynamics.flows",
    "gradient_variance": "sgdsde.problem",
    "implicit": "sgdsde.dynamics.langevin",
    "load": "sgdsde.loading",
    "loss": "sgdsde.problem",
    "match": "sgdsde.dynamics.matching",
    "model_of": "sgdsde.problems.adapters",
    "optimizer": "sgdsde.dynamics.minibatch",
    "sgd": "sgdsde.dynamics.minibatch",
    "simulate": "sgdsde.simulation",
    "tamed": "sgdsde.dynamics.langevin",
    "temperatures": "sgdsde.dynamics.thermometer",
}
_MODULES = {
    "deep_linear": "sgdsde.problems.deep_linear",
    "landscapes": "sgdsde.problems.landscapes",
    "measurements": "sgdsde.measurements",
    "modular_addition": "sgdsde.problems.modular_addition",
    "noise": "sgdsde.noise",
    "observables": "sgdsde.observables",
    "parity": "sgdsde.problems.parity",
    "predictions": "sgdsde.predictions",
    "regression": "sgdsde.problems.regression",
    "style": "sgdsde.style",
    "superposition": "sgdsde.problems.superposition",
}

__all__ = ["__version__", *_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'sgdsde' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
