"""Experiments: a Config in, named arrays out, checks that decide, a figure, and a folder that says how it was made."""

from sgdsde.experiment.check import Check as Check
from sgdsde.experiment.folders import ExperimentError as ExperimentError

__all__ = ["Check", "ExperimentError"]
