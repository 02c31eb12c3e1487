"""In a tilted double well Levy noise as wide as Gaussian noise evens out the occupations and leaves the wells sooner.

The SDE dx = -U'(x) dt + dL, U = barrier (x^2 - 1)^2 + tilt x, whose left well is the deeper one, under stable noise of
tail index 2 (Gaussian), 1.5 and 1.2. The noises are as wide as each other where one looks: over one unit of time their
increments have the same interquartile range, that of Gaussian noise of the given temperature. What differs is the
tail. Gaussian noise diffuses over the barrier, and occupation and exit times are exponential in heights; stable noise
jumps across, and both depend far less on how deep a well is. Densities and occupations are compared with the fractional
Fokker-Planck equation, mean exit times with its backward equation (for Gaussian noise with the boundary moved by
0.5826 sqrt(2 T h), since an exit between two looks goes unseen). Gibbs' occupation holds for Gaussian noise only, and
no Gibbs law at any temperature has the densities of the others. The drift-implicit step is used: an explicit one
explodes under stable noise.

Source: Chechkin et al. 2002 (stationary laws); Imkeller and Pavlyukevich 2006 (exits by one jump); Broadie,
Glasserman, Kou 1997 (moved boundary).
Command: `sgdsde reproduce levy_against_gaussian`.

What it does not say: one tilted double well in one dimension, one temperature, two tail indices, one seed; 36,000
chains for the densities, 24,000 from each well for the exits. "As wide as each other" is our choice: equal
interquartile ranges over one unit of time. Another (equal scale, or equal over one relaxation time) would change every
number.
Exits are cut off after 80 units of time from the deeper well and 40 from the other; the mean is then the time spent
inside over the number of exits, which supposes an exponential law. An exit is a passage of the saddle, not the arrival
in the other well. No Gibbs law is tried but exp(-U/T) with the best T for each noise. The simulated step is implicit:
what an explicit one does under stable noise, SGD's among them, is not shown here.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.tree_util import Partial

from sgdsde import Check, first_exit, implicit, landscapes, match, noise, sgd, simulate, style
from sgdsde.measurements import fraction_below, mean_exit_time
from sgdsde.predictions import levy_mean_exit_time, levy_stationary_density, moved_boundary

SEE = """With noises of equal interquartile range, the deeper well holds {Gaussian noise: deeper well | predicted} of
the probability under Gaussian noise (Gibbs: {Gaussian noise: deeper well, Gibbs | predicted}),
{tail index 1.5: deeper well | predicted} at tail index 1.5 and {tail index 1.2: deeper well | predicted} at 1.2, met
within {tail index 1.2: deeper well | within}; the mean time to leave it falls from
{Gaussian noise: mean exit time from the deeper well | predicted} to
{tail index 1.5: mean exit time from the deeper well | predicted} and
{tail index 1.2: mean exit time from the deeper well | predicted}, met within
{tail index 1.2: mean exit time from the deeper well | within}."""


@dataclass(frozen=True)
class Config:
    tail_indices: tuple[float, ...] = (2.0, 1.5, 1.2)
    """tail indices of the noise, the Gaussian one first"""
    temperature: float = 0.2
    """temperature of the Gaussian noise, whose interquartile range over one unit of time all noises have"""
    barrier: float = 0.5
    """height of the barrier without the tilt"""
    tilt: float = 0.2
    """slope that makes the left well the deeper one"""
    learning_rate: float = 0.005
    """time step of the stationary runs"""
    exit_learning_rate: float = 0.0025
    """time step of the runs until exit"""
    every: int = 1_600
    """steps between records of the stationary runs, eight units of time"""
    num_discarded: int = 10
    """records before the first that counts: seven relaxation times of the Gaussian occupation"""
    num_records: int = 6
    """records that count"""
    num_chains: int = 36_000
    """chains of the stationary runs, each from a random well"""
    num_groups: int = 60
    """groups of them, whose spread gives the standard errors of densities"""
    num_exit_steps: int = 32_000
    """steps of the runs until exit from the deeper well, after which a time is censored; half of it for the other"""
    num_exit_chains: int = 24_000
    """chains started in each well"""
    num_path_records: int = 1_500
    """points of the paths shown, 16 steps apart"""
    num_path_chains: int = 2
    """chains run for the picture of a path; the first is shown"""
    num_points: int = 1001
    """points of the fractional grids"""
    seed: int = 0


SMOKE = Config(
    tail_indices=(2.0, 1.5), every=20, num_discarded=2, num_records=2, num_chains=40, num_groups=4,
    num_exit_steps=3_000, num_exit_chains=40,
    num_path_records=4, num_path_chains=40, num_points=201,
)  # fmt: skip
DIMENSIONS = {
    "points": ("point",),
    "fraction_below": ("noise", "group", "point"),
    "occupation": ("noise", "statistic"),
    "exit_time": ("noise", "well", "statistic"),
    "path": ("noise", "time"),
    "num_diverged": ("noise",),
}
PATH_EVERY = 16
PLACES = np.concatenate([-np.geomspace(2.5, 20, 12)[:0:-1], np.linspace(-2.5, 2.5, 101), np.geomspace(2.5, 20, 12)[1:]])


def stationary_points(config):
    """Left minimum, saddle and right minimum: the roots of x^3 - x + tilt/(4 barrier), after Viete."""
    cosine = -(27**0.5) / 8 * jnp.asarray(config.tilt) / config.barrier
    return 2 / 3**0.5 * jnp.cos(jnp.arccos(cosine) / 3 + 2 * jnp.pi / 3 * jnp.array([1.0, 2.0, 0.0]))


@jax.jit
def upper_quartile(tail_index):
    """q with P(X < q) = 3/4, X stable of scale 1: Newton's method on 1/2 + (1/pi) int sin(k q)/k exp(-k^alpha) dk."""
    root = jnp.linspace(0.0, jnp.sqrt(20 ** (1 / jnp.asarray(tail_index))), 2001)[1:]
    k, weight = root**2, jnp.exp(-(root ** (2 * tail_index))) * 2 * root * (root[1] - root[0]) / jnp.pi
    q = jnp.ones(())
    for _ in range(6):
        q = q - (jnp.sum(weight * jnp.sin(k * q) / k) - 0.25) / jnp.sum(weight * jnp.cos(k * q))
    return q


