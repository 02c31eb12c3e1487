"""The shape of SGD's noise, not its size, moves the grokking time of a quadratic network on modular addition.

A quadratic network learns m + n mod p from some of the p^2 pairs. It memorises them at
once and generalises much later, while weight decay shrinks what only memorises. Each seed starts at the same weights
under six dynamics of equal rate:

    gradient descent    no noise
    SGD                 minibatches drawn with replacement
    isotropic           Langevin, covariance tr C(x)/d * identity: SGD's size of noise at every x, not its shape
    anisotropic         Langevin, covariance C(x), one Euler step a step: SGD's mean and covariance, Gaussian
    fine anisotropic    the same SDE at several microsteps a step: continuous time
    Levy                elliptical stable noise sqrt(A) N(0, C(x)) of tail index below 2

The grokking time is the first at which 99 % of the test pairs are right, in units of the time t = sum of rates; a seed
that never gets there is censored at the end and counted, never dropped. Seeds are paired: log(time / SGD's time) of the
same start is averaged over seeds. Cells: rates x batch sizes with weight decay, and one without, where nothing groks.
Along the way: sharpness (largest Hessian eigenvalue of the train loss), tr C, and the tail index of the minibatch
noise beside the same estimate on Gaussian noise of the same covariance (its null).

The answer for this network (p = 23, 128 neurons): at rate/batch = 2 SGD generalises 1.57 +- 0.04 times sooner than
gradient descent and 1.51 +- 0.04 times sooner than Langevin dynamics whose noise is as large and isotropic, so that it
is the shape of the noise that moves the grokking time, not its size. Grokking times over SGD's, geometric means over
seeds that both reach 99 %, +- one standard error:

    rate/batch                  1/4             1/2             1               2
    no noise                    1.06 +- 0.01    1.14 +- 0.02    1.23 +- 0.02    1.57 +- 0.04
    isotropic, same trace       1.06 +- 0.02    1.13 +- 0.02    1.20 +- 0.03    1.51 +- 0.04
    anisotropic, fine           1.00 +- 0.01    1.02 +- 0.01    0.98 +- 0.02    0.98 +- 0.05 (3 of 16 seeds)
    Levy, index 1.8             0.92 +- 0.01    0.88 +- 0.02    0.83 +- 0.03 (4 of 16)   none

Covariance alone is enough: the anisotropic SDE takes SGD's time. Noise comes with a flatter memorising network, by
which grokking times are ordered (rank correlation 0.77), not with heavy tails: SGD's tail index is 0.03 below its
Gaussian null at batches of 4 and 0.004 below it at 16. Stable noise of the same shape is sooner still where it
survives. At rate/batch = 2 most seeds of the Gaussian SDEs diverge, and all of the Levy SDE's, where none of SGD's
does: example gradients are bounded in number, kicks are not. Without weight decay nothing generalises, with any noise.

What it does not say: one architecture, one split of the pairs into train and test, one weight decay.

Source: the network is that of Gromov 2023 (arXiv 2301.02679); the comparison is this file's.

Command: `sgdsde reproduce grokking_noise`, about 20 minutes on two cores. One should see: at rate/batch 2, over SGD's
time, 1.57 without noise, 1.51 with isotropic noise as large, 0.98 with SGD's covariance.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from scipy import stats

from sgdsde import Check, euler_maruyama, gradient_variance, match, modular_addition, noise, sgd, simulate, style
from sgdsde.measurements import first_crossing, fraction
from sgdsde.measurements import mean as over_seeds
from sgdsde.observables import (
    accuracy,
    all_of,
    mean_example_loss,
    noise_tail_index,
    observer,
    sharpness,
)

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
    num_rates=1, batch_sizes=(16,), num_steps=8, num_stretches=1, num_records=2, num_batches=16,
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
            "trace": gradient_variance(problem, params),
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


def paired(arrays, first, second):
    """log(time of `first` / time of `second`) over seeds, of equal starts that both reach 99 %: for each cell the mean,
    its standard error and the number of pairs, (rates, batch sizes) each."""
    times = arrays["test_time"]
    ratio = np.log(times[:, :, KINDS.index(first)] / times[:, :, KINDS.index(second)])
    count = np.isfinite(ratio).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(ratio, axis=-1) / count
        spread = np.nansum((ratio - mean[..., None]) ** 2, axis=-1) / (count - 1)
        return mean, np.sqrt(spread / count), count


def checks(config, arrays):
    sgd_row = KINDS.index("SGD")
    rows = []

    def add(name, found, predicted, tolerance, expect, source):
        rows.append(Check(name, found[0], predicted, found[1], tolerance, expect, source))

    for i, rate in enumerate(rates(config)[0]):
        for j, size in enumerate(config.batch_sizes):
            cell = f"rate {rate:g}, batch {size}"
            delay = np.log(arrays["test_time"][i, j, sgd_row] / arrays["train_time"][i, j, sgd_row])
            add(
                f"log delay of SGD, {cell}",
                over_seeds(delay),
                np.log(2),
                0.0,
                "above",
                "grokking: a delay of 2 or more",
            )
            if rate / size <= 1:
                mean, error, _ = paired(arrays, "fine anisotropic", "SGD")
                found = mean[i, j], error[i, j]
                add(f"log time, fine anisotropic SDE over SGD, {cell}", found, 0.0, 0.2, "agree", "the matched SDE")
    grokked = np.isfinite(arrays["undecayed_test_time"][sgd_row])
    add(
        "seeds of SGD that generalise without weight decay",
        fraction(grokked),
        0.5,
        0.0,
        "below",
        "weight decay is needed",
    )
    i, j = config.num_rates - 1, int(np.argmin(config.batch_sizes))
    cell = f"rate {rates(config)[0][i]:g}, batch {config.batch_sizes[j]}"
    for kind in ("gradient descent", "isotropic"):
        mean, error, _ = paired(arrays, kind, "SGD")
        source = "no noise" if kind == "gradient descent" else "the same trace at every point, another shape"
        add(f"log time, {kind} over SGD, {cell}", (mean[i, j], error[i, j]), 0.0, 0.0, "above", source)
    lost = arrays["diverged_at"][i, j] >= 0
    add(f"seeds of SGD that diverge, {cell}", fraction(lost[sgd_row]), 0.5, 0.0, "below", "bounded example gradients")
    (one_step, one_error), (own, own_error) = fraction(lost[KINDS.index("anisotropic")]), fraction(lost[sgd_row])
    add(f"seeds of the one-step anisotropic SDE that diverge, less SGD's, {cell}",
        (one_step - own, np.hypot(one_error, own_error)), 0.0, 0.0, "above", "Gaussian tails")  # fmt: skip
    index = arrays["index"][i, j, sgd_row] - arrays["null"][i, j, sgd_row]
    add(f"tail index of SGD's noise less its Gaussian null, {cell}", over_seeds(index.mean(axis=0)), 0.0, 0.0, "below",
        "batches of few examples are not Gaussian")  # fmt: skip
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
    figure, axes = style.figure(2, 3, width=11.0, height=6.4)
    i, j = config.num_rates - 1, int(np.argmin(config.batch_sizes))
    names = {kind: kind for kind in KINDS} | {
        "anisotropic": "anisotropic, 1 step",
        "fine anisotropic": f"anisotropic, {config.substeps} microsteps",
        "Levy": f"Levy, tail index {config.tail_index:g}",
    }
    title = f"rate {rates(config)[0][i]:g}, batch {config.batch_sizes[j]}"
    draw_accuracy(axes[0, 0], config, arrays, i, j, names)
    axes[0, 0].set_title(f"test accuracy (train dashed), {title}")
    draw_ratios(axes[0, 1], config, arrays)
    draw_ends(axes[0, 2], config, arrays)
    draw_parts(axes[1, 0], arrays, i, j, "sharpness")
    axes[1, 0].set(
        xlabel="time: sum of learning rates", ylabel="largest Hessian eigenvalue", title=f"sharpness, {title}"
    )
    draw_parts(axes[1, 1], arrays, i, j, "index")
    null = arrays["null"][i, j, KINDS.index("SGD")]
    middle, width = null.mean(axis=1), 2 * null.std(axis=1) / null.shape[1] ** 0.5
    axes[1, 1].fill_between(arrays["time_of_part"], middle - width, middle + width, color="0.75", label="Gaussian null")
    axes[1, 1].set(xlabel="time: sum of learning rates", ylabel="tail index of the noise", title=f"tail index, {title}")
    axes[1, 1].legend(loc="lower right")
    draw_seeds(axes[1, 2], config, arrays)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def draw_accuracy(axes, config, arrays, i, j, names):
    for row, kind in enumerate(KINDS):
        look = LOOKS[kind] | {"marker": ""}
        low, middle, high = np.moveaxis(arrays["test_accuracy"][i, j, row], -1, 0)
        if not np.isfinite(middle[-1]):
            middle = np.where(np.isfinite(middle), middle, np.nan)
        axes.plot(arrays["time"], middle, **look, label=names[kind])
        axes.fill_between(arrays["time"], low, high, color=look["color"], alpha=0.15, linewidth=0)
        axes.plot(
            arrays["time"], arrays["train_accuracy"][i, j, row, :, 1], color=look["color"], linestyle="--", lw=0.8
        )
    axes.set(xlabel="time: sum of learning rates", ylabel="fraction right, median and quartiles", ylim=(-0.02, 1.04))


def draw_ratios(axes, config, arrays):
    """Grokking time over SGD's against rate / batch size, with two standard errors."""
    rate, sizes = np.meshgrid(rates(config)[0], config.batch_sizes, indexing="ij")
    order = np.argsort((rate / sizes).ravel(), kind="stable")
    for shift, kind in zip((-2, -1, 0, 1, 2), [kind for kind in KINDS if kind != "SGD"], strict=True):
        mean, error, count = (each.ravel()[order] for each in paired(arrays, kind, "SGD"))
        shown = count > 1
        where = (rate / sizes).ravel()[order][shown] * 1.03**shift
        axes.errorbar(where, np.exp(mean[shown]), np.exp(mean[shown]) * 2 * error[shown], **LOOKS[kind], capsize=2)
    axes.axhline(1, **LOOKS["SGD"] | {"marker": ""})
    axes.set_xscale("log", base=2)
    axes.set_xlim((rate / sizes).min() / 1.4, (rate / sizes).max() * 1.4)
    axes.set(
        xlabel="learning rate / batch size",
        ylabel="time to 99 % over SGD's",
        title="paired by start, 2 standard errors",
    )


