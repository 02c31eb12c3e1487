"""Gaussian noise leaves a well by its height, stable noise by its width, clipped updates by the number of jumps needed.

Four measurements of when a chain first leaves a region, each beside its prediction.

Kramers: SGD's isotropic SDE, and SGD itself, from the left minimum of barrier (x^2 - 1)^2 to the top at 0. Looked at
only every step h the walk misses crossings: an error of order sqrt h, which the exact integral with its boundary moved
by 0.5826 sqrt(2 T h) does not have (what is left is of order h, within 5 % at h = 0.1, where the one-step kernel solved
on a grid is still exact). At low temperature log time has Kramers' slope in 1/T, the barrier; at the temperatures used
the exact integral's slope is somewhat smaller, and the measured one is compared with that.
Levy: dx = -U' dt + e dL from the left minimum of quartic double wells, out of (-2 w, 0), w the width: the rate is
e^alpha C w^-alpha, whatever the height; one large jump does it, and as many lead up the steep outer wall as over the
barrier. The power alpha is the limit of small e; at the e used the fractional backward equation has a slightly larger
exponent, with which the chains are compared.
Clipped: x^2/2 in (-1, 1), gradients x + 0.2 Z with fresh symmetric Pareto draws, P(|Z| > z) = z^-1.5; the *update* is
clipped at 1.5 or 0.7, so that one or two jumps are needed: iterations ~ rate^-(alpha + (alpha - 1)(l - 1)), l =
ceil(1/clip). The published exponent is a limit of small rates: the exact chain's local one changes with the rate, for
two jumps it passes 2 inside the window used (0.024 to 0.08). Each fitted exponent is
therefore compared with that of the exact chain, solved on a grid, at the same rates.
Exit laws are exponential: distance to the fitted law, and equal hazards before and after the median.

Times are learning rate x steps; errors come from independent chains, those that have not left at the end of the run
censored (total time over number of exits).

Source: Kramers 1940; Gardiner, Stochastic Methods, 5.2.7; Broadie, Glasserman, Kou 1997 (moved boundary); Imkeller and
Pavlyukevich 2006; Nguyen et al. 2019 (1906.09069); Wang, Oh, Rhee 2022 (2102.04297), theorem 1.
Command: `sgdsde reproduce exit_times`.

What it does not say: every exponent is that of a window of ours, four noises, five rates or four temperatures, within
which it is not constant; the published ones are limits, and the clipped fits are within 0.05 of them. 24,000 chains
each; those that have not left at the end of a run are censored. The Levy SDE is seen every 0.05, the clipped chain is a
problem in one number with Pareto noise put in: nothing is said of a network's noise. Of the Gaussian exits one is SGD
itself, at one temperature; the others are its SDE. Exit laws are tested for being exponential at one setting each.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.tree_util import Partial

from sgdsde import Check, euler_maruyama, first_exit, landscapes, match, noise, sgd, simulate, style
from sgdsde.elementary import exponential, minus_log_uniform
from sgdsde.measurements import exponentiality, log_log_slope, mean_exit_time, weighted_slope
from sgdsde.noise import Noise
from sgdsde.predictions import (
    chain_exit_steps,
    clipped_exit_exponent,
    first_passage_time,
    kramers_rate,
    levy_escape_rate,
    levy_mean_exit_time,
    moved_boundary,
)
from sgdsde.randomness import Variates

SEE = (
    "Gaussian: log time against 1/T has the slope {slope of log time in 1/T, T <= 0.05 | predicted} (barrier 0.25). "
    "Stable noise of index 1.2 and 1.5: rates with the exponents "
    "{Levy: exponent of the rate at tail index 1.2 | predicted} and "
    "{Levy: exponent of the rate at tail index 1.5 | predicted}. Clipped updates: iterations with "
    "{clip 1.5: exponent of the iterations | predicted} (one jump; 1.5 at small rates) and "
    "{clip 0.7: exponent of the iterations | predicted} (two; 2 at small rates). All from exact laws over the windows "
    "used; simulated within {Levy: exponent of the rate at tail index 1.2 | within}."
)


@dataclass(frozen=True)
class Config:
    temperature: float = 0.05
    """temperature at which the time step is varied; the others are this one over 0.5, 0.75, 1.15, 1.3 and 1.45"""
    barrier: float = 0.25
    """height of the barrier between the wells"""
    time_step: float = 0.02
    """learning rate of SGD and step of its SDE, one microstep a step"""
    batch_size: int = 4
    """examples in a minibatch, drawn with replacement"""
    tail_indices: tuple[float, ...] = (1.2, 1.5)
    """tail indices of the stable noise"""
    largest_noise: float = 0.04
    """largest scale e of the Levy SDE; each further one is 1.5 times smaller"""
    levy_step: float = 0.05
    """time step of the Levy SDE"""
    pareto_index: float = 1.5
    """tail index of the Pareto gradient noise"""
    pareto_scale: float = 0.2
    """its scale: the least magnitude of a gradient's noise"""
    clips: tuple[float, ...] = (1.5, 0.7)
    """bounds on one update, learning rate x gradient"""
    largest_rate: float = 0.08
    """largest learning rate of the clipped runs; each further one is 1.35 times smaller"""
    num_points: int = 6
    """temperatures; rates are one fewer and Levy noises two fewer, at least two"""
    passage_steps: int = 40_000
    """steps at `temperature`, about twice the mean time; other runs are as long in units of theirs"""
    levy_steps: int = 3_600
    """steps at the largest noise and the first tail index"""
    clipped_steps: int = 950
    """steps at the largest rate and the first clip"""
    num_wells: int = 2
    """of WELLS, which are compared with the well of width and height 1"""
    num_chains: int = 24_000
    """independent chains of each point"""
    num_cells: int = 800
    """cells on which exact chains are solved"""
    seed: int = 0


