"""One hidden layer learns to add modulo 53 by a few frequencies, many times later than it has memorised the pairs.

The smallest network of ordinary parts that groks: both residues are embedded in 12 dimensions, 48 hidden neurons, 53
outputs, cross entropy on 40 % of the pairs, Adam with a penalty (weight decay in Adam's gradient, not decoupled) on
epochs of minibatches. Three kinds of run from the same starts and the same minibatches:

    GELU             memorises early, generalises many times later
    GELU, no decay   memorises as well, and does not generalise
    ReLU             as GELU; some of the runs are not there by the end

What happens in between is read in the Fourier basis of the residues. Key frequencies: the fewest that hold 90 % of the
power of the trained embedding, chosen once, at the end, from each network's own weights. Restricted loss: over all
pairs, only these frequencies of the sum m + n left in the logits. Excluded loss: over the training pairs, these
frequencies taken out. The excluded loss rises before the test loss falls: the network has begun to work by waves, and
only cannot be seen to.

A time is the first at which a curve crosses its level, between two records (200 steps apart) by a straight line; a run
that never crosses is censored at the end and shown hollow. The delay is the time of 95 % test accuracy over that of
99 % training accuracy.

What it does not say: 12 runs of each kind on one split of the pairs into train and test, at one weight decay. With ReLU
some did not generalise by the end (panel c counts them); no mean is taken over the others, all count. That no run
without decay generalises is said of this many steps only. No paper has just these sizes: they are what trains on two
cores in minutes, and the bounds are this project's.

Source: Power et al. 2022 (arXiv 2201.02177), the phenomenon; Nanda et al. 2023 (2301.05217), restricted and excluded
loss, on a transformer (`grokking_transformer`).

Command: `sgdsde reproduce grokking_mlp`.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial

from sgdsde import Check, modular_addition, optimizer, simulate, style
from sgdsde.measurements import first_crossing, fraction, halfway_crossing, mean
from sgdsde.observables import circuit_progress, key_frequencies, shares_of_power
from sgdsde.problems.modular_addition import cross_entropy, embedding_mlp_logits, embedding_weights

SEE = """With GELU the network generalises more than {GELU: delay | predicted} times later than it memorises
(geometric mean of 12 runs), works by fewer than {GELU: key frequencies | predicted} of 26 frequencies, and its
excluded loss rises before its test loss falls (z = {GELU: step at which the excluded loss rises, over that at which
the test loss falls | z}). Without weight decay it does not generalise by the end (z = {GELU, no decay: runs that
generalise | z} against half of the runs)."""

KINDS = ("GELU", "GELU, no decay", "ReLU")


@dataclass(frozen=True)
class Config:
    modulus: int = 53
    """p: residues to be added"""
    num_embedding: int = 12
    """dimensions of the embedding"""
    num_hidden: int = 48
    """neurons"""
    learning_rate: float = 0.005
    """of Adam"""
    batch_size: int = 128
    """examples in a minibatch, without replacement within an epoch"""
    weight_decay: float = 2e-4
    """of the penalty weight_decay |params|^2 / 2"""
    train_percent: int = 40
    """percent of the pairs that are trained on"""
    num_steps: int = 60_000
    """steps"""
    num_records: int = 300
    """records of the parameters"""
    num_chains: int = 12
    """runs of each kind: another start, other minibatches"""
    seed: int = 0


SMOKE = Config(modulus=11, num_embedding=4, num_hidden=8, batch_size=16, num_steps=40, num_records=4, num_chains=2)
CURVES = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "restricted_loss", "excluded_loss", "norm")
DIMENSIONS = {
    "step": ("record",),
    **dict.fromkeys(CURVES, ("kind", "record", "run")),
    "num_frequencies": ("kind", "run"),
    "power": ("kind", "run", "frequency"),
}


def kinds_of(config, key):
    """(problem, test examples, activation) of each of KINDS: the same split."""
    sizes = {
        "modulus": config.modulus,
        "num_embedding": config.num_embedding,
        "num_hidden": config.num_hidden,
        "train_fraction": config.train_percent / 100,
    }
    for activation, decay in (
        (jax.nn.gelu, config.weight_decay),
        (jax.nn.gelu, 0.0),
        (jax.nn.relu, config.weight_decay),
    ):
        yield *modular_addition.embedding_mlp(key, activation=activation, weight_decay=decay, **sizes), activation


def parameters(params):
    return params


@jax.jit
def seen(problem, logits, test, recorded):
    """What is seen in params (record, run, ...), with each run's own key frequencies at the end."""
    last = jax.tree.map(lambda leaf: leaf[-1], recorded)
    frequencies = jax.vmap(Partial(key_frequencies, embedding_weights, 0.9))(last)
    one = lambda params, frequencies: circuit_progress(problem, logits, cross_entropy, test, frequencies, params)
    curves = jax.lax.map(lambda params: jax.vmap(one)(params, frequencies), recorded)
    powers = jax.vmap(Partial(shares_of_power, embedding_weights))(last)
    return curves | {"num_frequencies": frequencies.sum(axis=1), "power": powers}


