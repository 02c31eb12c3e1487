"""Of nine stationary densities written down for SGD only the Ito Fokker-Planck equation's is right on all six noises.

Nine answers to "which law does SGD sample?", each held against the Fokker-Planck equation of the SDE and against
simulated chains of SGD and of its SDE (minibatches of size B with replacement, rate eta,
Sigma the covariance of one example's gradient, L the loss; |S| the determinant):

    Ito               exp(-(2B/eta) int L'/Sigma)/Sigma in one dimension, Lyapunov's Gaussian in a quadratic   right
    Sigma outside     dp/dt = div(p grad L + (eta/2B) Sigma grad p): Haenggi-Klimontovich's, not SGD's
    Stratonovich      exp(-(2B/eta) int L'/Sigma)/sqrt(Sigma)
    L over Sigma      exp(-(2B/eta) L/Sigma(x)); in a quadratic exp(-(B/eta) x^T Sigma^-1 H x)
    determinant       |Sigma|^-1/2 exp(-(2B/eta) L)
    a quarter         exp(-(B/2 eta) Sigma^-1 L)
    noise twice       the step written as -eta g_B + eta xi: twice the temperature
    no replacement    (n-B)/(n-1) in the temperature, which belongs to sampling without replacement
    s^2/eta           exp(-L/T) with T = s^2/eta, s^2 the minibatch variance: off by 2/eta^2

on six noises: Sigma = 1, Sigma = 2, Sigma = 0.4 + 0.6 x^2 and the blowtorch Sigma = 1 + tanh(5 x)/2 in a double well
of equal wells, barrier (x^2 - 1)^2; and two constant matrices in a two-dimensional quadratic, of which one commutes
with the Hessian. With Sigma constant and commuting several of them are one; beyond it they part. Noise that depends on
x is true example noise, L + z G(x) with G' = sqrt(Sigma), the z symmetric about 0: skewed ones would give SGD a
third cumulant, which no Fokker-Planck equation knows.

Source: Gardiner, Stochastic Methods, section 5.2 (Ito); Landauer 1975, J. Stat. Phys. 13, 1 (the blowtorch); Mandt,
Hoffman, Blei 2017 (arXiv 1704.04289) (Lyapunov); Klimontovich 1990, Physica A 163, 515 (Sigma outside). The other forms
are met in notes and code; no paper is cited for them here.
Command: `sgdsde reproduce gibbs_formulas_tested`.

What it does not say: one barrier, one rate, minibatches of 2 of 4 examples, two quadratics, one seed; 130,000 chains,
looked at once, after 9.7 relaxation times under the blowtorch, the one noise in which the wells must exchange mass
(under Sigma = 0.4 + 0.6 x^2 after 3.3 only: there half of the chains start in each of two equal wells). Every cell of
the table is decided by the simulated SDE, at 8 microsteps a step; SGD itself, of which the formulas speak, is held
against the right row only, to 0.012 in distribution: its finite step and four examples are no part of the equation.
In the quadratics both are compared with the exact covariance of their own finite steps. On constant noise several
formulas are one law: the 12 agreements beside the right row's repeat its measurement. That a formula fails here does
not say that it fails where its authors used it.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde import Check, Problem, landscapes, match, measurements, noise, predictions, sgd, simulate, style

SEE = """Where the noise is stronger in the right one of two equal wells, SGD spends a fraction {SGD: the noisier well
under the blowtorch} of its time there; "L over Sigma" predicts {SGD: the noisier well under the blowtorch, L over Sigma
| predicted}, "Sigma outside" {SGD: the noisier well under the blowtorch, Sigma outside | predicted}. The right law is
met within {SGD on blowtorch: distance to the solution | within} in distribution; no other formula is right on all six
noises."""


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    """step size eta"""
    batch_size: int = 2
    """examples in a minibatch, drawn with replacement"""
    num_examples: int = 4
    """examples in the finite sum"""
    barrier: float = 0.04
    """height of the barrier between the wells; the temperature at Sigma = 1 is eta/(2 B)"""
    curvatures: tuple[float, ...] = (0.4, 0.1)
    """of the two-dimensional quadratic"""
    num_steps: int = 6_000
    """steps, of which the last counts; about ten relaxation times under the blowtorch"""
    substeps: int = 8
    """microsteps of the SDE in a learning-rate step"""
    num_chains: int = 130_000
    """independent chains, half of them started in each well"""
    num_groups: int = 100
    """groups of chains whose second moments are kept, in the quadratic"""
    seed: int = 0


SMOKE = Config(num_steps=16, num_chains=200, num_groups=10)
DIMENSIONS = {
    "points": ("position",),
    "below": ("dynamics", "noise", "position"),
    "quadratic": ("dynamics", "matrix", "group", "row", "column"),
    "num_diverged": ("dynamics", "noise_or_matrix"),
}
DYNAMICS = ("SGD", "SDE")
# Sigma(x) = a + b x^2 + c tanh(5 x)
NOISES = {"Σ = 1": (1.0, 0.0, 0.0), "Σ = 2": (2.0, 0.0, 0.0), "Σ = 0.4 + 0.6 $x^2$": (0.4, 0.6, 0.0),
          "blowtorch": (1.0, 0.0, 0.5)}  # fmt: skip
MATRICES = {"matrix, commuting": ((1.6, 0.0), (0.0, 0.4)), "matrix, not commuting": ((1.0, 0.6), (0.6, 1.0))}
POINTS = np.linspace(-3.0, 3.0, 121)
GRID = np.linspace(-9.0, 9.0, 1801)
SPAN = np.linspace(-1.0, 1.0, 101)
LEGENDRE = np.polynomial.legendre.leggauss(40)


def spread(parts, x):
    """Sigma(x)."""
    a, b, c = (jnp.asarray(part, x.dtype) for part in parts)
    return a + b * x**2 + c * jnp.tanh(5 * x)


@jax.custom_jvp
def spread_integral(parts, x):
    """G(x), the integral of sqrt(Sigma) from 0 to x."""
    nodes, weights = (jnp.asarray(each, x.dtype) for each in LEGENDRE)
    return x / 2 * jnp.sum(weights * jnp.sqrt(spread(parts, x * (nodes + 1) / 2)))


@spread_integral.defjvp
def _(primals, tangents):
    parts, x = primals
    return spread_integral(parts, x), jnp.sqrt(spread(parts, x)) * tangents[1]


def well(barrier, x):
    return jnp.asarray(barrier, x.dtype) * (x[0] ** 2 - 1) ** 2


def example_loss(barrier, parts, x, tilt):
    return well(barrier, x) + tilt * spread_integral(parts, x[0])


def noise_factor(parts, x):
    return jnp.sqrt(spread(parts, x))[:, None]


def either_well(key):
    return jax.random.rademacher(key, (1,), float)


@jax.jit
def problem_parts(barrier, parts):
    return jnp.asarray(barrier, float), tuple(jnp.asarray(part, float) for part in parts)


def wells(config, parts, tilts):
    """The double well with one example's gradient variance Sigma(x)."""
    barrier, parts = problem_parts(config.barrier, parts)
    return Problem(
        example_loss=Partial(example_loss, barrier, parts),
        examples=tilts,
        init=either_well,
        mean_loss=Partial(well, barrier),
        noise_factor=Partial(noise_factor, parts),
    )


