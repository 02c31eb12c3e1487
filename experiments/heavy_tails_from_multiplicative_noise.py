"""Heavy tails from light data: the tail exponent of SGD on linear regression is Kesten's root; at rate 1 not the SDE's.

Every step of SGD on (y - theta x)^2/2 multiplies the distance from the solution by a = 1 - (rate/B) (x_1^2 + ... +
x_B^2), a random number that now and then exceeds 1 in size. The stationary law then ends in a power,
P(|theta - theta*| > t) ~ t^-kappa with E|a|^kappa = 1, however light the tails of inputs and labels: heavier at larger
rates, lighter in larger batches. The SDE with the same covariance Sigma(theta) = a_0 + b theta^2 has a power tail too,
with the exponent 1 + 2 B h/(rate b); the two curves cross once, and agreement there is an accident. Beyond kappa = 2
the law is stationary but has no variance, and a variance that a program prints grows with the number of chains.

The data set is finite, 128 examples: 64 input magnitudes, the quantiles of a normal law, each with two opposite labels.
A finite data set has bounded inputs and a root of its own (a sum over all minibatches), a third above that of fresh
normal inputs at B = 1 and the smallest rate, and no power tail at all where rate max x^2 < 2. The exponent is the
maximum-likelihood one of the largest 4,000 of 8 million independent end points (one a chain).

Source: Kesten 1973; Hodgkinson, Mahoney 2020 (arXiv 2006.06293); Gurbuzbalaban, Simsekli, Zhu 2021 (arXiv 2006.04740).
Command: `sgdsde reproduce heavy_tails_from_multiplicative_noise`.

What it does not say: an exponent is fitted to the largest 4,000 of 8 million end points. At the smallest rates of B = 1
and B = 2, the two lightest tails, the fits are 6 % below the root (3.8 and 4.3 standard errors), presumably because the
power is reached only farther out; the allowance is 10 %. After 64 steps two of the 15 tails, the heaviest of B = 1 and
B = 4, still grow in the last 32 steps: by 5 % at one chain in 500, where this is checked, by 8 and 10 % at one in
2,000, where the fit begins, and by more farther out. One data set of 128 examples, in one dimension, with replacement.
A printed variance is the typical one of groups of chains, the exponential of their mean logarithm; where kappa is
between 2 and 4 it approaches the variance, which exists, only as m^-(1 - 2/kappa). Near the crossing of the two curves
(B = 2 at rate 0.7, B = 1 at 0.55) the exponents do not tell Kesten's root from the SDE's.
"""

import dataclasses
import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde import Check, match, noise, sgd, simulate, style
from sgdsde.measurements import tail_exponent
from sgdsde.predictions import (
    gaussian_kesten_exponent,
    kesten_exponent,
    regression_covariance,
    sde_tail_exponent,
)
from sgdsde.problems.regression import linear_regression

SEE = (
    "At rate 1 the tail exponents of SGD are {tail exponent at rate 1, B = 1 | predicted}, "
    "{tail exponent at rate 1, B = 2 | predicted} and {tail exponent at rate 1, B = 4 | predicted} for B = 1, 2, 4 "
    "(Kesten's roots, met within {tail exponent at rate 1, B = 1 | within}), where the SDE of the same covariance has "
    "{tail exponent at rate 1, B = 1, SDE's | predicted}, {tail exponent at rate 1, B = 2, SDE's | predicted} and "
    "{tail exponent at rate 1, B = 4, SDE's | predicted}."
)


@dataclass(frozen=True)
class Config:
    batch_sizes: tuple[int, ...] = (1, 2, 4)
    """examples in a minibatch, drawn with replacement"""
    smallest_rates: tuple[float, ...] = (0.45, 0.7, 1.0)
    """the smallest learning rate of each batch size"""
    largest_rates: tuple[float, ...] = (1.0, 1 / 0.7, 1.8)
    """the largest learning rate of each batch size"""
    num_rates: int = 5
    """learning rates of each batch size, equally spaced in the logarithm"""
    num_magnitudes: int = 64
    """different input magnitudes; the data set has two examples of each"""
    num_steps: int = 64
    """steps from the solution to the end point; the law is looked at half-way too"""
    num_chains: int = 8_000_000
    """independent chains, of which only the end points count"""
    num_exceedances: int = 4_000
    """end points beyond the threshold, the tail that is fitted"""
    substeps: int = 64
    """microsteps of the SDE in one step"""
    num_sde_chains: int = 1_000_000
    """chains of the SDE"""
    seed: int = 0