def scales(config):
    """Scale of each noise in the SDE: increments over one unit of time of equal interquartile range."""
    width = jnp.sqrt(config.temperature) * upper_quartile(2.0)
    return [width / upper_quartile(index) for index in config.tail_indices]


def landscape(config):
    return landscapes.tilted_double_well(
        barrier=config.barrier, tilt=config.tilt, transverse_curvature=(), gradient_covariance=1.0, num_examples=2
    )


def sde(config, learning_rate, tail_index, scale):
    """The SDE of that scale: gradient noise of scale c eta^(1/alpha - 1)."""
    discrete = sgd(landscape(config), learning_rate=learning_rate, batch_size=1, sampling="with_replacement")
    options = {"tail_index": tail_index, "scale": scale * learning_rate ** (1 / tail_index - 1)}
    return match(discrete, noise.levy_coordinates, substeps=1, scheme=implicit, **options)


def position(params):
    return params[0]


def is_inside(side, border, params):
    """Left of the border (side 1) or right of it (side -1)."""
    return side * (params[0] - border) < 0


def run(config, key):
    left, saddle, right = stationary_points(config)
    points, rows = jnp.asarray(PLACES), []
    for i, (index, scale) in enumerate(zip(config.tail_indices, scales(config))):
        keys = jax.random.split(jax.random.fold_in(key, i), 4)
        dynamics = sde(config, config.learning_rate, index, scale)
        start = dynamics.problem.init
        num_steps = config.every * (config.num_discarded + config.num_records)
        sizes = {"num_chains": config.num_chains, "observe": position, "every": config.every}
        found = simulate(dynamics, start, keys[0], num_steps=num_steps, **sizes)
        positions = found.observed[config.num_discarded :]
        groups = jnp.moveaxis(positions.reshape(config.num_records, config.num_groups, -1), 0, 1)
        in_left = (positions < saddle).mean(axis=0)
        step = config.exit_learning_rate
        exits = []
        for side, well, own_key, shorter in ((1.0, left, keys[1], 1), (-1.0, right, keys[2], 2)):
            stopped = first_exit(sde(config, step, index, scale), Partial(is_inside, side, saddle))
            num_steps = config.num_exit_steps // shorter
            sizes = {"num_chains": config.num_exit_chains, "observe": position, "every": num_steps}
            memory = simulate(stopped, well[None], own_key, num_steps=num_steps, **sizes).state.memory
            exits.append(jnp.stack(mean_exit_time(step * memory.microsteps, memory.exited)))
        sizes = {"num_chains": config.num_path_chains, "observe": position, "every": PATH_EVERY}
        path = simulate(dynamics, left[None], keys[3], num_steps=PATH_EVERY * config.num_path_records, **sizes)
        rows.append({
            "fraction_below": jax.vmap(lambda group: fraction_below(group.ravel(), points))(groups),
            "occupation": jnp.stack([in_left.mean(), in_left.std(ddof=1) / np.sqrt(in_left.size).item()]),
            "exit_time": jnp.stack(exits),
            "path": path.observed[:, 0],
            "num_diverged": jnp.sum(found.diverged_at >= 0),
        })  # fmt: skip
    return {"points": points} | jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)