def position(params):
    return params


def ends(config, problem, start, key):
    """Where the chains of SGD and of its SDE end, and how many diverged, each stacked over the two."""
    discrete = sgd(
        problem, learning_rate=config.learning_rate, batch_size=config.batch_size, sampling="with_replacement"
    )
    found = [
        simulate(
            dynamics, start, own, num_steps=config.num_steps, num_chains=config.num_chains, observe=position,
            every=config.num_steps,
        )
        for dynamics, own in zip(
            (discrete, match(discrete, noise.anisotropic, substeps=config.substeps)), jax.random.split(key)
        )
    ]  # fmt: skip
    return jnp.stack([each.params for each in found]), jnp.stack([each.diverged_at for each in found])


@jax.jit
def fractions(params, points):
    return jax.vmap(lambda each: measurements.fraction_below(each[:, 0], points))(params)


@functools.partial(jax.jit, static_argnames="num_groups")
def moments(params, num_groups):
    groups = params.reshape(len(params), num_groups, -1, params.shape[-1])
    return jnp.einsum("sgni,sgnj->sgij", groups, groups) / groups.shape[2]


@jax.jit
def count(diverged_at):
    return jnp.sum(diverged_at >= 0, axis=1)


def run(config, key):
    tilts = 2.0 * np.arange(config.num_examples) + 1 - config.num_examples  # symmetric: no skewness in so few examples
    points, tilts = jnp.asarray(POINTS, float), jnp.asarray(tilts / np.std(tilts), float)
    below, seconds, diverged = [], [], []
    for index, parts in enumerate(NOISES.values()):
        params, diverged_at = ends(config, wells(config, parts, tilts), either_well, jax.random.fold_in(key, index))
        below.append(fractions(params, points))
        diverged.append(count(diverged_at))
    for index, matrix in enumerate(MATRICES.values()):
        problem = landscapes.quadratic(
            jnp.diag(jnp.asarray(config.curvatures, float)), gradient_covariance=jnp.asarray(matrix, float),
            num_examples=config.num_examples,
        )  # fmt: skip
        params, diverged_at = ends(config, problem, jnp.zeros(2), jax.random.fold_in(key, 100 + index))
        seconds.append(moments(params, config.num_groups))
        diverged.append(count(diverged_at))
    return {
        "points": points,
        "below": jnp.stack(below, axis=1),
        "quadratic": jnp.stack(seconds, axis=1),
        "num_diverged": jnp.stack(diverged, axis=1),
    }