SMOKE = Config(
    batch_sizes=(1, 4), smallest_rates=(0.45, 1.0), largest_rates=(1.0, 1.8), num_rates=3, num_magnitudes=16,
    num_chains=1_000, num_exceedances=50, substeps=2, num_sde_chains=1_000,
)  # fmt: skip
GROUPS = (1_000, 10_000, 100_000)
"""numbers of chains whose variance is printed"""
DIMENSIONS = {
    "learning_rate": ("batch_size", "rate"),
    "levels": ("level",),
    "above": ("batch_size", "rate", "time", "level"),
    "largest": ("batch_size", "rate", "rank"),
    "log_variance": ("batch_size", "rate", "group"),
    "log_variance_error": ("batch_size", "rate", "group"),
    "variance": ("batch_size", "rate"),
    "variance_error": ("batch_size", "rate"),
    "num_diverged": ("batch_size", "rate"),
    "sde_largest": ("sde_rate", "rank"),
    "sde_num_diverged": ("sde_rate",),
}


def data(config):
    """Inputs and labels: magnitudes at the quantiles of the normal law, each with the labels 1 and -1."""
    places = (np.arange(config.num_magnitudes) + 0.5) / (2 * config.num_magnitudes) + 0.5
    magnitudes = jax.scipy.special.ndtri(jnp.asarray(places))
    ones = jnp.ones_like(magnitudes)
    return jnp.concatenate([magnitudes, magnitudes])[:, None], jnp.concatenate([ones, -ones])


def rates(config, index):
    """The learning rates of one batch size; the middle one of B = 2 is 1."""
    low, high = config.smallest_rates[index], config.largest_rates[index]
    return [low * (high / low) ** (k / (config.num_rates - 1)) for k in range(config.num_rates)]


def position(params):
    return params[0]


def noise_factor(deviations, params):
    """Sigma = mean x^2 + Var(x^2) theta^2: the labels 1 and -1 of every input leave no mixed term."""
    return jnp.stack([deviations[0], deviations[1] * params[0]])[None]


