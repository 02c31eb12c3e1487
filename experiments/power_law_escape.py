"""Power-law escape: a power of the loss describes the bulk of SGD on linear regression, but not the SDE's power.

If the noise is proportional to the loss, C = 2 L h/B, the SDE has p(x) ~ L^-phi, phi = 1 + B/(rate h), L the full loss
with the floor L_* that the label noise gives it. Regression has C = (2 L h + g^2)/B, and SGD takes steps: fitted by
maximum likelihood to all end points its exponent is 1/2 + B/(rate h) - B/2, that of the power which has SGD's exact
variance. No power is exact: fitted to losses up to 1.1 L_* the exponent is 20 % lower (rate .2, B = 1), as the exact
one-step law says, which is solved on cells of |x| and shown beside the chains. For normal inputs the far tail has a
third power, (kappa + 1)/2 with Kesten's kappa; that of a finite data set is made by its few largest examples, so that
beyond about 1.7 L_* (rate .1) the chains leave the law of normal inputs.

Escape: the mean number of steps from the minimum to a loss L rises about as the power B/(rate h) + 1/2 between 1.1 and
1.4 L_*, though its slope is not constant there. The time itself the SDE has wrong by a factor of 1.5 to 1.7.

Source: Mori, Ziyin, Liu, Ueda 2022 (arXiv 2105.09557), phi and the escape rate in one dimension.
Command: `sgdsde reproduce power_law_escape`, about a minute on two cores. One should see: phi within 3 % of
1/2 + B/(rate h) - B/2 (4.91, 4.99 predicted and Mori's 5.99 at rate .2, B = 1); a slope of first passage of 11.0 beside
10.6, the exact law's being 11.1.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy.integrate import simpson
from scipy.interpolate import CubicSpline

from sgdsde import Check, first_exit, sgd, simulate, style
from sgdsde.measurements import log_log_slope, loss_exponent_of_mean, mean_exit_time
from sgdsde.predictions import (
    gaussian_regression_law,
    gaussian_regression_passage_steps,
    proportional_noise_escape_exponent,
    proportional_noise_exponent,
    proportional_noise_passage_time,
    regression_loss_exponent,
)
from sgdsde.problems.regression import gaussian_regression_data, least_squares_solution, linear_regression


@dataclass(frozen=True)
class Config:
    learning_rates: tuple[float, ...] = (0.05, 0.1, 0.2)
    """learning rates of the stationary law; the curvature is 1"""
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    """examples in a minibatch, drawn with replacement"""
    num_examples: int = 100_000
    """examples of the stationary law's data set"""
    num_steps: int = 200
    """steps from the minimum to the end point"""
    num_chains: int = 500_000
    """independent chains, of which only the end points count"""
    passage_rate: float = 0.1
    """learning rate of the first passage, which has batch size 1"""
    passage_ratios: tuple[float, ...] = (1.1, 1.15, 1.2, 1.25, 1.3, 1.35, 1.4)
    """losses over the minimum loss at which a chain is stopped"""
    num_passage_examples: int = 10_000
    """examples of the first passage's data set"""
    num_passage_steps: int = 4_000
    """steps after which a chain that has not passed is given up (a censored time)"""
    num_passage_chains: int = 40_000
    """chains for each loss"""
    label_variance: float = 1.0
    """variance of the label noise, twice the minimum loss"""
    seed: int = 0


SMOKE = Config(
    learning_rates=(0.2,), batch_sizes=(1,), num_examples=400, num_steps=40, num_chains=2_000,
    passage_ratios=(1.1, 1.4), num_passage_examples=400, num_passage_steps=40, num_passage_chains=400,
)  # fmt: skip
WINDOWS = (1.1, 1.2, 1.4, 2.0, np.inf)
"""largest losses, over the minimum loss, that a fit takes in"""
DIMENSIONS = {
    "mean_log": ("rate", "batch_size", "window"),
    "mean_log_error": ("rate", "batch_size", "window"),
    "ratios": ("ratio",),
    "below": ("rate", "batch_size", "ratio"),
    "num_diverged": ("rate", "batch_size"),
    "curvature": ("data",),
    "minimum_loss": ("data",),
    "noise": ("data",),
    "passage_steps": ("passage",),
    "passage_error": ("passage",),
    "passage_fraction": ("passage",),
}