def normalised(energy, grid):
    weight = np.exp(-(energy - energy.min()))
    return weight / np.trapezoid(weight, grid)


def formulas(config, parts):
    """Every formula's density on GRID for one of the one-dimensional noises."""
    a, b, c = parts
    sigma = lambda x: a + b * x**2 + c * np.tanh(5 * x)
    ratio, loss = 2 * config.batch_size / config.learning_rate, config.barrier * (GRID**2 - 1) ** 2
    nodes, weights = np.polynomial.legendre.leggauss(8)
    x = GRID[:-1, None] + np.diff(GRID)[:, None] * (nodes + 1) / 2
    each = np.diff(GRID) * ((4 * config.barrier * x * (x**2 - 1) / sigma(x)) @ weights) / 2
    integral, spread_there = np.concatenate([[0.0], np.cumsum(each)]), sigma(GRID)
    replaced = (config.num_examples - config.batch_size) / (config.num_examples - 1)
    energies = {
        "Ito": ratio * integral + np.log(spread_there),
        "Sigma outside": ratio * integral,
        "Stratonovich": ratio * integral + np.log(spread_there) / 2,
        "L over Sigma": ratio * loss / spread_there,
        "determinant": ratio * loss + np.log(spread_there) / 2,
        "a quarter": ratio * loss / spread_there / 4,
        "noise twice": ratio * integral / 2 + np.log(spread_there),
        "no replacement": ratio * integral / replaced + np.log(spread_there),
        "s^2/eta": loss * config.learning_rate * config.batch_size / np.mean(sigma(np.array([-1.0, 1.0]))),
    }
    return {name: normalised(energy, GRID) for name, energy in energies.items()}


TEXT = {
    "Ito": r"Itô: $\Sigma^{-1}\exp(-\frac{2B}{\eta}\int L'/\Sigma)$, Lyapunov",
    "Sigma outside": r"$\Sigma$ outside: $\partial_t p=\nabla(p\nabla L+\frac{\eta}{2B}\Sigma\nabla p)$",
    "Stratonovich": r"Stratonovich: $\Sigma^{-1/2}\exp(-\frac{2B}{\eta}\int L'/\Sigma)$",
    "L over Sigma": r"$\exp(-\frac{2B}{\eta}L/\Sigma(x))$,  $\exp(-\frac{B}{\eta}x^T\Sigma^{-1}Hx)$",
    "determinant": r"$|\Sigma|^{-1/2}\exp(-\frac{2B}{\eta}L)$",
    "a quarter": r"$\exp(-\frac{B}{2\eta}\Sigma^{-1}L)$",
    "noise twice": r"$-\eta g_B+\eta\xi$: noise counted twice",
    "no replacement": r"$(n-B)/(n-1)$ although with replacement",
    "s^2/eta": r"$\exp(-L/T)$, $T=s^2/\eta$",
}