def run(config, key):
    split_key, run_key = jax.random.split(key)
    rows, every = [], config.num_steps // config.num_records
    for problem, test, activation in kinds_of(config, split_key):
        dynamics = optimizer(problem, optax.adam(config.learning_rate), batch_size=config.batch_size, sampling="epoch")
        found = simulate(
            dynamics, problem.init, run_key, num_steps=config.num_steps, num_chains=config.num_chains,
            observe=parameters, every=every,
        )  # fmt: skip
        rows.append(seen(problem, embedding_mlp_logits(activation), test, found.observed))
    return {
        "step": every * jnp.arange(1, config.num_records + 1),
        **jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows),
    }


def times(arrays, kind):
    """The four times of every run of a kind: memorised, excluded loss risen, test loss fallen, generalised."""
    row, step = KINDS.index(kind), np.asarray(arrays["step"], float)
    curve = lambda name: np.asarray(arrays[name][row], float)
    return {
        "memorised": np.asarray(first_crossing(step, curve("train_accuracy"), 0.99)),
        "excluded loss": np.asarray(halfway_crossing(step, curve("excluded_loss"), rising=True)),
        "test loss": np.asarray(halfway_crossing(step, curve("test_loss"), rising=False)),
        "generalised": np.asarray(first_crossing(step, curve("test_accuracy"), 0.95)),
    }


def when_memorised(arrays, kind):
    """Test accuracy (run,) at the first record at which 99 % of the training pairs are right; NaN if there is none."""
    row = KINDS.index(kind)
    reached = np.asarray(arrays["train_accuracy"][row]) >= 0.99
    test = np.take_along_axis(np.asarray(arrays["test_accuracy"][row]), reached.argmax(axis=0)[None], axis=0)[0]
    return np.where(reached.any(axis=0), test, np.nan)


def checks(config, arrays):
    rows = []

    def add(name, found, predicted, expect, source):
        rows.append(Check(name, found[0], predicted, found[1], 0, expect, source))

    bound, waves = "this project's bound", "Nanda et al. 2023: a circuit of few waves forms before it shows"
    for i, kind in enumerate(KINDS):
        last, then = arrays["train_accuracy"][i, -1], when_memorised(arrays, kind)
        add(f"{kind}: train accuracy at the end", mean(last), 0.99, "above", "every kind memorises")
        add(f"{kind}: test accuracy once 99 % are memorised", mean(then), 0.05, "below", "every kind memorises first")
    gelu, relu = times(arrays, "GELU"), times(arrays, "ReLU")
    add("GELU: test accuracy at the end", mean(arrays["test_accuracy"][0, -1]), 0.95, "above", "it generalises")
    add("GELU: delay", geometric_mean(gelu["generalised"] / gelu["memorised"]), 5, "above", bound)
    late = ~(relu["generalised"] / relu["memorised"] < 5)  # runs that are not there by the end included
    add("ReLU: runs of a delay over 5, or not there by the end", fraction(late), 0.5, "above", bound)
    num_censored = (~np.isfinite(relu["generalised"])).sum()
    add("ReLU: runs of these that are not there by the end", (num_censored, 0), 0, "above", "a count")
    add("GELU: step at which the excluded loss rises, over that at which the test loss falls",
        mean(gelu["excluded loss"] / gelu["test loss"]), 1, "below", waves)  # fmt: skip
    add("GELU: key frequencies", mean(arrays["num_frequencies"][0].astype(float)), 6, "below", bound)
    most = np.log(arrays["excluded_loss"][0, -1] / arrays["train_loss"][0, -1])
    add("GELU: log of the excluded loss over the train loss, at the end", mean(most), np.log(10), "above", bound)
    reached = np.isfinite(times(arrays, "GELU, no decay")["generalised"])
    add("GELU, no decay: runs that generalise", fraction(reached), 0.5, "below", "weight decay is needed")
    return rows


def geometric_mean(values):
    """(geometric mean, standard error) over runs."""
    logarithm, error = mean(np.log(values))
    return np.exp(logarithm), np.exp(logarithm) * error


LOOKS = dict(zip(KINDS, (style.line("SGD"), style.line("isotropic"), style.line("anisotropic")), strict=True))


