"""Two SGDs can have the same distribution of the loss and still differ by a steady probability current.

Where minibatch noise and curvature do not commute, or where the noise depends on the parameters, the stationary state
of SGD is no equilibrium: probability circulates. (a) A quadratic with Hessian H = diag(h1, h2) and noise chosen so that
H^1/2 S H^1/2 = R(angle) diag(l1, l2) R(angle)^T, S the exact discrete covariance, l1 + l2 = 2: at every angle the loss
has one and the same law, of mean 1, and only at angle 0 do noise and Hessian commute. The noise that makes S is
eta C = S H + H S - eta H S H. Circulation E[x_1 o dx_2 - x_2 o dx_1]/dt = [H, S]_12, entropy production
tr(D^-1 H S H) - tr H, D = eta C/2 (to order eta). (b) A double well with state-dependent noise, true minibatch SGD on

    L = (x^2 - 1)^2/2 + y^2/2,    D = d I + m (y, x)(y, x)^T      (example loss L + z_1 x + z_2 y + z_3 x y):

two eddies turn against each other in each well, with no net circulation, which the entropy production still sees.

Currents are one-step displacements at the midpoint of a step, cell by cell. Of a Gaussian chain at lag eta they are
those of the continuous process, (S H - H S) M^-1 x p_M(x)/2, with M = S - eta (S H + H S)/4 in the place of S.

Source: Chaudhari and Soatto 2018 (arXiv 1710.11029), section 3; Weiss 2003, Tellus A 55, 208 (Ornstein-Uhlenbeck).
Command: `sgdsde reproduce circulating_currents`.

What it does not say: two problems in two dimensions, eight quadratics whose noise was made so that the loss has one
law, one seed, 65,536 chains; the law of the loss is compared at one time, to 0.0135 of probability. Entropy production
is that of the current averaged over 24 x 24 cells, less than the plane's (the line in the figure); outside the cells
nothing is seen. In the quadratic everything is compared with the exact law of the finite step, which is half a per cent
from the Fokker-Planck equation's at this rate. In the double well we know no such law: the current is compared with
the SDE's and comes out larger, by less than 1.6 %, of the order of rate x curvature / 2 = 0.01: resolved as different,
presumably by the finite step, which is not predicted here.
Cells hardly visited, whose error is not known, are left out.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde import Check, Problem, landscapes, measurements, predictions, sgd, simulate, style
from sgdsde.problems.tilts import gaussian_tilts

SEE = """In every cell but those hardly visited the measured current of the quadratics is within {current at angle 45,
l1/l2 = 6: worst cell, over the largest current at 45 | within} of the largest at 45 degrees from the predicted one.
From angle 0 to 45 degrees between noise and Hessian, at anisotropy l1/l2 = 6, the entropy production rises from 0 to
{entropy at angle 45, l1/l2 = 6 | predicted} (met within {entropy at angle 45, l1/l2 = 6 | within}), while the loss
keeps its mean 1 within {mean loss at angle 45, l1/l2 = 6 | within} and its distribution function within {law of the
loss at angle 45, l1/l2 = 6 | within} at every angle."""


@dataclass(frozen=True)
class Config:
    angles: tuple[float, ...] = (0.0, 15.0, 30.0, 45.0)
    """degrees between the axes of H and those of H^1/2 S H^1/2"""
    ratios: tuple[float, ...] = (3.0, 6.0)
    """l1/l2, the anisotropy"""
    curvatures: tuple[float, ...] = (1.0, 0.25)
    """h1 and h2 of the quadratic"""
    learning_rate: float = 0.02
    """of the quadratic"""
    wells_learning_rate: float = 0.005
    """of the double well"""
    even_diffusion: float = 0.1
    """d, the constant part of the double well's D"""
    growing_diffusion: float = 0.3
    """m, the part that depends on the position"""
    batch_size: int = 4
    """examples in a minibatch, drawn with replacement"""
    num_examples: int = 256
    """examples in the finite sums"""
    num_chains: int = 65_536
    """independent chains"""
    num_steps: int = 400
    """steps of a round, all of them recorded"""
    num_rounds: int = 22
    """rounds of the quadratic, which starts in its law"""
    num_wells_rounds: int = 6
    """rounds of the double well, and of as many before in which it relaxes"""
    num_groups: int = 64
    """groups of chains, whose spread gives the standard errors of the fields"""
    points_per_cell: int = 6
    """points of the Fokker-Planck grid in a cell, an even number"""
    seed: int = 0