def gaussians(config, matrix):
    """Every formula's covariance for a matrix noise in the quadratic; None where it is no density."""
    hessian, sigma = np.diag(np.asarray(config.curvatures)), np.asarray(matrix)
    ratio = config.batch_size / config.learning_rate
    right = np.asarray(
        predictions.sde_covariance(hessian, sigma / config.batch_size, learning_rate=config.learning_rate), float
    )
    form = np.linalg.solve(sigma, hessian)
    gibbs = np.linalg.inv(ratio * (form + form.T))
    replaced = (config.num_examples - config.batch_size) / (config.num_examples - 1)
    return {
        "Ito": right, "Sigma outside": right, "Stratonovich": right, "L over Sigma": gibbs,
        "determinant": np.linalg.inv(2 * ratio * hessian),
        "a quarter": 4 * gibbs,
        "noise twice": 2 * right, "no replacement": replaced * right,
        "s^2/eta": np.linalg.inv(hessian) * np.trace(sigma) / 2 / config.batch_size / config.learning_rate,
    }  # fmt: skip


def diffusion_of(config, parts):
    half = config.learning_rate / config.batch_size / 2
    return lambda x: half * spread(parts, x[0])


def slope_of(config):
    return lambda x: -jax.grad(functools.partial(well, config.barrier))(x)


@functools.cache
def solved(config, name):
    """The Fokker-Planck solution of the SDE on one of the one-dimensional noises."""
    diffusion = diffusion_of(config, NOISES[name])
    return predictions.fokker_planck_density(slope_of(config), diffusion, GRID, convention="ito")


@functools.cache
def solved_matrix(config, name):
    """The Fokker-Planck solution on a matrix noise, its grid and its covariance."""
    matrix = np.asarray(MATRICES[name])
    reach = 6.5 * np.sqrt(np.diag(gaussians(config, matrix)["Ito"]))
    grid = np.stack(np.meshgrid(*(reach[:, None] * SPAN), indexing="ij"), axis=-1)
    hessian = jnp.diag(jnp.asarray(config.curvatures, float))
    half = jnp.asarray(matrix * config.learning_rate / config.batch_size / 2, float)
    found = predictions.fokker_planck_density(lambda x: -hessian @ x, lambda x: half, grid, convention="ito")
    return grid, found, np.einsum("ab,abi,abj->ij", found.density, grid, grid) * np.prod(grid[1, 1] - grid[0, 0])


@functools.cache
def errors(config):
    """L1 distance of each formula (rows of TEXT) from the Fokker-Planck solution on each noise."""
    table = np.zeros((len(TEXT), len(NOISES) + len(MATRICES)))
    for column, (name, parts) in enumerate(NOISES.items()):
        density = solved(config, name).density
        for row, formula in enumerate(formulas(config, parts).values()):
            table[row, column] = np.trapezoid(np.abs(formula - density), GRID)
    for column, (name, matrix) in enumerate(MATRICES.items(), len(NOISES)):
        grid, found, _ = solved_matrix(config, name)
        area = np.prod(grid[1, 1] - grid[0, 0])
        for row, covariance in enumerate(gaussians(config, matrix).values()):
            inverse = np.linalg.inv(covariance)
            other = np.exp(-np.einsum("abi,ij,abj->ab", grid, inverse, grid) / 2) * np.sqrt(np.linalg.det(inverse))
            other /= 2 * np.pi
            table[row, column] = np.sum(np.abs(other - found.density)) * area + 1 - np.sum(other) * area
    return table


def noisier(density):
    """Mass of the right-hand well."""
    return np.trapezoid(density[GRID >= 0], GRID[GRID >= 0])


def plain(name):
    return name.replace("$", "").replace("Σ", "Sigma")


SOURCES = {"Sigma outside": "Klimontovich 1990: another convention's equation"}
UNSIGNED = "written in notes and code; no paper cited here"


def cells(config, arrays):
    """One check for each formula but the right one on each noise, by the simulated SDE: {(row, column): Check}."""
    found, table = {}, errors(config)
    for column, (name, parts) in enumerate(NOISES.items()):
        below = arrays["below"][1, column]
        for row, (formula, density) in enumerate(formulas(config, parts).items()):
            distance = measurements.cdf_distance_of_fractions(below, config.num_chains, POINTS, GRID, density)
            label = f"{formula} on {plain(name)}: distance of the SDE"
            found[row, column] = cell(label, distance, table[row, column], 0.012, formula)
    for index, (name, matrix) in enumerate(MATRICES.items()):
        column = len(NOISES) + index
        for row, (formula, covariance) in enumerate(gaussians(config, matrix).items()):
            value = measurements.whitened_deviation_of_groups(arrays["quadratic"][1, index], covariance)
            label = f"{formula} on {name}: whitened covariance of the SDE"
            found[row, column] = cell(label, value, table[row, column], 0.03, formula)
    return {place: check for place, check in found.items() if place[0]}