SMOKE = Config(
    tail_indices=(1.5,), clips=(1.5,), num_points=2, num_wells=1, num_chains=200, num_cells=80,
    passage_steps=2_000, levy_steps=1_000, clipped_steps=600,
)  # fmt: skip
INVERSE_TEMPERATURES = (0.5, 0.75, 1.0, 1.15, 1.3, 1.45)
PASSAGE_LENGTHS = (0.12, 0.33, 1.0, 2.1, 4.5, 9.6)
STEP_FACTORS = (0.5, 2.5, 5.0)
LEVY_LENGTHS = (1.0, 3.7)
WELLS = ((2.0, 1.0), (1.0, 4.0))
"""width, and height over the barrier, of wells that are compared with (1, 1)"""
CLIPPED_LENGTHS = (1.0, 8.0)
DIMENSIONS = {
    "temperature": ("temperature",), "passage": ("temperature", "quantity"), "time_step": ("step",),
    "passage_by_step": ("step", "quantity"), "sgd": ("quantity",), "noise": ("noise",),
    "levy": ("tail", "noise", "quantity"), "wells": ("well", "quantity"), "learning_rate": ("rate",),
    "clipped": ("clip", "rate", "quantity"), "times": ("law", "chain"), "exited": ("law", "chain"),
}  # fmt: skip
QUANTITIES = ("mean", "standard_error", "exits", "exits_above", "diverged")


def position(params):
    return params[0]


def between(ends, params):
    return (params[0] > ends[0]) & (params[0] < ends[1])


def exits(dynamics, ends, start, time_step, key, num_steps, num_chains):
    """QUANTITIES of the exit of `dynamics` from the interval `ends`, with times and flags of the chains."""
    stopped = first_exit(dynamics, Partial(between, jnp.asarray(ends, jnp.float32)))
    trajectory = simulate(
        stopped, jnp.asarray(start, jnp.float32).reshape(1), key,
        num_steps=num_steps, num_chains=num_chains, observe=position, every=num_steps,
    )  # fmt: skip
    return reduced(trajectory.state.memory, trajectory.params, trajectory.diverged_at, time_step, ends[1])


@jax.jit
def reduced(memory, params, diverged_at, time_step, upper):
    times = memory.microsteps.astype(jnp.float32) * time_step
    above = jnp.sum((memory.exited > 0) & (params[:, 0] > upper))
    mean, error = mean_exit_time(times, memory.exited)
    rows = mean, error, jnp.sum(memory.exited), above, jnp.sum(diverged_at >= 0)
    return jnp.stack([jnp.asarray(value, jnp.float32) for value in rows]), (times, memory.exited)