SMOKE = Config(
    angles=(0.0, 45.0), ratios=(6.0,), num_chains=128, num_steps=8, num_rounds=1, num_wells_rounds=1, points_per_cell=2
)  # fmt: skip
DIMENSIONS = {
    **{f"{name}_density": ("ratio", "angle", "row", "column") for name in ("quadratic",)},
    **{f"quadratic_{name}": ("ratio", "angle", "row", "column", "direction") for name in ("current", "current_error")},
    "quadratic_entropy": ("ratio", "angle", "estimate"),
    "quadratic_circulation": ("ratio", "angle", "estimate"),
    "mean_loss": ("ratio", "angle", "estimate"),
    "loss_below": ("ratio", "angle", "loss_point"),
    "loss_points": ("loss_point",),
    "wells_density": ("row", "column"),
    "wells_current": ("row", "column", "direction"),
    "wells_current_error": ("row", "column", "direction"),
    "wells_entropy": ("estimate",),
    "wells_circulation": ("estimate",),
    "num_diverged": ("problem",),
}
CELLS, BLOCKS = 24, 40  # cells along an axis, and how many of their width the Fokker-Planck grid has
REACH = 6.25  # of that grid, in standard deviations; the cells reach 24/40 of it
WELLS_REACH = np.array([3.0, 5.0])
LOSS_POINTS = np.concatenate([[0.0], np.geomspace(0.02, 12.0, 47)])


@jax.jit
def law(curvatures, learning_rate, ratio, angle):
    """Covariance S and minibatch noise covariance C of the quadratic, its Hessian, and a root of S."""
    hessian, root = jnp.diag(curvatures), jnp.diag(1 / jnp.sqrt(curvatures))
    cosine, sine = jnp.cos(jnp.deg2rad(angle)), jnp.sin(jnp.deg2rad(angle))
    turn = jnp.array([[cosine, -sine], [sine, cosine]])
    sizes = jnp.array([2 * ratio / (1 + ratio), 2 / (1 + ratio)])
    factor = jnp.matmul(root, turn * jnp.sqrt(sizes)[None, :], precision="highest")
    covariance = jnp.matmul(factor, factor.T, precision="highest")
    weighted = covariance * (curvatures[:, None] + curvatures[None, :])  # S H + H S
    noise = weighted / learning_rate - covariance * curvatures[:, None] * curvatures[None, :]
    return covariance, noise, hessian, factor


def position(params):
    return params


def gaussian_start(factor, key):
    return factor @ jax.random.normal(key, (2,), factor.dtype)


def wells_loss(x):
    return (x[0] ** 2 - 1) ** 2 / 2 + x[1] ** 2 / 2


def wells_example_loss(x, tilt):
    return wells_loss(x) + tilt[0] * x[0] + tilt[1] * x[1] + tilt[2] * x[0] * x[1]


def wells_factor(deviations, x):
    columns = jnp.stack([jnp.array([1.0, 0.0], x.dtype), jnp.array([0.0, 1.0], x.dtype), jnp.stack([x[1], x[0]])])
    return (deviations[:, None] * columns).T


def wells_start(key):
    return jnp.zeros(2)


def even_diffusion(matrix, x):
    return matrix


def wells_diffusion(even, growing, x):
    along = jnp.stack([x[1], x[0]])
    even, growing = jnp.asarray(even, x.dtype), jnp.asarray(growing, x.dtype)
    return even * jnp.eye(2, dtype=x.dtype) + growing * along[:, None] * along[None, :]


def wells_problem(config):
    """Minibatch noise of covariance 2 D/eta."""
    variances = jnp.array([config.even_diffusion, config.even_diffusion, config.growing_diffusion])
    variances = variances * 2 * config.batch_size / config.wells_learning_rate
    return Problem(
        example_loss=wells_example_loss,
        examples=gaussian_tilts(jnp.diag(variances), config.num_examples),
        init=wells_start,
        mean_loss=wells_loss,
        noise_factor=Partial(wells_factor, jnp.sqrt(variances)),
    )


@functools.partial(jax.jit, static_argnames="num_groups")
def of_a_round(observed, edges, lag, curvatures, num_groups):
    """Current field, angular momentum with its error, and each chain's mean loss, of one round of records."""
    before, after = observed[:-1], observed[1:]
    field = measurements.probability_current(before, after, edges, lag=lag, num_groups=num_groups)
    loss = jnp.einsum("rni,i->n", observed**2, curvatures) / (2 * len(observed))
    return field, measurements.angular_momentum(before, after, lag=lag), loss


