"""Stationary excess loss of SGD and of its SDE on a regression with real data, against the discrete law.

A small experiment, as people sweep them: what the benchmark of sweeps runs. With C the minibatch noise at the minimum,
the stationary covariance solves S = (I - eta H) S (I - eta H) + eta^2 C and the excess loss is tr(H S)/2.
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
    num_steps: int = 200
    """steps, twice: to become stationary, and while it is measured"""
    num_chains: int = 8
    """independent chains"""
    seed: int = 0


SMOKE = Config(num_steps=20)


def problem() -> Problem:
    inputs, targets = regression.diabetes_data(intercept=False)
    real = jnp.result_type(float)
    return regression.linear_regression(
        inputs[:ROWS, :COLUMNS].astype(real), (targets / targets.std())[:ROWS].astype(real)
    )


def square_about(minimum, params):
    return jnp.outer(params - minimum, params - minimum)


def run(config, key):
    least_squares = problem()
    minimum = regression.least_squares_solution(least_squares)
    discrete = sgd(
        least_squares,
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        sampling="with_replacement",
    )
    sizes = {"num_steps": config.num_steps, "num_chains": config.num_chains, "every": config.num_steps // 10}
    watch = jax.tree_util.Partial(square_about, minimum)
    arrays = {}
    for place, (name, dynamics) in enumerate(
        {"sgd": discrete, "sde": match(discrete, noise.anisotropic, substeps=2)}.items()
    ):
        first, second = jax.random.split(jax.random.fold_in(key, place))
        relaxed = simulate(dynamics, minimum, first, observe=watch, average=True, **sizes)
        later = simulate(dynamics, relaxed, second, observe=watch, average=True, **sizes)
        spread = later.observed[0].mean(0)
        arrays[f"{name}_excess_loss"] = jnp.trace(hessian(least_squares) @ spread) / 2
    return arrays


def hessian(least_squares):
    inputs = least_squares.examples["inputs"]
    return inputs.T @ inputs / inputs.shape[0]


def checks(config, arrays):
    least_squares = problem()
    curvature = hessian(least_squares)
    covariance = gradient_covariance(least_squares, regression.least_squares_solution(least_squares))
    law = sgd_covariance(curvature, covariance / config.batch_size, learning_rate=config.learning_rate)
    predicted = float(np.trace(curvature @ law) / 2)
    source = "discrete law with the noise at the minimum"
    return [
        Check(f"{name}: excess loss", arrays[f"{name}_excess_loss"], predicted, 0.3 * predicted, 2.0, "agree", source)
        for name in ("sgd", "sde")
    ]


def plot(config, arrays):
    figure, axes = style.figure()
    axes.bar(["SGD", "SDE"], [arrays["sgd_excess_loss"], arrays["sde_excess_loss"]])
    axes.set_ylabel("excess loss")
    return figure