def double_well(width, height, gradient_covariance):
    """height ((x/width)^2 - 1)^2 up to a constant, one dimension."""
    single = lambda value: jnp.asarray(value, jnp.float32).reshape(1)
    curvature = 4 * height / width**2
    return landscapes.quartic(
        curvature=single(-curvature), coefficient=single(curvature / width**2), num_examples=64,
        gradient_covariance=single(gradient_covariance)[:, None],
    )  # fmt: skip


def brownian(config, temperature, time_step):
    """SGD of this temperature in the double well, and its isotropic SDE."""
    problem = double_well(1.0, config.barrier, 2 * config.batch_size * temperature / time_step)
    discrete = sgd(problem, learning_rate=time_step, batch_size=config.batch_size, sampling="with_replacement")
    return discrete, match(discrete, noise.isotropic, substeps=1, at=jnp.array([-1.0], jnp.float32))


def levy(config, tail_index, scale, width, height):
    """The Levy SDE of this scale; a noise's own scale is in gradient units."""
    problem = double_well(width, height, 1.0)
    law = noise.levy(problem, tail_index=tail_index, scale=scale * config.levy_step ** (1 / tail_index - 1))
    return euler_maruyama(problem, law, learning_rate=config.levy_step, substeps=1)


def pareto(tail_index, block, pair, coordinate, dtype):
    """Symmetric, P(|Z| > z) = z^-tail_index for z >= 1, from a word of 32 bits, the highest of which is the sign."""

    def one(bits):
        magnitude = exponential(minus_log_uniform(bits << 1, dtype) / jnp.asarray(tail_index, dtype))
        return jnp.where(bits >> 31 == 1, -magnitude, magnitude)

    return tuple(one(word) for word in block(pair))


def clipped_noise(scale, bound, params, draws):
    """What turns the gradient x of x^2/2 into x + scale Z, clipped at the bound."""
    return jnp.clip(params + jnp.asarray(scale, params.dtype) * draws, -bound, bound) - params


def clipped(config, clip, learning_rate):
    problem = landscapes.quadratic(
        jnp.ones((1, 1), jnp.float32), gradient_covariance=jnp.ones((1, 1), jnp.float32), num_examples=2
    )
    variates = Variates(Partial(pareto, config.pareto_index), (1,), jnp.dtype(jnp.float32), 0, 5)
    law = Noise(variates, Partial(clipped_noise, config.pareto_scale, clip / learning_rate), is_gaussian=False)
    return euler_maruyama(problem, law, learning_rate=learning_rate, substeps=1)


def temperatures(config):
    return [config.temperature / factor for factor in INVERSE_TEMPERATURES[: config.num_points]]


def num_noises(config):
    return max(2, config.num_points - 2)


def time_steps(config):
    return [config.time_step * factor for factor in STEP_FACTORS[: config.num_points - 1]]


def noises(config):
    return [config.largest_noise / 1.5**k for k in range(num_noises(config))]


def rates(config):
    return [config.largest_rate / 1.35**k for k in range(max(2, config.num_points - 1))]


def series(cases):
    """The rows of QUANTITIES of several cases, and the times and flags of the last."""
    found = [exits(*case) for case in cases]
    return jnp.stack([row for row, _ in found]), found[-1][1]