def band(panel, step, values, **look):
    """Median over runs, quartiles shaded."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=1)
    panel.plot(step, middle, **look)
    panel.fill_between(step, low, high, color=look["color"], alpha=0.15, linewidth=0)


def plot(config, arrays):
    figure, panels = style.figure(2, 3, width=11.0, height=6.2)
    draw_accuracies(panels[0, 0], arrays)
    draw_losses(panels[0, 1], arrays)
    draw_times(panels[0, 2], config, arrays)
    draw_norms(panels[1, 0], arrays)
    draw_powers(panels[1, 1], arrays)
    draw_trade(panels[1, 2], arrays)
    return figure


def draw_accuracies(panel, arrays):
    for i, (kind, look) in enumerate(LOOKS.items()):
        look = look | {"marker": "", "linestyle": "-"}
        band(panel, arrays["step"], 100 * arrays["test_accuracy"][i], **look, label=f"{kind}: test")
        band(panel, arrays["step"], 100 * arrays["train_accuracy"][i], **look | {"linestyle": ":"})
    panel.plot([], [], color="grey", linestyle=":", label="train")
    panel.set(xscale="log", xlabel="step", ylabel="accuracy (%), median and quartiles", ylim=(-2, 104))
    panel.set_title("(a)")
    panel.legend(loc="lower left", bbox_to_anchor=(0.2, 0.04), fontsize=7)


def draw_losses(panel, arrays):
    for name, colour in (
        ("train", "SGD"),
        ("test", "anisotropic"),
        ("restricted", "theory"),
        ("excluded", "isotropic"),
    ):
        look = style.line(colour) | {"marker": "", "linestyle": "-"}
        where = "all pairs, key frequencies alone" if name == "restricted" else "training pairs, without them"
        label = f"{name}: {where}" if name in ("restricted", "excluded") else name
        band(panel, arrays["step"], arrays[f"{name}_loss"][0], **look, label=label)
    panel.set(
        xscale="log",
        yscale="log",
        xlabel="step",
        ylabel="cross entropy, median and quartiles",
        title="(b) GELU",
        ylim=(1e-4, 60),
    )
    panel.legend(loc="lower left", fontsize=7)


def draw_times(panel, config, arrays):
    """The four times of every run, one row a kind of time; runs that never get there at the right edge, hollow."""
    rows = ("train 99 %", "excluded loss\nhalf-way up", "test loss\nhalf-way down", "test 95 %")
    for i, (kind, look) in enumerate(LOOKS.items()):
        for place, (name, values) in enumerate(times(arrays, kind).items()):
            if kind != "GELU" and name in ("excluded loss", "test loss"):
                continue  # half-way to where, if it does not generalise?
            reached = np.isfinite(values)
            row = np.full(len(values), place + 0.22 * (i - 1))
            mark = {"marker": look["marker"], "linestyle": "none", "markersize": 3.5, "color": look["color"]}
            panel.plot(values[reached], row[reached], **mark, label=kind if place == 0 else None)
            count = np.sum(~reached)
            panel.plot(np.full(count, 1.2 * config.num_steps), row[~reached], **mark, markerfacecolor="white")
            if count:
                words = f"{kind}: {count} of {len(values)} not by the end"
                across = panel.get_yaxis_transform()
                panel.text(0.02, row[0], words, transform=across, va="center", fontsize=7, color=look["color"])
    panel.set_yticks(range(len(rows)), rows)
    panel.set(xscale="log", xlabel="step", ylim=(len(rows) - 0.5, -0.5), title="(c) each run; hollow: not by the end")
    panel.legend(loc="upper right", fontsize=7)


def draw_norms(panel, arrays):
    for i, (kind, look) in enumerate(LOOKS.items()):
        band(panel, arrays["step"], arrays["norm"][i], **look | {"marker": ""}, label=kind)
    panel.set(xscale="log", xlabel="step", ylabel="Euclidean norm of all weights", title="(d)")
    panel.legend()


def draw_powers(panel, arrays):
    """Shares of the embedding's power, sorted within each run."""
    for i, (kind, look) in enumerate(LOOKS.items()):
        shares = -np.sort(-np.asarray(arrays["power"][i]), axis=-1)
        band(
            panel,
            np.arange(1, shares.shape[-1] + 1),
            shares.cumsum(axis=-1).T,
            **look | {"markersize": 2.5},
            label=kind,
        )
    panel.axhline(0.9, color="grey", linewidth=0.8, linestyle=":")
    panel.set(
        xlabel="strongest frequencies", ylabel="share of the embedding's power", ylim=(0, 1.04), title="(e) at the end"
    )
    panel.legend()


def draw_trade(panel, arrays):
    """The memorising and the generalising network on one path: excluded loss against test loss, run by run."""
    for i, (kind, look) in enumerate(LOOKS.items()):
        for chain in range(min(4, arrays["test_loss"].shape[2])):
            x, y = arrays["excluded_loss"][i, :, chain], arrays["test_loss"][i, :, chain]
            panel.plot(x, y, color=look["color"], linewidth=0.8, label=kind if chain == 0 else None)
            panel.plot(x[-1], y[-1], color=look["color"], marker=look["marker"])
    panel.set(xscale="log", yscale="log", xlabel="excluded loss (training pairs)", ylabel="test loss")
    panel.set_title("(f) paths of four runs, markers at their ends")
    panel.legend()