def cell(label, measured, error_of_formula, tolerance, formula):
    """Agreement where the formula is the solution, difference where it is not."""
    (value, error), source = measured, SOURCES.get(formula, UNSIGNED)
    expect, tolerance = ("agree", tolerance) if error_of_formula < RIGHT else ("differ", 0)
    return Check(label, value, 0, error, tolerance, expect, source)


RIGHT = 0.01  # L1 distance below which a formula is the solution; the wrong ones begin at 0.1


def checks(config, arrays):
    found, table = [], errors(config)
    source = "Fokker-Planck equation, Ito"
    for column, name in enumerate(NOISES):
        density = solved(config, name).density
        for row, (dynamics, tolerance) in enumerate(zip(DYNAMICS, (0.012, 0.01))):
            below = arrays["below"][row, column]
            distance, error = measurements.cdf_distance_of_fractions(below, config.num_chains, POINTS, GRID, density)
            label = f"{dynamics} on {plain(name)}: distance to the solution"
            found.append(Check(label, distance, 0, error, tolerance, "agree", source))
        label = f"Ito on {plain(name)}: L1 distance to the solution"
        found.append(Check(label, table[0, column], 0, 0, 1e-6, "agree", source))
    found += cells(config, arrays).values()
    column = list(NOISES).index("blowtorch")
    middle = len(POINTS) // 2
    predicted = noisier(solved(config, "blowtorch").density)
    for row, dynamics in enumerate(DYNAMICS):
        inside = 1 - float(arrays["below"][row, column, middle])
        error = np.sqrt(max(inside * (1 - inside), 1e-3) / config.num_chains)
        label = f"{dynamics}: the noisier well under the blowtorch"
        found.append(Check(label, inside, predicted, error, 0.06, "agree", "Landauer 1975; Fokker-Planck, Ito"))
        for formula in ("Sigma outside", "L over Sigma", "Stratonovich"):
            wrong = noisier(formulas(config, NOISES["blowtorch"])[formula])
            known = SOURCES.get(formula, UNSIGNED)
            found.append(Check(f"{label}, {formula}", inside, wrong, error, 0, "below", known))
    rate, _ = predictions.relaxation_rate(
        slope_of(config), diffusion_of(config, NOISES["blowtorch"]), GRID, convention="ito"
    )
    times = rate * config.learning_rate * config.num_steps
    source = "the slowest rate of the Fokker-Planck equation"
    found.append(Check("run length in relaxation times, blowtorch", times, 8, 0, 0, "above", source))
    return [*found, *matrix_checks(config, arrays)]


def matrix_checks(config, arrays):
    found = []
    hessian = np.diag(np.asarray(config.curvatures))
    for index, (name, matrix) in enumerate(MATRICES.items()):
        noise_covariance, options = np.asarray(matrix) / config.batch_size, {"learning_rate": config.learning_rate}
        _, _, covariance = solved_matrix(config, name)
        source = "Lyapunov equation (Mandt, Hoffman, Blei 2017)"
        lyapunov = gaussians(config, matrix)["Ito"]
        gap, _ = measurements.whitened_deviation_of_groups(covariance[None].repeat(2, axis=0), lyapunov)
        found.append(Check(f"{name}: Fokker-Planck covariance, whitened", gap, 0, 0, 0.001, "agree", source))
        own = (
            predictions.sgd_covariance(hessian, noise_covariance, **options),
            predictions.euler_covariance(hessian, noise_covariance, substeps=config.substeps, **options),
        )
        for row, (dynamics, known) in enumerate(zip(DYNAMICS, own)):
            value, error = measurements.whitened_deviation_of_groups(arrays["quadratic"][row, index], np.asarray(known))
            label = f"{dynamics} on {name}: whitened covariance"
            found.append(Check(label, value, 0, error, 0.028, "agree", "Lyapunov equation of the finite step"))
    name = list(MATRICES)[-1]
    grid, solution, _ = solved_matrix(config, name)
    covariance = gaussians(config, MATRICES[name])["Ito"]
    bracket = (config.curvatures[0] - config.curvatures[1]) * covariance[0, 1]
    turning = predictions.circulation(solution.current, grid)
    found.append(Check(f"{name}: no Gibbs law, a current", turning, bracket, 0, 0.01, "agree", "[H, S]_12"))
    return [*found, Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


def plot(config, arrays):
    figure, axes = style.figure(1, 1, width=10.8, height=8.2)
    axes.remove()
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.25])
    panels = above.subplots(1, 3)
    titles = (r"(a) noise that grows, $\Sigma = 0.4 + 0.6x^2$", r"(b) blowtorch, $\Sigma = 1 + \tanh(5x)/2$")
    for panel, name, title in zip(panels, list(NOISES)[2:], titles):
        density_panel(panel, config, arrays, name)
        panel.set_title(title)
    occupation_panel(panels[2], config, arrays)
    above.supxlabel("bars in (a) and (b): one standard error", fontsize=8)
    table_panel(below, below.subplots(), config, arrays)
    return figure