def run(config, key):
    keys = iter(jax.random.split(key, 64))
    rest = lambda length: (next(keys), int(length), config.num_chains)
    side, h = (-1e6, 0.0), config.time_step
    passage, cold = series(
        (brownian(config, t, h)[1], side, -1.0, h, *rest(config.passage_steps * length))
        for t, length in zip(temperatures(config), PASSAGE_LENGTHS)
    )
    by_step, _ = series(
        (brownian(config, config.temperature, step)[1], side, -1.0, step, *rest(config.passage_steps / factor))
        for step, factor in zip(time_steps(config), STEP_FACTORS)
    )
    discrete = brownian(config, config.temperature, h)[0]
    discrete_row, _ = exits(discrete, side, -1.0, h, *rest(config.passage_steps))
    jumps, small = series(
        (
            levy(config, index, scale, 1.0, config.barrier), (-2.0, 0.0), -1.0, config.levy_step,
            *rest(config.levy_steps * length * 1.5 ** (k * growth)),
        )
        for index, length, growth in zip(config.tail_indices, LEVY_LENGTHS, (1.2, 1.5))
        for k, scale in enumerate(noises(config))
    )  # fmt: skip
    wells, _ = series(
        (
            levy(config, config.tail_indices[0], noises(config)[1], width, height * config.barrier),
            (-2.0 * width, 0.0), -width, config.levy_step, *rest(config.levy_steps * (1.75 * width) ** 1.2),
        )
        for width, height in WELLS[: config.num_wells]
    )  # fmt: skip
    iterated, rare = series(
        (
            clipped(config, clip, rate),
            (-1.0, 1.0),
            0.0,
            1.0,
            *rest(config.clipped_steps * length * 1.35 ** (k * growth)),
        )
        for clip, length, growth in zip(config.clips, CLIPPED_LENGTHS, (1.5, 2.0))
        for k, rate in enumerate(rates(config))
    )
    table = lambda rows, num_kinds: rows.reshape(num_kinds, -1, len(QUANTITIES))
    jumps, iterated = table(jumps, len(config.tail_indices)), table(iterated, len(config.clips))
    laws = cold, small, rare
    return {
        "temperature": jnp.array(temperatures(config)), "passage": passage,
        "time_step": jnp.array(time_steps(config)), "passage_by_step": by_step, "sgd": discrete_row,
        "noise": jnp.array(noises(config)), "levy": jumps,
        "wells": jnp.concatenate([jumps[0, 1:2], wells]),
        "learning_rate": jnp.array(rates(config)), "clipped": iterated,
        "times": jnp.stack([times for times, _ in laws]),
        "exited": jnp.stack([flags.astype(jnp.int8) for _, flags in laws]),
    }  # fmt: skip


@functools.cache
def passage_time(barrier, temperature, time_step):
    """Exact mean time from the left minimum to the top, seen every time_step (0: continuously)."""
    top = 0.0
    if time_step:
        top = float(moved_boundary(0.0, start=-1.0, temperature=temperature, time_step=time_step))
    drift = lambda x: -4 * barrier * (x**3 - x)
    law = first_passage_time(drift, lambda x: temperature, start=-1.0, boundary=top, wall=None, convention="ito")
    return law.mean


@functools.cache
def levy_time(barrier, tail_index, scale):
    """Mean exit time from (-2, 0), by the fractional backward equation on a grid that crowds at both ends."""
    grid = -1 - np.cos(np.linspace(0, np.pi, 401))
    grid[[0, -1]] = -2.0, 0.0
    slope = lambda x: 4 * barrier * (x**3 - x)
    found = levy_mean_exit_time(slope, grid, interval=(-2.0, 0.0), tail_index=tail_index, scale=scale)
    return float(np.interp(-1.0, grid, found.mean_time))


@functools.cache
def chain_time(num_cells, barrier, temperature, time_step):
    """The same for Euler's scheme itself, one normal step after the other, its kernel solved on a grid."""
    spread = np.sqrt(2 * temperature * time_step)
    mean = lambda x: x - 4 * barrier * time_step * (x**3 - x)
    normal = lambda x, y: scipy.special.ndtr((y - mean(x)) / spread)
    return time_step * chain_exit_steps(normal, start=-1.0, lower=-2.2, upper=0.0, num_cells=num_cells).steps


@functools.cache
def clipped_iterations(num_cells, scale, pareto_index, clip, learning_rate):
    """Exact mean iterations of the clipped chain, likewise: an update u or more needs noise z or more."""

    def transition(x, y):
        update = x - y
        z = (update / learning_rate - x) / scale
        tail = np.maximum(np.abs(z), 1.0) ** -pareto_index / 2
        reached = np.where(z > -1, np.where(z >= 1, tail, 0.5), 1 - tail)
        return np.where(update > clip, 0.0, np.where(update <= -clip, 1.0, reached))

    return chain_exit_steps(transition, start=0.0, lower=-1.0, upper=1.0, num_cells=num_cells).steps