def draw_ends(axes, config, arrays):
    """How the seeds of each cell ended: generalised, not by the end (censored), diverged."""
    cells = [(f"{rate:g}, {size}", arrays["test_time"][i, j], arrays["diverged_at"][i, j])
             for i, rate in enumerate(rates(config)[0]) for j, size in enumerate(config.batch_sizes)]  # fmt: skip
    last = f"{rates(config)[0][-1]:g}, {max(config.batch_sizes)}\nno decay"
    cells.append((last, arrays["undecayed_test_time"], arrays["undecayed_diverged_at"]))
    width = 0.8 / len(KINDS)
    for row, kind in enumerate(KINDS):
        where = np.arange(len(cells)) + (row - 2.5) * width
        lost = np.array([np.mean(diverged[row] >= 0) for _, _, diverged in cells])
        reached = np.array([np.mean(np.isfinite(times[row])) for _, times, _ in cells])
        axes.bar(where, reached, width, color=LOOKS[kind]["color"])
        axes.bar(where, 1 - reached - lost, width, bottom=reached, color="white", edgecolor="0.6", linewidth=0.5)
        axes.bar(where, lost, width, bottom=1 - lost, color="white", edgecolor="0.6", hatch="xxxx", linewidth=0.5)
    axes.set_xticks(range(len(cells)), [name for name, _, _ in cells])
    axes.set(xlabel="rate, batch size", ylabel="fraction of seeds", ylim=(0, 1.02),
             title="full: groks; empty: censored; hatched: diverges")  # fmt: skip