def ratios():
    """Losses over the minimum loss at which the distribution function is kept."""
    return 1 + jnp.logspace(-3, 1, 81)


def position(params):
    return params[0]


def within(centre, distance, params):
    return jnp.abs(params[0] - centre) <= distance


def regression(config, key, num_examples):
    """A data set, its solution, curvature h, minimum loss L_* and noise E x^2 r^2/h, in which L_* would be a half."""
    inputs, targets = gaussian_regression_data(
        key, input_covariance=jnp.ones((1, 1)), weights=jnp.zeros(1), label_variance=config.label_variance,
        num_examples=num_examples,
    )  # fmt: skip
    problem = linear_regression(inputs, targets)
    centre = least_squares_solution(problem)
    squares, residuals = inputs[:, 0] ** 2, (targets - inputs[:, 0] * centre[0]) ** 2
    curvature = squares.mean()
    return problem, centre, curvature, residuals.mean() / 2, (squares * residuals).mean() / curvature


@jax.jit
def reduce(ends, centre, curvature, minimum_loss):
    """Means of log L/L_* over the losses in each window, and the distribution of L/L_*."""
    logs = jnp.log1p(curvature * (ends - centre) ** 2 / (2 * minimum_loss))
    means, errors = [], []
    for window in WINDOWS:
        kept = logs <= np.log(window)
        count = jnp.sum(kept)
        mean = jnp.sum(jnp.where(kept, logs, 0)) / count
        means.append(mean)
        errors.append(jnp.sqrt(jnp.sum(jnp.where(kept, (logs - mean) ** 2, 0))) / count)
    below = jnp.searchsorted(jnp.sort(logs), jnp.log(ratios())) / logs.size
    return {"mean_log": jnp.stack(means), "mean_log_error": jnp.stack(errors), "below": below}


def run(config, key):
    keys = jax.random.split(key, 4)
    problem, centre, *moments = regression(config, keys[0], config.num_examples)
    rows = []
    for rate in config.learning_rates:
        for batch_size in config.batch_sizes:
            found = simulate(
                sgd(problem, learning_rate=rate, batch_size=batch_size, sampling="with_replacement"),
                centre,
                jax.random.fold_in(keys[1], len(rows)),
                num_steps=config.num_steps,
                num_chains=config.num_chains,
                observe=position,
                every=config.num_steps,
            )
            kept = reduce(found.observed[-1], centre[0], *moments[:2])
            rows.append(kept | {"num_diverged": jnp.sum(found.diverged_at >= 0)})
    shape = len(config.learning_rates), len(config.batch_sizes)
    table = {name: jnp.stack([row[name] for row in rows]).reshape(*shape, *rows[0][name].shape) for name in rows[0]}
    passages, passage_moments = run_passages(config, keys[2:])
    named = zip(("curvature", "minimum_loss", "noise"), zip(moments, passage_moments))
    return {"ratios": ratios(), **table, **passages, **{name: jnp.stack(pair) for name, pair in named}}


def run_passages(config, keys):
    """Mean number of steps from the solution to the first loss above each of several, batch size 1."""
    problem, centre, *moments = regression(config, keys[0], config.num_passage_examples)
    dynamics = sgd(problem, learning_rate=config.passage_rate, batch_size=1, sampling="with_replacement")
    rows = []
    for ratio in config.passage_ratios:
        distance = jnp.sqrt(2 * moments[1] * (ratio - 1) / moments[0])
        found = simulate(
            first_exit(dynamics, Partial(within, centre[0], distance)),
            centre,
            jax.random.fold_in(keys[1], len(rows)),
            num_steps=config.num_passage_steps,
            num_chains=config.num_passage_chains,
            observe=position,
            every=config.num_passage_steps,
        )
        steps, exited = found.state.memory.microsteps, found.state.memory.exited
        rows.append((*mean_exit_time(steps.astype(centre.dtype), exited), exited.mean(dtype=centre.dtype)))
    names = ("passage_steps", "passage_error", "passage_fraction")
    return {name: jnp.stack(column) for name, column in zip(names, zip(*rows))}, moments


