"""In a double well only the isotropic SDE samples Gibbs; SGD and its other SDEs have exact laws of their own.

Gibbs exp(-L/T), T = rate tr C/(2 d), is what the isotropic SDE samples; SGD and its anisotropic SDE have another law in
the same landscape, and a Levy SDE of the same scale yet another.

L = barrier (x^2 - 1)^2 + curvature y^2/2 is written as a finite sum whose example gradients have a correlated, unequal
covariance Sigma. Half of the chains start in each well. Four dynamics run for the same physical time at several
learning rates: SGD with batches drawn with replacement; the isotropic SDE (trace-matched), the anisotropic SDE
(C = Sigma/B), and a Levy SDE whose scale makes tail index 2 the isotropic one. The drift along x does not depend on y,
so the exact marginal law of x is that of a one-dimensional chain: its one-step kernel (SGD's own minibatch law, or
Euler's) is solved on a grid. Against it every dynamics must agree; against Gibbs only the isotropic SDE does.

Source: T = eta v/2 for noise covariance v I: Mandt, Hoffman, Blei 2017 (arXiv 1704.04289); a constant Sigma that does
not commute with the Hessian has no Gibbs law; wells under stable noise: Chechkin et al. 2002.
Command: `sgdsde reproduce double_well_gibbs`, about a minute on two cores. One should see: distances to the exact law
near 0.005 everywhere; to Gibbs near 0.005 for the isotropic SDE, 0.02 to 0.05 for the others.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde import Check, implicit, landscapes, match, noise, sgd, simulate, style
from sgdsde.measurements.fractions import cdf_distance_of_fractions, density_of_fractions, fraction_below
from sgdsde.predictions import (
    euler_covariance,
    explicit_transition,
    gaussian_noise_density,
    gibbs_density,
    implicit_transition,
    minibatch_noise_density,
    sgd_covariance,
    stable_noise_density,
    stationary_density,
    temperature,
)


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    """the smallest learning rate; each further one is 1.6 times the one before"""
    num_rates: int = 3
    """how many learning rates (temperatures)"""
    batch_size: int = 8
    """examples in a minibatch, drawn with replacement"""
    barrier: float = 0.1
    """height of the barrier between the wells"""
    curvature: float = 1.0
    """curvature of the harmonic direction y"""
    gradient_variances: tuple[float, ...] = (12.0, 4.0)
    """variance of one example's gradient along x and along y"""
    correlation: float = 0.6
    """correlation of one example's gradient noise between x and y"""
    tail_index: float = 1.5
    """tail index of the Levy SDE"""
    num_examples: int = 64
    """examples in the finite sum"""
    substeps: int = 4
    """microsteps of an SDE in one learning-rate step"""
    num_steps: int = 1_600
    """steps at the smallest rate; larger rates take fewer, for the same physical time"""
    num_chains: int = 16_000
    """independent chains, of which only the end points count"""
    seed: int = 0


SMOKE = Config(num_steps=24, num_chains=50, num_rates=2)
DYNAMICS = ("SGD", "isotropic", "anisotropic", "levy")
DIMENSIONS = {
    "learning_rate": ("rate",),
    "points": ("point",),
    "fraction_below": ("rate", "dynamics", "start", "point"),
    "second_moment": ("rate", "dynamics", "start", "row", "column"),
    "second_moment_error": ("rate", "dynamics", "start", "row", "column"),
    "num_diverged": ("rate", "dynamics", "start"),
}


def rates(config):
    """The learning rates, and the number of steps of each."""
    factors = [1.6**k for k in range(config.num_rates)]
    return [config.learning_rate * factor for factor in factors], [int(config.num_steps / factor) for factor in factors]


def landscape(config):
    spread = jnp.sqrt(jnp.array(config.gradient_variances))
    correlations = jnp.array([[1.0, config.correlation], [config.correlation, 1.0]])
    return landscapes.double_well(
        barrier=config.barrier,
        transverse_curvature=jnp.array([config.curvature]),
        gradient_covariance=correlations * spread[:, None] * spread[None, :],
        num_examples=config.num_examples,
    )


