"""Noise that vanishes at the origin holds parameters there, although the origin is a maximum of the loss.

One parameter, growth mu and noise strength z, Ito:

    dx = -(x^3 - mu x) dt + z x dW.

x = 0 repels without noise (mu > 0), and attracts every chain iff z^2 > 2 mu; otherwise the stationary density is
|x|^(2 mu/z^2 - 2) exp(-x^2/z^2) and E x^2 = mu - z^2/2. Simulated is y = log x, dy = (mu - z^2/2 - x^2) dt + z dW: its
noise is constant, nothing can cross or reach 0 by rounding, and Euler's scheme has E x^2 right at any step.

At the threshold itself y is a random walk, so that a finite time shows no sharp threshold: the noise at which half of
the chains are below 0.001 falls with time, from above the threshold to somewhat below it. Every time shown is therefore
compared with the Fokker-Planck equation of y at that time, not with the threshold.

A neuron f = w2 tanh(w1 x) on m = 32 examples, Y = X + 0.1 N, loss mean (f - y)^2/2, with the full gradient as drift
and label noise of variance zeta^2: dw = -grad L dt + sqrt(eta zeta^2 mean grad f grad f^T) dW. Near w = 0 one noise
drives both weights, and log|w| grows at the rate b - s^2/2, b = mean xy, s^2 = eta zeta^2 mean x^2: the origin
attracts iff eta zeta^2/2 > sum xy/sum x^2. This growth is measured from w = 1e-5 (1, 1), where the time plays no part.
It is simulated in w itself, and a step h of Euler's scheme grows by E log|1 + b h + s sqrt(h) N|, which moves the
threshold down by 1 % here; the measured one is compared with that.

Source: Chen, Kunin, Yamamura, Ganguli 2023 (arXiv 2306.04251); the neuron's threshold is derived in
`predictions.neuron_collapse_learning_rate`.
Command: `sgdsde reproduce stochastic_collapse`.

What it does not say: "below 0.001" is a cut-off of ours, and so are the four times. 24,000 chains of x, all from x = 1;
at each time the worst of eight noise strengths is judged. Of the neuron no law at a finite time is predicted: that
neurons from w = (1, 1) do fall below |w| = 0.01 is seen on 1,000 of them, by time 400, on either side of the threshold
only. Label noise is put in by hand, the same at every w; SGD's own noise on these examples is another one.
"""

import functools
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
    fokker_planck_evolution,
    neuron_collapse_learning_rate,
)