def exact_iterations(config, clip, learning_rates):
    law = functools.partial(clipped_iterations, config.num_cells, config.pareto_scale, config.pareto_index, clip)
    return np.array([law(float(rate)) for rate in learning_rates])


def kramers_time(config, temperature):
    """To the top: half of the time to the other minimum."""
    curvature = 8 * config.barrier
    rate = kramers_rate(curvature, -curvature / 2, barrier=config.barrier, temperature=temperature)
    return 1 / (2 * float(rate))


def levy_rate(tail_index, scale, width=1.0):
    return float(levy_escape_rate(tail_index=tail_index, scale=scale, left=width, right=width))


def checks(config, arrays):
    return [*passage_checks(config, arrays), *levy_checks(config, arrays), *clipped_checks(config, arrays),
            *law_checks(config, arrays)]  # fmt: skip


def passage_checks(config, arrays):
    exact, found = "first-passage integral, boundary moved by .5826 sqrt(2 T h)", []
    for t, row in zip(temperatures(config), arrays["passage"]):
        time = passage_time(config.barrier, t, config.time_step)
        found.append(Check(f"time to the top at T = {t:.3g}", row[0], time, row[1], 0.05, "agree", exact))
    still = passage_time(config.barrier, config.temperature, 0.0)
    for h, row in zip(time_steps(config), arrays["passage_by_step"]):
        name, time = (
            f"time to the top at step {h:.3g}",
            chain_time(config.num_cells, config.barrier, config.temperature, h),
        )
        found.append(Check(name, row[0], time, row[1], 0.05, "agree", "Euler's kernel solved on a grid"))
        late = "crossings between two looks go unseen"
        found.append(Check(f"{name}, boundary not moved", row[0], still, row[1], 0, "above", late))
        moved = passage_time(config.barrier, config.temperature, h) / time
        name = f"integral with its boundary moved over the kernel's time, step {h:.3g}"
        found.append(Check(name, moved, 1, 0, 0.05, "agree", "Broadie, Glasserman, Kou 1997: of order h"))
    row, t = arrays["sgd"], config.temperature
    time = passage_time(config.barrier, t, config.time_step)
    found.append(Check(f"SGD: time to the top at T = {t:.3g}", row[0], time, row[1], 0.05, "agree", exact))
    cold = np.array(temperatures(config)) <= 0.05 * 1.0001
    cold = cold if cold.sum() >= 2 else np.ones_like(cold)
    means, errors = arrays["passage"][cold, 0], arrays["passage"][cold, 1]
    inverse = 1 / np.array(temperatures(config))[cold]
    slope, error = weighted_slope(inverse, np.log(means), errors / means)
    times = [passage_time(config.barrier, float(1 / b), config.time_step) for b in inverse]
    predicted, _ = weighted_slope(inverse, np.log(times), errors / means)
    found.append(Check("slope of log time in 1/T, T <= 0.05", slope, predicted, error, 0.025, "agree", exact))
    t, row = temperatures(config)[0], arrays["passage"][0]
    name = f"time to the top at T = {t:.3g}, Kramers' formula"
    found.append(Check(name, row[0], kramers_time(config, t), row[1], 0, "differ", "corrections of order T/barrier"))
    return found


