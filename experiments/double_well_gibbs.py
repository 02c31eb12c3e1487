"""Jointly, only the isotropic SDE is Gibbs in a double well; along x alone the anisotropic SDE is too, hotter.

With C the covariance of the minibatch gradient, the SDEs are dx = -grad L dt + sqrt(rate C) dW. Where C = v I the law
is Gibbs, exp(-L/T), T = rate v/2. SGD's C is neither isotropic nor diagonal here. Along x alone its SDE is still Gibbs,
at T_x = rate C_xx/2, because the force along x does not depend on y; but y depends on x, which exp(-L/T) forbids at any
temperature. SGD itself is Gibbs along x only in the limit of small rates, and a Levy SDE has a law that no temperature
fits.

L = barrier (x^2 - 1)^2 + curvature y^2/2 is written as a finite sum whose example gradients have a correlated, unequal
covariance Sigma. Four dynamics run at each of several learning rates: SGD with batches drawn with replacement; the
isotropic SDE (v = tr C/2), the anisotropic SDE (C = Sigma/B), and a Levy SDE whose scale makes tail index 2 the
isotropic one. All chains start in the left well, so that a run too short would show as too many of
them there. How long is enough is predicted: expectations approach their stationary values like exp(-r t), r the
relaxation rate of the Fokker-Planck equation along x; the isotropic SDE, the coldest along x, is the slowest of the
Gaussian ones. SGD and the Levy SDE are also held against exact laws of x, those of their own one-step kernels on a
grid.

What it does not say: distances are largest gaps between distribution functions of x, from n = 32,000 end points for
each rate and dynamics; the largest gap of a sample is never 0. That x and y are independent under the isotropic SDE is
seen in their covariance and in the mean of y in eleven bins of x, not in every moment. What separates SGD along x from
Gibbs at T_x vanishes with the rate; it is judged at the largest one, at the place where the exact law says that it is
largest, and not for every temperature. The SDEs take four microsteps a step, which moves them a little from continuous
time, inside the tolerance. Of the Levy SDE, distances to Gibbs are to the nearest of 400 temperatures from T/4 to 16 T,
and their error is a bound for a minimised distance. Rates, barrier and covariance are this project's choice. A less
unequal covariance moves T_x/T, and that or another correlation the covariance of x and y.

Source: T = eta v/2 for noise covariance v I: Mandt, Hoffman, Blei 2017 (arXiv 1704.04289); a constant Sigma that does
not commute with the Hessian has no Gibbs law; wells under stable noise: Chechkin et al. 2002.

Command: `sgdsde reproduce double_well_gibbs`.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from sgdsde import Check, implicit, landscapes, match, noise, sgd, simulate, style
from sgdsde.measurements.fractions import cdf_distance_of_fractions, density_of_fractions, fraction_below
from sgdsde.predictions import (
    euler_covariance,
    explicit_transition,
    fokker_planck_density,
    gibbs_density,
    implicit_transition,
    minibatch_noise_density,
    relaxation_rate,
    sgd_covariance,
    stable_noise_density,
    stationary_density,
    temperature,
)

SEE = """With T = rate tr C/4, the isotropic SDE is within {isotropic, rate 0.1: distance along x to Gibbs at T |
within} of Gibbs at T, and x and y are uncorrelated. Along x the anisotropic SDE is within {anisotropic, rate 0.1:
distance along x to Gibbs at T_x | within} of Gibbs at T_x = 1.5 T, but x and y are correlated, as in SGD ({SGD, rate
0.1: covariance of x and y | z} standard errors). The Levy SDE is Gibbs at no temperature (the nearest is {levy, rate
0.1: distance along x to the nearest Gibbs | z} standard errors away)."""


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
    num_steps: int = 3_200
    """steps at the smallest rate; they fall with the square of the rate, because hotter chains cross sooner"""
    num_chains: int = 32_000
    """independent chains, of which only the end points count"""
    seed: int = 0


SMOKE = Config(num_steps=24, num_chains=50, num_rates=2)
DYNAMICS = ("SGD", "isotropic", "anisotropic", "levy")
DIMENSIONS = {
    "learning_rate": ("rate",),
    "points": ("point",),
    "fraction_below": ("rate", "dynamics", "point"),
    "second_moment": ("rate", "dynamics", "row", "column"),
    "second_moment_error": ("rate", "dynamics", "row", "column"),
    "mean_y": ("rate", "dynamics", "bin"),
    "mean_y_error": ("rate", "dynamics", "bin"),
    "num_diverged": ("rate", "dynamics"),
}
EDGES = np.linspace(-1.65, 1.65, 12)
"""of the bins of x in which the mean of y is kept"""


def rates(config):
    """The learning rates, and the number of steps of each."""
    factors = [1.6**k for k in range(config.num_rates)]
    steps = [int(config.num_steps / factor**2) for factor in factors]
    return [config.learning_rate * factor for factor in factors], steps


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
    """What is kept of an ensemble: the distribution function of x, second moments about the origin, and the mean of y
    among the chains of each bin of x (NaN in an empty one)."""
    x, y = trajectory.params.T
    products = trajectory.params[:, :, None] * trajectory.params[:, None, :]
    inside = ((x[:, None] >= EDGES[:-1]) & (x[:, None] < EDGES[1:])).astype(x.dtype)
    count = inside.sum(axis=0)
    mean = (inside * y[:, None]).sum(axis=0) / count
    spread = (inside * (y[:, None] - mean) ** 2).sum(axis=0) / count
    return {
        "fraction_below": fraction_below(x, points),
        "second_moment": products.mean(0),
        "second_moment_error": products.std(0, ddof=1) / np.sqrt(len(products)).item(),
        "mean_y": mean,
        "mean_y_error": jnp.sqrt(spread / count),
        "num_diverged": jnp.sum(trajectory.diverged_at >= 0),
    }


def run(config, key):
    """All chains start in the left well."""
    problem, points = landscape(config), jnp.linspace(-3.0, 3.0, 241)
    learning_rates, steps = rates(config)
    rows = []
    for learning_rate, num_steps in zip(learning_rates, steps):
        for each in dynamics(config, problem, learning_rate):
            trajectory = simulate(
                each,
                jnp.array([-1.0, 0.0]),
                jax.random.fold_in(key, len(rows)),
                num_steps=num_steps,
                num_chains=config.num_chains,
                observe=position,
                every=num_steps,
            )
            rows.append(reduce(trajectory, points))
    shape = (len(learning_rates), len(DYNAMICS))
    table = jax.tree.map(lambda *leaves: jnp.stack(leaves).reshape(*shape, *leaves[0].shape), *rows)
    return {"learning_rate": jnp.array(learning_rates), "points": points, **table}


GRID = np.linspace(-3.5, 3.5, 701)
LEVY_GRID = np.sinh(np.linspace(-3.2, 3.2, 1101))


def temperatures(config, rate):
    """T of the isotropic noise of C's trace, and T_x of C_xx, that of SGD and of the anisotropic SDE along x."""
    each = [np.mean(config.gradient_variances), config.gradient_variances[0]]
    return [temperature(learning_rate=rate, batch_size=config.batch_size, gradient_variance=v) for v in each]