SEE = (
    "Half of the chains are below 0.001 from {z over sqrt(2 mu) that half-collapses x by time 13 | predicted}, "
    "{z over sqrt(2 mu) that half-collapses x by time 25 | predicted} and "
    "{z over sqrt(2 mu) that half-collapses x by time 50 | predicted} of the threshold noise z = sqrt(2 mu) on by time "
    "13, 25 and 50, as the Fokker-Planck equation says (within "
    "{z over sqrt(2 mu) that half-collapses x by time 50 | within}); a neuron stops growing from 0 at "
    "{neuron: label noise at which a small w stops growing, over the threshold | predicted} of its threshold (Euler's "
    "step; within {neuron: label noise at which a small w stops growing, over the threshold | within})."
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
    num_growth_steps: int = 400
    """learning-rate steps in which the growth of log|w| near 0 is measured, on `num_chains` neurons"""
    seed: int = 0


SMOKE = Config(
    noise_strengths=(1.0,), sweep=(0.9, 1.1), num_steps=50, num_chains=60, num_examples=8, num_neuron_steps=50,
    num_neurons=20, num_growth_steps=50,
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
    "growth": ("label_noise",),
    "growth_error": ("label_noise",),
    "num_diverged": (),
}
THRESHOLD, NEURON_THRESHOLD = 1e-3, 1e-2
"""what counts as collapsed: |x| and |w| below these"""
SMALL = 1e-5
"""each weight of a neuron whose growth near 0 is measured, at its start"""
TIMES = (7.0, 13.0, 25.0, 50.0)
"""at which the fractions are shown and compared"""


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


def log_sum(weights):
    return jnp.log(jnp.abs(weights[0] + weights[1]))


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
    points, rows, neurons, growths, lost = jnp.asarray(POINTS), [], [], [], 0
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
        small = jnp.full((), SMALL)
        found = simulate(
            dynamics, (small, small), jax.random.fold_in(key, 2000 + index), num_steps=config.num_growth_steps,
            num_chains=config.num_chains, observe=log_sum, every=config.num_growth_steps,
        )  # fmt: skip
        rate = (found.observed[-1] - np.log(2 * SMALL).item()) / (config.learning_rate * config.num_growth_steps)
        growths.append((rate.mean(), rate.std(ddof=1) / np.sqrt(config.num_chains).item()))
        lost = lost + jnp.sum(found.diverged_at >= 0)
    table = jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    growth, error = (jnp.stack(column) for column in zip(*growths))
    neuron = {"neurons_collapsed": jnp.stack(neurons), "growth": growth, "growth_error": error}
    return {"points": points, **table, **neuron, "num_diverged": lost}


def halfway(factors, fractions, count):
    """Where a rising curve of fractions passes one half, joined linearly, with its standard error."""
    factors, fractions = np.asarray(factors, float), np.asarray(fractions, float)
    above = int(np.argmax(fractions >= 0.5))
    if fractions[above] < 0.5 or above == 0:
        return np.nan, 1.0
    slope = (fractions[above] - fractions[above - 1]) / (factors[above] - factors[above - 1])
    place = factors[above - 1] + (0.5 - fractions[above - 1]) / slope
    return place, 0.5 / np.sqrt(count) / slope


@functools.cache  # the checks and the figure both ask
def evolved(growth, strength, times):
    """(fraction below THRESHOLD, E x^2) at each of some times, all chains from x = 1: Fokker-Planck in y = log x.

    Starts a little later, at time `first`, from the normal law that a short time gives.
    """
    drift, first, spread = growth - strength**2 / 2, 0.02, strength * np.sqrt(times[-1])
    grid = np.linspace(min(drift, 0) * times[-1] - 6 * spread - 3, 2.0, 3201)
    centre, width = (drift - 1) * first, strength * np.sqrt(first)
    density = np.exp(-(((grid - centre) / width) ** 2) / 2) / (np.sqrt(2 * np.pi) * width)
    rows, past = [], first
    for time in times:
        density = fokker_planck_evolution(
            lambda y: drift - jnp.exp(2 * y), lambda y: strength**2 / 2, density, grid, duration=time - past,
            convention="ito",
        ).density  # fmt: skip
        past, middles = time, (density[1:] + density[:-1]) / 2
        below = np.concatenate([[0.0], np.cumsum(middles * np.diff(grid))])
        rows.append((np.interp(np.log(THRESHOLD), grid, below), np.trapezoid(density * np.exp(2 * grid), grid)))
    return np.array(rows)


def swept(config, factors):
    """`evolved` (factor, time, quantity) at several noise strengths in units of sqrt(2 mu)."""
    critical = (2 * config.growth) ** 0.5
    return np.stack([evolved(config.growth, float(factor) * critical, times(config)) for factor in factors])


def times(config):
    """Those of TIMES that the run has records of; at smoke size its end."""
    end = config.time_step * config.num_steps
    return tuple(time for time in TIMES if time <= end * 1.0001) or (end,)


def record_of(config, time, num_records):
    return round(time / (config.time_step * config.num_steps) * num_records) - 1


def euler_growth(config, factor):
    """Of log|w| near 0 in a unit of time, by Euler's own step: E log|1 + b h + s sqrt(h) N|/h."""
    inputs, labels = neuron_data(config)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    step = config.learning_rate / config.substeps
    b, spread = np.mean(inputs * labels), config.learning_rate * factor * float(critical_label_variance(config))
    kick = np.sqrt(spread * np.mean(inputs**2) * step) * nodes
    return np.sum(weights * np.log(np.abs(1 + b * step + kick))) / weights.sum() / step


def zero_crossing(factors, growths, errors):
    """Where a straight line through growths, weighted by their errors, is 0, with its standard error."""
    (slope, offset), covariance = np.polyfit(factors, growths, 1, w=1 / np.asarray(errors), cov="unscaled")
    place = -offset / slope
    return place, np.sqrt(np.array([place, 1.0]) @ covariance @ np.array([place, 1.0])) / abs(slope)


def checks(config, arrays):
    found, law = [], "E x^2 = max(mu - z^2/2, 0)"
    for index, strength in enumerate(config.noise_strengths):
        predicted = float(collapse_second_moment(growth=config.growth, noise_strength=strength))
        name = f"second moment at z = {strength:g}"
        if predicted:
            mean, error = arrays["second_moment"][index], arrays["second_moment_error"][index]
            found.append(Check(name, mean, predicted, error, 0.01, "agree", law))
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
    found += finite_time_checks(config, arrays)
    factors, source = np.array(config.sweep), "E log|1 + b h + s sqrt(h) N| of Euler's step"
    exact = np.array([euler_growth(config, factor) for factor in factors])
    place, error = zero_crossing(factors, arrays["growth"], arrays["growth_error"])
    edge, _ = zero_crossing(factors, exact, arrays["growth_error"])
    name = "neuron: label noise at which a small w stops growing, over the threshold"
    unit = float(sde_threshold(config))
    found.append(Check(name, place / unit, edge / unit, error / unit, 0.009, "agree", source))
    ends = arrays["neurons_collapsed"][:, -1]
    time = config.learning_rate * config.num_neuron_steps
    for k, expect in ((0, "below"), (-1, "above")):
        name = f"neuron: fraction collapsed by time {time:g} at {config.sweep[k]:g} of the threshold"
        error = 0.5 / np.sqrt(config.num_neurons)
        found.append(Check(name, ends[k], 0.5, error, 0, expect, "eta zeta^2/2 = sum xy/sum x^2: Chen et al. 2023"))
    return [*found, Check("chains diverged", arrays["num_diverged"], 0, 0, 0, "agree", "none may")]


def sde_threshold(config):
    """The SDE's threshold in the units of `sweep`: 1, by the gradients' own formula."""
    inputs, labels = (np.asarray(values, float) for values in neuron_data(config))
    variance = float(critical_label_variance(config))
    return neuron_collapse_learning_rate(inputs, labels, label_variance=variance) / config.learning_rate


def finite_time_checks(config, arrays):
    first, source = len(config.noise_strengths), "Fokker-Planck equation of log x at this time"
    exact, fractions, found = swept(config, config.sweep), arrays["collapsed"][first:], []
    for k, time in enumerate(times(config)):
        at = fractions[:, record_of(config, time, fractions.shape[1])]
        gaps = np.abs(at - exact[:, k, 0])
        error = 0.5 / np.sqrt(config.num_chains)
        name = f"fraction collapsed by time {time:g}: largest gap over the sweep"
        found.append(Check(name, gaps.max(), 0, error, 0.02, "agree", source))
        predicted, _ = halfway(config.sweep, exact[:, k, 0], config.num_chains)
        if np.isfinite(predicted):  # by time 7 half are not collapsed at any noise of the sweep
            place, error = halfway(config.sweep, at, config.num_chains)
            name = f"z over sqrt(2 mu) that half-collapses x by time {time:g}"
            found.append(Check(name, place, predicted, error, 0.01, "agree", source))
    gaps = np.abs(arrays["final_moment"][first:] - exact[:, -1, 1])
    name, error = "second moment at the end: largest gap over the sweep", arrays["final_moment_error"][first:].max()
    return [*found, Check(name, gaps.max(), 0, error, 0.04, "agree", source)]


def log_density(config, strength):
    """The stationary density of y = log|x|, on a grid of y."""
    grid = np.linspace(-12.0, 2.0, 1401)
    x = np.exp(grid)
    return grid, 2 * x * np.asarray(collapse_density(x, growth=config.growth, noise_strength=strength), float)


def plot(config, arrays):
    figure, ((laws, moments), (collapse, neurons)) = style.figure(2, 2, width=7.6, height=6.2)
    plot_laws(laws, config, arrays)
    critical, first = float(collapse_noise_strength(config.growth)), len(config.noise_strengths)
    factors, end = np.array(config.sweep), config.time_step * config.num_steps
    fine = np.linspace(factors[0], factors[-1], 3 * factors.size + 1)
    exact = swept(config, fine)
    z = np.linspace(0.05, max(strengths(config)) * 1.05, 200)
    forever = collapse_second_moment(growth=config.growth, noise_strength=z)
    moments.plot(z, forever, **style.line("gibbs"), label="exact, infinite time")
    moments.plot(critical * fine, exact[:, -1, 1], **style.line("theory"), label=f"Fokker-Planck, time {end:g}")
    moments.errorbar(
        strengths(config), arrays["final_moment"], arrays["final_moment_error"], color="black", marker="o",
        linestyle="none", label=f"simulated, time {end:g}",
    )  # fmt: skip
    moments.axvline(critical, color="grey", linewidth=0.8, linestyle=":")
    moments.set(xlabel="noise strength z", ylabel="second moment of x", title="(b) second moment (dotted: threshold)")
    fractions = arrays["collapsed"][first:]
    for k, time in enumerate(times(config)):
        at = fractions[:, record_of(config, time, fractions.shape[1])]
        errors = np.sqrt(np.maximum(at * (1 - at), 1 / config.num_chains) / config.num_chains)
        colour = ("#0072B2", "#E69F00", "#CC79A7", "#000000")[k]
        collapse.plot(fine, exact[:, k, 0], color=style.COLOURS["theory"], linewidth=1)
        collapse.errorbar(factors, at, errors, color=colour, marker="os^D"[k], linestyle="none", label=f"time {time:g}")
    collapse.plot([], [], **style.line("theory"), label="Fokker-Planck")
    below = np.linspace(factors[0], 1, 100)
    limit = collapsed_fraction(THRESHOLD, growth=config.growth, noise_strength=critical * below)
    collapse.plot([*below, factors[-1]], [*np.asarray(limit), 1], **style.line("gibbs"), label="infinite time")
    collapse.axvline(1, color="grey", linewidth=0.8, linestyle=":")
    collapse.set(
        xlabel="noise strength z / $\\sqrt{2\\mu}$", ylabel="fraction of chains with x < 0.001", ylim=(0, 1.02),
        title="(c) below 0.001 by four times",
    )  # fmt: skip
    neurons.plot(fine, [euler_growth(config, f) for f in fine], **style.line("theory"), label="exact, Euler's step")
    inputs, labels = neuron_data(config)
    neurons.plot(fine, np.mean(inputs * labels) * (1 - fine), **style.line("gibbs"), label="exact, SDE: $b - s^2/2$")
    neurons.errorbar(
        factors, arrays["growth"], arrays["growth_error"], color="black", marker="o", linestyle="none",
        label="simulated",
    )  # fmt: skip
    neurons.axhline(0, color="grey", linewidth=0.8)
    neurons.axvline(1, color="grey", linewidth=0.8, linestyle=":")
    neurons.set(
        xlabel="label noise $\\eta\\zeta^2/2$ / ($\\sum xy\\,/\\sum x^2$)", ylabel="growth of log|w| near 0",
        title="(d) a neuron near w = 0",
    )  # fmt: skip
    for panel in (moments, collapse, neurons):
        panel.legend(fontsize=7)
    return figure


def plot_laws(panel, config, arrays):
    edges = arrays["points"][::4]
    for index, strength in enumerate(config.noise_strengths):
        if strength**2 >= 2 * config.growth:
            continue
        colour = style.COLOURS[("isotropic", "anisotropic", "levy", "SGD")[index % 4]]
        heights, errors = density_of_fractions(arrays["fraction_below"][index][::4], config.num_chains, edges)
        look = {"color": colour, "linestyle": "none", "marker": "os^D"[index % 4], "markersize": 3}
        panel.errorbar((edges[1:] + edges[:-1]) / 2, heights, errors, **look, label=f"z = {strength:g}")
        panel.plot(*log_density(config, strength), color=colour, linewidth=1)
    panel.plot([], [], color="grey", linewidth=1, label="lines: exact, infinite time")
    panel.set(
        yscale="log", ylim=(1e-4, 30), xlim=(-8, 1.5), xlabel="logarithm of x", ylabel="density of log x",
        title=f"(a) x at time {config.time_step * config.num_steps:g}",
    )  # fmt: skip
    panel.legend(loc="upper left", fontsize=7)