def levy_checks(config, arrays):
    found, asymptotic, backward = [], "Imkeller and Pavlyukevich 2006", "fractional backward equation"
    scales = np.array(noises(config))
    for index, rows in zip(config.tail_indices, arrays["levy"]):
        label = f"at tail index {index:g}"
        slope, error = log_log_slope(scales, 1 / rows[:, 0], rows[:, 1] / rows[:, 0] ** 2)
        times = np.array([levy_time(config.barrier, index, scale) for scale in noises(config)])
        predicted, _ = log_log_slope(scales, 1 / times, rows[:, 1] / rows[:, 0] ** 2)
        found.append(Check(f"Levy: exponent of the rate {label}", slope, predicted, error, 0.04, "agree", backward))
        rate, error = 1 / rows[-1, 0], rows[-1, 1] / rows[-1, 0] ** 2
        predicted = levy_rate(index, scales[-1])
        name = f"Levy: rate at the smallest noise {label}"
        found.append(Check(name, rate, predicted, error, 0.05, "agree", asymptotic))
        exact = levy_time(config.barrier, index, config.largest_noise)
        name = f"Levy: time at the largest noise {label}"
        found.append(Check(name, rows[0, 0], exact, rows[0, 1], 0.05, "agree", backward))
        share = rows[-1, 3] / rows[-1, 2]
        name = f"Levy: share over the barrier, not up the wall nine times as high, {label}"
        found.append(Check(name, share, 0.5, 0.5 / np.sqrt(rows[-1, 2]), 0.06, "agree", asymptotic))
    times, errors = arrays["wells"][:, 0], arrays["wells"][:, 1] / arrays["wells"][:, 0]
    for k, name in ((1, "twice the width"), (2, "four times the height"))[: config.num_wells]:
        ratio, error = times[0] / times[k], np.hypot(errors[0], errors[k]) * times[0] / times[k]
        predicted = WELLS[k - 1][0] ** -config.tail_indices[0]
        found.append(Check(f"Levy: rate in a well of {name}", ratio, predicted, error, 0.1, "agree", asymptotic))
    diverged = sum(
        arrays[name][..., 4].sum() for name in ("passage", "passage_by_step", "sgd", "levy", "wells", "clipped")
    )
    found.append(Check("diverged chains", diverged, 0, 0, 0, "agree", "none may"))
    return found


def clipped_checks(config, arrays):
    found = []
    for clip, rows in zip(config.clips, arrays["clipped"]):
        source, exact = "the chain's kernel solved on a grid", exact_iterations(config, clip, rates(config))
        slope, error = log_log_slope(1 / np.array(rates(config)), rows[:, 0], rows[:, 1])
        predicted, _ = log_log_slope(1 / np.array(rates(config)), exact, rows[:, 1] / rows[:, 0] * exact)
        name = f"clip {clip:g}: exponent of the iterations"
        found.append(Check(name, slope, predicted, error, 0.03, "agree", source))
        limit = clipped_exit_exponent(tail_index=config.pareto_index, half_width=1.0, clip=clip)
        paper = "Wang, Oh, Rhee 2022: alpha + (alpha - 1)(l - 1), small rates"
        found.append(Check(f"{name}, small rates", slope, limit, error, 0.05 / limit, "agree", paper))
        if limit == 2:
            ends = -np.diff(np.log(exact)) / np.diff(np.log(rates(config)))
            name = f"clip {clip:g}: exact chain's exponent between"
            found.append(Check(f"{name} the two largest rates", ends[0], limit, 0, 0, "below", source))
            found.append(Check(f"{name} the two smallest rates", ends[-1], limit, 0, 0, "above", source))
        for rate, row, time in zip(rates(config), rows, exact):
            name = f"clip {clip:g}: iterations at rate {rate:.3g}"
            found.append(Check(name, row[0], time, row[1], 0.05, "agree", source))
    return found


LAWS = ("Gaussian, coldest", "Levy, smallest noise", "clipped, smallest rate")


def law_checks(config, arrays):
    found = []
    for name, times, exited in zip(LAWS, arrays["times"], arrays["exited"]):
        law = exponentiality(times, exited)
        error = 0.5 / np.sqrt(exited.sum())
        found += [
            Check(f"exit law, {name}: distance to exponential", law.distance, 0, error, 0.03, "agree", "Day 1983"),
            Check(
                f"exit law, {name}: log of the late over the early hazard", law.log_hazard_ratio, 0,
                law.standard_error, 0.1, "agree", "one constant hazard",
            ),
        ]  # fmt: skip
    return found


BARS = "bars: ± 1 standard error"


def plot(config, arrays):
    figure, axes = style.figure(2, 3, width=10.8, height=6.0)
    arrhenius(axes[0, 0], config, arrays)
    levy_rates(axes[0, 1], config, arrays)
    iterations(axes[0, 2], config, arrays)
    finite_steps(axes[1, 0], config, arrays)
    well_rates(axes[1, 1], config, arrays)
    local_exponents(axes[1, 2], config, arrays)
    return figure