@jax.jit
def added(total, following):
    return jax.tree.map(jnp.add, total, following)


@jax.jit
def averaged(total, num_rounds, diffusion):
    """The same over all rounds, and the entropy production; the noise of every step is its own, so that errors of
    rounds are independent."""
    field, (momentum, error), loss = jax.tree.map(lambda leaf: leaf / num_rounds, total)
    spread = lambda groups: groups.std(axis=0, ddof=1) / len(groups) ** 0.5
    field = field._replace(density_error=spread(field.density_of_groups), current_error=spread(field.current_of_groups))
    return {
        "density": field.density,
        "current": field.current,
        "current_error": field.current_error,
        "entropy": jnp.stack(measurements.entropy_production(field, diffusion)),
        "circulation": jnp.stack([momentum[0, 1], error[0, 1] / jnp.sqrt(num_rounds)]),
        "mean_loss": jnp.stack(measurements.mean(loss)),
    }


def measured(config, dynamics, start, key, reach, diffusion, *, relax, num_rounds, curvatures):
    """What `averaged` gives, and where the chains ended; `relax` rounds before are not looked at."""
    options = dict(num_chains=config.num_chains, num_steps=config.num_steps, observe=position, every=1)
    found, total = start, None
    for index in range(relax + num_rounds):
        found = simulate(dynamics, found, key, **options)
        if index >= relax:
            seen = of_a_round(found.observed, edges_of(reach), dynamics.learning_rate, curvatures, config.num_groups)
            total = seen if total is None else added(total, seen)
    return averaged(total, jnp.asarray(num_rounds, float), diffusion), found


@jax.jit
def edges_of(reach):
    side = jnp.linspace(-CELLS / BLOCKS, CELLS / BLOCKS, CELLS + 1)
    return reach[0] * side, reach[1] * side


@jax.jit
def diffusion_over(reach, function):
    """A diffusion (params) -> (2, 2) at the middles of the cells."""
    first, second = ((side[1:] + side[:-1]) / 2 for side in edges_of(reach))
    middles = jnp.stack(jnp.meshgrid(first, second, indexing="ij"), axis=-1)
    return jax.vmap(jax.vmap(function))(middles)


@jax.jit
def loss_fractions(params, curvatures, points):
    return measurements.fraction_below(params**2 @ curvatures / 2, points)


@jax.jit
def num_diverged(diverged_at):
    return jnp.sum(diverged_at >= 0)


def run(config, key):
    rows, diverged = [], []
    curvatures, points = jnp.asarray(config.curvatures, float), jnp.asarray(LOSS_POINTS, float)
    for i, ratio in enumerate(config.ratios):
        for j, angle in enumerate(config.angles):
            covariance, noise, hessian, factor = law(curvatures, config.learning_rate, ratio, angle)
            problem = landscapes.quadratic(
                hessian, gradient_covariance=config.batch_size * noise, num_examples=config.num_examples
            )
            reach = REACH * jnp.sqrt(jnp.diag(covariance))
            diffusion = diffusion_over(reach, Partial(even_diffusion, config.learning_rate * noise / 2))
            dynamics = dynamics_of(config, problem, config.learning_rate)
            found, last = measured(
                config, dynamics, Partial(gaussian_start, factor), jax.random.fold_in(key, 16 * i + j), reach,
                diffusion, relax=0, num_rounds=config.num_rounds, curvatures=curvatures,
            )  # fmt: skip
            rows.append(found | {"loss_below": loss_fractions(last.params, curvatures, points)})
            diverged.append(num_diverged(last.diverged_at))
    stacked = jax.tree.map(lambda *each: jnp.stack(each).reshape(len(config.ratios), -1, *each[0].shape), *rows)
    own = ("mean_loss", "loss_below")
    arrays = {name if name in own else f"quadratic_{name}": value for name, value in stacked.items()}
    reach = jnp.asarray(WELLS_REACH, float)
    parts = jnp.asarray(config.even_diffusion, float), jnp.asarray(config.growing_diffusion, float)
    found, last = measured(
        config, dynamics_of(config, wells_problem(config), config.wells_learning_rate),
        Partial(gaussian_start, jnp.diag(jnp.array([1.0, 0.6]))), jax.random.fold_in(key, 1_000), reach,
        diffusion_over(reach, Partial(wells_diffusion, *parts)), relax=config.num_wells_rounds,
        num_rounds=config.num_wells_rounds, curvatures=curvatures,
    )  # fmt: skip
    arrays |= {f"wells_{name}": value for name, value in found.items() if name != "mean_loss"}
    return arrays | {"loss_points": points, "num_diverged": jnp.stack([*diverged, num_diverged(last.diverged_at)])}


