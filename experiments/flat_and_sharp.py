"""SGD at a finite step prefers the flatter of two equally deep basins up to fourteen times more than Gibbs says.

Gibbs says the flat basin is preferred by sqrt(h_sharp/h_flat), whatever the learning rate; at a finite step SGD prefers
it many times more, because a step that is long for the sharp basin throws chains out of it.

U joins two parabolas of curvatures h_sharp and h_flat and equal depth smoothly, in one dimension. At each temperature
T = eta v/2 the learning rate eta is swept with v = 2T/eta, so that T, and with it the Gibbs law, stays the same: only
the step changes. Three answers for occupation(flat)/occupation(sharp): Gibbs (an integral; sqrt(h_sharp/h_flat) as
T -> 0), the local-Gaussian correction sqrt(h_sharp (1 - eta h_sharp/2) / (h_flat (1 - eta h_flat/2))), which predicts
*less* preference at larger steps and is wrong in sign, and the exact law of SGD's own step, by its kernel on a grid.
SGD and the SDE (many substeps) are simulated beside them.

Source: the Gibbs argument for flat minima is that of Jastrzebski et al. 2017 (arXiv 1711.04623); here it is held
against the exact one-step kernel.
Command: `sgdsde reproduce flat_and_sharp`, a few minutes on two cores. One should see: the SDE near 4.6 at every
temperature (Gibbs: 4.4 to 4.5); SGD from 4.5 at eta h_sharp = 0.2 to 64 at T = 0.3 and eta h_sharp = 1.6.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde import Check, landscapes, match, noise, sgd, simulate, style
from sgdsde.predictions import (
    explicit_transition,
    gaussian_noise_density,
    gibbs_density,
    minibatch_noise_density,
    stationary_density,
)


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


def exact_occupation(config, temperature, learning_rate, *, substeps=None):
    """The same under SGD's own step with its minibatch law (substeps None), or under Euler's microsteps of the SDE."""
    if substeps is None:
        tilts = np.asarray(discrete(config, temperature, learning_rate).problem.examples, float)
        law = minibatch_noise_density(
            tilts - tilts.mean(axis=0), config.batch_size, smoothing=(GRID[1] - GRID[0]) / learning_rate
        )
    else:
        law = gaussian_noise_density(np.array([[2 * temperature / learning_rate]]))
    kernel = explicit_transition(
        lambda x: np.asarray(slope(config)(x), float), law, learning_rate=learning_rate, substeps=substeps or 1
    )
    return sharp_mass(config, stationary_density(kernel, GRID).density)


def ratio(sharp):
    """Occupation of the flat basin over that of the sharp one."""
    return (1 - sharp) / sharp


def combined(means, errors):
    """Both starts together: half of the chains each."""
    return means.mean(axis=-1), np.sqrt((errors**2).sum(axis=-1)) / 2


def checks(config, arrays):
    found = []
    sgd_mean, sgd_error = combined(arrays["sgd_sharp"], arrays["sgd_error"])
    sde_mean, sde_error = combined(arrays["sde_sharp"], arrays["sde_error"])
    kernel_source, gibbs_source = "one-step kernel solved on a grid", "Gibbs: exp(-U/T), T = eta v/2"
    learning_rates, _ = rates(config)
    for i, t in enumerate(config.temperatures):
        exact = exact_occupation(config, t, config.learning_rate, substeps=config.substeps)
        gibbs = gibbs_occupation(config, t)
        name = f"SDE: sharp basin at T = {t:g}"
        found.append(Check(f"{name}, exact", sde_mean[i], exact, sde_error[i], 0.08, "agree", kernel_source))
        found.append(Check(f"{name}, Gibbs", sde_mean[i], gibbs, sde_error[i], 0.08, "agree", gibbs_source))
        found.append(memory(f"SDE: memory of the start at T = {t:g}", arrays["sde_sharp"][i], arrays["sde_error"][i]))
        for j, rate in enumerate(learning_rates):
            name = f"SGD: sharp basin at T = {t:g}, rate {rate:g}"
            exact = exact_occupation(config, t, rate)
            found.append(Check(f"{name}, exact", sgd_mean[i, j], exact, sgd_error[i, j], 0.1, "agree", kernel_source))
            if rate * config.sharp_curvature > 0.3:  # below, the three answers are too close to tell apart
                local = 1 / (1 + local_gaussian(config, rate))
                source = "local Gaussians of variance eta v/(h (2 - eta h))"
                found.append(Check(f"{name}, local", sgd_mean[i, j], local, sgd_error[i, j], 0, "below", source))
                found.append(Check(f"{name}, Gibbs", sgd_mean[i, j], gibbs, sgd_error[i, j], 0, "below", gibbs_source))
            label = f"SGD: memory of the start at T = {t:g}, rate {rate:g}"
            found.append(memory(label, arrays["sgd_sharp"][i, j], arrays["sgd_error"][i, j]))
    diverged = arrays["sgd_diverged"].sum() + arrays["sde_diverged"].sum()
    return [*found, Check("chains diverged", diverged, 0, 0, 0, "agree", "none may")]


def memory(name, means, errors):
    """Starts in different basins must end alike."""
    error = np.sqrt((errors**2).sum())
    return Check(name, means[0] - means[1], 0, error, 0.03, "agree", "one stationary law, whatever the start")


def local_gaussian(config, learning_rate):
    """sqrt(h_s (1 - eta h_s/2) / (h_f (1 - eta h_f/2))): flat over sharp if each basin were its own Gaussian."""
    sharp, flat = config.sharp_curvature, config.flat_curvature
    return np.sqrt(sharp * (1 - learning_rate * sharp / 2) / (flat * (1 - learning_rate * flat / 2)))


def plot(config, arrays):
    figure, (landscape_panel, panel) = style.figure(1, 2, width=9.0, height=3.8)
    x = np.linspace(-1.9, 3.2, 500)
    energy = np.asarray(jax.vmap(potential(config))(jnp.asarray(x)[:, None]))
    landscape_panel.plot(x, energy, color="black")
    landscape_panel.axvline(border(config), color="grey", linewidth=0.8, linestyle=":")
    for t, shade in zip(config.temperatures, ("#9ecae1", "#4292c6", "#08519c")):
        density = np.asarray(gibbs_density(potential(config), t, GRID))
        landscape_panel.fill_between(GRID, density, color=shade, alpha=0.5, lw=0, label=f"Gibbs density, T = {t:g}")
    landscape_panel.set(xlim=(-1.9, 3.2), ylim=(0, 2.6), xlabel="position x", ylabel="loss U (line), density (shaded)")
    landscape_panel.legend()
    fine = config.learning_rate * np.geomspace(0.5, 2 ** (config.num_rates - 1), 14)
    sgd_mean, sgd_error = combined(arrays["sgd_sharp"], arrays["sgd_error"])
    sde_mean, sde_error = combined(arrays["sde_sharp"], arrays["sde_error"])
    markers, colours = ("o", "s", "^", "D"), ("#56B4E9", "#0072B2", "#000000", "#CC79A7")
    for i, t in enumerate(config.temperatures):
        colour, marker = colours[i % 4], markers[i % 4]
        exact = [ratio(exact_occupation(config, t, rate)) for rate in fine]
        panel.plot(
            fine * config.sharp_curvature, exact, color=colour, label=f"SGD at T = {t:g}: exact (line), simulated"
        )
        panel.errorbar(
            arrays["learning_rate"] * config.sharp_curvature, ratio(sgd_mean[i]), sgd_error[i] / sgd_mean[i] ** 2,
            color=colour, marker=marker, linestyle="none",
        )  # fmt: skip
        panel.errorbar(
            fine[0] * config.sharp_curvature * 0.8 * 1.06**i, ratio(sde_mean[i]), sde_error[i] / sde_mean[i] ** 2,
            color=colour, marker=marker, markerfacecolor="white", linestyle="none",
            label="SDE, simulated (any rate)" if i == 0 else None,
        )  # fmt: skip
    gibbs = [ratio(gibbs_occupation(config, t)) for t in config.temperatures]
    panel.axhspan(min(gibbs), max(gibbs), color=style.COLOURS["gibbs"], alpha=0.6, label="Gibbs, any temperature")
    panel.plot(
        fine * config.sharp_curvature, [local_gaussian(config, rate) for rate in fine], **style.line("theory"),
        label="local Gaussians",
    )  # fmt: skip
    panel.set(
        xscale="log", yscale="log", xlabel="learning rate x sharp curvature",
        ylabel="occupation of the flat basin / sharp basin",
    )  # fmt: skip
    panel.set_xticks([0.1, 0.2, 0.4, 0.8, 1.6], ["0.1", "0.2", "0.4", "0.8", "1.6"])
    panel.set_yticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
    panel.set_ylim(1.5, None)
    panel.minorticks_off()
    panel.legend(fontsize=7)
    return figure