def dynamics(config, problem, learning_rate):
    """SGD and its matched SDEs, in the order of DYNAMICS."""
    discrete = sgd(problem, learning_rate=learning_rate, batch_size=config.batch_size, sampling="with_replacement")
    well = jnp.array([1.0, 0.0])
    return (
        discrete,
        match(discrete, noise.isotropic, substeps=config.substeps, at=well),
        match(discrete, noise.anisotropic, substeps=config.substeps),
        match(discrete, noise.levy, substeps=config.substeps, at=well, tail_index=config.tail_index, scheme=implicit),
    )


def position(params):
    return params


def reduce(trajectory, points):
    """What is kept of an ensemble: the distribution function of x, and second moments about the origin."""
    products = trajectory.params[:, :, None] * trajectory.params[:, None, :]
    return {
        "fraction_below": fraction_below(trajectory.params[:, 0], points),
        "second_moment": products.mean(0),
        "second_moment_error": products.std(0, ddof=1) / np.sqrt(len(products)).item(),
        "num_diverged": jnp.sum(trajectory.diverged_at >= 0),
    }


def run(config, key):
    """Half of the chains start in the left well and half in the right one."""
    problem, points = landscape(config), jnp.linspace(-3.0, 3.0, 241)
    learning_rates, steps = rates(config)
    rows = []
    for learning_rate, num_steps in zip(learning_rates, steps):
        for each in dynamics(config, problem, learning_rate):
            for well in (-1.0, 1.0):
                trajectory = simulate(
                    each,
                    jnp.array([well, 0.0]),
                    jax.random.fold_in(key, len(rows)),
                    num_steps=num_steps,
                    num_chains=config.num_chains // 2,
                    observe=position,
                    every=num_steps,
                )
                rows.append(reduce(trajectory, points))
    shape = (len(learning_rates), len(DYNAMICS), 2)
    table = jax.tree.map(lambda *leaves: jnp.stack(leaves).reshape(*shape, *leaves[0].shape), *rows)
    return {"learning_rate": jnp.array(learning_rates), "points": points, **table}


GRID = np.linspace(-3.5, 3.5, 701)
LEVY_GRID = np.sinh(np.linspace(-3.2, 3.2, 1101))


def temperatures(config):
    """Of the trace-matched isotropic noise, one a learning rate."""
    return [
        temperature(
            learning_rate=rate, batch_size=config.batch_size, gradient_variance=np.mean(config.gradient_variances)
        )
        for rate in rates(config)[0]
    ]


def well_potential(config):
    return lambda x: config.barrier * (x[0] ** 2 - 1) ** 2


def gibbs_laws(config):
    """The Gibbs marginal of x at each temperature, on GRID."""
    return [np.asarray(gibbs_density(well_potential(config), t, GRID)) for t in temperatures(config)]


@functools.cache  # the checks and the figure both ask
def exact_laws(config):
    """The exact marginal of x for each rate and dynamics, as (grid, density, error): SGD's own step with its minibatch
    law, and the microsteps of its SDEs. The variance along x is the trace-matched one for the isotropic SDE and
    Sigma_xx/B for the anisotropic one; a coordinate of rotation-invariant stable noise has the same scale."""
    slope = lambda x: 4 * config.barrier * (x**3 - x)
    bend = lambda x: 4 * config.barrier * (3 * x**2 - 1)
    tilts = np.asarray(landscape(config).examples, float)[:, :1]
    tilts = tilts - tilts.mean(axis=0)
    matched = np.mean(config.gradient_variances) / config.batch_size
    rows = []
    for rate in rates(config)[0]:
        smoothing = (GRID[1] - GRID[0]) / rate
        explicit = {
            "SGD": (minibatch_noise_density(tilts, config.batch_size, smoothing=smoothing), 1),
            "isotropic": (gaussian_noise_density(matched), config.substeps),
            "anisotropic": (gaussian_noise_density(config.gradient_variances[0] / config.batch_size), config.substeps),
        }
        laws = {
            name: (GRID, stationary_density(explicit_transition(slope, law, learning_rate=rate, substeps=m), GRID))
            for name, (law, m) in explicit.items()
        }
        stable = stable_noise_density(config.tail_index, np.sqrt(matched / 2))
        options = {"learning_rate": rate, "substeps": config.substeps, "tail_index": config.tail_index}
        kernel = implicit_transition(slope, bend, stable, **options)
        laws["levy"] = (LEVY_GRID, stationary_density(kernel, LEVY_GRID))
        rows.append([laws[name] for name in DYNAMICS])
    return rows