def slope(config):
    return lambda x: 4 * config.barrier * (x**3 - x) + config.tilt


@functools.cache  # the checks and the figure both ask
def laws(config):
    """Grid and one density a noise, by the fractional Fokker-Planck equation."""
    grid = np.sinh(np.linspace(-4, 4, config.num_points))
    pairs = zip(config.tail_indices, scales(config))
    solve = lambda index, scale: levy_stationary_density(slope(config), grid, tail_index=index, scale=float(scale))
    return grid, [solve(*pair).density for pair in pairs]


@functools.cache
def exit_times(config):
    """Mean exit time of each noise from the left and the right minimum, past the saddle: in continuous time, for
    Gaussian noise with the boundary moved."""
    left, saddle, right = (float(place) for place in stationary_points(config))
    ramp = np.linspace(0, 1, config.num_points // 2 * 2 + 1)
    away, rows = 0.6 * ramp * np.sinh(3.5 * ramp), []
    for index, scale in zip(config.tail_indices, scales(config)):
        row, options = [], {"tail_index": index, "scale": float(scale)}
        for side, well in ((1, left), (-1, right)):
            border = saddle
            if index == 2:
                sizes = {"temperature": config.temperature, "time_step": config.exit_learning_rate}
                border = float(moved_boundary(saddle, start=well, **sizes))
            grid = np.sort(border - side * away)
            interval = (-np.inf, border) if side == 1 else (border, np.inf)
            found = levy_mean_exit_time(slope(config), grid, interval=interval, **options)
            row.append(np.interp(well, grid, found.mean_time))
        rows.append(row)
    return np.array(rows)


def gibbs(config, temperature):
    """exp(-U/T) on the grid of `laws`."""
    grid, _ = laws(config)
    energy = config.barrier * (grid**2 - 1) ** 2 + config.tilt * grid
    weights = np.exp(-(energy - energy.min()) / temperature)
    return weights / np.trapezoid(weights, grid)


@functools.cache
def best_gibbs(config, which):
    """The temperature whose Gibbs law is nearest in distribution function to that noise's density, and that law."""
    grid, densities = laws(config)
    target = cumulative(grid, densities[which])
    gap = lambda log_t: np.abs(cumulative(grid, gibbs(config, np.exp(log_t))) - target).max()
    best = np.exp(scipy.optimize.fminbound(gap, -3, 2))
    return best, gibbs(config, best)


def cumulative(grid, density):
    return np.concatenate([[0.0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])


def left_mass(config, density):
    grid, _ = laws(config)
    return float(np.interp(stationary_points(config)[1], grid, cumulative(grid, density)))


def distance(config, groups, density):
    """Largest gap of distribution functions over the points, and its error from the spread of the groups."""
    grid, _ = laws(config)
    mean, predicted = groups.mean(axis=0), np.interp(PLACES, grid, cumulative(grid, density))
    worst = int(np.argmax(np.abs(mean - predicted)))
    floor = np.sqrt(max(mean[worst] * (1 - mean[worst]), 1e-4) / (config.num_chains * config.num_records))
    return np.abs(mean - predicted)[worst], max(groups[:, worst].std(ddof=1) / np.sqrt(len(groups)), floor)


def name_of(index):
    return "Gaussian noise" if index == 2 else f"tail index {index:g}"


def checks(config, arrays):
    found, fractional = [], "fractional Fokker-Planck equation"
    _, densities = laws(config)
    predicted_times = exit_times(config)
    boltzmann = left_mass(config, gibbs(config, config.temperature))
    for i, index in enumerate(config.tail_indices):
        name, groups = name_of(index), arrays["fraction_below"][i]
        gap = distance(config, groups, densities[i])
        found.append(Check(f"{name}: distance to the exact law", gap[0], 0, gap[1], 0.008, "agree", fractional))
        occupation, error = arrays["occupation"][i]
        exact = left_mass(config, densities[i])
        found.append(Check(f"{name}: deeper well", occupation, exact, error, 0.014, "agree", fractional))
        expect, tolerance = ("agree", 0.01) if index == 2 else ("below", 0)
        source = "Gibbs: exp(-U/T)"
        found.append(Check(f"{name}: deeper well, Gibbs", occupation, boltzmann, error, tolerance, expect, source))
        temperature, best = best_gibbs(config, i)
        gap = distance(config, groups, best)
        expect, tolerance = ("agree", 0.008) if index == 2 else ("differ", 0)
        source = f"Gibbs at any temperature; the best is {temperature:.3g}"
        found.append(Check(f"{name}: distance to Gibbs", gap[0], 0, gap[1], tolerance, expect, source))
        for j, well in enumerate(("deeper", "shallow")):
            mean, error = arrays["exit_time"][i, j]
            source = "backward equation" + (", boundary moved" if index == 2 else "")
            label = f"{name}: mean exit time from the {well} well"
            found.append(Check(label, mean, predicted_times[i, j], error, 0.05, "agree", source))
            if index < 2:
                gaussian, own = arrays["exit_time"][0, j]
                error = np.hypot(error, own)
                found.append(
                    Check(f"{label}, Gaussian", mean, gaussian, error, 0, "below", "that under Gaussian noise")
                )
    return [*found, Check("chains diverged", arrays["num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


COLOURS, MARKERS = ("#0072B2", "#CC79A7", "#D55E00"), ("s", "D", "^")


def plot(config, arrays):
    figure, axes = style.figure(2, 3, width=10.8, height=6.2)
    left, saddle, right = (float(place) for place in stationary_points(config))
    time = PATH_EVERY * config.learning_rate * np.arange(1, 1 + arrays["path"].shape[1])
    reach = max(3.0, 1.05 * np.abs(arrays["path"]).max())
    for letter, panel, index, path, colour in zip("abc", axes[0], config.tail_indices, arrays["path"], COLOURS):
        for place, kind in ((left, "-"), (saddle, ":"), (right, "-")):
            panel.axhline(place, color="grey", linewidth=0.7, linestyle=kind)
        panel.plot(time, path, color=colour, linewidth=0.7)
        panel.set(
            ylim=(-reach, reach), xlim=(0, time[-1]), xlabel="time", title=f"({letter}) one path, {name_of(index)}"
        )
    axes[0, 0].set_ylabel("position x (grey: minima, saddle)")
    density_panel(axes[1, 0], config, arrays)
    occupation_panel(axes[1, 1], config, arrays)
    panel, predicted = axes[1, 2], exit_times(config)
    for j, (well, face) in enumerate((("deeper", None), ("shallow", "white"))):
        for i, ((mean, error), colour, marker) in enumerate(zip(arrays["exit_time"][:, j], COLOURS, MARKERS)):
            panel.plot([i - 0.25, i + 0.25], [predicted[i, j]] * 2, **style.line("theory"))
            panel.errorbar(i, mean, 5.9 * error, color=colour, marker=marker, markerfacecolor=face or colour)
        panel.plot([], [], "o", color="grey", markerfacecolor=face or "grey", label=f"from the {well} well")
    words = "theory: fractional Fokker-Planck equation and its backward equation; bars: one standard error in (d)"
    figure.supxlabel(f"{words}, 5.9 in (e) and (f)", fontsize=8)
    panel.plot([], [], **style.line("theory"), label="theory")
    panel.set(yscale="log", ylabel="mean exit time", title="(f) exit times past the saddle")
    panel.set_yticks([5, 10, 20, 40], ["5", "10", "20", "40"])
    panel.minorticks_off()
    panel.legend()
    for panel in axes[1, 1:]:
        panel.set_xticks(range(len(config.tail_indices)), [name_of(index) for index in config.tail_indices])
        panel.set_xlim(-0.6, len(config.tail_indices) - 0.4)
    return figure


def density_panel(panel, config, arrays):
    grid, densities = laws(config)
    inner = np.abs(PLACES) < 2.51
    centres = (PLACES[inner][::2][1:] + PLACES[inner][::2][:-1]) / 2
    for i, (index, colour, marker) in enumerate(zip(config.tail_indices, COLOURS, MARKERS)):
        heights = np.diff(arrays["fraction_below"][i][:, inner][:, ::2], axis=1) / np.diff(PLACES[inner][::2])
        error = heights.std(axis=0, ddof=1) / np.sqrt(len(heights))
        panel.plot(grid, densities[i], color=colour)
        shown = {"color": colour, "marker": marker, "markersize": 3, "linestyle": "none", "label": name_of(index)}
        panel.errorbar(centres, heights.mean(axis=0), error, **shown)
    panel.plot([], [], color="grey", label="theory")
    panel.plot(grid, best_gibbs(config, 1)[1], **style.line("gibbs") | {"linestyle": ":"}, label="best Gibbs for 1.5")
    panel.set(xlim=(-2.2, 2.2), ylim=(0, None), xlabel="position x", ylabel="density", title="(d) densities")
    panel.legend()


def occupation_panel(panel, config, arrays):
    _, densities = laws(config)
    for i, ((mean, error), colour, marker) in enumerate(zip(arrays["occupation"], COLOURS, MARKERS)):
        panel.plot([i - 0.25, i + 0.25], [left_mass(config, densities[i])] * 2, **style.line("theory"))
        panel.errorbar(i, mean, 5.9 * error, color=colour, marker=marker, zorder=4)
    panel.plot([], [], **style.line("theory"), label="theory")
    panel.plot([], [], "o", color="grey", label="simulated")
    boltzmann = left_mass(config, gibbs(config, config.temperature))
    panel.axhline(boltzmann, **style.line("gibbs"), label="Gibbs")
    panel.set(ylim=(0.45, 0.95), ylabel="occupation of the deeper well", title="(e) noises of equal width")
    panel.legend()