def gibbs(config, t):
    """The Gibbs density of x at the temperature t, on GRID."""
    potential = lambda x: config.barrier * (x[0] ** 2 - 1) ** 2
    return gibbs_density(potential, t, GRID)


def slope(config, x):
    return 4 * config.barrier * (x**3 - x)


@functools.cache  # the checks and the figure both ask
def exact_laws(config):
    """The exact laws of x of SGD and of the Levy SDE at each rate, as (grid, density): SGD's own step with the law of
    its minibatches, and the implicit microstep; a coordinate of rotation-invariant stable noise has its scale."""
    bend = lambda x: 4 * config.barrier * (3 * x**2 - 1)
    tilts = np.asarray(landscape(config).examples, float)[:, :1]
    tilts = tilts - tilts.mean(axis=0)
    scale = np.sqrt(np.mean(config.gradient_variances) / config.batch_size / 2)
    rows = []
    for rate in rates(config)[0]:
        minibatch = minibatch_noise_density(tilts, config.batch_size, smoothing=(GRID[1] - GRID[0]) / rate)
        stable = stable_noise_density(config.tail_index, scale)
        options = {"learning_rate": rate, "substeps": config.substeps, "tail_index": config.tail_index}
        own = functools.partial(slope, config)
        kernels = {
            "SGD": (GRID, explicit_transition(own, minibatch, learning_rate=rate)),
            "levy": (LEVY_GRID, implicit_transition(own, bend, stable, **options)),
        }
        rows.append(
            {name: (grid, stationary_density(kernel, grid).density) for name, (grid, kernel) in kernels.items()}
        )
    return rows


