"""Levy noise makes two humps in a landscape with one minimum, and power-law tails that no Gibbs law has.

Stable noise of scale c drives dx = -U'(x) dt + dL, U = a x^2/2 + b x^4/4. Under Cauchy noise (tail index 1) the density
is rational and known in closed form; at any tail index it solves the fractional Fokker-Planck equation (-|c k|^alpha in
Fourier space), here by a jump process on a grid. Simulated with the drift-implicit step, because the explicit one
explodes. For b = c = 1 the density has two modes as soon as a < 2^(-1/3) = 0.794, although U
has one minimum down to a = 0; the modes of a double well sit outside its minima; tails fall like |x|^(-alpha-3). The
best-fitting exp(-U/T) is rejected at every tail index tried. The Levy-Ornstein-Uhlenbeck process, with the explicit
step, has exactly the scale c [dt/(1 - |1 - h dt|^alpha)]^(1/alpha), not that of continuous time.

Modes: parabola in x^2 through the logarithm of the histogram where it exceeds 0.6 of its top, beside the same parabola
through the law of the finite step, which is known exactly too (`predictions.implicit_levy_density`). At tail index 1.8
the modes are less than 1 % higher than the density at the origin: to see 2 % of their place, 120,000 chains run for 220
units of time there, looked at ten times in each.

Source: Chechkin, Klafter, Gonchar, Metzler, Tanatarov 2002; Sliusarenko et al. 2013.
Command: `sgdsde reproduce levy_stationary`.

What it does not say: one dimension, four landscapes under Cauchy noise and x^4/4 at three more tail indices, 120,000
chains from one seed. The chains sample the law of the implicit step, not the SDE's. The step was made four times
shorter in x^4/4 at tail indices 1.2 and 1.5, and eight times at 1.8, after modes had been seen to move with it; it
still moves them by up to 1 %, and the fitted parabola by up to as much again. Beyond |x| = 4.1 the law of the finite
step has up to a third more mass than the SDE's, since the drift returns in a time 1/x^2, no longer many steps. The
power |x|^(-alpha-3) itself is the SDE's, and is drawn, not sampled. By simulation the switch between one and two humps
lies between a = 0 and a = 1; that it lies between 0.79 and 0.80 is the equation's. That one temperature fits no law is
tested on the distribution function, to 0.002. The implicit step cannot diverge; the explicit one would.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from sgdsde import Check, explicit, implicit, landscapes, match, noise, sgd, simulate, style
from sgdsde.measurements import fraction_below
from sgdsde.predictions import (
    cauchy_bimodality_switch,
    cauchy_density,
    cauchy_mode,
    density_modes,
    euler_scale,
    implicit_levy_density,
    implicit_transition,
    levy_quartic_tail,
    levy_stationary_density,
    sde_scale,
    stable_noise_density,
    stationary_density,
)

SEE = """Under Cauchy noise the density has two humps, at plus and minus {Cauchy noise, a = 0: mode} in x^4/4, whose one
minimum is 0, and at plus and minus {Cauchy noise, a = -1: mode} in x^4/4 - x^2/2, whose minima are at 1. Simulated
distribution functions are within {Cauchy noise, a = 0: distance to the step's own law | within} of the exact law of the
step; the best Gibbs law is {a = 0, tail index 1.8: distance to Gibbs} away at every tail index."""


@dataclass(frozen=True)
class Config:
    quadratics: tuple[float, ...] = (1.2, 1.0, 0.0, -1.0)
    """coefficients a of x^2/2 under Cauchy noise"""
    tail_indices: tuple[float, ...] = (1.2, 1.5, 1.8)
    """tail indices of the noise in the pure quartic, a = 0"""
    quartic: float = 1.0
    """coefficient b of x^4/4"""
    scale: float = 1.0
    """scale c of the SDE's noise per unit of time"""
    learning_rate: float = 0.01
    """time step of the implicit scheme under Cauchy noise"""
    refinement: int = 4
    """how many times shorter the step is in the pure quartic below tail index 2, but at the last"""
    flat_refinement: int = 8
    """the same at the last tail index, whose two humps are hardly higher than the density between them"""
    flat_rounds: int = 40
    """how often as many records are taken there, after two more rounds"""
    coarsening: int = 10
    """how many times longer it is in a run that shows its bias: a = the last of the quadratics, the last tail index"""
    every: int = 80
    """steps of the first kind between records"""
    num_discarded: int = 10
    """records of burn-in from the origin, eight units of time in all; the slowest relaxation takes 0.8"""
    num_records: int = 46
    """records kept of a round"""
    linear_tail_indices: tuple[float, ...] = (1.3, 1.6)
    """tail indices of the Ornstein-Uhlenbeck process"""
    linear_rate: float = 0.4
    """its learning rate, at curvature 1; two explicit microsteps each"""
    frequency: float = 1.25
    """k of the characteristic function that measures its scale"""
    num_groups: int = 80
    """groups of chains, whose spread gives the standard errors"""
    num_chains: int = 120_000
    """independent chains"""
    num_points: int = 1201
    """points of the fractional Fokker-Planck grid"""
    seed: int = 0


SMOKE = Config(
    quadratics=(1.0, -1.0), tail_indices=(1.2,), linear_tail_indices=(1.3,), flat_rounds=1, num_points=201,
    every=160, num_discarded=1, num_records=2, num_chains=80, num_groups=4,
)  # fmt: skip
DIMENSIONS = {
    "points": ("point",),
    "fraction_below": ("law", "group", "point"),
    "num_diverged": ("law",),
    "mean_cosine": ("linear_law", "group"),
}
FOLD = 60  # places of |x| between 0 and 2.4
OUTER = np.geomspace(2.4, 12.0, 13)[1:]
PLACES = np.concatenate([-OUTER[::-1], np.linspace(-2.4, 2.4, 2 * FOLD + 1), OUTER])


def laws(config):
    """(a, tail index, time step) of every simulated law: Cauchy, quartic, and one with a long step."""
    rate, (*steep, flat) = config.learning_rate, config.tail_indices
    return [
        *((a, 1.0, rate) for a in config.quadratics),
        *((0.0, index, rate / config.refinement) for index in steep),
        (0.0, flat, rate / config.flat_refinement),
        (config.quadratics[-1], flat, rate * config.coarsening),
    ]


def samplings(config):
    """(steps between records, rounds) of every law."""
    every, num_steep = config.every, len(config.tail_indices) - 1
    return [
        *[(every, 1)] * len(config.quadratics),
        *[(every * config.refinement, 1)] * num_steep,
        (every, config.flat_rounds),
        (every // config.coarsening, 1),
    ]


def position(params):
    return params[0]


def levy_sde(problem, learning_rate, tail_index, scale, **options):
    """The SDE of scale c: gradient noise of scale c eta^(1/alpha - 1)."""
    discrete = sgd(problem, learning_rate=learning_rate, batch_size=1, sampling="with_replacement")
    scale = scale * learning_rate ** (1 / tail_index - 1)
    return match(discrete, noise.levy_coordinates, tail_index=tail_index, scale=scale, **options)


def a_round(config, dynamics, start, key, every):
    num_steps = every * (config.num_discarded + config.num_records)
    return simulate(
        dynamics, start, key, num_steps=num_steps, num_chains=config.num_chains, observe=position, every=every
    )


def grouped(config, observed):
    """Positions (num_groups, records and chains of the group)."""
    groups = observed.reshape(len(observed), config.num_groups, -1)
    return jnp.moveaxis(groups, 0, 1).reshape(config.num_groups, -1)


def fractions(config, dynamics, key, every, num_rounds):
    """Fraction below each of PLACES in every group, and how many chains diverged. Of several rounds two are burn-in, of
    one its first records."""
    below = jax.vmap(lambda group: fraction_below(group, jnp.asarray(PLACES)))
    found = a_round(config, dynamics, jnp.zeros(1), key, every)
    if num_rounds == 1:
        total = below(grouped(config, found.observed[config.num_discarded :]))
    else:
        found, total = a_round(config, dynamics, found, key, every), 0
        for _ in range(num_rounds):
            found = a_round(config, dynamics, found, key, every)
            total += below(grouped(config, found.observed)) / num_rounds
    return total, jnp.sum(found.diverged_at >= 0)


def run(config, key):
    rows, cosines = [], []
    for i, ((a, index, step), sampling) in enumerate(zip(laws(config), samplings(config))):
        problem = landscapes.quartic(curvature=a, coefficient=config.quartic, gradient_covariance=1.0, num_examples=2)
        dynamics = levy_sde(problem, step, index, config.scale, substeps=1, scheme=implicit)
        rows.append(fractions(config, dynamics, jax.random.fold_in(key, i), *sampling))
    line = landscapes.quadratic(1.0, gradient_covariance=1.0, num_examples=2)
    for j, index in enumerate(config.linear_tail_indices):
        dynamics = levy_sde(line, config.linear_rate, index, config.scale, substeps=2, scheme=explicit)
        found = a_round(config, dynamics, jnp.zeros(1), jax.random.fold_in(key, len(rows) + j), 16)
        groups = grouped(config, found.observed[config.num_discarded :])
        cosines.append(jnp.cos(config.frequency * groups).mean(axis=1))
    return {
        "points": jnp.asarray(PLACES),
        "fraction_below": jnp.stack([below for below, _ in rows]),
        "num_diverged": jnp.stack([lost for _, lost in rows]),
        "mean_cosine": jnp.stack(cosines),
    }


def force(config, a):
    return lambda x: a * x + config.quartic * x**3


@functools.cache  # the checks and the figure both ask
def sde_law(config, a, tail_index):
    """Grid and density of the fractional Fokker-Planck equation."""
    grid = np.sinh(np.linspace(-4.6, 4.6, config.num_points))
    found = levy_stationary_density(force(config, a), grid, tail_index=tail_index, scale=config.scale)
    return grid, found.density


@functools.cache
def step_law(config, a, tail_index, time_step):
    """Grid and density of the implicit step itself, however short."""
    grid = np.linspace(-50.0, 50.0, 2501 if config.num_points > 1000 else 501)
    found = implicit_levy_density(
        force(config, a), lambda x: a + 3 * config.quartic * x**2, grid,
        tail_index=tail_index, scale=config.scale, time_step=time_step,
    )  # fmt: skip
    return grid, found.density


@functools.cache
def long_step_law(config):
    """The same by the kernel on a grid, where it is wide enough for one."""
    a, index, step = laws(config)[-1]
    grid = np.sinh(np.linspace(-3.2, 3.2, min(config.num_points, 801)))
    kernel = implicit_transition(
        force(config, a), lambda x: a + 3 * config.quartic * x**2,
        stable_noise_density(index, config.scale * step ** (1 / index - 1)),
        learning_rate=step, substeps=1, tail_index=index,
    )  # fmt: skip
    return grid, stationary_density(kernel, grid).density


@functools.cache
def best_gibbs(config, a, tail_index):
    """exp(-U/T) nearest in distribution function to the SDE's law: grid and density."""
    grid, density = sde_law(config, a, tail_index)
    energy = a * grid**2 / 2 + config.quartic * grid**4 / 4
    target = cumulative(grid, density)

    def gibbs(log_temperature):
        weights = np.exp(-(energy - energy.min()) / np.exp(log_temperature))
        return weights / np.trapezoid(weights, grid)

    distance = lambda log_temperature: np.abs(cumulative(grid, gibbs(log_temperature)) - target).max()
    return grid, gibbs(scipy.optimize.fminbound(distance, -2, 2))


def cumulative(grid, density):
    return np.concatenate([[0.0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])


def distance(config, groups, grid, density):
    """Largest gap of distribution functions over the points, and its error from the spread of the groups."""
    mean, predicted = groups.mean(axis=0), np.interp(PLACES, grid, cumulative(grid, density))
    worst = int(np.argmax(np.abs(mean - predicted)))
    spread = groups[:, worst].std(ddof=1) / np.sqrt(len(groups))
    floor = np.sqrt(max(mean[worst] * (1 - mean[worst]), 1e-4) / (config.num_chains * config.num_records))
    return np.abs(mean - predicted)[worst], max(spread, floor)


def hump(below):
    """From F at PLACES: the mode of |x|, and the slope of log p in x^2 at the origin (positive: two modes)."""
    middle, edges = len(PLACES) // 2, np.linspace(0, 2.4, FOLD + 1)
    mass = np.diff(below[middle : middle + FOLD + 1] - below[middle - FOLD : middle + 1][::-1])
    square, height = ((edges[1:] + edges[:-1]) / 2) ** 2, np.maximum(mass, 1e-9)
    high = height > 0.6 * np.sort(height)[-6:].mean()
    bend, slope, _ = np.polyfit(square[high], np.log(height[high]), 2, w=np.sqrt(height[high]))
    return np.array([np.sqrt(max(-slope / (2 * bend), 0)) if bend < 0 else 0.0, slope])


def far_places():
    """Three of PLACES in the tail: 3.1, 4.1 and 5.4."""
    return [PLACES[np.argmin(np.abs(PLACES - place))] for place in (3.1, 4.1, 5.4)]


def tail(below):
    """From F at PLACES: the probability of |x| beyond the second of `far_places`, and minus the slope of its logarithm
    in log x from the first to the third."""
    places = far_places()
    beyond = np.interp(-np.array(places), PLACES, below) + 1 - np.interp(places, PLACES, below)
    near, middle, far = np.maximum(beyond, 1e-9)
    return np.array([middle, np.log(near / far) / np.log(places[2] / places[0])])


def jackknife(statistic, groups):
    """A statistic of the mean over the groups, with its error."""
    left_out = (groups.sum(axis=0) - groups) / (len(groups) - 1)
    each = np.array([statistic(below) for below in left_out])
    return statistic(groups.mean(axis=0)), np.sqrt((len(groups) - 1) * each.var(axis=0))


def linear_scales(config, arrays):
    """Scale of each Ornstein-Uhlenbeck process, (-log E cos(k x))^(1/alpha)/k, its error, Euler's and the SDE's."""
    rows = []
    for index, groups in zip(config.linear_tail_indices, arrays["mean_cosine"]):
        mean, error = groups.mean(), groups.std(ddof=1) / np.sqrt(len(groups))
        mean = np.clip(mean, 1e-3, 1 - 1e-3)
        measured = (-np.log(mean)) ** (1 / index) / config.frequency
        scale = config.scale * config.linear_rate ** (1 / index - 1)
        options = {"tail_index": index, "learning_rate": config.linear_rate}
        exact, continuous = euler_scale(1.0, scale, substeps=2, **options), sde_scale(1.0, scale, **options)
        rows.append((measured, measured * error / (index * mean * -np.log(mean)), float(exact), float(continuous)))
    return rows


def name_of(a, index):
    return f"Cauchy noise, a = {a:g}" if index == 1 else f"a = {a:g}, tail index {index:g}"


def checks(config, arrays):
    found, every = [], list(zip(laws(config), arrays["fraction_below"]))
    for (a, index, step), groups in every[:-1]:
        found += law_checks(config, a, index, step, groups)
    for side, expected in zip((0.79, 0.8), (2, 1)):
        scaled = side / 2 ** (-1 / 3) * float(cauchy_bimodality_switch(quartic=config.quartic, scale=config.scale))
        count = len(density_modes(*sde_law(config, scaled, 1.0)))
        name = f"modes of the fractional equation's law at a = {side:.2f}"
        found.append(Check(name, count, expected, 0, 0, "agree", "Chechkin 2002: two below 2^(-1/3) = 0.794"))
    for index, (measured, error, exact, continuous) in zip(config.linear_tail_indices, linear_scales(config, arrays)):
        name = f"Ornstein-Uhlenbeck, tail index {index:g}: scale"
        found.append(Check(f"{name}, discrete", measured, exact, error, 0.004, "agree", "Euler's own scale"))
        found.append(Check(f"{name}, continuous", measured, continuous, error, 0, "differ", "the SDE's scale"))
    (a, index, step), groups = every[-1]
    name = f"{name_of(a, index)}, step {step:g}"
    gap = distance(config, groups, *long_step_law(config))
    own = "the step's kernel on a grid"
    found.append(Check(f"{name}: distance to the step's own law", *beside_zero(gap), 0.003, "agree", own))
    gap = distance(config, groups, *sde_law(config, a, index))
    found.append(Check(f"{name}: distance to the SDE's law", *beside_zero(gap), 0, "differ", FRACTIONAL))
    return [*found, Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


FRACTIONAL, STEP = "fractional Fokker-Planck equation", "predictions.implicit_levy_density: the finite step's law"


def beside_zero(pair):
    return pair[0], 0, pair[1]


def law_checks(config, a, index, step, groups):
    """One law beside that of its step, the SDE's and the best of Gibbs."""
    name, found, gibbs_source = name_of(a, index), [], "Gibbs: exp(-U/T), the best T"
    own, sde, gibbs = step_law(config, a, index, step), sde_law(config, a, index), best_gibbs(config, a, index)
    exact = np.interp(PLACES, own[0], cumulative(*own))
    gap = beside_zero(distance(config, groups, *own))
    found.append(Check(f"{name}: distance to the step's own law", *gap, 0.003, "agree", STEP))
    gap = beside_zero(distance(config, groups, *sde))
    found.append(Check(f"{name}: distance to the SDE's law", *gap, 0.005, "agree", FRACTIONAL))
    gap, error = distance(config, groups, *gibbs)
    found.append(Check(f"{name}: distance to Gibbs", gap, 0.002, error, 0, "above", gibbs_source))
    places, (beyond, slope), errors = far_places(), *jackknife(tail, groups)
    label, expected = f"{name}: P(abs(x) > {places[1]:.2g})", tail(exact)
    found.append(Check(label, beyond, expected[0], errors[0], 0.1, "agree", STEP))
    heavier = expected[0] / tail(np.interp(PLACES, sde[0], cumulative(*sde)))[0]
    found.append(Check(f"{label}, the step's law over the SDE's", heavier, 4 / 3, 0, 0, "below", "a finite step"))
    far = 2 * max(1 - np.interp(places[1], gibbs[0], cumulative(*gibbs)), 0)
    found.append(Check(f"{label}, Gibbs", beyond, far, errors[0], 0, "above", gibbs_source))
    label = f"{name}: exponent of the tail between {places[0]:.2g} and {places[2]:.2g}"
    found.append(Check(label, slope, expected[1], errors[1], 0.08, "agree", STEP))
    (mode, bend), errors = jackknife(hump, groups)
    modes = density_modes(*sde)
    if index > 1.75:
        height = np.max(sde[1]) / np.interp(0.0, *sde)
        found.append(Check(f"{name}: density at the modes over that at 0", height, 1.01, 0, 0, "below", FRACTIONAL))
    if len(modes) > 1:
        near = np.abs(own[0]) < 3
        moved = density_modes(own[0][near], own[1][near])[-1]
        found.append(Check(f"{name}: mode of the step's own law", moved, modes[-1], 0, 0.01, "agree", FRACTIONAL))
        fitted = hump(exact)[0]
        part = 0.0048 / max(fitted, 0.1) if index == 1 else 0.02
        found.append(Check(f"{name}: the fit's mode of that law", fitted, moved, 0, 0.01, "agree", STEP))
        found.append(Check(f"{name}: mode", mode, fitted, errors[0], part, "agree", f"{STEP}, same fit"))
    expect, source = ("above", "two modes") if len(modes) > 1 else ("below", "one mode")
    found.append(Check(f"{name}: slope of log p in x^2 at 0", bend, 0, errors[1], 0, expect, source))
    if index == 1:
        options = {"quadratic": a, "quartic": config.quartic, "scale": config.scale}
        closed = np.asarray(cauchy_density(sde[0], **options))
        gap = np.abs(cumulative(*sde) - cumulative(sde[0], closed)).max()
        found.append(Check(f"{name}: solver against the closed form", gap, 0, 0, 1e-4, "agree", "Chechkin 2002"))
    return found


def plot(config, arrays):
    figure, axes = style.figure(2, 3, width=10.8, height=6.6)
    shades = ("#56B4E9", "#0072B2", "#000000", "#D55E00")
    every = list(zip(laws(config), arrays["fraction_below"]))[:-1]
    num_cauchy = len(config.quadratics)
    for panel, chosen in ((axes[0, 0], every[1:num_cauchy]), (axes[0, 1], every[num_cauchy:])):
        for ((a, index, _), groups), colour, marker in zip(chosen, shades[1:], ("o", "s", "^")):
            inner = np.abs(PLACES) < 2.41
            heights = np.diff(groups[:, inner][:, ::4], axis=1) / 0.16
            centres = PLACES[inner][::4][:-1] + 0.08
            error = heights.std(axis=0, ddof=1) / np.sqrt(len(heights))
            label = f"a = {a:g}" if index == 1 else f"tail index {index:g}"
            panel.plot(*sde_law(config, a, index), color=colour)
            panel.errorbar(centres, heights.mean(axis=0), error, color=colour, marker=marker, markersize=3,
                           linestyle="none", label=label)  # fmt: skip
            grid, gibbs = best_gibbs(config, a, index)
            panel.plot(grid, gibbs, color=colour, linestyle=":", linewidth=1)
        panel.set(xlim=(-2.5, 2.5), ylim=(0, None), xlabel="position x", ylabel="density")
    axes[0, 0].set(title="(a) Cauchy noise in a x²/2 + x⁴/4", ylim=(0, 0.75))
    axes[0, 1].set(title="(b) stable noise in x⁴/4", ylim=(0, 0.65))
    axes[0, 0].legend(ncols=3, loc="upper center")
    axes[0, 1].plot([], [], color="grey", label="fractional equation")
    axes[0, 1].plot([], [], color="grey", linestyle=":", label="best Gibbs law")
    axes[0, 1].legend(ncols=2, loc="upper center")
    figure.supxlabel("bars: one standard error, in (e) and (f) 5.9", fontsize=8)
    tails(axes[0, 2], config, every[num_cauchy:], shades[1:])
    modes(axes[1, 0], config, every[:num_cauchy])
    distances(axes[1, 1], config, every)
    rows = np.array(linear_scales(config, arrays))
    panel, index = axes[1, 2], np.array(config.linear_tail_indices)
    fine = np.linspace(0.9, 2.0, 60)
    scale, options = (
        config.scale * config.linear_rate ** (1 / fine - 1),
        {"tail_index": fine, "learning_rate": config.linear_rate},
    )
    panel.plot(fine, euler_scale(1.0, scale, substeps=2, **options), **style.line("theory"), label="Euler's own scale")
    panel.plot(fine, sde_scale(1.0, scale, **options), **style.line("gibbs"), label="continuous time")
    panel.errorbar(
        index,
        rows[:, 0],
        5.9 * rows[:, 1],
        **style.line("levy") | {"linestyle": "none"},
        label="simulated",
    )
    panel.set(xlabel="tail index", ylabel="stationary scale", title="(f) parabola, step x curvature = 0.2")
    panel.legend()
    return figure


def tails(panel, config, chosen, shades):
    for ((_, index, step), groups), colour, marker in zip(chosen, shades, ("o", "s", "^")):
        far = groups[:, len(PLACES) // 2 + FOLD // 2 :: 3]
        places = PLACES[len(PLACES) // 2 + FOLD // 2 :: 3]
        beyond = 1 - far.mean(axis=0)
        error = far.std(axis=0, ddof=1) / np.sqrt(len(far))
        shown = beyond > 3 * error
        panel.errorbar(places[shown], beyond[shown], error[shown], color=colour, marker=marker, markersize=3,
                       linestyle="none", label=f"tail index {index:g}")  # fmt: skip
        grid, density = step_law(config, 0.0, index, step)
        panel.plot(grid, 1 - cumulative(grid, density), color=colour)
        x = np.array([2.0, 13.0])
        law = levy_quartic_tail(x, quartic=config.quartic, tail_index=index, scale=config.scale) * x / (index + 2)
        panel.plot(x, law, color=colour, linestyle="--", linewidth=0.8)
    panel.plot([], [], color="grey", label="law of the finite step")
    panel.plot([], [], color="grey", linestyle="--", linewidth=0.8, label="the SDE's power law")
    grid, gibbs = best_gibbs(config, 0.0, config.tail_indices[-1])
    panel.plot(grid, 1 - cumulative(grid, gibbs), color="grey", linestyle=":", label="best Gibbs law")
    panel.set(xscale="log", yscale="log", xlim=(1, 13), ylim=(1e-6, 3), xlabel="position x",
              ylabel="probability beyond x", title="(c) tails in x⁴/4")  # fmt: skip
    panel.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    panel.minorticks_off()
    panel.legend()


def modes(panel, config, chosen):
    fine = np.linspace(-1.3, 1.4, 400)
    options = {"quartic": config.quartic, "scale": config.scale}
    curve = np.asarray(cauchy_mode(quadratic=fine, **options))
    minima = np.sqrt(np.maximum(-fine / config.quartic, 0))
    for sign in (1, -1):
        panel.plot(fine, sign * curve, **style.line("theory"), label="modes, closed form" if sign > 0 else None)
        panel.plot(fine, sign * minima, color="grey", linestyle=":", label="minima of U" if sign > 0 else None)
    for (a, _, _), groups in chosen:
        (mode, slope), errors = jackknife(hump, groups)
        for sign in (1, -1) if slope > 0 else (1,):
            panel.errorbar(a, sign * mode if slope > 0 else 0, errors[0] if slope > 0 else 0, color="black", marker="o")
    panel.axvline(float(cauchy_bimodality_switch(**options)), color="grey", linewidth=0.8)
    panel.errorbar([], [], [], color="black", marker="o", linestyle="none", label="simulated")
    panel.set(xlabel="coefficient a", ylabel="modes of the density", title="(d) Cauchy: two modes below a = 0.794")
    panel.set_ylim(top=2.2)
    panel.legend(frameon=True, framealpha=1, edgecolor="none")


def distances(panel, config, chosen):
    for i, ((a, index, step), groups) in enumerate(chosen):
        for law, colour, marker, label in (
            (step_law(config, a, index, step), "theory", "o", "law of the finite step"),
            (sde_law(config, a, index), "anisotropic", "s", "law of the SDE"),
            (best_gibbs(config, a, index), "gibbs", "^", "best Gibbs law"),
        ):
            gap, error = distance(config, groups, *law)
            panel.errorbar(
                i, gap, 5.9 * error, color=style.COLOURS[colour], marker=marker, linestyle="none",
                label=None if i else label,
            )  # fmt: skip
    names = [f"a={a:g}" if index == 1 else f"index\n{index:g}" for (a, index, _), _ in chosen]
    panel.set_xticks(range(len(names)), names)
    panel.set(ylim=(0, 0.08), ylabel="largest gap of distribution\nfunctions", title="(e) samples against three laws")
    panel.legend(loc="upper right")