def fitted(arrays, i, j, window):
    """(phi, standard error) by maximum likelihood of the losses in a window."""
    mean, error = arrays["mean_log"][i, j, window], arrays["mean_log_error"][i, j, window]
    return loss_exponent_of_mean(mean, error, num_directions=1, largest_ratio=WINDOWS[window])


@functools.cache  # the checks and the figure both ask
def exact_law(curvature, noise, rate, batch_size):
    """P(|x - x*| > y) of SGD with normal inputs of this curvature and noise."""
    width = np.sqrt(noise / (2 * batch_size / rate - curvature * (2 + batch_size)))
    return gaussian_regression_law(
        largest=11 * width, num_cells=240, input_variance=curvature, label_variance=noise, learning_rate=rate,
        batch_size=batch_size,
    )  # fmt: skip


def law_of(config, arrays, i, j):
    moments = float(arrays["curvature"][0]), float(arrays["noise"][0])
    return exact_law(*moments, config.learning_rates[i], config.batch_sizes[j])


def exact_exponent(law, arrays, window):
    """phi that maximum likelihood finds in infinitely many samples of the exact law: from its mean log L/L_*."""
    scale = float(arrays["curvature"][0] / (2 * arrays["minimum_loss"][0]))
    y = np.linspace(0, min(np.sqrt((WINDOWS[window] - 1) / scale), law.distances[-1]), 1001)
    above = CubicSpline(law.distances, law.above)(y)
    slope = 2 * scale * y / (1 + scale * y**2)
    mean = simpson(slope * (above - above[-1]), x=y) / (1 - above[-1])
    return loss_exponent_of_mean(mean, 0.0, num_directions=1, largest_ratio=WINDOWS[window])[0]


def setting(config, arrays, i, j):
    return {
        "curvature": float(arrays["curvature"][0]),
        "learning_rate": config.learning_rates[i],
        "batch_size": config.batch_sizes[j],
    }


FITTED = "1/2 + B/(rate h) - B/2: the power that has SGD's exact variance"
MORI = "1 + B/(rate h): Mori et al. 2022"
KERNEL = "SGD's own step with normal inputs, solved on cells"


def checks(config, arrays):
    found = []
    for i, rate in enumerate(config.learning_rates):
        for j, batch_size in enumerate(config.batch_sizes):
            label = f"at rate {rate:g}, B = {batch_size}"
            (phi, error), here = fitted(arrays, i, j, -1), setting(config, arrays, i, j)
            found.append(Check(f"phi {label}", phi, regression_loss_exponent(**here), error, 0.03, "agree", FITTED))
            mori = proportional_noise_exponent(**here)
            found.append(Check(f"phi {label}, Mori", phi, mori, error, 0, "below", MORI))
            found.append(Check(f"phi over Mori's {label}", phi / mori, 1, error / mori, 0, "differ", MORI))
            law = law_of(config, arrays, i, j)
            exact = exact_exponent(law, arrays, -1)
            found.append(Check(f"phi {label}, exact law", phi, exact, error, 0.03, "agree", KERNEL))
            found.append(Check(f"diverged {label}", arrays["num_diverged"][i, j], 0, 0, 0, "agree", "none may"))
            if j == 0 and i == len(config.learning_rates) - 1:  # where it shows most
                for k, window in enumerate(WINDOWS[:-1]):
                    value, error = fitted(arrays, i, j, k)
                    name = f"phi of losses up to {window:g} L_* {label}"
                    exact = exact_exponent(law, arrays, k)
                    found.append(Check(f"{name}, exact law", value, exact, error, 0.12, "agree", KERNEL))
                    found.append(Check(name, value, phi, error, 0, "below", "one power for the whole law"))
    return found + passage_checks(config, arrays)