@functools.cache
def joint_law(config, rate):
    """Of the anisotropic SDE in continuous time: its Fokker-Planck density on a grid, (x, y, density)."""
    spread = np.sqrt(np.array(config.gradient_variances) / config.batch_size)
    diffusion = rate / 2 * np.outer(spread, spread) * np.array([[1, config.correlation], [config.correlation, 1]])
    reach = 7 * np.sqrt(diffusion[1, 1] / config.curvature)
    x, y = np.linspace(-2.8, 2.8, 113), np.linspace(-reach, reach, 113)
    drift = lambda params: -jnp.array([slope(config, params[0]), config.curvature * params[1]])
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)
    return x, y, fokker_planck_density(drift, lambda params: jnp.asarray(diffusion), grid, convention="ito").density


def nearest_gibbs(config, fractions, points, t):
    """The temperature, of 400 from t/4 to 16 t, whose Gibbs law of x is nearest to an ensemble; and its distance."""
    choices = t * np.geomspace(0.25, 16, 400)
    laws = np.asarray(jax.vmap(functools.partial(gibbs, config))(jnp.asarray(choices)))
    distances = [np.abs(fractions - cumulative((GRID, law), points)).max() for law in laws]
    best = int(np.argmin(distances))
    return choices[best], distances[best]


def uniform_error(count):
    """The standard error of a distance that has been minimised: whatever the law, |F_hat - F| stays below 5.9 of these
    everywhere with the certainty of 5.9 standard errors (Dvoretzky, Kiefer, Wolfowitz: P <= 2 exp(-2 n e^2))."""
    return np.sqrt(np.log(2 / (2 * stats.norm.sf(5.9))) / (2 * count)) / 5.9


def cumulative(law, points):
    """Distribution function of a law (grid, density) at the points."""
    grid, density = law[0], np.asarray(law[1], float)
    return np.interp(points, grid, np.append(0.0, np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)))