def checks(config, arrays):
    found = []
    gibbs, exact = gibbs_laws(config), exact_laws(config)
    count = 2 * (config.num_chains // 2)
    for i, (rate, t) in enumerate(zip(rates(config)[0], temperatures(config))):
        label = f"at rate {rate:g} (T = {t:.3g})"
        for j, name in enumerate(DYNAMICS):
            both = arrays["fraction_below"][i, j]
            grid, law = exact[i][j]
            distance, error = cdf_distance_of_fractions(both.mean(axis=0), count, arrays["points"], grid, law.density)
            source = "one-step kernel solved on a grid (predictions/kernels.py)"
            found.append(
                Check(f"{name}: distance to the exact law {label}", distance, 0, error, 0.025, "agree", source)
            )
            distance, error = cdf_distance_of_fractions(both.mean(axis=0), count, arrays["points"], GRID, gibbs[i])
            expect = "agree" if name == "isotropic" else "differ"
            source = "Mandt, Hoffman, Blei 2017: T = eta v/2"
            found.append(Check(f"{name}: distance to Gibbs {label}", distance, 0, error, 0.025, expect, source))
            middle = len(arrays["points"]) // 2
            left, right = both[:, middle]
            error = np.sqrt(sum(max(p * (1 - p), 1e-3) for p in (left, right)) * 2 / count)
            source = "one stationary law, whatever the start"
            found.append(Check(f"{name}: memory of the start {label}", left - right, 0, error, 0.05, "agree", source))
            found.append(
                Check(f"{name}: diverged {label}", arrays["num_diverged"][i, j].sum(), 0, 0, 0, "agree", "none may")
            )
        found += transverse_checks(config, arrays, i, rate, label)
    return found


def transverse_checks(config, arrays, i, rate, label):
    """The harmonic direction against the exact discrete and Euler laws, and the correlation that Gibbs forbids."""
    sigma = config.gradient_variances[1] / config.batch_size
    hessian, covariance = np.array([[config.curvature]]), np.array([[sigma]])
    predictions = {
        "SGD": sgd_covariance(hessian, covariance, learning_rate=rate),
        "anisotropic": euler_covariance(hessian, covariance, learning_rate=rate, substeps=config.substeps),
    }
    moments = arrays["second_moment"][i].mean(axis=1)
    errors = np.sqrt((arrays["second_moment_error"][i] ** 2).sum(axis=1)) / 2
    found = []
    for name, predicted in predictions.items():
        j = DYNAMICS.index(name)
        source = "exact discrete law" if name == "SGD" else "Euler's exact law"
        found.append(
            Check(
                f"{name}: variance of y {label}", moments[j, 1, 1], float(predicted[0, 0]), errors[j, 1, 1], 0.07,
                "agree", source,
            )
        )  # fmt: skip
        found.append(
            Check(
                f"{name}: covariance of x and y {label}", moments[j, 0, 1], 0, errors[j, 0, 1], 0, "differ",
                "Gibbs: x and y independent",
            )
        )  # fmt: skip
    j = DYNAMICS.index("isotropic")
    found.append(
        Check(
            f"isotropic: covariance of x and y {label}", moments[j, 0, 1], 0, errors[j, 0, 1], 0.025, "agree",
            "Gibbs: x and y independent",
        )
    )  # fmt: skip
    return found


def plot(config, arrays):
    num_rates = len(arrays["learning_rate"])
    figure, axes = style.figure(num_rates + 1, len(DYNAMICS), width=11.0, height=2.35 * (num_rates + 1), squeeze=False)
    gibbs, exact = gibbs_laws(config), exact_laws(config)
    count = 2 * (config.num_chains // 2)
    edges = arrays["points"][::6]
    for i, (rate, t) in enumerate(zip(arrays["learning_rate"], temperatures(config))):
        for j, name in enumerate(DYNAMICS):
            panel, look = axes[i, j], style.line(name)
            heights, errors = density_of_fractions(arrays["fraction_below"][i, j].mean(axis=0)[::6], count, edges)
            panel.plot(GRID, gibbs[i], **style.line("gibbs"))
            panel.plot(exact[i][j][0], exact[i][j][1].density, **style.line("theory"))
            panel.errorbar(
                (edges[1:] + edges[:-1]) / 2, heights, errors, color=look["color"], marker=look["marker"],
                markersize=3.5, linestyle="none",
            )  # fmt: skip
            panel.set(xlim=(-2.7, 2.7), ylim=(0, 1.25 * max(gibbs[i].max(), np.nanmax(heights, initial=0.0))))
            diverged = arrays["num_diverged"][i, j].sum()
            panel.set_title(f"{TITLES[name]}, {diverged} of {count:,} diverged")
        axes[i, 0].set_ylabel(f"rate {rate:.3g}, T = {t:.3g}\ndensity of x")
    for panel in axes[-2]:
        panel.set_xlabel("position x across the wells")
    legend = axes[0, 0]
    legend.plot([], [], "k.", label="simulated")
    legend.plot([], [], **style.line("gibbs"), label="Gibbs")
    legend.plot([], [], **style.line("theory"), label="exact")
    legend.legend(ncols=3, loc="upper center", fontsize=7, columnspacing=1.0, handlelength=1.5)
    distance_panels(figure, axes[-1], config, arrays, gibbs, exact, count)
    return figure


TITLES = {"SGD": "SGD", "isotropic": "isotropic SDE", "anisotropic": "anisotropic SDE", "levy": "Levy SDE"}


def distance_panels(figure, row, config, arrays, gibbs, exact, count):
    """Below: distances to Gibbs (filled) and to the exact law (open), and the covariance that Gibbs says is zero."""
    grid = row[0].get_gridspec()
    for panel in row:
        panel.remove()
    distances, covariances = figure.add_subplot(grid[-1, 0:2]), figure.add_subplot(grid[-1, 2:4])
    t = np.array(temperatures(config))
    for j, name in enumerate(DYNAMICS):
        look, shift = style.line(name), 1.02 ** (j - 1.5)
        laws = [(exact[i][j][0], exact[i][j][1].density) for i in range(len(t))]
        both = arrays["fraction_below"][:, j].mean(axis=1)
        to_gibbs = [cdf_distance_of_fractions(f, count, arrays["points"], GRID, g) for f, g in zip(both, gibbs)]
        to_exact = [cdf_distance_of_fractions(f, count, arrays["points"], *law) for f, law in zip(both, laws)]
        distances.errorbar(t * shift, *zip(*to_gibbs), **look, label=f"{TITLES[name]} to Gibbs")
        distances.errorbar(t * shift, *zip(*to_exact), **look | {"linestyle": "none"}, markerfacecolor="white")
        if name != "levy":  # whose covariance is infinite
            moments = arrays["second_moment"][:, j, :, 0, 1].mean(axis=1)
            errors = np.sqrt((arrays["second_moment_error"][:, j, :, 0, 1] ** 2).sum(axis=1)) / 2
            covariances.errorbar(t * shift, moments, errors, **look, label=TITLES[name])
    distances.errorbar(
        [], [], [], color="grey", marker="o", markerfacecolor="white", linestyle="none", label="to exact"
    )
    covariances.axhline(0, **style.line("gibbs"), label="Gibbs: x and y independent")
    distances.set(ylim=(0, None), ylabel="largest distance of\ndistribution functions")
    covariances.set_ylabel("covariance of x and y")
    for panel in (distances, covariances):
        panel.set(xscale="log", xlabel="temperature T = rate tr C/(2 d);  bars: one standard error")
        panel.set_xticks(t, [f"{value:.3g}" for value in t])
        panel.minorticks_off()
    distances.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.25))
    covariances.legend(fontsize=7)
