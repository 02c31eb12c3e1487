"""SGD at a finite step prefers the flatter of two equally deep basins more than ten times as much as Gibbs says.

Gibbs says that the flat basin is preferred by about sqrt(h_sharp/h_flat), whatever the learning rate; SGD prefers it
the more, the longer its step, because a step that is long for the sharp basin throws chains out of it.

U joins two parabolas of curvatures h_sharp and h_flat and equal depth smoothly, in one dimension. At each temperature
T = eta v/2 the learning rate eta is swept with v = 2T/eta, so that T, and with it the Gibbs law, stays the same: only
the step changes. Three answers for occupation(flat)/occupation(sharp): Gibbs (an integral; sqrt(h_sharp/h_flat) as
T -> 0), the local-Gaussian correction sqrt(h_sharp (1 - eta h_sharp/2) / (h_flat (1 - eta h_flat/2))), which predicts
*less* preference at larger steps and is wrong in sign, and the exact law of SGD's own step, by its kernel on a grid.
SGD and the SDE (many substeps) are simulated beside them.

What it does not say: there is one landscape in one dimension, one pair of curvatures and one law of the example
gradients. The temperature is held by making the noise of a step larger as the rate falls, which a change of the batch
size would do; it is not what happens to a network whose rate alone is changed. n = 10,000 chains for each point, half
of them started in each basin, each averaged over the last half of its run. The ratio grows towards lower temperatures
at all but the shortest step; more than ten is the coldest of three at the longest of four. "Exact" is the law of SGD's
own step on a grid, with the law of its minibatches smoothed over one grid spacing.

Source: the Gibbs argument for flat minima is that of Jastrzebski et al. 2017 (arXiv 1711.04623); here it is held
against the exact one-step kernel.

Command: `sgdsde reproduce flat_and_sharp`.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.interpolate import CubicSpline

from sgdsde import Check, landscapes, match, noise, sgd, simulate, style
from sgdsde.predictions import (
    explicit_transition,
    gibbs_density,
    minibatch_noise_density,
    stationary_density,
)

SEE = """At temperature 0.3 Gibbs gives the flat basin {SDE: flat over sharp at T = 0.3 | predicted} times the
occupation of the sharp one, as in the SDE (within {SDE: flat over sharp at T = 0.3 | within}). SGD's own law at
learning rate x sharp curvature 1.6 gives {SGD: flat over sharp at T = 0.3, rate 0.08 | predicted}; SGD is within {SGD:
flat over sharp at T = 0.3, rate 0.08 | within} of it."""


@dataclass(frozen=True)
class Config:
    temperatures: tuple[float, ...] = (0.3, 0.4, 0.6)
    """temperatures T = eta v/2, kept fixed while the learning rate varies"""
    learning_rate: float = 0.01
    """the smallest learning rate; each further one is twice the one before"""
    num_rates: int = 4
    """how many learning rates"""
    sharp_curvature: float = 20.0
    """curvature of the sharp basin"""
    flat_curvature: float = 1.0
    """curvature of the flat basin"""
    separation: float = 2.0
    """distance between the two minima"""
    smoothing: float = 0.15
    """energy over which the two parabolas are joined"""
    batch_size: int = 2
    """examples in a minibatch, drawn with replacement"""
    num_examples: int = 64
    """examples in the finite sum"""
    substeps: int = 4
    """microsteps of the SDE in one step of the smallest learning rate"""
    num_steps: int = 20_000
    """steps at the smallest rate; a rate twice as large takes half as many, for the same physical time"""
    num_records: int = 100
    """records over the last half of a run, averaged within each chain"""
    num_chains: int = 10_000
    """independent chains, half of them started in each basin"""
    seed: int = 0


SMOKE = Config(temperatures=(0.4,), num_rates=2, num_steps=160, num_records=4, num_chains=40)
DIMENSIONS = {
    "temperature": ("temperature",),
    "learning_rate": ("learning_rate",),
    "sgd_sharp": ("temperature", "learning_rate", "start"),
    "sgd_error": ("temperature", "learning_rate", "start"),
    "sgd_diverged": ("temperature", "learning_rate", "start"),
    "sde_sharp": ("temperature", "start"),
    "sde_error": ("temperature", "start"),
    "sde_diverged": ("temperature", "start"),
}


def rates(config):
    """The learning rates, and the number of steps of each half of a run."""
    doublings = range(config.num_rates)
    steps = [config.num_records * max(config.num_steps // 2**k // 2 // config.num_records, 1) for k in doublings]
    return [config.learning_rate * 2**k for k in doublings], steps


def landscape(config, gradient_variance):
    return landscapes.sharp_and_flat(
        sharp_curvature=config.sharp_curvature,
        flat_curvature=config.flat_curvature,
        separation=config.separation,
        smoothing=config.smoothing,
        gradient_covariance=jnp.asarray(gradient_variance).reshape(1, 1),
        num_examples=config.num_examples,
    )


def discrete(config, temperature, learning_rate):
    """SGD whose minibatch noise has the variance v = 2 T / eta: one example's is B times that."""
    problem = landscape(config, config.batch_size * 2 * temperature / learning_rate)
    return sgd(problem, learning_rate=learning_rate, batch_size=config.batch_size, sampling="with_replacement")