def passage_predictions(config, arrays):
    """Mean steps to each loss: SGD with normal inputs, and the SDE with noise proportional to the loss."""
    moments = [float(arrays[name][1]) for name in ("curvature", "minimum_loss", "noise")]
    return np.array([passage_steps(*moments, config.passage_rate, ratio) for ratio in config.passage_ratios]).T


@functools.cache
def passage_steps(curvature, minimum_loss, noise, rate, ratio):
    exact = gaussian_regression_passage_steps(
        np.sqrt(2 * minimum_loss * (ratio - 1) / curvature), num_cells=120, input_variance=curvature,
        label_variance=noise, learning_rate=rate, batch_size=1,
    )  # fmt: skip
    time = proportional_noise_passage_time(
        curvature=curvature, minimum_loss=minimum_loss, loss=ratio * minimum_loss, learning_rate=rate, batch_size=1
    )
    return exact.mean, time / rate


def passage_checks(config, arrays):
    steps, errors = arrays["passage_steps"], arrays["passage_error"]
    exact, sde = passage_predictions(config, arrays)
    slope, error = log_log_slope(np.array(config.passage_ratios), steps, errors)
    exact_slope, _ = log_log_slope(np.array(config.passage_ratios), exact, errors / steps * exact)
    options = {"curvature": float(arrays["curvature"][1]), "learning_rate": config.passage_rate, "batch_size": 1}
    power = proportional_noise_escape_exponent(**options)
    source = "B/(rate h) + 1/2: Mori et al. 2022"
    found = [
        Check("slope of first passage", slope, power, error, 0.1, "agree", source),
        Check("slope of first passage, exact", slope, exact_slope, error, 0.05, "agree", KERNEL),
    ]
    for k, ratio in enumerate(config.passage_ratios):
        name = f"steps to {ratio:g} L_*"
        found.append(Check(name, steps[k], exact[k], errors[k], 0.1, "agree", KERNEL))
        source = "SDE with noise proportional to the loss, its integral"
        found.append(Check(f"{name}, SDE", steps[k], sde[k], errors[k], 0, "above", source))
    return found


COLOURS, MARKERS = ("#0072B2", "#000000", "#D55E00", "#CC79A7"), ("s", "o", "^", "D")