def ticks_at(axis, numbers):
    axis.set_ticks(numbers, [f"{number:g}" for number in numbers])
    axis.set_ticks([], minor=True)


def arrhenius(panel, config, arrays):
    inverse = np.linspace(0.9 / temperatures(config)[0], 1.03 / temperatures(config)[-1], 3 * config.num_points)
    panel.plot(inverse, [kramers_time(config, 1 / b) for b in inverse], **style.line("gibbs"), label="Kramers")
    exact = [passage_time(config.barrier, 1 / b, config.time_step) for b in inverse]
    panel.plot(inverse, exact, **style.line("theory"), label="exact integral, boundary moved")
    look = style.line("isotropic") | {"linestyle": "none"}
    panel.errorbar(1 / arrays["temperature"], *arrays["passage"][:, :2].T, **look, label="isotropic SDE")
    look = style.line("SGD") | {"linestyle": "none", "markerfacecolor": "none", "markersize": 8}
    panel.errorbar(1 / config.temperature, *arrays["sgd"][:2], **look, label="SGD")
    panel.set(yscale="log", xlabel="inverse temperature 1/T", ylabel="mean time to the top (rate x steps)")
    panel.set_ylim(bottom=panel.get_ylim()[0] / 6)
    panel.set_title("(a) double well: the height counts")
    panel.legend(loc="lower right", fontsize=7)


def finite_steps(panel, config, arrays):
    t, still = config.temperature, passage_time(config.barrier, config.temperature, 0.0)
    steps = np.linspace(0.2, 1.02, 3 * config.num_points) ** 2 * max(time_steps(config))
    chain = functools.partial(chain_time, config.num_cells)
    lines = ((chain, "theory", "Euler's chain, exact"), (passage_time, "constant", "integral, boundary moved"))
    for law, name, label in lines:
        look = style.line(name) | {"marker": ""}
        panel.plot(steps, [law(config.barrier, t, float(h)) / still for h in steps], **look, label=label)
    panel.axhline(1, **style.line("gibbs"), label="integral, boundary not moved")
    look = style.line("isotropic") | {"linestyle": "none"}
    panel.errorbar(
        arrays["time_step"], *arrays["passage_by_step"][:, :2].T / still, **look, label=f"isotropic SDE ({BARS})"
    )
    if len(arrays["passage"]) > 2:
        panel.errorbar(config.time_step, *arrays["passage"][2, :2] / still, **look)
    panel.set(xlabel="time step h of Euler's scheme", ylabel="mean time over the integral's")
    panel.set(ylim=(0.9, None), xlim=(0, None))
    panel.set_title(f"(d) finite steps, T = {t:g}")
    panel.legend(loc="lower right", fontsize=7)


def levy_rates(panel, config, arrays):
    """The exact rates as lines, one style a tail index; powers of the scale are where they end."""
    for index, rows, name, line in zip(config.tail_indices, arrays["levy"], ("levy", "constant"), ("-", "--")):
        scale = np.array(noises(config))
        exact = [1 / levy_time(config.barrier, index, float(e)) for e in scale]
        label = f"exact, tail index {index:g}"
        panel.plot(scale, exact, color=style.COLOURS["theory"], linestyle=line, label=label)
        rate, error = 1 / rows[:, 0], rows[:, 1] / rows[:, 0] ** 2
        slope, slope_error = log_log_slope(scale, rate, error)
        label = f"simulated: slope {float(slope):.3f} $\\pm$ {float(slope_error):.3f}"
        panel.errorbar(scale, rate, error, **style.line(name) | {"linestyle": "none"}, label=label)
    panel.set(xscale="log", yscale="log", xlabel="scale e of the stable noise", ylabel="rate of exit (1/time)")
    ticks_at(panel.xaxis, [0.01, 0.02, 0.03, 0.04])
    panel.set(xlim=(0.0105, 0.045), ylim=(None, 6 * panel.get_ylim()[1]))
    panel.set_title("(b) Levy SDE out of (-2, 0): powers")
    panel.legend(loc="upper left", fontsize=7)