def border(config):
    """Where the two parabolas cross."""
    sharp, flat = config.sharp_curvature**0.5, config.flat_curvature**0.5
    return config.separation / 2 * (flat - sharp) / (flat + sharp)


def is_sharp(where, params):
    return (params[0] < where).astype(params.dtype)


def occupation(config, dynamics, key, num_steps):
    """Occupation of the sharp basin over the last half, started in each: its mean and error over chains."""
    observe = Partial(is_sharp, border(config))
    rows = []
    for index, side in enumerate((-1.0, 1.0)):
        sizes = {"num_chains": config.num_chains // 2, "num_steps": num_steps, "observe": observe}
        start, own_key = jnp.array([side * config.separation / 2]), jax.random.fold_in(key, index)
        relaxed = simulate(dynamics, start, own_key, every=num_steps, **sizes)
        found = simulate(dynamics, relaxed, own_key, every=num_steps // config.num_records, **sizes)
        each = found.observed.mean(axis=0)
        error = each.std(ddof=1) / np.sqrt(each.size).item()
        rows.append((each.mean(), error, jnp.sum(found.diverged_at >= 0)))
    return [jnp.stack(column) for column in zip(*rows)]


def run(config, key):
    learning_rates, steps = rates(config)
    sgd_rows, sde_rows = [], []
    for i, temperature in enumerate(config.temperatures):
        points = [discrete(config, temperature, rate) for rate in learning_rates]
        keys = jax.random.split(jax.random.fold_in(key, i), len(points) + 1)
        sgd_rows.append([occupation(config, *each) for each in zip(points, keys, steps)])
        sde = match(points[0], noise.anisotropic, substeps=config.substeps)
        sde_rows.append(occupation(config, sde, keys[-1], steps[0]))
    names = ("sharp", "error", "diverged")
    return {
        "temperature": jnp.array(config.temperatures),
        "learning_rate": jnp.array(learning_rates),
        **{
            f"sgd_{name}": jnp.stack([jnp.stack([p[j] for p in row]) for row in sgd_rows])
            for j, name in enumerate(names)
        },
        **{f"sde_{name}": jnp.stack([row[j] for row in sde_rows]) for j, name in enumerate(names)},
    }


GRID = np.linspace(-5.0, 7.5, 1501)


def potential(config):
    return landscape(config, 1.0).mean_loss


def sharp_mass(config, density):
    """Mass left of the border, density joined linearly."""
    cumulative = np.concatenate([[0.0], np.cumsum(np.diff(GRID) * (density[1:] + density[:-1]) / 2)])
    return float(np.interp(border(config), GRID, cumulative))


def gibbs_occupation(config, temperature):
    """Occupation of the sharp basin under exp(-U/T)."""
    return sharp_mass(config, np.asarray(gibbs_density(potential(config), temperature, GRID)))


@functools.cache  # one compiled function for all temperatures and rates
def slope(config):
    return jax.jit(jnp.vectorize(jax.grad(potential(config)), signature="(d)->(d)"))


def exact_occupation(config, temperature, learning_rate):
    """The same under SGD's own step, with the law of its minibatches."""
    tilts = np.asarray(discrete(config, temperature, learning_rate).problem.examples, float)
    law = minibatch_noise_density(
        tilts - tilts.mean(axis=0), config.batch_size, smoothing=(GRID[1] - GRID[0]) / learning_rate
    )
    kernel = explicit_transition(lambda x: np.asarray(slope(config)(x), float), law, learning_rate=learning_rate)
    return sharp_mass(config, stationary_density(kernel, GRID).density)


def ratio(sharp):
    """Occupation of the flat basin over that of the sharp one."""
    return (1 - sharp) / sharp


def measured_ratio(means, errors):
    """The same of both starts together, half of the chains each, and its standard error."""
    sharp = means.mean(axis=-1)
    return ratio(sharp), np.sqrt((errors**2).sum(axis=-1)) / 2 / sharp**2


def checks(config, arrays):
    found = []
    sgd_ratio, sgd_error = measured_ratio(arrays["sgd_sharp"], arrays["sgd_error"])
    sde_ratio, sde_error = measured_ratio(arrays["sde_sharp"], arrays["sde_error"])
    kernel_source, gibbs_source = "one-step kernel solved on a grid", "Gibbs: exp(-U/T), T = eta v/2"
    learning_rates, _ = rates(config)
    for i, t in enumerate(config.temperatures):
        gibbs = ratio(gibbs_occupation(config, t))
        name = f"SDE: flat over sharp at T = {t:g}"
        found.append(Check(name, sde_ratio[i], gibbs, sde_error[i], 0.1, "agree", gibbs_source))
        found.append(memory(f"SDE: memory of the start at T = {t:g}", arrays["sde_sharp"][i], arrays["sde_error"][i]))
        for j, rate in enumerate(learning_rates):
            name = f"SGD: flat over sharp at T = {t:g}, rate {rate:g}"
            exact = ratio(exact_occupation(config, t, rate))
            found.append(Check(name, sgd_ratio[i, j], exact, sgd_error[i, j], 0.1, "agree", kernel_source))
            if rate * config.sharp_curvature > 0.3:  # below, the answers are too close to tell apart
                found.append(Check(f"{name}, Gibbs", sgd_ratio[i, j], gibbs, sgd_error[i, j], 0, "above", gibbs_source))
            label = f"SGD: memory of the start at T = {t:g}, rate {rate:g}"
            found.append(memory(label, arrays["sgd_sharp"][i, j], arrays["sgd_error"][i, j]))
    diverged = arrays["sgd_diverged"].sum() + arrays["sde_diverged"].sum()
    return [*found, Check("chains diverged", diverged, 0, 0, 0, "agree", "none may")]


def memory(name, means, errors):
    """Starts in different basins must end alike: their difference in the sharp basin over its mean occupation."""
    scale = means.mean()
    error = np.sqrt((errors**2).sum()) / scale
    source = "one stationary law, whatever the start"
    return Check(name, (means[0] - means[1]) / scale, 0, error, 0.2, "agree", source)


def local_gaussian(config, learning_rate):
    """sqrt(h_s (1 - eta h_s/2) / (h_f (1 - eta h_f/2))): flat over sharp if each basin were its own Gaussian."""
    sharp, flat = config.sharp_curvature, config.flat_curvature
    return np.sqrt(sharp * (1 - learning_rate * sharp / 2) / (flat * (1 - learning_rate * flat / 2)))


def plot(config, arrays):
    figure, (basins, preference) = style.figure(1, 2, width=8.4, height=3.7)
    basins_panel(basins, config)
    preference_panel(preference, config, arrays)
    return figure


COLOURS, MARKERS, LINES = ("#0072B2", "#000000", "#D55E00", "#CC79A7"), "osD^", ("-", "--", "-.", ":")


def basins_panel(panel, config):
    x = np.linspace(-1.9, 3.2, 500)
    energy = np.asarray(jax.vmap(potential(config))(jnp.asarray(x)[:, None]))
    panel.plot(x, energy, color="grey", linewidth=2.5, label="loss U")
    for t, colour, line in zip(config.temperatures, COLOURS, LINES):
        density = np.asarray(gibbs_density(potential(config), t, GRID))
        panel.plot(GRID, density, color=colour, linestyle=line, label=f"Gibbs density, T = {t:g}")
    panel.set(xlim=(-1.9, 3.2), ylim=(0, 2.6), xlabel="position x", ylabel="loss U, density of x", title="(a) basins")
    panel.legend()


def preference_panel(panel, config, arrays):
    sharpness, last = config.sharp_curvature, 2 ** (config.num_rates - 1)
    fine = config.learning_rate * np.geomspace(0.8, last, 60)
    solved = config.learning_rate * np.geomspace(0.8, last, 16)
    sgd_ratio, sgd_error = measured_ratio(arrays["sgd_sharp"], arrays["sgd_error"])
    sde_ratio, sde_error = measured_ratio(arrays["sde_sharp"], arrays["sde_error"])
    place = 0.5 * fine[0] * sharpness
    for i, (t, colour, marker, line) in enumerate(zip(config.temperatures, COLOURS, MARKERS, LINES)):
        exact = np.log([ratio(exact_occupation(config, t, rate)) for rate in solved])
        smooth = np.exp(CubicSpline(np.log(solved), exact)(np.log(fine)))
        look = {"color": colour, "marker": marker, "linestyle": "none"}
        panel.plot(fine * sharpness, smooth, color=colour, linestyle=line)
        panel.errorbar(np.asarray(arrays["learning_rate"]) * sharpness, sgd_ratio[i], sgd_error[i], **look)
        panel.errorbar(place * 1.12 ** (i - 1), sde_ratio[i], sde_error[i], **look)
        panel.plot([], [], color=colour, marker=marker, linestyle=line, label=f"T = {t:g}: exact law, simulated")
    gibbs = [ratio(gibbs_occupation(config, t)) for t in config.temperatures]
    panel.axhline(np.mean(gibbs), **style.line("gibbs"), label="Gibbs, every T")
    local = [local_gaussian(config, rate) for rate in fine]
    panel.plot(fine * sharpness, local, color="grey", linestyle=":", label="local Gaussians")
    panel.set(
        xscale="log", yscale="log", xlabel="learning rate x sharp curvature  (bars: one standard error)",
        ylabel="occupation of the flat / the sharp basin", title="(b) preference for the flat basin", ylim=(1.5, 100),
    )  # fmt: skip
    shown = [rate * sharpness for rate in rates(config)[0]]
    panel.set_xticks([place, *shown], ["SDE", *(f"SGD {shown[0]:g}", *(f"{each:g}" for each in shown[1:]))])
    panel.set_yticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
    panel.minorticks_off()
    panel.legend(loc="upper left")