def draw_parts(axes, arrays, i, j, name):
    for row, kind in enumerate(KINDS):
        values = arrays[name][i, j, row]
        if np.isfinite(values).all():
            error = 2 * values.std(axis=1, ddof=1) / values.shape[1] ** 0.5
            axes.errorbar(arrays["time_of_part"], values.mean(axis=1), error, **LOOKS[kind], capsize=2)


def draw_seeds(axes, config, arrays):
    """Every seed of every cell: is a flatter memorising network one that generalises sooner?"""
    part = min(2, config.num_stretches - 1)
    sharp, times = arrays["sharpness"][:, :, :, part], arrays["test_time"]
    for row, kind in enumerate(KINDS):
        look = {"marker": LOOKS[kind]["marker"], "color": LOOKS[kind]["color"], "ms": 3}
        axes.plot(sharp[:, :, row].ravel(), times[:, :, row].ravel(), linestyle="", **look)
    both = np.isfinite(sharp) & np.isfinite(times)
    title = f"{both.sum()} seeds of all cells"
    if both.sum() > 9:
        ranks = stats.rankdata(sharp[both]), stats.rankdata(times[both])
        title += f", rank correlation {np.corrcoef(*ranks)[0, 1]:.2f}"
    axes.locator_params(axis="x", nbins=5)
    axes.set(xlabel=f"sharpness at time {arrays['time_of_part'][part]:,.0f}", ylabel="time to 99 %", title=title)