CURVES = {"Ito": ("theory", "-"), "Sigma outside": ("anisotropic", "--"), "L over Sigma": ("isotropic", "-."),
          "determinant": ("levy", ":")}  # fmt: skip


def density_panel(panel, config, arrays, name):
    known = formulas(config, NOISES[name])
    for formula, (colour, dashes) in CURVES.items():
        panel.plot(GRID, known[formula], color=style.COLOURS[colour], linestyle=dashes, label=formula)
    edges = POINTS[::4]
    for row, (dynamics, marker, face) in enumerate(zip(DYNAMICS, "os", ("black", "white"))):
        below = arrays["below"][row, list(NOISES).index(name)][::4]
        heights, error = measurements.density_of_fractions(below, config.num_chains, edges)
        panel.errorbar(
            (edges[1:] + edges[:-1]) / 2, heights, error, color="black", marker=marker, markerfacecolor=face,
            markersize=3.5, linestyle="none", label=dynamics,
        )  # fmt: skip
    panel.set(xlim=(-2.1, 2.1), ylim=(0, None), xlabel="position x", ylabel="stationary density")
    panel.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.0))
    panel.set_ylim(0, 1.35 * panel.get_ylim()[1])


def occupation_panel(panel, config, arrays):
    """Mass of the noisier well under the blowtorch: every formula, and the simulations."""
    known, column = formulas(config, NOISES["blowtorch"]), list(NOISES).index("blowtorch")
    masses = [noisier(density) for density in known.values()]
    panel.barh(np.arange(len(masses)), masses, color=["#009E73"] + ["#BBBBBB"] * (len(masses) - 1), height=0.6)
    for row, (dynamics, colour, dashes) in enumerate(zip(DYNAMICS, ("black", "#D55E00"), ("-", "--"))):
        inside = 1 - float(arrays["below"][row, column, len(POINTS) // 2])
        panel.axvline(inside, color=colour, linewidth=1.4, linestyle=dashes, label=dynamics)
    panel.set_yticks(range(len(masses)), list(known), fontsize=8)
    panel.invert_yaxis()
    panel.set(title="(c) who is right under the blowtorch", xlabel="mass of the noisier well", xlim=(0, 0.85))
    panel.legend(fontsize=8, loc="lower right", title="simulated", title_fontsize=8)


def table_panel(figure, panel, config, arrays):
    table, confirmed = errors(config), {place for place, check in cells(config, arrays).items() if check.passed}
    shown = panel.imshow(np.clip(table, 3e-3, 2), norm="log", cmap="YlOrRd", aspect="auto", vmin=3e-3, vmax=2)
    for (row, column), value in np.ndenumerate(table):
        right = value < RIGHT
        mark = " •" if row == 0 or (row, column) in confirmed else ""
        panel.text(
            column, row, ("right" if right else f"{value:.2f}") + mark, ha="center", va="center", fontsize=8,
            color="white" if value > 0.7 else "black", fontweight="bold" if right else "normal",
        )  # fmt: skip
    panel.set_xticks(
        range(table.shape[1]), [*list(NOISES)[:3], r"blowtorch", "matrix,\ncommuting", "matrix, not\ncommuting"]
    )
    panel.set_yticks(range(len(TEXT)), list(TEXT.values()), fontsize=8)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    panel.set_title(
        "(d) $L_1$ distance of each formula from the Fokker-Planck solution (0 to 2); •: so says the simulated SDE too"
    )
    figure.colorbar(shown, ax=panel, label="$L_1$ distance", pad=0.01)
