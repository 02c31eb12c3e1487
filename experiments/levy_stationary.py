"""Levy noise makes two humps in a landscape with one minimum, and power-law tails that no Gibbs law has.

Stable noise of scale c drives dx = -U'(x) dt + dL, U = a x^2/2 + b x^4/4. Under Cauchy noise (tail index 1) the density
is rational and known in closed form; at any tail index it solves the fractional Fokker-Planck equation (-|c k|^alpha in
Fourier space), here by a jump process on a grid. Simulated with the drift-implicit step, because the explicit one
explodes and a tamed one is 4 % off. For b = c = 1 the density has two modes as soon as a < 2^(-1/3) = 0.794, although U
has one minimum down to a = 0; the modes of a double well sit outside its minima; tails fall like |x|^(-alpha-3). The
best-fitting exp(-U/T) is rejected at every tail index. The Levy-Ornstein-Uhlenbeck process, with the explicit step, has
exactly the scale c [dt/(1 - |1 - h dt|^alpha)]^(1/alpha), not that of continuous time.

Modes: parabola in x^2 through the logarithm of the histogram where it exceeds 0.6 of its top; its own bias on the exact
densities is below 1 % (checked). A finite step moves them: at tail index 1.8 by 6.7 % at dt = 0.01, so the quartic runs
at a quarter of that, and there at an eighth. At 1.8 the modes are only 0.8 % higher than the density at the origin: to
see 2 % of their place, 120,000 chains run for 220 units of time there, looked at ten times in each. Beyond x = 6 the
simulated tails lie above the law: the drift returns in a time 1/x^2, no longer many steps.

Source: Chechkin, Klafter, Gonchar, Metzler, Tanatarov 2002; Sliusarenko et al. 2013.
Command: `sgdsde reproduce levy_stationary`, about 5 minutes on two cores. One should see: distances to the fractional
equation's laws of 0.003 or less, to the best Gibbs law 0.003 to 0.05; Cauchy modes at 0.707 (a = 0) and 1.110 (a = -1).
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
    implicit_transition,
    levy_quartic_tail,
    levy_stationary_density,
    sde_scale,
    stable_noise_density,
    stationary_density,
)


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
    """how many times shorter the step is for the pure quartic"""
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
def long_step_law(config):
    """Grid and density of the implicit step itself, where its kernel is wide enough for a grid."""
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


def measured_hump(groups):
    """`hump` of the mean over the groups, with its error by the jackknife."""
    left_out = (groups.sum(axis=0) - groups) / (len(groups) - 1)
    each = np.array([hump(below) for below in left_out])
    return hump(groups.mean(axis=0)), np.sqrt((len(groups) - 1) * each.var(axis=0))


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
    fractional, gibbs_source = "fractional Fokker-Planck equation", "Gibbs: exp(-U/T), the best T"
    for (a, index, _), groups in every[:-1]:
        name, (grid, density) = name_of(a, index), sde_law(config, a, index)
        gap = distance(config, groups, grid, density)
        found.append(Check(f"{name}: distance to the SDE's law", gap[0], 0, gap[1], 0.01, "agree", fractional))
        grid, gibbs = best_gibbs(config, a, index)
        gap = distance(config, groups, grid, gibbs)
        found.append(Check(f"{name}: distance to Gibbs", gap[0], 0, gap[1], 0, "differ", gibbs_source))
        far = groups[:, PLACES <= -4][:, -1] + 1 - groups[:, PLACES >= 4][:, 0]
        error = max(far.std(ddof=1), 1e-7) / np.sqrt(len(far))
        place = PLACES[PLACES >= 4][0]
        beyond = 2 * max(1 - np.interp(place, grid, cumulative(grid, gibbs)), 0)
        found.append(Check(f"{name}: P(|x| > {place:.2g})", far.mean(), beyond, error, 0, "above", gibbs_source))
        (mode, slope), errors = measured_hump(groups)
        modes = density_modes(grid, density)
        if len(modes) > 1:
            biased = hump(np.interp(PLACES, grid, cumulative(grid, density)))[0]
            found.append(
                Check(f"{name}: the fit's mode of the exact law", biased, modes[-1], 0, 0.01, "agree", fractional)
            )
            found.append(Check(f"{name}: mode", mode, modes[-1], errors[0], 0.02, "agree", fractional))
        expect, source = ("above", "two modes") if len(modes) > 1 else ("below", "one mode")
        found.append(Check(f"{name}: slope of log p in x^2 at 0", slope, 0, errors[1], 0, expect, source))
        if index == 1:
            options = {"quadratic": a, "quartic": config.quartic, "scale": config.scale}
            closed = np.asarray(cauchy_density(grid, **options))
            gap = np.abs(cumulative(grid, density) - cumulative(grid, closed)).max()
            found.append(Check(f"{name}: solver against the closed form", gap, 0, 0, 1e-3, "agree", "Chechkin 2002"))
    found += switch_checks(config)
    for index, (measured, error, exact, continuous) in zip(config.linear_tail_indices, linear_scales(config, arrays)):
        name = f"Ornstein-Uhlenbeck, tail index {index:g}: scale"
        found.append(Check(f"{name}, discrete", measured, exact, error, 0.02, "agree", "Euler's own scale"))
        found.append(Check(f"{name}, continuous", measured, continuous, error, 0, "differ", "the SDE's scale"))
    (a, index, step), groups = every[-1]
    name, own = f"{name_of(a, index)}, step {step:g}", "the implicit step's kernel on a grid"
    gap = distance(config, groups, *long_step_law(config))
    found.append(Check(f"{name}: distance to the step's own law", gap[0], 0, gap[1], 0.01, "agree", own))
    gap = distance(config, groups, *sde_law(config, a, index))
    found.append(Check(f"{name}: distance to the SDE's law", gap[0], 0, gap[1], 0, "differ", fractional))
    return [*found, Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


def switch_checks(config):
    """Two modes below, one above; for b = c = 1 between 0.79 and 0.80."""
    switch = float(cauchy_bimodality_switch(quartic=config.quartic, scale=config.scale))
    sides = 0.79 / 2 ** (-1 / 3) * switch, 0.8 / 2 ** (-1 / 3) * switch
    found = [
        Check("bimodality switch, closed form: above", switch, sides[0], 0, 0, "above", "2^(-1/3)"),
        Check("bimodality switch, closed form: below", switch, sides[1], 0, 0, "below", "2^(-1/3)"),
    ]
    for side, expected in zip(sides, (2, 1)):
        count = len(density_modes(*sde_law(config, side, 1.0)))
        name = f"modes of the fractional equation's law at a = {side:.2f}"
        found.append(Check(name, count, expected, 0, 0, "agree", "Chechkin 2002"))
    return found


def plot(config, arrays):
    figure, axes = style.figure(2, 3, width=10.5, height=5.8)
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
    axes[0, 0].set(title="Cauchy noise in a x²/2 + x⁴/4", ylim=(0, 0.75))
    axes[0, 1].set(title="stable noise in x⁴/4", ylim=(0, 0.6))
    axes[0, 0].legend(ncols=3, loc="upper center")
    axes[0, 1].plot([], [], color="grey", label="fractional equation")
    axes[0, 1].plot([], [], color="grey", linestyle=":", label="best Gibbs law")
    axes[0, 1].legend(ncols=2, loc="upper center", fontsize=7)
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
        label="simulated (5.9 errors)",
    )
    panel.set(xlabel="tail index", ylabel="stationary scale", title="Ornstein-Uhlenbeck, step x curvature = 0.2")
    panel.legend()
    return figure


def tails(panel, config, chosen, shades):
    for ((_, index, _), groups), colour, marker in zip(chosen, shades, ("o", "s", "^")):
        far = groups[:, len(PLACES) // 2 + FOLD // 2 :: 3]
        places = PLACES[len(PLACES) // 2 + FOLD // 2 :: 3]
        beyond = 1 - far.mean(axis=0)
        error = far.std(axis=0, ddof=1) / np.sqrt(len(far))
        shown = beyond > 3 * error
        panel.errorbar(places[shown], beyond[shown], error[shown], color=colour, marker=marker, markersize=3,
                       linestyle="none", label=f"tail index {index:g}")  # fmt: skip
        grid, density = sde_law(config, 0.0, index)
        panel.plot(grid, 1 - cumulative(grid, density), color=colour)
        x = np.array([2.0, 12.0])
        law = levy_quartic_tail(x, quartic=config.quartic, tail_index=index, scale=config.scale) * x / (index + 2)
        panel.plot(x, law, color=colour, linestyle="--", linewidth=0.8)
    panel.plot([], [], color="grey", linestyle="--", linewidth=0.8, label="power law")
    grid, gibbs = best_gibbs(config, 0.0, config.tail_indices[-1])
    panel.plot(grid, 1 - cumulative(grid, gibbs), color="grey", linestyle=":", label="best Gibbs law")
    panel.set(xscale="log", yscale="log", xlim=(1, 13), ylim=(1e-6, 0.3), xlabel="position x",
              ylabel="probability beyond x", title="tails in x⁴/4")  # fmt: skip
    panel.set_xticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    panel.minorticks_off()
    panel.legend(fontsize=7)


def modes(panel, config, chosen):
    fine = np.linspace(-1.3, 1.4, 400)
    options = {"quartic": config.quartic, "scale": config.scale}
    curve = np.asarray(cauchy_mode(quadratic=fine, **options))
    minima = np.sqrt(np.maximum(-fine / config.quartic, 0))
    for sign in (1, -1):
        panel.plot(fine, sign * curve, **style.line("theory"), label="modes, closed form" if sign > 0 else None)
        panel.plot(fine, sign * minima, color="grey", linestyle=":", label="minima of U" if sign > 0 else None)
    for (a, _, _), groups in chosen:
        (mode, slope), errors = measured_hump(groups)
        for sign in (1, -1) if slope > 0 else (1,):
            panel.errorbar(a, sign * mode if slope > 0 else 0, errors[0] if slope > 0 else 0, color="black", marker="o")
    panel.axvline(float(cauchy_bimodality_switch(**options)), color="grey", linewidth=0.8)
    panel.errorbar([], [], [], color="black", marker="o", linestyle="none", label="simulated")
    panel.set(xlabel="coefficient a", ylabel="modes of the density", title="Cauchy noise: two modes below a = 0.794")
    panel.legend(fontsize=7)


def distances(panel, config, chosen):
    for i, ((a, index, _), groups) in enumerate(chosen):
        grid, density = sde_law(config, a, index)
        for law, look, label in (
            (density, style.line("theory"), "fractional equation"),
            (best_gibbs(config, a, index)[1], style.line("gibbs"), "best Gibbs law"),
        ):
            gap, error = distance(config, groups, grid, law)
            panel.errorbar(
                i, gap, 5.9 * error, color=look["color"], marker="o", linestyle="none", label=None if i else label
            )
    names = [f"a={a:g}" if index == 1 else f"index\n{index:g}" for (a, index, _), _ in chosen]
    panel.set_xticks(range(len(names)), names, fontsize=7)
    panel.axhline(0.01, color="grey", linewidth=0.8, linestyle=":")
    panel.set(yscale="log", ylim=(5e-5, 0.4), ylabel="largest gap of distribution\nfunctions (bars: 5.9 errors)")
    panel.set_title("distance to the exact law and to Gibbs")
    panel.legend(fontsize=7)
