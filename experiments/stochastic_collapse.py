"""Noise that vanishes at the origin holds parameters there, although the origin is a maximum of the loss.

One parameter, growth mu and noise strength z, Ito:

    dx = -(x^3 - mu x) dt + z x dW.

x = 0 repels without noise (mu > 0), and attracts every chain iff z^2 > 2 mu; otherwise the stationary density is
|x|^(2 mu/z^2 - 2) exp(-x^2/z^2) and E x^2 = mu - z^2/2. Simulated is y = log x, dy = (mu - z^2/2 - x^2) dt + z dW: its
noise is constant, nothing can cross or reach 0 by rounding, and Euler's scheme has E x^2 right at any step.

A neuron f = w2 tanh(w1 x) on m = 32 examples, Y = X + 0.1 N, loss mean (f - y)^2/2, with the full gradient as drift
and label noise of variance zeta^2: dw = -grad L dt + sqrt(eta zeta^2 mean grad f grad f^T) dW. Near w = 0 one noise
drives both weights, and the origin attracts iff eta zeta^2/2 > sum xy/sum x^2. It is simulated in w itself, in steps
small enough that the threshold moves by 1.5 % only.

At the threshold itself a chain's logarithm is a random walk, so that half of the chains are within a small distance of
0 somewhat below it at late times, and above it at early ones. "Collapsed" is |x| < 0.001 and |w| < 0.01.

Source: Chen, Kunin, Yamamura, Ganguli 2023 (arXiv 2306.04251); the neuron's threshold is derived in
`predictions.neuron_collapse_learning_rate`.
Command: `sgdsde reproduce stochastic_collapse`, about a minute on two cores. One should see: half of the chains
collapsed within 10 % of z = sqrt(2 mu) = 1.73 and of eta zeta^2/2 = sum xy/sum x^2 = 0.98.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde import Check, Problem, euler_maruyama, noise, simulate, style
from sgdsde.laws import normals
from sgdsde.measurements.fractions import cdf_distance_of_fractions, density_of_fractions, fraction_below
from sgdsde.noise import Noise
from sgdsde.predictions import (
    collapse_density,
    collapse_noise_strength,
    collapse_second_moment,
    collapsed_fraction,
    neuron_collapse_learning_rate,
)


@dataclass(frozen=True)
class Config:
    growth: float = 1.5
    """mu, the growth rate of x at 0 without noise"""
    noise_strengths: tuple[float, ...] = (0.1, 1.0, 2.5)
    """z of the three chains looked at closely"""
    sweep: tuple[float, ...] = (0.85, 0.9, 0.94, 0.98, 1.02, 1.06, 1.1, 1.15)
    """further noise strengths in units of sqrt(2 mu), and label variances of the neuron in units of their threshold"""
    time_step: float = 0.01
    """microstep of both SDEs"""
    num_steps: int = 5_000
    """steps of x, to time 50; moments are averaged over the last half"""
    num_records: int = 25
    """records over each half of a run"""
    num_chains: int = 24_000
    """independent chains of x, all from x = 1"""
    num_examples: int = 32
    """examples of the neuron"""
    label_spread: float = 0.1
    """standard deviation of the labels about the inputs"""
    data_seed: int = 0
    """seed of the examples"""
    learning_rate: float = 0.02
    """eta of the neuron; its label variance is swept about 2 sum xy/(eta sum x^2)"""
    substeps: int = 2
    """microsteps of the neuron in one learning-rate step"""
    num_neuron_steps: int = 20_000
    """learning-rate steps of the neuron, to time 400"""
    num_neurons: int = 1_000
    """independent neurons, all from w = (1, 1)"""
    seed: int = 0


SMOKE = Config(
    noise_strengths=(1.0,), sweep=(0.9, 1.1), num_steps=50, num_chains=60, num_examples=8, num_neuron_steps=50,
    num_neurons=20,
)  # fmt: skip
DIMENSIONS = {
    "second_moment": ("strength",),
    "second_moment_error": ("strength",),
    "final_moment": ("strength",),
    "final_moment_error": ("strength",),
    "fraction_below": ("strength", "point"),
    "points": ("point",),
    "collapsed": ("strength", "record"),
    "neurons_collapsed": ("label_noise", "neuron_record"),
    "num_diverged": (),
}
THRESHOLD, NEURON_THRESHOLD = 1e-3, 1e-2
"""what counts as collapsed: |x| and |w| below these"""


POINTS = np.concatenate([np.arange(-9.0, -1.0, 0.1), np.arange(-1.0, 1.205, 0.01)])
"""of log x, where its distribution function is kept: finer where the narrow laws are"""


def strengths(config):
    """Of all chains of x: those looked at closely, then the sweep."""
    critical = (2 * config.growth) ** 0.5
    return [*config.noise_strengths, *(factor * critical for factor in config.sweep)]


def log_potential(growth, strength, y, example):
    """Of y = log x: its negative slope is mu - z^2/2 - x^2."""
    return jnp.sum(jnp.exp(2 * y) / 2 - (growth - strength**2 / 2) * y)


def scalar_dynamics(config, strength):
    """A step of the learning rate is one of time_step, and its noise has the variance z^2 time_step."""
    growth, strength = jnp.asarray(config.growth), jnp.asarray(strength)
    problem = Problem(Partial(log_potential, growth, strength), jnp.zeros(1), Partial(origin))
    law = noise.isotropic(problem, variance=strength**2 / config.time_step)
    return euler_maruyama(problem, law, learning_rate=config.time_step)


def origin(key):
    return jnp.zeros(1)


def logarithm(params):
    return params[0]


def neuron_data(config):
    draws = np.random.default_rng(config.data_seed).normal(size=(2, config.num_examples))
    return draws[0], draws[0] + config.label_spread * draws[1]


def neuron_loss(weights, example):
    (first, second), (x, y) = weights, example
    return (second * jnp.tanh(first * x) - y) ** 2 / 2


def label_noise(inputs, variance, weights, draws):
    """sqrt(zeta^2 mean grad f grad f^T) by Cholesky: two normals, whatever the number of examples."""
    first, second = weights
    tangent = jnp.tanh(first * inputs)
    slope = inputs * (1 - tangent**2)
    size, mixed, rest = jnp.mean(slope**2), jnp.mean(slope * tangent), jnp.mean(tangent**2)
    root, spread = jnp.sqrt(size), jnp.sqrt(variance)
    left = jnp.sqrt(jnp.maximum(rest - mixed**2 / size, 0))
    return spread * second * root * draws[0], spread * (mixed / root * draws[0] + left * draws[1])


def critical_label_variance(config):
    inputs, labels = neuron_data(config)
    return 2 * jnp.sum(inputs * labels) / np.sum(inputs**2) / config.learning_rate


def neuron_dynamics(config, label_variance):
    inputs, labels = (jnp.asarray(values) for values in neuron_data(config))
    problem = Problem(neuron_loss, (inputs, labels), Partial(unit_weights))
    law = Noise(normals(problem.params_like), Partial(label_noise, inputs, jnp.asarray(label_variance)))
    return euler_maruyama(problem, law, learning_rate=config.learning_rate, substeps=config.substeps)


def unit_weights(key):
    return jnp.ones(()), jnp.ones(())


def size(weights):
    return jnp.hypot(*weights)


@jax.jit
def reduced(early, late, points):
    """Moments of x over the last half, averaged within each chain, and at the end; and what is near 0, in time."""
    squares = jnp.exp(2 * late)
    each, last, root = squares.mean(axis=0), squares[-1], np.sqrt(late.shape[1]).item()
    return {
        "second_moment": each.mean(),
        "second_moment_error": each.std(ddof=1) / root,
        "final_moment": last.mean(),
        "final_moment_error": last.std(ddof=1) / root,
        "fraction_below": fraction_below(late[-1], points),
        "collapsed": jnp.mean(jnp.concatenate([early, late]) < np.log(THRESHOLD).item(), axis=1, dtype=float),
    }


def run(config, key):
    points, rows, neurons, lost = jnp.asarray(POINTS), [], [], 0
    half = config.num_steps // 2
    for index, strength in enumerate(strengths(config)):
        options = {"num_chains": config.num_chains, "observe": logarithm, "every": half // config.num_records}
        dynamics, own_key = scalar_dynamics(config, strength), jax.random.fold_in(key, index)
        early = simulate(dynamics, jnp.zeros(1), own_key, num_steps=half, **options)
        late = simulate(dynamics, early, own_key, num_steps=half, **options)
        rows.append(reduced(early.observed, late.observed, points))
        lost = lost + jnp.sum(late.diverged_at >= 0)
    for index, factor in enumerate(config.sweep):
        dynamics = neuron_dynamics(config, factor * critical_label_variance(config))
        found = simulate(
            dynamics, unit_weights(None), jax.random.fold_in(key, 1000 + index), num_steps=config.num_neuron_steps,
            num_chains=config.num_neurons, observe=size, every=config.num_neuron_steps // config.num_records,
        )  # fmt: skip
        neurons.append(jnp.mean(found.observed < NEURON_THRESHOLD, axis=1, dtype=float))
        lost = lost + jnp.sum(found.diverged_at >= 0)
    table = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    return {"points": points, **table, "neurons_collapsed": jnp.stack(neurons), "num_diverged": lost}


def halfway(factors, fractions, count):
    """Where a rising curve of fractions passes one half, joined linearly, with its standard error."""
    factors, fractions = np.asarray(factors, float), np.asarray(fractions, float)
    above = int(np.argmax(fractions >= 0.5))
    if fractions[above] < 0.5 or above == 0:
        return np.nan, 1.0
    slope = (fractions[above] - fractions[above - 1]) / (factors[above] - factors[above - 1])
    place = factors[above - 1] + (0.5 - fractions[above - 1]) / slope
    return place, 0.5 / np.sqrt(count) / slope


def checks(config, arrays):
    found, law, few = [], "E x^2 = max(mu - z^2/2, 0)", "Chen et al. 2023: z^2 = 2 mu"
    for index, strength in enumerate(config.noise_strengths):
        predicted = float(collapse_second_moment(growth=config.growth, noise_strength=strength))
        name = f"second moment at z = {strength:g}"
        if predicted:
            mean, error = arrays["second_moment"][index], arrays["second_moment_error"][index]
            found.append(Check(name, mean, predicted, error, 0.02, "agree", law))
            grid, density = log_density(config, strength)
            distance, error = cdf_distance_of_fractions(
                arrays["fraction_below"][index], config.num_chains, arrays["points"], grid, density
            )
            name = f"distance of distribution functions at z = {strength:g}"
            found.append(Check(name, distance, 0, error, 0.02, "agree", "gamma law of x^2"))
        else:
            mean, error = arrays["final_moment"][index], arrays["final_moment_error"][index]
            error = max(error, 1 / config.num_chains)  # rare chains that are still at x = 1 may be missed
            found.append(Check(f"{name}, collapsed", mean, 1e-3, error, 0, "below", law))
    first = len(config.noise_strengths)
    swept = arrays["collapsed"][first:]
    critical = float(collapse_noise_strength(config.growth))
    num_records = swept.shape[1]
    for record in ((num_records - 1) // 2, num_records - 1):
        place, error = halfway(config.sweep, swept[:, record], config.num_chains)
        time = config.time_step * config.num_steps * (record + 1) / num_records
        name = f"noise strength that half-collapses x by time {time:g}"
        found.append(Check(name, critical * place, critical, critical * error, 0.1, "agree", few))
    inputs, labels = (np.asarray(values, float) for values in neuron_data(config))
    ratio = np.sum(inputs * labels) / np.sum(inputs**2)
    source = "eta zeta^2/2 = sum xy/sum x^2"
    num_records = arrays["neurons_collapsed"].shape[1]
    for record in ((num_records - 1) // 2, num_records - 1):
        place, error = halfway(config.sweep, arrays["neurons_collapsed"][:, record], config.num_neurons)
        time = config.learning_rate * config.num_neuron_steps * (record + 1) / num_records
        name = f"eta zeta^2/2 that half-collapses the neuron by time {time:g}"
        found.append(Check(name, ratio * place, ratio, ratio * error, 0.1, "agree", source))
        if record == num_records - 1:
            name = "eta zeta^2/2 at half collapse, over the threshold without Ito's half"
            found.append(
                Check(name, ratio * place, ratio / 2, ratio * error, 0, "differ", "eta zeta^2 = sum xy/sum x^2")
            )
    exact = float(neuron_collapse_learning_rate(inputs, labels, label_variance=critical_label_variance(config)))
    found.append(Check("learning rate at the threshold", config.learning_rate, exact, 0, 1e-5, "agree", source))
    low, high = swept[0, -1], swept[-1, -1]
    error = 0.5 / np.sqrt(config.num_chains)
    found.append(Check(f"x collapsed at {config.sweep[0]:g} of the threshold", low, 0.5, error, 0, "below", few))
    found.append(Check(f"x collapsed at {config.sweep[-1]:g} of the threshold", high, 0.5, error, 0, "above", few))
    return [*found, Check("chains diverged", arrays["num_diverged"], 0, 0, 0, "agree", "none may")]


def log_density(config, strength):
    """The stationary density of y = log|x|, on a grid of y."""
    grid = np.linspace(-12.0, 2.0, 1401)
    x = np.exp(grid)
    return grid, 2 * x * np.asarray(collapse_density(x, growth=config.growth, noise_strength=strength), float)


def plot(config, arrays):
    figure, ((laws, moments), (collapse, neurons)) = style.figure(2, 2, width=9.0, height=6.6)
    edges, colours = (
        arrays["points"][::4],
        [style.COLOURS[name] for name in ("isotropic", "anisotropic", "levy", "SGD")],
    )
    for index, strength in enumerate(config.noise_strengths):
        colour = colours[index % 4]
        heights, errors = density_of_fractions(arrays["fraction_below"][index][::4], config.num_chains, edges)
        far = " (all below x = 0.0001)" if arrays["fraction_below"][index][0] > 0.99 else ""
        style_of = {"color": colour, "linestyle": "none", "marker": "os^D"[index % 4], "markersize": 3}
        laws.errorbar((edges[1:] + edges[:-1]) / 2, heights, errors, **style_of, label=f"z = {strength:g}{far}")
        if strength**2 < 2 * config.growth:
            laws.plot(*log_density(config, strength), color=colour, linewidth=1)
    laws.set(
        yscale="log", ylim=(1e-4, 10), xlim=(-8, 1.5), xlabel="logarithm of x",
        ylabel="density of log x (line: exact)", title=f"x at time {config.time_step * config.num_steps:g}",
    )  # fmt: skip
    laws.legend(loc="upper left")
    critical = float(collapse_noise_strength(config.growth))
    z = np.array(strengths(config))
    fine = np.linspace(0.05, max(z) * 1.05, 200)
    exact = collapse_second_moment(growth=config.growth, noise_strength=fine)
    moments.plot(fine, exact, **style.line("theory"), label="exact, $\\max(\\mu - z^2/2, 0)$")
    moments.errorbar(
        z, arrays["second_moment"], arrays["second_moment_error"], color="black", marker="o", linestyle="none",
        label="simulated, averaged over the last half",
    )  # fmt: skip
    moments.axvline(critical, color="grey", linewidth=0.8, linestyle=":")
    moments.set(xlabel="noise strength z", ylabel="second moment of x", title="the origin attracts where $z^2 > 2\\mu$")
    moments.legend()
    first, factors = len(config.noise_strengths), np.array(config.sweep)
    rows = [
        (collapse, arrays["collapsed"][first:], config.time_step * config.num_steps, config.num_chains),
        (neurons, arrays["neurons_collapsed"], config.learning_rate * config.num_neuron_steps, config.num_neurons),
    ]
    for panel, fractions, end, count in rows:
        num_records = fractions.shape[1]
        shown = sorted({num_records // 8, (num_records - 1) // 2, num_records - 1})
        for record, colour, marker in zip(shown, ("#9ecae1", "#4292c6", "#08306b"), "os^"):
            at, time = fractions[:, record], end * (record + 1) / num_records
            errors = np.sqrt(np.maximum(at * (1 - at), 1 / count) / count)
            panel.errorbar(factors, at, errors, color=colour, marker=marker, label=f"time {time:.3g}")
        panel.axvspan(0.9, 1.1, color="0.9", zorder=0, label="threshold ± 10 %")
        panel.axvline(1, color="grey", linewidth=0.8, linestyle=":")
        panel.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
        panel.set_ylim(0, 1)
    fine = np.linspace(factors[0], 1, 100)
    limit = collapsed_fraction(THRESHOLD, growth=config.growth, noise_strength=critical * fine)
    collapse.plot([*fine, factors[-1]], [*np.asarray(limit), 1], **style.line("theory"), label="exact, infinite time")
    collapse.set(xlabel="noise strength z / $\\sqrt{2\\mu}$", ylabel="fraction of chains with x < 0.001")
    neurons.set(
        xlabel="label noise $\\eta\\zeta^2/2$ / ($\\sum xy\\,/\\sum x^2$)", ylabel="fraction of neurons with |w| < 0.01"
    )
    for panel in (collapse, neurons):
        panel.legend(fontsize=7, loc="upper left")
    return figure