def dynamics_of(config, problem, learning_rate):
    return sgd(problem, learning_rate=learning_rate, batch_size=config.batch_size, sampling="with_replacement")


def cell_middles(reach):
    return [size * (np.arange(CELLS) + 0.5 - CELLS / 2) * 2 / BLOCKS for size in reach]


def fine_grid(config, reach):
    axes = [size * np.linspace(-1, 1, BLOCKS * config.points_per_cell + 1) for size in reach]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def over_cells(config, values):
    """Averages over the cells of values (m, m, ...) on the fine grid, by the trapezoid rule."""
    size = config.points_per_cell
    for axis in (0, 1):
        first = (BLOCKS - CELLS) // 2 * size
        values = np.moveaxis(values, axis, 0)[first : first + CELLS * size + 1]
        middle = (values[1:] + values[:-1]) / 2
        values = np.moveaxis(middle.reshape(CELLS, size, *middle.shape[1:]).mean(axis=1), 0, axis)
    return values


def numbers(values):
    return [np.asarray(value, float) for value in values]


def law_of(config, ratio, angle):
    return law(jnp.asarray(config.curvatures, float), config.learning_rate, ratio, angle)


@functools.cache
def predicted_quadratic(config, ratio, angle):
    """At lag eta, exact for Gaussian noise: density and current on the fine grid; and the predictions of the SDE."""
    covariance, noise, hessian, _ = numbers(law_of(config, ratio, angle))
    grid = fine_grid(config, REACH * np.sqrt(np.diag(covariance)))
    bracket = hessian @ covariance - covariance @ hessian
    middle = covariance - config.learning_rate * (covariance @ hessian + hessian @ covariance) / 4
    inverse = np.linalg.inv(middle)
    density = (
        np.exp(-np.einsum("abi,ij,abj->ab", grid, inverse, grid) / 2) * np.sqrt(np.linalg.det(inverse)) / 2 / np.pi
    )
    current = np.einsum("ij,abj->abi", -bracket @ inverse / 2, grid) * density[..., None]
    diffusion = config.learning_rate * noise / 2
    entropy = np.trace(np.linalg.solve(diffusion, bracket @ inverse @ bracket.T)) / 4
    return grid, density, current, diffusion, float(bracket[0, 1]), float(entropy)


@functools.cache
def solved(config, ratio=None, angle=None):
    """The Fokker-Planck solution of the SDE: of the double well, or of the quadratic at this ratio and angle."""
    if ratio is None:
        grid = fine_grid(config, WELLS_REACH)
        drift = lambda x: -jax.grad(wells_loss)(x)
        diffusion = functools.partial(wells_diffusion, config.even_diffusion, config.growing_diffusion)
    else:
        grid, _, _, matrix, _, _ = predicted_quadratic(config, ratio, angle)
        hessian = jnp.diag(jnp.asarray(config.curvatures, float))
        drift, diffusion = (lambda x: -hessian @ x), (lambda x: jnp.asarray(matrix, x.dtype))
    return grid, predictions.fokker_planck_density(drift, diffusion, grid, convention="ito")


def expected(config, arrays, i, j):
    """Cell averages of density and current at the lag, the entropy production of these, and the SDE's numbers."""
    grid, density, current, diffusion, bracket, entropy = predicted_quadratic(
        config, config.ratios[i], config.angles[j]
    )
    density, current = over_cells(config, density), over_cells(config, current)
    return density, current, cell_entropy(grid, density, current, np.linalg.inv(diffusion)), bracket, entropy


def expected_wells(config):
    grid, solution = solved(config)
    density, current = over_cells(config, solution.density), over_cells(config, solution.current)
    function = Partial(wells_diffusion, config.even_diffusion, config.growing_diffusion)
    diffusion = np.asarray(diffusion_over(jnp.asarray(WELLS_REACH, float), function), float)
    return density, current, cell_entropy(grid, density, current, np.linalg.inv(diffusion))