def well_rates(panel, config, arrays):
    index, scale = config.tail_indices[0], noises(config)[1]
    means, errors = arrays["wells"][:, 0], arrays["wells"][:, 1]
    places = np.arange(1 + config.num_wells)
    look = style.line("levy") | {"linestyle": "none", "markersize": 6}
    panel.errorbar(places, 1 / means, errors / means**2, **look, label=f"Levy, tail index {index:g} ({BARS})")
    levels = [levy_rate(index, scale, width) for width, _ in ((1.0, 1.0), *WELLS[: config.num_wells])]
    panel.hlines(levels, places - 0.3, places + 0.3, color=style.COLOURS["theory"], label="small noise: width alone")
    panel.set(ylim=(0, 1.45 * max(levels)), xlim=(-0.5, 2.5), ylabel="rate of exit (1/time)")
    panel.set_xticks(places, ["width 1\nheight 1", "width 2\nheight 1", "width 1\nheight 4"][: places.size])
    exponent = (WELLS[1][1] - 1) * config.barrier / config.temperature
    text = f"Kramers, T = {config.temperature:g}:\nexp(-{exponent:.0f}) times as fast"
    panel.text(1.95, 0.5 * levels[0], text, ha="center", fontsize=7)
    panel.set_title(f"(e) the width counts, e = {scale:.3g}")
    panel.legend(loc="upper right", fontsize=7)


CLIPPED_LOOKS = ("diagonal", "anisotropic")


def iterations(panel, config, arrays):
    rate = np.array(rates(config))
    for clip, rows, name, line in zip(config.clips, arrays["clipped"], CLIPPED_LOOKS, ("-", "--")):
        look = {"color": style.COLOURS["theory"], "linestyle": line}
        panel.plot(rate, exact_iterations(config, clip, rate), **look, label=f"exact chain, clip {clip:g}")
        slope, error = log_log_slope(1 / rate, rows[:, 0], rows[:, 1])
        label = f"simulated: exponent {float(slope):.3f} $\\pm$ {float(error):.3f}"
        panel.errorbar(rate, rows[:, 0], rows[:, 1], **style.line(name) | {"linestyle": "none"}, label=label)
    panel.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="mean iterations until exit")
    ticks_at(panel.xaxis, [0.02, 0.03, 0.05, 0.08])
    panel.set(xlim=(0.02, 0.09), ylim=(None, 12 * panel.get_ylim()[1]))
    panel.set_title("(c) clipped updates: the jumps count")
    panel.legend(loc="upper right", fontsize=7)


def local_exponents(panel, config, arrays):
    """Between neighbouring rates, beside the exact chain's there, and the limit."""
    rate = np.array(rates(config))
    wide = np.geomspace(1.1 * rate[0], 0.95 * rate[-1], 2 * rate.size)  # of smaller rates the cells are too coarse
    for clip, rows, name, line in zip(config.clips, arrays["clipped"], CLIPPED_LOOKS, ("-", "--")):
        exact = exact_iterations(config, clip, wide)
        panel.plot(
            np.sqrt(wide[1:] * wide[:-1]), -np.diff(np.log(exact)) / np.diff(np.log(wide)),
            color=style.COLOURS["theory"], linestyle=line, label=f"exact chain, clip {clip:g}",
        )  # fmt: skip
        relative = rows[:, 1] / rows[:, 0]
        slopes = -np.diff(np.log(rows[:, 0])) / np.diff(np.log(rate))
        error = np.hypot(relative[1:], relative[:-1]) / np.abs(np.diff(np.log(rate)))
        look = style.line(name) | {"linestyle": "none"}
        panel.errorbar(np.sqrt(rate[1:] * rate[:-1]), slopes, error, **look, label="simulated")
        limit = clipped_exit_exponent(tail_index=config.pareto_index, half_width=1.0, clip=clip)
        panel.axhline(limit, **style.line("gibbs"), label=None if clip != config.clips[0] else "small rates: 1.5 and 2")
    panel.set(xscale="log", xlabel="learning rate", ylabel="local exponent of the iterations", ylim=(1.4, 2.5))
    ticks_at(panel.xaxis, [0.02, 0.03, 0.05, 0.08])
    panel.set_title(f"(f) the exponent depends on the window\n({BARS})")
    panel.legend(loc="upper right", fontsize=7, ncols=2)
