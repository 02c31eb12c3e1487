"""Stationary loss of SGD and of its isotropic SDE on a regression with real data; a seed is one chain.

A small experiment, as people sweep them: what the benchmark of sweeps runs. With C the minibatch noise at the minimum,
the stationary covariance solves S = (I - eta H) S (I - eta H) + eta^2 C, and the loss above the minimum is tr(H S)/2.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde import Check, Problem, gradient_covariance, match, noise, regression, sgd, simulate, style
from sgdsde.predictions import sgd_covariance

ROWS, COLUMNS = 64, 3


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.05
    """step size"""
    batch_size: int = 4
    """examples in a minibatch"""
    num_steps: int = 200_000
    """steps, of which the second half is measured"""
    seed: int = 0


SMOKE = Config(num_steps=200)
NUM_RECORDS = 200


def problem() -> Problem:
    inputs, targets = regression.diabetes_data(intercept=False)
    real = jnp.result_type(float)
    return regression.linear_regression(
        inputs[:ROWS, :COLUMNS].astype(real), (targets / targets.std())[:ROWS].astype(real)
    )


def hessian(least_squares):
    inputs = least_squares.examples["inputs"]
    return inputs.T @ inputs / inputs.shape[0]


def excess(curvature, minimum, params):
    return (params - minimum) @ curvature @ (params - minimum) / 2


def run(config, key):
    least_squares = problem()
    minimum = regression.least_squares_solution(least_squares)
    watch = jax.tree_util.Partial(excess, hessian(least_squares), minimum)
    discrete = sgd(
        least_squares,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        sampling="with_replacement",
    )
    both = {"sgd": discrete, "sde": match(discrete, noise.isotropic, substeps=2, at=minimum)}
    sizes = {"num_steps": config.num_steps, "num_chains": 1, "every": config.num_steps // NUM_RECORDS}
    arrays = {}
    for place, (name, dynamics) in enumerate(both.items()):
        trajectory = simulate(dynamics, minimum, jax.random.fold_in(key, place), observe=watch, **sizes)
        arrays[f"{name}_excess_loss"] = trajectory.observed[NUM_RECORDS // 2 :].mean()
    return arrays


def checks(config, arrays):
    least_squares = problem()
    covariance = gradient_covariance(least_squares, regression.least_squares_solution(least_squares))
    curvature = hessian(least_squares)
    law = sgd_covariance(curvature, covariance / config.batch_size, learning_rate=config.learning_rate)
    predicted = float(np.trace(curvature @ law) / 2)
    source = "discrete law with the noise at the minimum"
    return [Check("SGD: excess loss", arrays["sgd_excess_loss"], predicted, 0.1 * predicted, 1.0, "agree", source)]


def plot(config, arrays):
    figure, axes = style.figure()
    axes.bar(["SGD", "SDE"], [arrays["sgd_excess_loss"], arrays["sde_excess_loss"]])
    axes.set_ylabel("loss above the minimum")
    return figure