def cell_entropy(grid, density, current, inverse):
    area = np.prod((grid[-1, -1] - grid[0, 0]) / BLOCKS)
    inverse = np.broadcast_to(inverse, (*density.shape, 2, 2))
    return area * np.sum(np.einsum("abi,abij,abj->ab", current, inverse, current) / density)


def worst_cell(measured_current, error, predicted, scale=1.0):
    """The component of a cell that is furthest from the predicted one, with its error, both over the scale; cells
    hardly visited, whose error is not known, are left out."""
    gap = np.where(error > np.max(error) / 30, measured_current - predicted, 0) / scale
    worst = np.unravel_index(np.argmax(np.abs(gap)), gap.shape)
    return gap[worst], error[worst] / scale


def slope(measured_current, error, predicted):
    """Least squares of the measured current on a predicted one, weighted by the errors: 1 if they agree."""
    inside = error > np.max(error) / 30
    weight = predicted[inside] / error[inside] ** 2
    size = np.sum(weight * predicted[inside])
    return np.sum(weight * measured_current[inside]) / size, size**-0.5


def loss_density(config, ratio):
    """Law of the loss (l1 z1^2 + l2 z2^2)/2 with normal z: a mean over directions of exponential laws."""
    angle = (np.arange(400) + 0.5) * np.pi / 800
    mean = 2 * (ratio * np.cos(angle) ** 2 + np.sin(angle) ** 2) / (1 + ratio)
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 40, 4000)])
    return grid, np.mean(np.exp(-grid[:, None] / mean) / mean, axis=1)