@functools.partial(jax.jit, static_argnames="num_exceedances")
def reduce(ends, num_exceedances):
    """What is kept of end points (times, chains): distribution, largest, and the variances of groups of chains."""
    sizes, squares, means, errors = jnp.sort(jnp.abs(ends), axis=1), ends[-1] ** 2, [], []
    for size in GROUPS:
        size = min(size, squares.size // 4)
        logs = jnp.log(squares[: squares.size // size * size].reshape(-1, size).mean(axis=1))
        means.append(logs.mean())
        errors.append(logs.std(ddof=1) / np.sqrt(logs.size).item())
    below = jax.vmap(jnp.searchsorted, in_axes=(0, None))(sizes, levels())
    return {
        "above": (squares.size - below) / squares.size,
        "largest": sizes[-1, -num_exceedances - 1 :],
        "log_variance": jnp.stack(means),
        "log_variance_error": jnp.stack(errors),
        "variance": squares.mean(),
        "variance_error": squares.std(ddof=1) / np.sqrt(squares.size).item(),
    }


def levels():
    return jnp.logspace(-1, 5, 121)


def ensemble(config, dynamics, key, num_chains):
    """What is kept of chains from the solution, half-way and at the end, and how many of them diverged."""
    half = config.num_steps // 2
    found = simulate(
        dynamics, jnp.zeros(1), key, num_steps=2 * half, num_chains=num_chains, observe=position, every=half
    )
    return reduce(found.observed, config.num_exceedances) | {"num_diverged": jnp.sum(found.diverged_at >= 0)}


def run(config, key):
    problem, rows = linear_regression(*data(config)), []
    table = [rates(config, i) for i in range(len(config.batch_sizes))]
    for i, batch_size in enumerate(config.batch_sizes):
        for rate in table[i]:
            dynamics = sgd(problem, learning_rate=rate, batch_size=batch_size, sampling="with_replacement")
            rows.append(ensemble(config, dynamics, jax.random.fold_in(key, len(rows)), config.num_chains))
    shape = len(config.batch_sizes), config.num_rates
    found = {name: jnp.stack([row[name] for row in rows]).reshape(*shape, *rows[0][name].shape) for name in rows[0]}
    return {"learning_rate": jnp.array(table), "levels": levels(), **found, **run_sde(config, problem, key)}


def run_sde(config, problem, key):
    """The SDE with the same state-dependent covariance, of the smallest batch at its middle and largest rate."""
    squares = problem.examples["inputs"][:, 0] ** 2
    deviations = jnp.sqrt(jnp.stack([squares.mean(), squares.var()]))
    problem = dataclasses.replace(problem, noise_factor=Partial(noise_factor, deviations))
    rows = []
    for index, rate in enumerate(sde_rates(config)):
        discrete = sgd(problem, learning_rate=rate, batch_size=config.batch_sizes[0], sampling="with_replacement")
        sde = match(discrete, noise.anisotropic, substeps=config.substeps)
        rows.append(ensemble(config, sde, jax.random.fold_in(key, 1000 + index), config.num_sde_chains))
    kept = ("largest", "num_diverged")
    return {f"sde_{name}": jnp.stack([row[name] for row in rows]) for name in kept}


def sde_rates(config):
    found = rates(config, 0)
    return [found[len(found) // 2], found[-1]]


def inputs_of(config):
    return np.asarray(data(config)[0][:, 0], float)


def sde_exponent(inputs, learning_rate, batch_size):
    return sde_tail_exponent(
        curvature=np.mean(inputs**2), noise_growth=np.var(inputs**2), learning_rate=learning_rate,
        batch_size=batch_size,
    )  # fmt: skip


def fits(config, largest):
    """Tail exponents and their errors, of an array (..., rank)."""
    found = [
        tail_exponent(row, num_exceedances=config.num_exceedances) for row in largest.reshape(-1, largest.shape[-1])
    ]
    shape = largest.shape[:-1]
    return (
        np.array([one.exponent for one in found]).reshape(shape),
        np.array([one.standard_error for one in found]).reshape(shape),
    )


KESTEN = "E|1 - (rate/B) sum x^2|^kappa = 1 over all minibatches of the data set (Kesten 1973)"
ITO = "Ito SDE with the same covariance: 1 + 2 B h/(rate b)"


def checks(config, arrays):
    found, inputs = [], inputs_of(config)
    measured, errors = fits(config, arrays["largest"])
    for i, batch_size in enumerate(config.batch_sizes):
        for j, rate in enumerate(arrays["learning_rate"][i].tolist()):
            label = f"at rate {rate:.3g}, B = {batch_size}"
            exact = kesten_exponent(inputs, learning_rate=rate, batch_size=batch_size)
            value, error = measured[i, j], errors[i, j]
            found.append(Check(f"tail exponent {label}", value, exact, error, 0.1, "agree", KESTEN))
            sde = sde_exponent(inputs, rate, batch_size)
            if abs(rate - 1) < 1e-9:  # at equal rates; elsewhere it follows from the agreement with Kesten's root
                found.append(Check(f"tail exponent {label}, SDE's", value, sde, error, 0, "differ", ITO))
            found += settled(config, arrays, i, j, label)
            found += variance_checks(config, arrays, i, j, label, exact)
    smallest = {"learning_rate": float(arrays["learning_rate"][0, 0]), "batch_size": config.batch_sizes[0]}
    fresh = gaussian_kesten_exponent(input_variance=1.0, **smallest)
    name = f"root of the data set over that of fresh normal inputs, B = {config.batch_sizes[0]}, smallest rate"
    found.append(Check(name, kesten_exponent(inputs, **smallest) / fresh, 4 / 3, 0, 0.05, "agree", KESTEN))
    return [*found, *sde_checks(config, arrays, inputs)]


def settled(config, arrays, i, j, label):
    """The law no longer moves: the fraction beyond the level of about one in 500, half-way and at the end."""
    half, end = arrays["above"][i, j]
    level = int(np.argmin(np.abs(np.log(np.maximum(end, 1e-9) * 500))))
    fraction = max(end[level], 1e-9)
    error = np.sqrt(2 / (fraction * config.num_chains))
    name = f"change of the tail in the last {config.num_steps // 2} steps {label}"
    source = "a stationary law does not move"
    return [
        Check(name, half[level] / fraction - 1, 0, error, 0.1, "agree", source),
        Check(f"chains diverged {label}", arrays["num_diverged"][i, j], 0, 0, 0, "agree", "none may"),
    ]


def exact_variance(config, learning_rate, batch_size):
    inputs, labels = (np.asarray(values, float) for values in data(config))
    options = {"learning_rate": learning_rate, "batch_size": batch_size, "sampling": "with_replacement"}
    return regression_covariance(inputs, labels, **options)[0, 0]


def variance_checks(config, arrays, i, j, label, exact):
    rate, batch_size = float(arrays["learning_rate"][i, j]), config.batch_sizes[i]
    if exact > 4:  # so that the standard error of a variance exists
        predicted = exact_variance(config, rate, batch_size)
        value, error = arrays["variance"][i, j], arrays["variance_error"][i, j]
        return [Check(f"variance {label}", value, predicted, error, 0.01, "agree", "exact second moments")]
    if exact > 1.8:
        return []
    growth = arrays["log_variance"][i, j, -1] - arrays["log_variance"][i, j, 0]
    error = np.hypot(arrays["log_variance_error"][i, j, -1], arrays["log_variance_error"][i, j, 0])
    name = f"growth of the printed variance {label}"
    return [Check(name, growth, 0, error, 0, "above", "m^(2/kappa - 1): no variance")]


def sde_checks(config, arrays, inputs):
    found = []
    values, errors = fits(config, arrays["sde_largest"])
    for rate, value, error in zip(sde_rates(config), values, errors):
        predicted = sde_exponent(inputs, rate, config.batch_sizes[0])
        found.append(Check(f"SDE: tail exponent at rate {rate:.3g}", value, predicted, error, 0.1, "agree", ITO))
    return [*found, Check("SDE: chains diverged", arrays["sde_num_diverged"].sum(), 0, 0, 0, "agree", "none may")]


COLOURS, MARKERS = ("#000000", "#0072B2", "#CC79A7", "#E69F00"), ("o", "s", "^", "D")
SHADES = ("#440154", "#3b528b", "#21918c", "#5ec962", "#d8b90b")
"""from dark to light with the rate"""


def plot_rates(tails, variances, config, arrays, measured):
    """The distribution beyond t, and the variance that m chains print, of the smallest batch at every rate."""
    inputs, points = inputs_of(config), arrays["levels"]
    share = config.num_exceedances / config.num_chains
    for j, rate in enumerate(arrays["learning_rate"][0].tolist()):
        exact = kesten_exponent(inputs, learning_rate=rate, batch_size=config.batch_sizes[0])
        looks = {"color": SHADES[j % len(SHADES)], "marker": MARKERS[j % 4], "linestyle": "none", "markersize": 3}
        above = arrays["above"][0, j, -1][::3]
        seen, error = above > 0, np.sqrt(above / config.num_chains)
        label = f"rate {rate:.2g}: {measured[0, j]:.2f} / {exact:.2f}"
        tails.errorbar(points[::3][seen], above[seen], error[seen], **looks, elinewidth=0.8, label=label)
        first = arrays["largest"][0, j].min()
        far = first * np.array([1.0, (config.num_exceedances / 3) ** (1 / exact)])
        tails.plot(far, share * (far / first) ** -exact, color=looks["color"], linewidth=1.0)
        grown = arrays["log_variance"][0, j], arrays["log_variance_error"][0, j]
        variances.errorbar(GROUPS, np.exp(grown[0]), np.exp(grown[0]) * grown[1], **looks, label=f"rate {rate:.2g}")
        if exact > 2:
            level = exact_variance(config, rate, config.batch_sizes[0])
            variances.axhline(level, color=looks["color"], linestyle="--", linewidth=1)
        else:
            line = np.exp(grown[0][0]) * (np.array(GROUPS) / GROUPS[0]) ** (2 / exact - 1)
            variances.plot(GROUPS, line, color=looks["color"])
    tails.plot([], [], color="grey", label="lines: Kesten's root")
    variances.plot([], [], color="grey", label="$m^{2/\\kappa - 1}$ (no variance)")
    variances.plot([], [], color="grey", linestyle="--", label="exact variance ($\\kappa > 2$)")
    tails.set(
        xscale="log", yscale="log", xlim=(0.1, 3e4), ylim=(2e-7, 60), xlabel="distance t from the solution",
        ylabel="fraction of chains beyond t (± 1 s.e.)", title=f"(a) B = {config.batch_sizes[0]}",
    )  # fmt: skip
    variances.set(
        xscale="log", yscale="log", xlabel="number of chains m", ylabel="variance of m chains (typical, ± 1 s.e.)",
        title=f"(c) B = {config.batch_sizes[0]}: a variance that does not settle",
    )  # fmt: skip
    tails.legend(fontsize=7, title="exponent: measured / predicted", title_fontsize=7)
    variances.set_ylim(None, 60 * variances.get_ylim()[1])
    variances.legend(fontsize=7, ncols=2, loc="upper left")


def plot(config, arrays):
    figure, (tails, exponents, variances) = style.figure(1, 3, width=11.4, height=3.8)
    inputs = inputs_of(config)
    measured, errors = fits(config, arrays["largest"])
    sde_measured, sde_errors = fits(config, arrays["sde_largest"])
    plot_rates(tails, variances, config, arrays, measured)
    for i, batch_size in enumerate(config.batch_sizes):
        table, colour = arrays["learning_rate"][i], COLOURS[i % 4]
        fine = np.geomspace(table[0] * 0.9, table[-1] * 1.1, 9)
        options = {"batch_size": batch_size}
        exact = [kesten_exponent(inputs, learning_rate=rate, **options) for rate in fine]
        fresh = [gaussian_kesten_exponent(input_variance=1.0, learning_rate=rate, **options) for rate in fine]
        exponents.plot(fine / batch_size, exact, color=colour, label=f"SGD, B = {batch_size}: exact root, simulated")
        exponents.plot(fine / batch_size, fresh, color=colour, linestyle=":", linewidth=1.0)
        exponents.errorbar(
            table / batch_size, measured[i], errors[i], color=colour, marker=MARKERS[i % 4], linestyle="none"
        )
    ratio = np.geomspace(0.2, 1.1, 30)
    exponents.plot([], [], color="grey", linestyle=":", linewidth=1.0, label="SGD, fresh normal inputs: exact root")
    sde_line = [sde_exponent(inputs, r, 1) for r in ratio]
    exponents.plot(ratio, sde_line, **style.line("anisotropic") | {"marker": ""}, label="SDE, any B: exact, simulated")
    exponents.errorbar(
        sde_rates(config), sde_measured, sde_errors, color=style.COLOURS["anisotropic"], marker="D",
        markerfacecolor="white", linestyle="none",
    )  # fmt: skip
    exponents.axhspan(0.3, 2, color="grey", alpha=0.15, lw=0)
    exponents.text(0.21, 0.36, "stationary, infinite variance", fontsize=7)
    exponents.set(
        xscale="log", yscale="log", ylim=(0.3, 22), xlabel="learning rate / batch size", ylabel="tail exponent kappa",
        title="(b) exponents (± 1 s.e.)",
    )  # fmt: skip

    exponents.set_xticks([0.2, 0.3, 0.5, 1.0], ["0.2", "0.3", "0.5", "1"])
    exponents.set_yticks([0.5, 1, 2, 3, 5, 10], ["0.5", "1", "2", "3", "5", "10"])
    exponents.minorticks_off()
    exponents.legend(fontsize=7, loc="upper right")
    return figure