def plot(config, arrays):
    figure, (bulk, exponents, passages) = style.figure(1, 3, width=12.0, height=3.9)
    plot_bulk(bulk, config, arrays)
    sizes = np.array(config.batch_sizes, float)
    fine = np.linspace(0.8, 1.05 * sizes[-1], 50)
    exponents.plot(fine, 0.5 - fine / 2, **style.line("theory"), label="1/2 - B/2: SGD's exact variance")
    exponents.plot(fine, np.ones_like(fine), **style.line("gibbs"), label="1: Mori et al., noise 2 L h/B")
    for i, rate in enumerate(config.learning_rates):
        ratio = sizes / (rate * float(arrays["curvature"][0]))
        phi, error = np.array([fitted(arrays, i, j, -1) for j in range(sizes.size)]).T
        exact = [exact_exponent(law_of(config, arrays, i, j), arrays, -1) for j in range(sizes.size)]
        shift, colour = 1 + 0.03 * (i - 1), COLOURS[i % 4]
        exponents.errorbar(
            sizes * shift, phi - ratio, error, color=colour, marker=MARKERS[i % 4], linestyle="none",
            label=f"fitted to SGD, rate {rate:g}",
        )  # fmt: skip
        exponents.plot(sizes * shift, exact - ratio, color=colour, marker="_", markersize=11, linestyle="none")
    exponents.plot([], [], color="grey", marker="_", markersize=11, linestyle="none", label="exact law, fitted alike")
    exponents.set(xscale="log", xlabel="batch size B", ylabel="phi - B/(rate h)")
    exponents.set_xticks(sizes, [f"{size:g}" for size in sizes])
    exponents.minorticks_off()
    exponents.legend(fontsize=7, loc="lower left")
    places, (exact, sde) = np.array(config.passage_ratios), passage_predictions(config, arrays)
    power = 1 / (config.passage_rate * float(arrays["curvature"][1])) + 0.5
    steps = arrays["passage_steps"]
    passages.errorbar(places, steps, arrays["passage_error"], color="black", marker="o", linestyle="none", label="SGD")
    passages.plot(places, exact, **style.line("theory"), label="SGD, one-step law: exact")
    middle = np.sqrt(steps[0] * steps[-1]) * (places / np.sqrt(places[0] * places[-1])) ** power
    passages.plot(places, middle, color="grey", linestyle=":", label=f"slope B/(rate h) + 1/2 = {power:.1f}")
    passages.plot(places, sde, **style.line("anisotropic") | {"marker": ""}, label="SDE, noise 2 L h/B: exact")
    passages.set(
        xscale="log", yscale="log", xlabel="loss L over the minimum loss", ylabel="mean steps to first reach L",
        title=f"rate {config.passage_rate:g}, B = 1",
    )  # fmt: skip
    passages.set_xticks(places, [f"{place:g}" for place in places])
    passages.minorticks_off()
    passages.legend(fontsize=7)
    return figure


def plot_bulk(panel, config, arrays):
    """Density of x against the loss there, over its value at the minimum, for the smallest batch."""
    scale = float(arrays["curvature"][0] / (2 * arrays["minimum_loss"][0]))
    edges = arrays["ratios"]
    distances = np.sqrt((edges - 1) / scale)
    middles = 1 + scale * ((distances[1:] + distances[:-1]) / 2) ** 2
    for i, rate in enumerate(config.learning_rates):
        colour, here = COLOURS[i % 4], setting(config, arrays, i, 0)
        law, fine = law_of(config, arrays, i, 0), np.geomspace(1, edges[-1], 200)
        density = -CubicSpline(law.distances, law.above).derivative()(np.sqrt((fine - 1) / scale))
        inside = (fine < 1 + scale * law.distances[-1] ** 2) & (density > 0)
        mass = np.diff(arrays["below"][i, 0])
        seen = mass * config.num_chains > 20
        heights = mass / np.diff(distances) / density[0]
        errors = heights / np.sqrt(np.maximum(mass * config.num_chains, 1))
        panel.plot(fine[inside], density[inside] / density[0], color=colour)
        panel.errorbar(
            middles[seen], heights[seen], errors[seen], color=colour, marker=MARKERS[i % 4], markersize=3,
            linestyle="none", label=f"SGD at rate {rate:g}: exact (line), simulated",
        )  # fmt: skip
        panel.plot(fine, fine ** -regression_loss_exponent(**here), color=colour, linestyle=":", linewidth=1.0)
        panel.plot(fine, fine ** -proportional_noise_exponent(**here), color=colour, linestyle="--", linewidth=1.0)
    panel.plot([], [], color="grey", linestyle=":", label="power 1/2 + B/(rate h) - B/2")
    panel.plot([], [], color="grey", linestyle="--", label="power 1 + B/(rate h): Mori et al.")
    panel.set(
        xscale="log", yscale="log", xlim=(1, 6), ylim=(1e-4, 30), xlabel="loss L over the minimum loss",
        ylabel="density of the parameter / its value at the minimum", title=f"B = {config.batch_sizes[0]}",
    )  # fmt: skip
    panel.set_xticks([1, 1.5, 2, 3, 4, 5], ["1", "1.5", "2", "3", "4", "5"])
    panel.minorticks_off()
    panel.legend(fontsize=7)
