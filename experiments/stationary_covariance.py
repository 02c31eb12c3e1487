"""Stationary covariance of SGD: the exact discrete law holds, the SDE's fails by the factor it predicts.

At learning rate x curvature 0.3 SGD's variance in that direction is 1.18 times the SDE's without momentum; the exact
discrete law, with additive noise or with true minibatches, with and without momentum, holds to 2 % at every rate, batch
and data set.

Three problems. (a) A quadratic with constant noise covariance C that does not commute with the Hessian: heavy-ball SGD
against S = (I - eta H) S (I - eta H) + eta^2 C and its extension to momentum; the SDE solves S H + H S = eta C with the
effective rate eta/(1 - mu). (b) Linear regression, loss (y - theta x)^2/2, on a finite Gaussian sample and (c) on real
data (diabetes: body mass index, blood pressure and a blood serum measurement), with true minibatches: the noise depends
on theta, and the second moments close in a linear system. Rates of (b) and (c) are fractions, below one half, of the
rate at which the variance becomes infinite (times 1 - mu under momentum); the SDE there takes the noise at the minimum.

What it does not say: n = 2,000 chains a point (4,000 at batch size 2, 8,000 at 1), none lost. In (b) and (c) the rates
stay below half of the one at which the variance becomes infinite: nearer to it no sample would show it. Momentum there
is tried at one rate. Agreement is that of the entry of P^-1/2 S P^-1/2 - I that is farthest from 0, whose standard
error is that of one entry, not of a largest one. The SDE of (b) and (c) has the constant noise of the minimum; one
whose noise depends on the state is not tried.

Source: Mandt, Hoffman, Blei 2017 (arXiv 1704.04289), eq. 12 (the SDE); Liu, Ziyin, Ueda 2021 (2012.03636), eq. 7 (the
discrete law); Ziyin, Liu, Mori, Ueda 2022 (2102.05375) (minibatch regression).

Command: `sgdsde reproduce stationary_covariance`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde import Check, landscapes, regression, sgd, simulate, style
from sgdsde.measurements import whitened_deviation_of_groups
from sgdsde.predictions import critical_learning_rate, regression_covariance, sde_covariance, sgd_covariance

SEE = """Covariances within {quadratic, rate x curvature 0.3, momentum 0: exact | within} of the exact discrete law at
every rate, batch size, momentum and data set. At learning rate x largest curvature 0.3 the variance along the steepest
direction is {quadratic, rate x curvature 0.3, momentum 0: over the SDE's | predicted} times the SDE's (within
{quadratic, rate x curvature 0.3, momentum 0: over the SDE's | within}), with momentum 0.9 {quadratic, rate x curvature
0.3, momentum 0.9: over the SDE's | predicted} times."""


@dataclass(frozen=True)
class Config:
    rate_times_curvature: tuple[float, ...] = (0.1, 0.3, 0.6)
    """(a) learning rate x largest curvature"""
    momenta: tuple[float, ...] = (0.0, 0.5, 0.9)
    """heavy-ball momenta; (b) and (c) run the first at every rate, the others at the middle one"""
    fractions: tuple[float, ...] = (0.1, 0.2, 0.4)
    """(b), (c) learning rate over the critical one, below one half"""
    batch_sizes: tuple[int, ...] = (1, 2, 8, 64)
    """(b), (c) examples in a minibatch, drawn with replacement"""
    num_examples: int = 256
    """(a), (b) examples"""
    label_variance: float = 0.5
    """(b) variance of the label noise"""
    num_records: int = 200
    """records of each chain, after half as many of burn-in"""
    every: int = 20
    """steps between records"""
    num_chains: int = 2_000
    """independent chains; twice as many at batch size 2, four times at 1, where tails are heavy"""
    num_groups: int = 100
    """groups of chains whose second moments are kept"""
    seed: int = 0


SMOKE = Config(
    rate_times_curvature=(0.3,), momenta=(0.0, 0.5), fractions=(0.2,), batch_sizes=(2,), num_records=4, num_chains=20,
    num_groups=10,
)  # fmt: skip
DIMENSIONS = {
    "quadratic": ("quadratic_point", "group", "direction", "other_direction"),
    "gaussian_inputs": ("batch_size", "point", "group", "input", "other_input"),
    "diabetes_data": ("batch_size", "point", "group", "input", "other_input"),
    "num_diverged": ("problem",),
}
HESSIAN = np.array([[1.0, 0.2], [0.2, 0.4]])
NOISE = np.array([[1.0, -0.5], [-0.5, 1.5]])
QUADRATIC_BATCH = 8
CURVATURE = float(np.linalg.eigvalsh(HESSIAN)[-1])


def gaussian_inputs(config):
    """A finite Gaussian sample of three correlated inputs from a fixed seed, and its noisy labels."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(config.num_examples, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.8]])
    noise = jnp.sqrt(jnp.asarray(config.label_variance)) * jnp.asarray(rng.normal(size=len(inputs)), float)
    return inputs, jnp.asarray(inputs @ np.array([1.0, -1.0, 0.5]), float) + noise


def diabetes_data(config):
    """Three measurements of the diabetes data (columns 2, 3 and 8), standardised."""
    inputs, targets = regression.diabetes_data(intercept=False)
    return inputs[:, [2, 3, 8]], jnp.asarray(targets, float)


DATA = {"gaussian_inputs": gaussian_inputs, "diabetes_data": diabetes_data}
TITLES = {"gaussian_inputs": "(b) regression, Gaussian inputs", "diabetes_data": "(c) regression, diabetes data"}


def quadratic_points(config):
    """(momentum, learning rate) of every simulation of the quadratic."""
    return [(momentum, x / CURVATURE) for momentum in config.momenta for x in config.rate_times_curvature]


def regression_points(config, inputs, batch_size):
    """(momentum, learning rate, its fraction of the critical one): all fractions for the first momentum, the middle one
    for the others. Under momentum mu the rate is (1 - mu) times as large, well inside its own limit of stability."""
    rows = []
    limit = critical_learning_rate(inputs, batch_size=batch_size, sampling="with_replacement")
    for index, momentum in enumerate(config.momenta):
        middle = len(config.fractions) // 2
        chosen = config.fractions if index == 0 else config.fractions[middle : middle + 1]
        rows += [(momentum, fraction * (1 - momentum) * limit, fraction) for fraction in chosen]
    return rows


def position(params):
    return params


def second_moments(config, problem, minimum, key, *, learning_rate, momentum, batch_size):
    """Mean of (x - minimum)(x - minimum)^T over the records and chains of each group, (num_groups, d, d); and how many
    chains diverged."""
    dynamics = sgd(
        problem, learning_rate=learning_rate, batch_size=batch_size, sampling="with_replacement", momentum=momentum
    )
    sizes = {"num_chains": config.num_chains * max(1, 4 // batch_size), "observe": position}
    burn_in = config.every * max(config.num_records // 2, 1)
    relaxed = simulate(dynamics, minimum, key, num_steps=burn_in, every=burn_in, **sizes)
    found = simulate(dynamics, relaxed, key, num_steps=config.num_records * config.every, every=config.every, **sizes)
    centred = found.observed - minimum[None, None, :]
    groups = centred.reshape(config.num_records, config.num_groups, -1, minimum.size)
    count = groups.shape[0] * groups.shape[2]
    return jnp.einsum("rgci,rgcj->gij", groups, groups) / count, jnp.sum(found.diverged_at >= 0)


def run(config, key):
    problem = landscapes.quadratic(
        jnp.asarray(HESSIAN, float),
        gradient_covariance=QUADRATIC_BATCH * jnp.asarray(NOISE, float),
        num_examples=config.num_examples,
    )
    keys = iter(jax.random.split(key, 1_000))
    rows = [
        second_moments(
            config, problem, jnp.zeros(2), next(keys), learning_rate=rate, momentum=momentum, batch_size=QUADRATIC_BATCH
        )
        for momentum, rate in quadratic_points(config)
    ]
    arrays, diverged = {"quadratic": jnp.stack([row[0] for row in rows])}, [sum(row[1] for row in rows)]
    for name, data in DATA.items():
        inputs, targets = data(config)
        problem = regression.linear_regression(jnp.asarray(inputs, float), targets)
        minimum = regression.least_squares_solution(problem)
        rows = [
            [
                second_moments(
                    config, problem, minimum, next(keys), learning_rate=rate, momentum=momentum, batch_size=batch_size
                )
                for momentum, rate, _ in regression_points(config, inputs, batch_size)
            ]
            for batch_size in config.batch_sizes
        ]
        arrays[name] = jnp.stack([jnp.stack([point[0] for point in row]) for row in rows])
        diverged.append(sum(point[1] for row in rows for point in row))
    return {**arrays, "num_diverged": jnp.stack(diverged)}


def along(groups, direction):
    """Variance along a unit direction, and its standard error."""
    each = np.einsum("i,gij,j->g", direction, np.asarray(groups, float), direction)
    return each.mean(), each.std(ddof=1) / np.sqrt(len(each))


def exact_quadratic(momentum, rate):
    return np.asarray(sgd_covariance(HESSIAN, NOISE, learning_rate=rate, momentum=momentum), float)


def sde_quadratic(momentum, rate):
    """The SDE's covariance: rate/(1 - momentum) and the same noise."""
    return np.asarray(sde_covariance(HESSIAN, NOISE, learning_rate=rate / (1 - momentum)), float)


def exact_regression(data, batch_size, momentum, rate):
    inputs, targets = (np.asarray(array, float) for array in data)
    return regression_covariance(
        inputs, targets, learning_rate=rate, batch_size=batch_size, sampling="with_replacement", momentum=momentum
    )


def sde_regression(data, batch_size, momentum, rate):
    """The SDE with the minibatch covariance at the minimum, Sigma/B."""
    inputs, targets = (np.asarray(array, float) for array in data)
    residuals = targets - inputs @ np.linalg.lstsq(inputs, targets, rcond=None)[0]
    each = residuals[:, None] * inputs
    noise = each.T @ each / len(each) / batch_size
    hessian = inputs.T @ inputs / len(inputs)
    return np.asarray(sde_covariance(hessian, noise, learning_rate=rate / (1 - momentum)), float)


def checks(config, arrays):
    found = []
    steepest = np.linalg.eigh(HESSIAN)[1][:, -1]
    for groups, (momentum, rate) in zip(arrays["quadratic"], quadratic_points(config)):
        exact, sde = exact_quadratic(momentum, rate), sde_quadratic(momentum, rate)
        name = f"quadratic, rate x curvature {rate * CURVATURE:.2g}, momentum {momentum:g}"
        measured, error = whitened_deviation_of_groups(groups, exact)
        found.append(Check(f"{name}: exact", measured, 0, error, 0.02, "agree", "Liu, Ziyin, Ueda 2021, eq. 7"))
        if abs(rate * CURVATURE - 0.3) < 1e-6:
            measured, error = along(groups, steepest)
            scale = steepest @ sde @ steepest
            factor = steepest @ exact @ steepest / scale
            measured, error = measured / scale, error / scale
            source = "2 (1 + mu)/(2 (1 + mu) - eta h)"
            found.append(Check(f"{name}: over the SDE's", measured, factor, error, 0.02, "agree", source))
    for name, data in DATA.items():
        pair = data(config)
        for batch_size, row in zip(config.batch_sizes, arrays[name]):
            chosen = regression_points(config, np.asarray(pair[0]), batch_size)
            for groups, (momentum, rate, fraction) in zip(row, chosen):
                label = f"{name}, batch {batch_size}, rate {fraction:g} of critical, momentum {momentum:g}"
                measured, error = whitened_deviation_of_groups(
                    groups, exact_regression(pair, batch_size, momentum, rate)
                )
                source = "second-moment recursion of finite-data least squares"
                found.append(Check(f"{label}: exact", measured, 0, error, 0.02, "agree", source))
                if fraction == max(config.fractions):
                    measured, error = whitened_deviation_of_groups(
                        groups, sde_regression(pair, batch_size, momentum, rate)
                    )
                    source = "Mandt, Hoffman, Blei 2017, eq. 12"
                    found.append(Check(f"{label}: SDE fails", measured, 0, error, 0, "differ", source))
    found.append(Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may"))
    return found


def plot(config, arrays):
    figure, (quadratic, gaussian, diabetes) = style.figure(1, 3, width=10.0, height=3.6)
    colours, markers = [style.COLOURS[name] for name in ("SGD", "isotropic", "anisotropic", "levy")], "os^D"
    quadratic_panel(quadratic, config, arrays, colours, markers)
    gaussian.sharey(diabetes)
    for panel, (name, data) in zip((gaussian, diabetes), DATA.items()):
        regression_panel(panel, config, arrays[name], data(config), colours, markers)
        panel.set_title(TITLES[name])
    return figure


def quadratic_panel(panel, config, arrays, colours, markers):
    steepest = np.linalg.eigh(HESSIAN)[1][:, -1]
    chosen = quadratic_points(config)
    fine = np.linspace(0.02, 1.2 * max(config.rate_times_curvature), 60)
    for colour, marker, momentum in zip(colours, markers, config.momenta):
        curve = [
            (steepest @ exact_quadratic(momentum, x / CURVATURE) @ steepest)
            / (steepest @ sde_quadratic(momentum, x / CURVATURE) @ steepest)
            for x in fine
        ]
        panel.plot(fine, curve, color=colour, label=f"momentum {momentum:g}")
        for groups, (own, rate) in zip(arrays["quadratic"], chosen):
            if own == momentum:
                mean, error = along(groups, steepest)
                scale = steepest @ sde_quadratic(momentum, rate) @ steepest
                panel.errorbar(rate * CURVATURE, mean / scale, error / scale, color=colour, marker=marker)
    panel.axhline(1, **style.line("gibbs"), label="SDE")
    panel.set(
        title="(a) quadratic, constant noise", xlabel="learning rate x largest curvature",
        ylabel="variance along the steepest direction / SDE's",
    )  # fmt: skip
    panel.legend(title="exact law (line), simulated\n(bars: one standard error)", title_fontsize=8)


def regression_panel(panel, config, table, pair, colours, markers):
    inputs = np.asarray(pair[0])
    fine = np.linspace(0.02, 0.49, 25)
    for colour, marker, batch_size, row in zip(colours, markers, config.batch_sizes, table):
        limit = critical_learning_rate(inputs, batch_size=batch_size, sampling="with_replacement", momentum=0.0)
        curve = [
            np.trace(exact_regression(pair, batch_size, 0.0, x * limit))
            / np.trace(sde_regression(pair, batch_size, 0.0, x * limit))
            for x in fine
        ]
        panel.plot(fine, curve, color=colour, label=f"batch size {batch_size}")
        for groups, (momentum, rate, fraction) in zip(row, regression_points(config, inputs, batch_size)):
            if momentum == 0:
                scale = np.trace(sde_regression(pair, batch_size, momentum, rate))
                each = np.trace(np.asarray(groups, float), axis1=1, axis2=2) / scale
                panel.errorbar(
                    fraction, each.mean(), each.std(ddof=1) / np.sqrt(len(each)), color=colour, marker=marker
                )
    panel.axhline(1, **style.line("gibbs"), label="SDE")
    panel.set(xlabel="learning rate / critical learning rate", ylabel="trace of the covariance / SDE's")
    panel.legend()
