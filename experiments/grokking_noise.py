"""SGD's noise shortens grokking, the more the larger rate/batch; isotropic noise of the same trace less, if at all.

A quadratic network learns m + n mod p from some of the p^2 pairs. It memorises them at
once and generalises much later, while weight decay shrinks what only memorises. Each seed starts at the same weights
under six dynamics of equal rate:

    gradient descent    no noise
    SGD                 minibatches drawn with replacement
    isotropic           Langevin, covariance tr C(x)/d * identity: SGD's size of noise at every x, not its shape
    anisotropic         Langevin, covariance C(x), one Euler step a step: SGD's mean and covariance, Gaussian
    fine anisotropic    the same SDE at several microsteps a step: continuous time
    Levy                elliptical stable noise sqrt(A) N(0, C(x)) of tail index below 2

The grokking time is the first at which 99 % of the test pairs are right, in units of the time t = sum of rates. Seeds
are paired: log(time / gradient descent's time) is taken start by start, and so is its slope in the dose rate/batch, by
least squares through the origin: cells share their starts, and only starts are independent. (Gradient descent does not
know the batch size; its times at the two rates differ by less than 1 %.) Along the way: sharpness (largest Hessian
eigenvalue of the train loss), tr C, and the tail index of the minibatch noise beside the same estimate on Gaussian
noise of the same covariance (its null).

The mixing variable A of stable noise has no mean, but what N steps realise is known: their sum has the law of
N^(1/q) A, q half the tail index, so that the covariance realised in N steps has the median N^(1/q - 1) med(A) times C.
This is compared with the equivalent dose, the slope of the Levy SDE over that of SGD.

What it does not say: there are 16 starts of one architecture, one split of the pairs into train and test, and one
weight decay; each cell holds the same 16. No time of the matched SDEs is judged in a cell where one of their chains
diverged. In this run the two Gaussian ones lost some of their 32 at rate/batch 1 and most at rate/batch 2, the Levy one
most of its 16 at either: there the SDE with SGD's covariance is no substitute for SGD, which lost none. The slopes rest
on rate/batch up to 1; at 2 SGD is only compared with the line. The equivalent dose of stable noise has an error of some
10 %: no effect of heavy tails beyond the size of the noise is seen, and none below half of that dose could be. A
flatter network generalises sooner among the starts of one cell on average, not in every cell, which says nothing of
cause.

Source: the network is that of Gromov 2023 (arXiv 2301.02679); the comparison is this file's.

Command: `sgdsde reproduce grokking_noise`.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import stats

from sgdsde import (
    Check,
    euler_maruyama,
    gradient_covariance_trace,
    match,
    modular_addition,
    noise,
    sgd,
    simulate,
    style,
)
from sgdsde.measurements import first_crossing, fraction, ratio_of_means
from sgdsde.measurements import mean as over_seeds
from sgdsde.observables import (
    accuracy,
    all_of,
    mean_example_loss,
    noise_tail_index,
    observer,
    sharpness,
)

SEE = """The log of SGD's grokking time over gradient descent's falls with rate/batch (slope {dose slope, SGD} up to
rate/batch 1, in proportion within {log time of SGD at the largest rate/batch, over the line of those up to 1 |
within} at 2); isotropic noise of the same trace has a slope that is higher by {dose slope, isotropic less SGD}.
Stable noise acts like Gaussian noise of {dose of stable noise, realised | predicted} times the covariance, which is
what it realises, within {dose of stable noise, realised | within}."""

KINDS = ("gradient descent", "SGD", "isotropic", "anisotropic", "fine anisotropic", "Levy")


@dataclass(frozen=True)
class Config:
    learning_rate: float = 4.0
    """the smallest learning rate (the loss is a mean over the p outputs: it is large); each further one is twice as
    large"""
    num_rates: int = 2
    """how many learning rates"""
    batch_sizes: tuple[int, ...] = (4, 16)
    """examples in a minibatch, drawn with replacement"""
    weight_decay: float = 8e-5
    """of the penalty weight_decay |params|^2 / 2"""
    tail_index: float = 1.8
    """of the Levy noise"""
    substeps: int = 4
    """microsteps of the fine SDE in one step"""
    modulus: int = 23
    """p: residues"""
    num_hidden: int = 128
    """neurons"""
    train_percent: int = 60
    """per cent of the p^2 pairs that are trained on"""
    start_deviation: float = 0.2
    """standard deviation of every weight at the start"""
    num_steps: int = 10_000
    """steps at the smallest learning rate; larger rates take fewer, for the same time"""
    num_stretches: int = 10
    """sharpness, trace and tail index are measured after each of so many equal parts of a run"""
    num_records: int = 10
    """records of losses and accuracies within each part"""
    num_batches: int = 1_000
    """minibatches in each estimate of the tail index"""
    num_products: int = 20
    """Hessian-vector products in each estimate of the sharpness"""
    num_chains: int = 16
    """seeds"""
    seed: int = 0


SMOKE = Config(
    num_rates=1, batch_sizes=(16,), num_steps=8, num_stretches=1, num_records=2, num_batches=100,
    num_products=4, num_chains=2, modulus=7, num_hidden=8,
)  # fmt: skip
CELL = ("learning_rate", "batch_size", "kind")
DIMENSIONS = {
    "learning_rate": ("learning_rate",),
    "batch_size": ("batch_size",),
    "time": ("record",),
    "time_of_part": ("part",),
    **dict.fromkeys(("train_time", "test_time", "diverged_at"), (*CELL, "seed")),
    **dict.fromkeys(("train_accuracy", "test_accuracy"), (*CELL, "record", "quartile")),
    **dict.fromkeys(("sharpness", "trace", "index", "null"), (*CELL, "part", "seed")),
    **{f"undecayed_{name}": ("kind", "seed") for name in ("train_time", "test_time", "diverged_at")},
    "undecayed_test_accuracy": ("kind", "record", "quartile"),
}


def problem_of(config, key, weight_decay):
    return modular_addition.quadratic(
        key, modulus=config.modulus, num_hidden=config.num_hidden, train_fraction=config.train_percent / 100,
        start_deviation=config.start_deviation, weight_decay=weight_decay,
    )  # fmt: skip


def dynamics_of(config, problem, learning_rate, batch_size):
    """One of each of KINDS."""
    discrete = sgd(problem, learning_rate=learning_rate, batch_size=batch_size, sampling="with_replacement")
    return (
        euler_maruyama(problem, noise.isotropic(problem, variance=0.0), learning_rate=learning_rate),
        discrete,
        match(discrete, noise.trace_matched, substeps=1),
        match(discrete, noise.anisotropic, substeps=1),
        match(discrete, noise.anisotropic, substeps=config.substeps),
        match(discrete, noise.anisotropic_levy, substeps=1, tail_index=config.tail_index),
    )


def accuracies(problem, test):
    of = lambda examples: observer(
        accuracy, Partial(modular_addition.quadratic_logits), examples["pairs"], examples["sums"]
    )
    return observer(all_of, {"train": of(problem.examples), "test": of(test)})


@functools.partial(jax.jit, static_argnames=("batch_size", "num_batches", "num_products"))
def landscape(problem, params, keys, *, batch_size, num_batches, num_products):
    """What is measured after each part of a run, in every chain with minibatches and directions of its own."""

    def one(params, key):
        train_loss = Partial(mean_example_loss, problem, problem.examples)
        tail = noise_tail_index(problem, batch_size, "with_replacement", num_batches, key, params)
        return {
            "sharpness": sharpness(train_loss, num_products, key, params),
            "trace": gradient_covariance_trace(problem, params),
            "index": tail["index"],
            "null": tail["null"],
        }

    return jax.vmap(one)(params, keys)


def trained(config, dynamics, key, num_steps, see, probe_key, batch_size):
    """A run in parts: (records of `see`, what `landscape` measures after each part, diverged_at)."""
    state, seen, probed = dynamics.problem.init, [], []
    part = num_steps // config.num_stretches
    for index in range(config.num_stretches):
        state = simulate(
            dynamics, state, key, num_steps=part, num_chains=config.num_chains, observe=see,
            every=part // config.num_records,
        )  # fmt: skip
        seen.append(state.observed)
        keys = jax.random.split(jax.random.fold_in(probe_key, index), config.num_chains)
        sizes = {"num_batches": config.num_batches, "num_products": config.num_products}
        probed.append(landscape(dynamics.problem, state.params, keys, batch_size=batch_size, **sizes))
    joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *seen)
    return joined, jax.tree.map(lambda *leaves: jnp.stack(leaves), *probed), state.diverged_at


def rates(config):
    """The learning rates, and the number of steps of each: the same time, a multiple of the number of records."""
    records = config.num_stretches * config.num_records
    steps = [records * max(1, config.num_steps // 2**k // records) for k in range(config.num_rates)]
    return [config.learning_rate * 2**k for k in range(config.num_rates)], steps


def run(config, key):
    split_key, run_key, probe_key = jax.random.split(key, 3)
    problem, test = problem_of(config, split_key, config.weight_decay)
    see = accuracies(problem, test)
    records = config.num_stretches * config.num_records
    learning_rates, steps = rates(config)
    time = learning_rates[0] * steps[0] * jnp.arange(1, records + 1) / records
    quartiles = lambda values: jnp.moveaxis(jnp.quantile(values, jnp.array([0.25, 0.5, 0.75]), axis=1), 0, -1)

    def summary(seen, probed, diverged_at):
        return probed | {
            "train_time": first_crossing(time, seen["train"], 0.99),
            "test_time": first_crossing(time, seen["test"], 0.99),
            "diverged_at": diverged_at,
            "train_accuracy": quartiles(seen["train"]),
            "test_accuracy": quartiles(seen["test"]),
        }

    def cell(problem, learning_rate, num_steps, batch_size):
        rows = [
            summary(*trained(config, each, run_key, num_steps, see, probe_key, batch_size))
            for each in dynamics_of(config, problem, learning_rate, batch_size)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)

    together = lambda rows: jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    cells = together(
        [together([cell(problem, *each, size) for size in config.batch_sizes]) for each in zip(learning_rates, steps)]
    )
    undecayed = problem_of(config, split_key, 0.0)[0]
    without = cell(undecayed, learning_rates[-1], steps[-1], max(config.batch_sizes))
    names = ("train_time", "test_time", "diverged_at", "test_accuracy")
    return {
        "learning_rate": jnp.array(learning_rates),
        "batch_size": jnp.array(config.batch_sizes),
        "time": time,
        "time_of_part": time[config.num_records - 1 :: config.num_records],
        **cells,
        **{f"undecayed_{name}": without[name] for name in names},
    }


def doses(config):
    """rate/batch of every cell, (rates, batch sizes)."""
    return np.array(rates(config)[0])[:, None] / np.array(config.batch_sizes)


def log_ratio(arrays, kind, other="gradient descent"):
    """log(time of `kind` / time of `other`), (rates, batch sizes, starts); NaN unless both reach 99 %."""
    times = np.asarray(arrays["test_time"], float)
    return np.log(times[:, :, KINDS.index(kind)] / times[:, :, KINDS.index(other)])


def dose_slope(config, arrays, kind, most):
    """Slope (seeds,) of `log_ratio` in rate/batch, by least squares through the origin over cells of at most this
    dose; NaN for a seed that is lost in one of them."""
    dose = doses(config)
    used = dose <= most
    return dose[used] @ log_ratio(arrays, kind)[used] / np.sum(dose[used] ** 2)


def realised(config, arrays, most):
    """Median of the covariance that the stable noise realises until a median seed groks, over C: N^(1/q - 1) med(A),
    averaged over cells as `dose_slope` weights them."""
    index, dose = config.tail_index / 2, doses(config)
    used = dose <= most
    median = stats.levy_stable.ppf(0.5, index, 1, scale=np.cos(np.pi * index / 2) ** (1 / index))
    times = np.median(np.asarray(arrays["test_time"], float)[:, :, KINDS.index("Levy")], axis=-1)
    num_steps = times / np.array(rates(config)[0])[:, None]
    return np.average((num_steps ** (1 / index - 1) * median)[used], weights=dose[used] ** 2)


def is_lost(arrays, kind):
    """Whether each chain diverged, (rates, batch sizes, seeds)."""
    return np.asarray(arrays["diverged_at"])[:, :, KINDS.index(kind)] >= 0


def rank_correlations(config, arrays):
    """Of sharpness early in training and grokking time over the starts of one cell: (dose, kind, function of the starts
    used) for each cell and kind of which no chain is lost; gradient descent once, its cells are one."""
    sharp = np.asarray(arrays["sharpness"], float)[:, :, :, min(2, config.num_stretches - 1)]
    times = np.asarray(arrays["test_time"], float)
    for row, kind in enumerate(KINDS):
        for i, j in np.ndindex(*times.shape[:2]):
            x, y = sharp[i, j, row], times[i, j, row]
            if np.isfinite(x).all() and np.isfinite(y).all() and (row or (i, j) == (0, 0)):
                yield doses(config)[i, j], kind, functools.partial(rank_correlation, x, y)


def rank_correlation(x, y, starts):
    return np.corrcoef(stats.rankdata(x[starts]), stats.rankdata(y[starts]))[0, 1]


def jackknife(statistic, num_starts):
    """(statistic of all starts, standard error by leaving out one start at a time)."""
    starts = np.arange(num_starts)
    left_out = np.array([statistic(np.delete(starts, start)) for start in starts])
    return statistic(starts), np.sqrt((num_starts - 1) * np.mean((left_out - left_out.mean()) ** 2))


COMPLETE = 0.5
"""rate/batch up to which no chain of any dynamics diverges"""
LINE = 1.0
"""rate/batch up to which the slopes of gradient descent, SGD and isotropic noise are taken"""


def checks(config, arrays):
    rows = []

    def add(name, found, predicted, tolerance, expect, source):
        rows.append(Check(name, found[0], predicted, found[1], tolerance, expect, source))

    slope = functools.partial(dose_slope, config, arrays)
    sgd_slope, isotropic_slope, levy_slope = slope("SGD", LINE), slope("isotropic", LINE), slope("Levy", COMPLETE)
    add("dose slope, SGD", over_seeds(sgd_slope), -0.1, 0.0, "below", "no noise: 0; the bound is ours")
    add("dose slope, isotropic less SGD", over_seeds(isotropic_slope - sgd_slope), 0.04, 0.0, "above",
        "0 if the trace alone mattered; the bound is ours")  # fmt: skip
    add("dose slope, isotropic, all cells", over_seeds(slope("isotropic", np.inf)), 0.0, 0.12, "agree", "no noise")
    largest = np.unravel_index(np.argmax(doses(config)), doses(config).shape)
    beyond = log_ratio(arrays, "SGD")[largest] / doses(config)[largest]
    add(f"log time of SGD at the largest rate/batch, over the line of those up to {LINE:g}",
        ratio_of_means(beyond, sgd_slope), 1.0, 0.45, "agree", "in proportion to rate/batch")  # fmt: skip
    dose = ratio_of_means(levy_slope, sgd_slope)
    add("dose of stable noise, realised", dose, realised(config, arrays, COMPLETE), 0.6,
        "agree", "N^(1/q - 1) times the median of A: sums of one-sided stable variates")  # fmt: skip
    add("dose of stable noise, over Gaussian noise as wide", dose, 1.0, 0.0, "above", "tail index 2")
    for (i, j), each in np.ndenumerate(doses(config)):
        cell = f"rate {rates(config)[0][i]:g}, batch {config.batch_sizes[j]}"
        delay = np.log(arrays["test_time"][i, j, KINDS.index("SGD")] / arrays["train_time"][i, j, KINDS.index("SGD")])
        add(f"log delay of SGD, {cell}", over_seeds(delay), np.log(2), 0.0, "above", "grokking: a delay of 2 or more")
        if each <= COMPLETE:
            ratio = log_ratio(arrays, "fine anisotropic", "SGD")[i, j]
            add(f"log time, fine anisotropic SDE over SGD, {cell}", over_seeds(ratio), 0.0, 0.1, "agree",
                "the matched SDE")  # fmt: skip
    still = np.log(np.asarray(arrays["test_time"], float)[:, :, KINDS.index("gradient descent")]).mean(axis=1)
    add("log time of gradient descent, largest rate over smallest", over_seeds(still[-1] - still[0]), 0.0, 0.01,
        "agree", "full batches: one gradient flow")  # fmt: skip
    lost = {kind: is_lost(arrays, kind) for kind in KINDS}
    num_lost = sum(lost[kind][doses(config) <= COMPLETE].sum() for kind in KINDS)
    add(f"chains of any dynamics that diverge, rate/batch up to {COMPLETE:g}", (num_lost, 0.0), 0.0, 0.0, "agree",
        "a count")  # fmt: skip
    num_lost = sum(lost[kind].sum() for kind in ("gradient descent", "SGD", "isotropic"))
    add("chains of gradient descent, SGD and isotropic noise that diverge, all cells", (num_lost, 0.0), 0.0, 0.0,
        "agree", "example gradients are bounded in number")  # fmt: skip
    gaussian = (lost["anisotropic"] + 1.0 * lost["fine anisotropic"]) / 2
    smallest = np.unravel_index(np.argmin(doses(config)), doses(config).shape)
    add("fraction of the Gaussian SDEs' chains that diverge, largest less smallest rate/batch",
        over_seeds(gaussian[largest] - gaussian[smallest]), 0.0, 0.0, "above",
        "Gaussian kicks are not bounded")  # fmt: skip
    for cell in zip(*np.nonzero(doses(config) > COMPLETE), strict=True):
        for name, kinds in (("the Gaussian SDEs", ("anisotropic", "fine anisotropic")), ("the Levy SDE", ("Levy",))):
            num_lost, half = sum(lost[kind][cell].sum() for kind in kinds), len(kinds) * config.num_chains / 2
            least = 0 if cell != largest and len(kinds) == 2 else half
            add(f"chains of {name} that diverge, rate/batch {doses(config)[cell]:g}", (num_lost, 0.0), least, 0.0,
                "above", "a count")  # fmt: skip
    grokked = np.isfinite(arrays["undecayed_test_time"][KINDS.index("SGD")])
    add("seeds of SGD that generalise without weight decay", fraction(grokked), 0.5, 0.0, "below",
        "weight decay is needed")  # fmt: skip
    i, j, row = 0, int(np.argmin(config.batch_sizes)), KINDS.index("SGD")
    index = np.asarray(arrays["index"])[i, j, row] - np.asarray(arrays["null"])[i, j, row]
    add(f"tail index of SGD's noise less its Gaussian null, rate {rates(config)[0][i]:g}, batch "
        f"{config.batch_sizes[j]}", over_seeds(index.mean(axis=0)), 0.0, 0.0, "below",
        "batches of few examples are not Gaussian")  # fmt: skip
    within = [each for _, _, each in rank_correlations(config, arrays)]
    mean_within = lambda starts: np.mean([each(starts) for each in within]) if within else np.nan
    add("rank correlation of sharpness and grokking time within a cell, mean of cells and dynamics",
        jackknife(mean_within, config.num_chains), 0.0, 0.0, "above", "no relation")  # fmt: skip
    return rows


LOOKS = {
    "gradient descent": {"color": style.COLOURS["theory"], "linestyle": "-", "marker": "x"},
    "SGD": style.line("SGD"),
    "isotropic": style.line("isotropic"),
    "anisotropic": style.line("diagonal"),
    "fine anisotropic": style.line("anisotropic"),
    "Levy": style.line("levy"),
}


def plot(config, arrays):
    figure, axes = style.figure(2, 3, width=11.0, height=6.6)
    i, j = 0, int(np.argmin(config.batch_sizes))
    names = {kind: kind for kind in KINDS} | {
        "anisotropic": "anisotropic, 1 step",
        "fine anisotropic": f"anisotropic, {config.substeps} microsteps",
        "Levy": f"Levy, tail index {config.tail_index:g}",
    }
    cell = f"rate {rates(config)[0][i]:g}, batch {config.batch_sizes[j]}"
    draw_accuracy(axes[0, 0], arrays, i, j)
    axes[0, 0].set_title(f"(a) test accuracy (train dashed), {cell}")
    draw_ratios(axes[0, 1], config, arrays)
    draw_ends(axes[0, 2], config, arrays)
    draw_parts(axes[1, 0], arrays, i, j, "sharpness")
    axes[1, 0].set(
        xlabel="time: sum of learning rates", ylabel="largest Hessian eigenvalue", title=f"(d) sharpness, {cell}"
    )
    draw_parts(axes[1, 1], arrays, i, j, "index")
    null = np.asarray(arrays["null"])[i, j, KINDS.index("SGD")]
    middle, width = null.mean(axis=1), 2 * null.std(axis=1) / null.shape[1] ** 0.5
    axes[1, 1].fill_between(arrays["time_of_part"], middle - width, middle + width, color="0.75", label="Gaussian null")
    axes[1, 1].set(
        xlabel="time: sum of learning rates", ylabel="tail index of the noise", title=f"(e) tail index, {cell}"
    )
    axes[1, 1].legend(loc="lower right")
    for panel in axes[1, :2]:
        panel.locator_params(axis="x", nbins=5)
    draw_correlations(axes[1, 2], config, arrays)
    lines = [axes[0, 0].plot([], [], **LOOKS[kind], label=names[kind])[0] for kind in KINDS]
    figure.legend(handles=lines, loc="outside upper center", ncols=6)
    return figure


def draw_accuracy(axes, arrays, i, j):
    """Of the dynamics that lose no chain here."""
    for row, kind in enumerate(KINDS):
        look = LOOKS[kind] | {"marker": ""}
        low, middle, high = np.moveaxis(np.asarray(arrays["test_accuracy"])[i, j, row], -1, 0)
        if is_lost(arrays, kind)[i, j].any():
            continue
        axes.plot(arrays["time"], middle, **look)
        axes.fill_between(arrays["time"], low, high, color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(
            arrays["time"], arrays["train_accuracy"][i, j, row, :, 1], color=look["color"], linestyle="--", lw=0.8
        )
    axes.set(xlabel="time: sum of learning rates", ylabel="fraction right, median and quartiles", ylim=(-0.02, 1.04))


def draw_ratios(axes, config, arrays):
    """Grokking time over gradient descent's against rate/batch, with two standard errors, and SGD's line. A mean is of
    all starts or not drawn; where chains diverged, at the top, how many."""
    dose = doses(config).ravel()
    order = np.argsort(dose, kind="stable")
    dose = dose[order]
    for shift, kind in zip((0, 0, -0.03, 0.03, 0), KINDS[1:], strict=True):
        ratios = log_ratio(arrays, kind).reshape(dose.size, -1)[order]
        middle = np.exp(np.where(np.isfinite(ratios).all(axis=1), ratios.mean(axis=1), np.nan))
        bars = 2 * middle * ratios.std(axis=1, ddof=1) / ratios.shape[1] ** 0.5
        if np.isfinite(middle).any():
            axes.errorbar(dose + shift, middle, bars, **LOOKS[kind], capsize=2)
    lost = {kind: is_lost(arrays, kind).reshape(dose.size, -1)[order].sum(axis=1) for kind in KINDS[1:]}
    top = axes.get_xaxis_transform()
    for each in range(dose.size):
        for row, kind in enumerate([kind for kind in lost if lost[kind][each]]):
            height, look = 0.915 - 0.055 * row, {"color": LOOKS[kind]["color"], "marker": LOOKS[kind]["marker"]}
            axes.plot(dose[each] - 0.12 * dose.max(), height, **look, linestyle="none", transform=top)
            words = f"{lost[kind][each]} of {config.num_chains}"
            axes.text(dose[each] + 0.07 * dose.max(), height, words, transform=top, ha="right", va="center", fontsize=7)
    if any(number.any() for number in lost.values()):
        words = "no mean where chains diverged; how many did:"
        axes.text(0.99, 0.97, words, transform=axes.transAxes, ha="right", va="center", fontsize=7)
    line = np.linspace(0, 1.05 * dose.max(), 50)
    slope = np.mean(dose_slope(config, arrays, "SGD", LINE))
    look = {"color": style.COLOURS["theory"], "linewidth": 0.8, "linestyle": "-"}
    axes.plot(line, np.exp(slope * line), **look, label=f"SGD's line, from rate/batch up to {LINE:g}")
    times = realised(config, arrays, COMPLETE)
    stable = line[line <= 1.2 * LINE]
    axes.plot(stable, np.exp(times * slope * stable), **look | {"linestyle": "--"},
              label=f"its dose times {times:.1f}, realised by stable noise")  # fmt: skip
    axes.set(xlabel="learning rate / batch size", ylabel="time to 99 % over gradient descent's", yscale="log",
             xlim=(0, 1.08 * dose.max()), ylim=(0.44, 1.45),
             title="(b) paired by start, bars: 2 standard errors")  # fmt: skip
    axes.set_yticks([0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2], ["0.5", "0.6", "0.7", "0.8", "0.9", "1", "1.2"])
    axes.minorticks_off()
    axes.legend(loc="lower left", fontsize=7)


def draw_ends(axes, config, arrays):
    """How the seeds of each cell ended: generalised, not by the end (censored), diverged."""
    cells = [(f"{rate:g}, {size}", arrays["test_time"][i, j], arrays["diverged_at"][i, j])
             for i, rate in enumerate(rates(config)[0]) for j, size in enumerate(config.batch_sizes)]  # fmt: skip
    last = f"{rates(config)[0][-1]:g}, {max(config.batch_sizes)}\nno decay"
    cells.append((last, arrays["undecayed_test_time"], arrays["undecayed_diverged_at"]))
    width, edge = 0.8 / len(KINDS), {"edgecolor": "0.6", "linewidth": 0.5}
    for row, kind in enumerate(KINDS):
        where = np.arange(len(cells)) + (row - 2.5) * width
        lost = np.array([np.mean(diverged[row] >= 0) for _, _, diverged in cells])
        reached = np.array([np.mean(np.isfinite(times[row])) for _, times, _ in cells])
        axes.bar(where, reached, width, color=LOOKS[kind]["color"])
        axes.bar(where, 1 - reached - lost, width, bottom=reached, color="white", **edge)
        axes.bar(where, lost, width, bottom=1 - lost, color="white", hatch="xxxx", **edge)
    for name, look in (("reaches 99 %", {"color": "0.5"}), ("not by the end", {"color": "white", **edge}),
                       ("diverges", {"color": "white", "hatch": "xxxx", **edge})):  # fmt: skip
        axes.bar([0], [0], label=name, **look)
    axes.set_xticks(range(len(cells)), [name for name, _, _ in cells])
    axes.set(xlabel="rate, batch size", ylabel=f"fraction of {config.num_chains} seeds", ylim=(0, 1.22),
             title="(c) how the seeds end")  # fmt: skip
    axes.legend(loc="upper center", ncols=3, fontsize=7, columnspacing=1)


def draw_parts(axes, arrays, i, j, name):
    for row, kind in enumerate(KINDS):
        values = np.asarray(arrays[name])[i, j, row]
        if np.isfinite(values).all():
            error = 2 * values.std(axis=1, ddof=1) / values.shape[1] ** 0.5
            axes.errorbar(arrays["time_of_part"], values.mean(axis=1), error, **LOOKS[kind], capsize=2)


def draw_correlations(axes, config, arrays):
    """Is a flatter memorising network one that generalises sooner, among the starts of one cell?"""
    starts = np.arange(config.num_chains)
    for dose, kind, correlation in rank_correlations(config, arrays):
        look = {"marker": LOOKS[kind]["marker"], "color": LOOKS[kind]["color"]}
        axes.plot(dose * 1.04 ** (KINDS.index(kind) - 2.5), correlation(starts), linestyle="", **look)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xticks(np.unique(doses(config)), [f"{dose:g}" for dose in np.unique(doses(config))])
    axes.minorticks_off()
    time = float(arrays["time_of_part"][min(2, config.num_stretches - 1)])
    title = f"(f) sharpness at time {time:,.0f} and time to 99 %,\n{config.num_chains} starts of a cell"
    axes.set(xlabel="learning rate / batch size", ylabel="rank correlation", ylim=(-0.5, 1), title=title)