def middle_less_gibbs(fractions, count, points, exact, other):
    """P(|x| < a) of an ensemble less that of another law, its standard error, and a: where the exact law differs most
    from the other, so that nothing is chosen by the sample."""
    between = lambda below: below[::-1] - below  # of symmetric points, in their first half: a = -x
    gaps = (between(cumulative(exact, points)) - between(cumulative(other, points)))[: len(points) // 2]
    place = int(np.argmax(np.abs(gaps)))
    inside = between(fractions)[place]
    gap = inside - between(cumulative(other, points))[place]
    return gap, np.sqrt(inside * (1 - inside) / count), -points[place]


def remaining_memory(config, rate, num_steps):
    """exp(-r t)/2, what is left of the start in P(x < 0) - 1/2 under the isotropic SDE."""
    t, _ = temperatures(config, rate)
    r, _ = relaxation_rate(lambda x: -slope(config, x), lambda x: t, np.linspace(-2.5, 2.5, 501), convention="ito")
    return np.exp(-r * rate * num_steps) / 2


def checks(config, arrays):
    points, count = np.asarray(arrays["points"]), config.num_chains
    gibbs_source, exact_source = "Mandt, Hoffman, Blei 2017: T = rate v/2", "one-step kernel solved on a grid"
    found = []
    for i, rate in enumerate(rates(config)[0]):
        label, below = f"rate {rate:.3g}", dict(zip(DYNAMICS, arrays["fraction_below"][i]))
        t, t_x = temperatures(config, rate)
        exact = exact_laws(config)[i]
        for name, kind, law, source in (
            ("distance along x to Gibbs at T", "isotropic", (GRID, gibbs(config, t)), gibbs_source),
            ("distance along x to Gibbs at T_x", "anisotropic", (GRID, gibbs(config, t_x)), gibbs_source),
            ("distance along x to its exact law", "SGD", exact["SGD"], exact_source),
            ("distance along x to its exact law", "levy", exact["levy"], exact_source),
        ):
            distance, error = cdf_distance_of_fractions(below[kind], count, points, *law)
            found.append(Check(f"{kind}, {label}: {name}", distance, 0, error, 0.0175, "agree", source))
        _, distance = nearest_gibbs(config, below["levy"], points, t)
        source = "at no temperature; error by Dvoretzky, Kiefer, Wolfowitz"
        name = f"levy, {label}: distance along x to the nearest Gibbs"
        found.append(Check(name, distance, 0, uniform_error(count), 0, "above", source))
        found += joint_checks(config, arrays, i, rate, label)
    slowest, middle = arrays["fraction_below"][0, DYNAMICS.index("isotropic")], len(points) // 2
    error = 0.5 / np.sqrt(count)
    name = "isotropic, smallest rate: P(x < 0), all started there, less 1/2"
    found.append(
        Check(name, slowest[middle] - 0.5, 0, error, 0.0175, "agree", "one stationary law, whatever the start")
    )
    left = max(remaining_memory(config, *each) for each in zip(*rates(config)))
    name = "isotropic: what is left of the start, predicted, over the error of the measured"
    found.append(Check(name, left / error, 0.2, 0, 0, "below", "relaxation rate r: exp(-r t)/2"))
    found.append(finite_step_check(config, arrays))
    return [*found, Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


def finite_step_check(config, arrays):
    """At the largest rate SGD is not Gibbs along x either."""
    points, below = np.asarray(arrays["points"]), arrays["fraction_below"][-1, DYNAMICS.index("SGD")]
    _, t_x = temperatures(config, rates(config)[0][-1])
    laws = exact_laws(config)[-1]["SGD"], (GRID, gibbs(config, t_x))
    gap, error, a = middle_less_gibbs(below, config.num_chains, points, *laws)
    name, source = "SGD, largest rate: P(|x| < a) less that of Gibbs at T_x", "Gibbs is the limit of small rates"
    return Check(name, gap, 0, error, 0, "differ", f"{source}; a = {a:.3g}")


def joint_checks(config, arrays, i, rate, label):
    """The variance of y against the exact law of every discrete step, and the covariance that Gibbs forbids."""
    variances = np.array(config.gradient_variances) / config.batch_size
    y_noise = {"SGD": variances[1], "isotropic": variances.mean(), "anisotropic": variances[1]}
    x, y, density = joint_law(config, rate)
    joint = float(np.einsum("i,j,ij->", x, y, density) / density.sum())
    found = []
    for name, noise_variance in y_noise.items():
        j, law = DYNAMICS.index(name), (np.array([[config.curvature]]), np.array([[noise_variance]]))
        if name == "SGD":
            predicted = sgd_covariance(*law, learning_rate=rate)
        else:
            predicted = euler_covariance(*law, learning_rate=rate, substeps=config.substeps)
        moment, error = arrays["second_moment"][i, j], arrays["second_moment_error"][i, j]
        source = "exact discrete law" if name == "SGD" else "Euler's exact law"
        name = f"{name}, {label}"
        found.append(
            Check(f"{name}: variance of y", moment[1, 1], float(predicted[0, 0]), error[1, 1], 0.05, "agree", source)
        )
        if "isotropic, " in name and "anisotropic" not in name:
            means, errors = arrays["mean_y"][i, j], arrays["mean_y_error"][i, j]
            largest, source_of_mean = means[np.argmax(np.abs(means))], "Gibbs: y knows nothing of x"
            found.append(
                Check(f"{name}: mean of y at given x, farthest from 0", largest, 0, errors.max(), 0.065, "agree",
                      source_of_mean)
            )  # fmt: skip
        covariance = f"{name}: covariance of x and y"
        if "anisotropic" in name:
            label_of_ratio, source = (
                f"{covariance} over the Fokker-Planck equation's",
                "Fokker-Planck in two dimensions",
            )
            found.append(Check(label_of_ratio, moment[0, 1] / joint, 1, error[0, 1] / joint, 0.15, "agree", source))
        else:
            expect, source = "differ" if "SGD" in name else "agree", "Gibbs at any temperature: uncorrelated"
            found.append(Check(covariance, moment[0, 1], 0, error[0, 1], 0.0125, expect, source))
    return found


TITLES = {"SGD": "SGD", "isotropic": "isotropic SDE", "anisotropic": "anisotropic SDE", "levy": "Levy SDE"}


def plot(config, arrays):
    figure, ((marginal, joint), (levy, distances)) = style.figure(2, 2, width=7.6, height=6.0)
    marginal_panel(marginal, config, arrays)
    joint_panel(joint, config, arrays)
    levy_panel(levy, config, arrays)
    distance_panel(distances, config, arrays)
    figure.supxlabel("bars: one standard error", fontsize=8)
    return figure


def histogram(config, arrays, name):
    """Places, heights and errors of the density of x at the smallest rate."""
    edges, below = np.asarray(arrays["points"])[::6], arrays["fraction_below"][0, DYNAMICS.index(name)][::6]
    return (edges[1:] + edges[:-1]) / 2, *density_of_fractions(below, config.num_chains, edges)


def marginal_panel(panel, config, arrays):
    rate = rates(config)[0][0]
    for t, line, text in zip(temperatures(config, rate), ("--", ":"), ("T", "T_x")):
        label = f"Gibbs at ${text}$ = {t:.3g}"
        panel.plot(GRID, gibbs(config, t), color=style.COLOURS["gibbs"], linestyle=line, label=label)
    for name in ("isotropic", "anisotropic", "SGD"):
        look = style.line(name) | {"linestyle": "none"}
        face = "white" if name == "SGD" else look["color"]
        panel.errorbar(
            *histogram(config, arrays, name), **look, markersize=4.5, markerfacecolor=face, label=TITLES[name]
        )
    panel.set(
        title="(a) along x, each Gaussian SDE is Gibbs", xlabel=f"x across the wells (learning rate {rate:.3g})",
        ylabel="density of x", xlim=(-2, 2), ylim=(0, 1.1),
    )  # fmt: skip
    panel.legend(ncols=2, loc="upper center", columnspacing=1.0, handlelength=1.8)


def joint_panel(panel, config, arrays):
    rate, middle = rates(config)[0][0], (EDGES[1:] + EDGES[:-1]) / 2
    panel.axhline(0, **style.line("gibbs"), label="Gibbs, any temperature")
    x, y, density = joint_law(config, rate)
    panel.plot(x, density @ y / density.sum(axis=1), **style.line("theory"), label="Fokker-Planck, anisotropic")
    for name in ("isotropic", "anisotropic", "SGD"):
        look, j = style.line(name) | {"linestyle": "none"}, DYNAMICS.index(name)
        face = "white" if name == "SGD" else look["color"]
        means, errors = arrays["mean_y"][0, j], arrays["mean_y_error"][0, j]
        panel.errorbar(middle, means, errors, **look, markersize=5, markerfacecolor=face, label=TITLES[name])
    panel.set(
        title="(b) jointly, only the isotropic SDE", xlabel=f"x (learning rate {rate:.3g})",
        ylabel="mean of y among chains near x", xlim=(-1.7, 1.7), ylim=(-0.32, 0.62),
    )  # fmt: skip
    panel.legend(loc="upper left")


def levy_panel(panel, config, arrays):
    rate = rates(config)[0][0]
    t, _ = temperatures(config, rate)
    t_best, _ = nearest_gibbs(
        config, arrays["fraction_below"][0, DYNAMICS.index("levy")], np.asarray(arrays["points"]), t
    )
    grid, density = exact_laws(config)[0]["levy"]
    panel.plot(GRID, gibbs(config, t_best), **style.line("gibbs"), label=f"nearest Gibbs, at {t_best / t:.2g} T")
    panel.plot(grid, density, **style.line("theory"), label="exact law")
    place, height, error = histogram(config, arrays, "levy")
    error = np.stack([np.minimum(error, 0.9 * height), error])
    panel.errorbar(place, height, error, **style.line("levy") | {"linestyle": "none"}, label=TITLES["levy"])
    panel.set(
        title="(c) the Levy SDE, at no temperature", xlabel=f"x (learning rate {rate:.3g})", ylabel="density of x",
        yscale="log", xlim=(-3, 3), ylim=(1e-3, 5),
    )  # fmt: skip
    panel.legend(loc="upper center", ncols=2, columnspacing=1.0)


def distance_panel(panel, config, arrays):
    points, count = np.asarray(arrays["points"]), config.num_chains
    learning_rates = np.array(rates(config)[0])
    rows = {name: [] for name in DYNAMICS}
    for below, rate in zip(arrays["fraction_below"], learning_rates):
        t, t_x = temperatures(config, rate)
        for name, each in zip(DYNAMICS, below):
            law = gibbs(config, t if name == "isotropic" else t_x)
            distance, error = cdf_distance_of_fractions(each, count, points, GRID, law)
            if name == "levy":
                distance, error = nearest_gibbs(config, each, points, t)[1], uniform_error(count)
            rows[name].append((distance, error))
    texts = {"SGD": "at $T_x$", "isotropic": "at T", "anisotropic": "at $T_x$", "levy": "at the best T"}
    panel.axhspan(0, 0.87 / np.sqrt(count), color="grey", alpha=0.25, lw=0, label="mean distance of a sample of Gibbs")
    for j, (name, row) in enumerate(rows.items()):
        label = f"{TITLES[name]} {texts[name]}"
        panel.errorbar(learning_rates * 1.02 ** (j - 1.5), *zip(*row), **style.line(name), label=label)
    panel.set(
        title="(d) distance to Gibbs along x", xscale="log", xlabel="learning rate",
        ylabel="largest gap of distribution functions", ylim=(0, 0.062),
    )  # fmt: skip
    panel.set_xticks(learning_rates, [f"{rate:.3g}" for rate in learning_rates])
    panel.minorticks_off()
    panel.legend(loc="upper center", columnspacing=1.0)