def checks(config, arrays):
    found = []
    steepest = int(np.argmax(config.angles))
    for i, ratio in enumerate(config.ratios):
        full = expected(config, arrays, i, steepest)
        for j, angle in enumerate(config.angles):
            _, current, entropy, bracket, _ = expected(config, arrays, i, j)
            at = f"at angle {angle:g}, l1/l2 = {ratio:g}"
            fields = arrays["quadratic_current"][i, j], arrays["quadratic_current_error"][i, j]
            for quantity, known, largest, part, source in (
                ("circulation", bracket, full[3], 0.0125, "[H, S]_12"),
                ("entropy", entropy, full[2], 0.0225 if angle < 30 else 0.0125,
                 "int J^T D^-1 J/p of the cells' averages at lag eta"),
            ):  # fmt: skip
                value, error = arrays[f"quadratic_{quantity}"][i, j]
                still = abs(known) < 1e-6 * largest  # the tolerance is then absolute
                known, allowed = (0, part * largest) if still else (known, part)
                found.append(Check(f"{quantity} {at}", value, known, error, allowed, "agree", source))
            value, error = arrays["mean_loss"][i, j]
            found.append(Check(f"mean loss {at}", value, 1, error, 0.0045, "agree", "(l1 + l2)/2, whatever the angle"))
            distance, error = measurements.cdf_distance_of_fractions(
                arrays["loss_below"][i, j], config.num_chains, arrays["loss_points"], *loss_density(config, ratio)
            )
            source = "(l1 z1^2 + l2 z2^2)/2, whatever the angle"
            found.append(Check(f"law of the loss {at}", distance, 0, error, 0.0135, "agree", source))
            value, error = worst_cell(*fields, current, np.abs(full[1]).max())
            label = f"current {at}: worst cell, over the largest current at {config.angles[steepest]:g}"
            found.append(Check(label, value, 0, error, WORST, "agree", "Gaussian pairs at lag eta"))
            if j == steepest:
                found += solver_checks(config, i, j, at, fields, current)
    fields = arrays["wells_current"], arrays["wells_current_error"]
    _, current, entropy = expected_wells(config)
    grid, solution = solved(config)
    source, larger = "Fokker-Planck equation, Ito", "not predicted: the finite step"
    gap, error = worst_cell(*fields, current, np.abs(current).max())
    flow = worst_cell(*fields, 0 * current, np.abs(current).max())
    found += [
        Check("double well: current / predicted", *with_one(slope(*fields, current)), 0.016, "agree", source),
        Check("double well: current / predicted, over 1", *with_one(slope(*fields, current)), 0, "above", larger),
        Check("double well: worst cell, over the largest current", gap, 0, error, WORST_WELLS, "agree", source),
        Check("double well: largest current, no equilibrium", *beside_zero(flow), 0, "differ", "Gibbs"),
    ]
    value, error = arrays["wells_entropy"]
    found.append(Check("double well: entropy production", value, entropy, error, 0.04, "agree", source))
    found.append(Check("double well: entropy production, no equilibrium", value, 0, error, 0, "differ", "Gibbs"))
    value, error = arrays["wells_circulation"]
    moment = np.abs(grid[..., 0] * solution.current[..., 1] - grid[..., 1] * solution.current[..., 0])
    allowed = 0.022 * moment.sum() * np.prod(grid[1, 1] - grid[0, 0])
    found.append(Check("double well: circulation", value, 0, error, allowed, "agree", "the eddies cancel"))
    return [*found, Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


WORST, WORST_WELLS = 0.065, 0.19  # of the largest current: 5.9 standard errors of the cells that are visited least


def beside_zero(pair):
    return pair[0], 0, pair[1]


def with_one(pair):
    return pair[0], 1, pair[1]


def solver_checks(config, i, j, at, fields, current):
    """The SDE's Fokker-Planck equation: its circulation is the formula's, SGD's current stands to it as the current of
    the finite step does, and no current at all is refuted."""
    grid, solution = solved(config, config.ratios[i], config.angles[j])
    covariance = numbers(law_of(config, config.ratios[i], config.angles[j]))[1]
    options = {"learning_rate": config.learning_rate}
    exact = predictions.sde_angular_momentum(np.diag(config.curvatures), covariance, **options)[0, 1]
    by_solver = predictions.circulation(solution.current, grid)
    continuous = over_cells(config, solution.current)
    measured, cell_error = fields
    value, error = slope(measured, cell_error, continuous)
    predicted, _ = slope(current, cell_error, continuous)
    flow = worst_cell(measured, cell_error, 0 * current, np.abs(current).max())
    return [
        Check(f"circulation {at}: solver", by_solver, exact, 0, 1e-3, "agree", "[H, S]_12 of the SDE"),
        Check(f"current / Fokker-Planck {at}", value, predicted, error, 0.0045, "agree", "Gaussian pairs at lag eta"),
        Check(f"largest current {at}, no equilibrium", *beside_zero(flow), 0, "differ", "Gibbs"),
    ]


def plot(config, arrays):
    figure, axes = style.figure(2, 3, width=10.8, height=7.4)
    i, j = int(np.argmax(config.ratios)), int(np.argmax(config.angles))
    reach = REACH * np.sqrt(np.diag(numbers(law_of(config, config.ratios[i], config.angles[j]))[0]))
    name = f"(a) quadratic, angle {config.angles[j]:g}°, $l_1/l_2$ = {config.ratios[i]:g}"
    drawn = arrays["quadratic_density"][i, j], arrays["quadratic_current"][i, j]
    stream_panel(axes[0, 0], name, reach, *drawn, solved(config, config.ratios[i], config.angles[j]))
    drawn = arrays["wells_density"], arrays["wells_current"]
    stream_panel(axes[0, 1], "(b) double well, state-dependent noise", WELLS_REACH, *drawn, solved(config))
    scatter_panel(axes[0, 2], config, arrays, i, j)
    angles = np.linspace(0, 45, 46)
    for k, (ratio, colour, marker) in enumerate(zip(config.ratios, ("#0072B2", "#D55E00", "#000000"), "os^")):
        numbers_of = [predicted_quadratic(config, ratio, float(angle))[4:] for angle in angles]
        for panel, place, quantity in ((axes[1, 0], 1, "entropy"), (axes[1, 1], 0, "circulation")):
            panel.plot(angles, [each[place] for each in numbers_of], color=colour)
            value, error = np.moveaxis(arrays[f"quadratic_{quantity}"][k], -1, 0)
            label = f"SGD, $l_1/l_2$ = {ratio:g} (line: exact)"
            panel.errorbar(config.angles, value, error, color=colour, marker=marker, linestyle="none", label=label)
        cells = [expected(config, arrays, k, n)[2] for n in range(len(config.angles))]
        axes[1, 0].plot(config.angles, cells, color=colour, marker="D", markersize=9, mfc="none", linestyle="none")
    axes[1, 0].plot(
        [], [], color="grey", marker="D", markersize=9, mfc="none", linestyle="none", label="averaged over the cells"
    )
    axes[1, 0].set(title="(d) entropy production", ylabel=r"$\int J^T D^{-1} J/p$, per unit time")
    axes[1, 1].set(title="(e) circulation", ylabel="mean angular momentum $[H, S]_{12}$")
    for panel in axes[1, :2]:
        panel.set_xlabel("angle between noise and Hessian, degrees")
        panel.legend(fontsize=8)
    loss_panel(axes[1, 2], config, arrays)
    words = (
        r"bars: one standard error; $l_1 > l_2$: eigenvalues of $H^{1/2} S H^{1/2}$, S the covariance of the parameters"
    )
    figure.supxlabel(words, fontsize=8)
    return figure


def stream_panel(panel, title, reach, density, current, prediction):
    """Density shaded, predicted stream lines dashed, measured ones with arrows where chains went."""
    grid, solution = prediction
    middles = cell_middles(reach)
    panel.pcolormesh(*middles, np.asarray(density).T, cmap="Blues", shading="gouraud")
    function = predictions.helmholtz_parts(solution.current, grid).stream_function
    levels = np.abs(function).max() * np.array([-0.9, -0.6, -0.3, -0.1, 0.1, 0.3, 0.6, 0.9])
    colour = style.COLOURS["anisotropic"]
    panel.contour(
        grid[:, 0, 0], grid[0, :, 1], function.T, np.sort(levels), colors=colour, linestyles="--", linewidths=1.3
    )
    shown = np.where((density > 0.01 * density.max())[..., None], np.asarray(current, float), 0.0)
    speed = np.linalg.norm(shown, axis=-1)
    panel.streamplot(
        *middles, shown[..., 0].T, shown[..., 1].T, color="black", density=0.9, arrowsize=0.9,
        linewidth=0.3 + 1.7 * speed.T / max(speed.max(), 1e-12), broken_streamlines=True,
    )  # fmt: skip
    panel.plot([], [], color="black", label="measured current")
    panel.plot([], [], color=colour, linestyle="--", label="predicted stream lines")
    panel.set(title=title, xlabel="$x_1$", ylabel="$x_2$", xlim=middles[0][[0, -1]], ylim=middles[1][[0, -1]])
    panel.legend(fontsize=8, loc="lower right", frameon=True, framealpha=0.8)


def scatter_panel(panel, config, arrays, i, j):
    rows = (
        ("(a)", "#0072B2", expected(config, arrays, i, j)[1], arrays["quadratic_current"][i, j],
         arrays["quadratic_current_error"][i, j]),
        ("(b)", "#D55E00", expected_wells(config)[1], arrays["wells_current"], arrays["wells_current_error"]),
    )  # fmt: skip
    for name, colour, predicted, found, error in rows:
        scale = np.abs(predicted).max()
        panel.errorbar(
            predicted.ravel() / scale, found.ravel() / scale, error.ravel() / scale, color=colour, marker=".",
            markersize=2, linestyle="none", elinewidth=0.4, label=f"components of all cells of {name}",
        )  # fmt: skip
    panel.plot([-1, 1], [-1, 1], color="black", linewidth=0.8)
    panel.set(title="(c) current, cell by cell", xlabel="predicted / largest", ylabel="measured / largest predicted")
    panel.legend(fontsize=8)


def loss_panel(panel, config, arrays):
    """Distribution functions at every angle less that at the first: nothing, within the error."""
    points, below = arrays["loss_points"], np.asarray(arrays["loss_below"], float)
    panel.axhline(0, color="grey", linewidth=0.8)
    for i, (ratio, colour) in enumerate(zip(config.ratios, ("#0072B2", "#D55E00", "#000000"))):
        error = np.sqrt(2 * below[i, 0] * (1 - below[i, 0]) / config.num_chains)
        for j, (angle, marker) in enumerate(zip(config.angles[1:], "s^Dvpo"), 1):
            chosen = slice(1 + j, None, len(config.angles))
            panel.errorbar(
                points[chosen], (below[i, j] - below[i, 0])[chosen], error[chosen], color=colour, marker=marker,
                linestyle="none", label=f"{angle:g}°, $l_1/l_2$ = {ratio:g}",
            )  # fmt: skip
    panel.set(
        xscale="log", xlim=(0.02, 15), ylim=(-0.01, 0.018), title="(f) the law of the loss, less that at 0°",
        xlabel="loss", ylabel="fraction of chains below, difference",
    )  # fmt: skip
    panel.legend(ncols=2)
