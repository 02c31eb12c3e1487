"""SGD and its matched SDEs on a loss of one's own, in one call: table, distances and figure."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial, tree_leaves

from sgdsde import noise, style
from sgdsde.arguments import count
from sgdsde.dynamics.contract import Dynamics
from sgdsde.dynamics.matching import match
from sgdsde.dynamics.minibatch import sgd
from sgdsde.ensemble import Trajectory
from sgdsde.laws import Sampling
from sgdsde.measurements.discrepancies import energy_distance
from sgdsde.measurements.distances import cdf_distance_two_samples
from sgdsde.problem import Problem, loss
from sgdsde.randomness import one_key
from sgdsde.simulation import simulate

__all__ = ["Comparison", "compare"]

SAMPLES = 4_000
"""most chains that enter the energy distance, whose cost is quadratic"""
BARS = 20
"""error bars along a course, at most"""


@dataclass(frozen=True)
class Comparison:
    """SGD beside its SDEs, compared while no chain has diverged: a mean over survivors would be another law's.

    trajectories: name -> Trajectory, "SGD" first; observed is the scalar that was compared, (num_records, num_chains).
    table: a row (a dictionary) for each: the last `step` at which all of its chains and of SGD's were finite (None if
        none was), there the observable's median and mean with their standard errors, and the fraction of chains
        `diverged` by the end. Under stable noise, and where chains diverge, a loss has no mean: it is NaN.
    distances: name -> row of two distances to SGD at that step, each with its standard error: `cdf` (Kolmogorov-
        Smirnov, of the observable) and `energy` (of all parameters, unbiased: 0 on average for equal laws; known at the
        end of the run only, NaN where a chain has diverged by then).
    """

    trajectories: dict[str, Trajectory]
    table: list[dict[str, Any]]
    distances: dict[str, dict[str, float]]
    observable: str

    def figure(self) -> Any:
        """How far each SDE is from SGD (matplotlib): the difference of the observable's means over time, of its
        medians where one of the two has no mean, with standard errors, on a scale that is linear up to SGD's own errors
        and logarithmic beyond; and its distribution functions at the end. What is drawn ends where a chain of either
        diverges; the scales are those of the noises with a mean."""
        drawn, (course, law) = style.figure(1, 2, height=3.2)
        reference, scales = self._of("SGD"), []
        for name in self.trajectories:
            seen, label, look = self._of(name), name.replace("_", " "), style.line(_colour(name))
            look = {"color": look["color"], "linestyle": look["linestyle"]}
            length = min(len(seen), len(reference))
            if length == 0:
                continue
            has_mean = self._row(name)["has_mean"] and self._row("SGD")["has_mean"]
            centre = _mean_and_error if has_mean else _median_and_error
            (found, found_error), (other, other_error) = centre(seen[:length]), centre(reference[:length])
            difference, error = found - other, np.hypot(found_error, other_error)
            time = np.asarray(self.trajectories[name].time)[:length]
            if name == "SGD":
                course.fill_between(time, -other_error, other_error, color=look["color"], alpha=0.2, lw=0)
                course.plot(time, np.zeros(length), label=label, **look)
            else:
                label = label if has_mean else f"{label} (medians)"
                every = -(-length // BARS)
                course.errorbar(time, difference, yerr=error, errorevery=every, label=label, elinewidth=0.8, **look)
            if has_mean:
                scales.append(np.abs(difference) + error)
            last = np.sort(seen[length - 1])
            law.plot(last, (np.arange(last.size) + 0.5) / last.size, **look)
        course.set(xlabel="time (sum of learning rates)", ylabel=f"{self.observable} minus SGD's, ± 1 s.e.")
        law.set(xlabel=f"{self.observable} at the last step compared", ylabel="fraction of chains below")
        if scales:  # heavy tails must not squeeze the rest out of sight, nor a far SDE a near one
            error = 4 * np.median(_mean_and_error(reference)[1])
            resolved = float(10 ** np.ceil(np.log10(error))) if error > 0 else 1.0
            limit = 1.5 * max(1.5 * resolved, *(scale.max() for scale in scales))
            course.set_yscale("symlog", linthresh=resolved)
            course.set_ylim(-limit, limit)
            _draw_ticks(course, resolved, limit)
            course.set_ylabel(f"{course.get_ylabel()}\n(logarithmic beyond ±{resolved:g})")
            low, high = np.quantile(reference[-1], [0.001, 0.999])
            law.set_xlim(low - (high - low) / 4 - 1e-12, high + (high - low) / 2 + 1e-12)
        with style.context():
            drawn.legend(loc="outside lower center", ncols=3)
        return drawn

    def _of(self, name: str) -> np.ndarray:
        """The observable (records that can be drawn before the first divergence, num_chains)."""
        found = self.trajectories[name]
        seen = np.asarray(found.observed, float)[: _finite_records(found)]
        return seen[: np.argmax(is_far)] if (is_far := (np.abs(seen) > 1e100).any(axis=1)).any() else seen

    def _row(self, name: str) -> dict[str, Any]:
        return next(row for row in self.table if row["dynamics"] == name)

    def __str__(self) -> str:
        lines = [["dynamics", f"{self.observable}: median", "mean", "diverged", "CDF distance", "energy distance"]]
        for row in self.table:
            distance = self.distances.get(row["dynamics"], {})
            numbers = [(row["median"], row["median_error"]), (row["mean"], row["standard_error"])]
            gaps = [(distance.get(kind, np.nan), distance.get(f"{kind}_error", np.nan)) for kind in ("cdf", "energy")]
            cells = [_shown(*pair, digits=5) for pair in numbers], [_shown(*pair, digits=3) for pair in gaps]
            lines.append([row["dynamics"], *cells[0], f"{row['diverged']:.1%}", *cells[1]])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        return "\n".join([*text, *self._notes()])

    def _notes(self) -> list[str]:
        """One line for each way in which a row is not what a reader would take it for."""
        steps = int(self.trajectories["SGD"].step[-1])
        notes = []
        for row in self.table:
            if row["step"] is None:
                notes.append(f"{row['dynamics']}: not compared: chains diverged before the first record")
            elif row["step"] < steps:
                notes.append(f"{row['dynamics']}: compared at step {row['step']} of {steps}, before chains diverged")
        if not all(row["has_mean"] for row in self.table):
            notes.append("a dash for a mean: under stable noise, and where chains diverge, there is none")
        return notes


def compare(
    problem: Problem,
    key: jax.Array,
    *,
    learning_rate: Any,
    batch_size: int,
    sampling: Sampling,
    num_steps: int,
    num_chains: int,
    momentum: Any = 0.0,
    tail_index: Any = None,
    substeps: int = 8,
    start: Any = None,
    at: Any = None,
    observe: Callable | None = None,
    every: int | None = None,
    kinds: Sequence[Callable] | Mapping[str, Callable | tuple[Callable, dict[str, Any]]] | None = None,
) -> Comparison:
    """Run SGD and its matched SDEs on `problem`, with independent keys, and measure how far each SDE is from SGD.

    kinds: noise kinds, by default isotropic, diagonal and anisotropic, and anisotropic Levy where tail_index is given;
        or {name: kind} and {name: (kind, options)} for names and options of one's own, as `match` takes them. A kind
        that takes a tail_index gets the one given here unless its options hold another.
    substeps: microsteps of the SDEs in a step (1: SGD's own step with another noise law; many: continuous time).
    start: as for `simulate`, by default problem.init; at: where fixed noise is matched, by default one draw of it.
    observe(params) -> scalar, by default the loss; recorded every `every` steps, by default 10 to 100 times where
        num_steps has such a divisor (a prime number of steps up to 10,000 is recorded at each).

    Raises what `sgd`, `match` and `simulate` raise, before any compute, and ValueError for an observable that is no
    scalar, fewer than two chains, or two kinds of one name.
    """
    discrete = sgd(problem, learning_rate=learning_rate, batch_size=batch_size, sampling=sampling, momentum=momentum)
    count("num_chains", num_chains, at_least=2, mend="distances need several chains, and errors more than one")
    if kinds is None:
        kinds = (noise.isotropic, noise.diagonal, noise.anisotropic)
        kinds += () if tail_index is None else (noise.anisotropic_levy,)
    chosen = _named(kinds)
    start = problem.init if start is None else start
    keys = jax.random.split(one_key(key), len(chosen) + 2)
    at = problem.init(keys[0]) if at is None else at
    observable = "loss" if observe is None else getattr(observe, "__name__", "observable")
    observe = Partial(loss, problem) if observe is None else observe
    shape = jax.eval_shape(observe, problem.params_like)
    if not (hasattr(shape, "shape") and shape.shape == ()):
        raise ValueError(f"observe: expected a function params -> scalar, got {shape}")
    every = _cadence(num_steps) if every is None else every
    named: dict[str, Dynamics] = {"SGD": discrete}
    for name, (kind, options) in chosen.items():
        if tail_index is not None and "tail_index" in inspect.signature(kind).parameters:
            options = {"tail_index": tail_index} | options
        named[f"{name} SDE"] = match(discrete, kind, substeps=substeps, at=at, **options)
    trajectories = {
        name: simulate(dynamics, start, k, num_steps=num_steps, num_chains=num_chains, observe=observe, every=every)
        for (name, dynamics), k in zip(named.items(), keys[1:])
    }
    reference = trajectories["SGD"]
    table = [_row(name, named[name], found, reference) for name, found in trajectories.items()]
    distances = {name: _distances(found, reference) for name, found in trajectories.items() if name != "SGD"}
    return Comparison(trajectories, table, distances, observable)


def _named(kinds: Any) -> dict[str, tuple[Callable, dict[str, Any]]]:
    """name -> (kind, options)."""
    if isinstance(kinds, Mapping):
        return {name: _with_options(kind) for name, kind in kinds.items()}
    names = [getattr(getattr(kind, "func", kind), "__name__", "noise") for kind in kinds]
    if len(set(names)) < len(names):
        given = ", ".join(names)
        raise ValueError(f"kinds: expected one of each name, got {given}; name them, {{name: (kind, options)}}")
    return {name: _with_options(kind) for name, kind in zip(names, kinds, strict=True)}


def _with_options(kind: Any) -> tuple[Callable, dict[str, Any]]:
    kind, options = kind if isinstance(kind, tuple) and len(kind) == 2 else (kind, {})
    if not callable(kind) or not isinstance(options, Mapping):
        raise TypeError(f"kinds: expected functions such as noise.anisotropic, or (kind, options), got {kind!r}")
    return kind, dict(options)


def _row(name: str, dynamics: Any, found: Trajectory, reference: Trajectory) -> dict[str, Any]:
    records = min(_finite_records(found), _finite_records(reference))
    is_light = float(getattr(getattr(dynamics, "noise", None), "tail_index", 2.0)) == 2
    has_mean = is_light and bool((np.asarray(found.diverged_at) < 0).all())
    median = mean = (np.nan, np.nan)
    if records:
        seen = np.asarray(found.observed[records - 1], float)[None]
        median = tuple(float(value[0]) for value in _median_and_error(seen))
        mean = tuple(float(value[0]) for value in _mean_and_error(seen)) if has_mean else mean
    return {
        "dynamics": name,
        "step": int(found.step[records - 1]) if records else None,
        "median": median[0],
        "median_error": median[1],
        "mean": mean[0],
        "standard_error": mean[1],
        "has_mean": has_mean,
        "diverged": float((found.diverged_at >= 0).mean()),
    }


def _distances(found: Trajectory, reference: Trajectory) -> dict[str, float]:
    records = min(_finite_records(found), _finite_records(reference))
    cdf = cdf_distance_two_samples(found.observed[records - 1], reference.observed[records - 1]) if records else None
    is_whole = all((np.asarray(one.diverged_at) < 0).all() for one in (found, reference))
    energy = energy_distance(_flat(found.params), _flat(reference.params)) if is_whole else None
    (cdf, cdf_error), (energy, energy_error) = cdf or (np.nan, np.nan), energy or (np.nan, np.nan)
    return {"cdf": cdf, "cdf_error": cdf_error, "energy": energy, "energy_error": energy_error}


def _finite_records(found: Trajectory) -> int:
    """How many records come before the first step at which a chain diverged or the observable is not finite."""
    diverged_at, steps = np.asarray(found.diverged_at), np.asarray(found.step)
    first = diverged_at[diverged_at >= 0].min(initial=np.iinfo(np.int32).max)
    is_good = (steps < first) & np.isfinite(np.asarray(found.observed, float)).all(axis=1)
    return len(steps) if is_good.all() else int(np.argmin(is_good))


def _mean_and_error(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over chains (m, num_chains), each (m,)."""
    with np.errstate(over="ignore"):  # of chains about to diverge: an infinite error is one
        return seen.mean(axis=1), seen.std(axis=1, ddof=1) / np.sqrt(seen.shape[1])


def _median_and_error(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over chains (m, num_chains), each (m,); the error is half the distance between the two order statistics that are
    sqrt(num_chains)/2 places on either side, a confidence interval of one standard error for any law."""
    ordered, size = np.sort(seen, axis=1), seen.shape[1]
    away = np.sqrt(size) / 2
    low, high = int(max(np.floor(size / 2 - away), 0)), int(min(np.ceil(size / 2 + away), size - 1))
    return np.median(seen, axis=1), (ordered[:, high] - ordered[:, low]) / 2


def _flat(params: Any) -> np.ndarray:
    """(num_chains, d), of at most SAMPLES chains."""
    leaves = [np.asarray(leaf[:SAMPLES], float) for leaf in tree_leaves(params)]
    return np.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def _cadence(num_steps: int) -> int:
    """The divisor of num_steps that gives the most records up to 100; if those are fewer than 10, the one that gives
    the fewest above 100, up to 10,000."""
    small = [step for step in range(1, int(num_steps**0.5) + 1) if num_steps % step == 0]
    records = sorted({*small, *(num_steps // step for step in small)})
    few = max(number for number in records if number <= 100)
    many = min((number for number in records if 100 < number <= 10_000), default=few)
    return num_steps // (few if few >= 10 or num_steps < 100 else many)


def _draw_ticks(panel: Any, resolved: float, limit: float) -> None:
    """Ticks of a symmetric axis that is linear up to `resolved`, a power of ten, and logarithmic beyond: numbers where
    they have room, most round ones first; inside the linear part the halves, beyond it 2 and 5 or 3 times a power."""
    decades = int(np.log10(limit / resolved) + 1e-9)
    place = lambda size: 10 / 9 * min(size / resolved, 1) + np.log10(max(size / resolved, 1))  # matplotlib's own
    apart = 0.14 * place(limit)
    powers = [resolved * 10.0**k for k in range(0, decades + 1, int(np.ceil(apart)))]
    few = [many * resolved * 10.0**k for k in range(min(decades, 3) + 1) for many in (2, 5, 3)]
    kept: list[float] = [0.0]
    for size in [*powers[::-1], resolved / 2, *few]:
        if size <= limit and all(abs(place(size) - place(other)) >= apart for other in kept):
            kept.append(size)
    ticks = sorted({sign * size for size in kept for sign in (-1, 1)})
    panel.set_yticks(ticks, [_tick_text(tick) for tick in ticks])
    small = np.arange(1, 10) / 10 * resolved
    fine = np.concatenate([small * 10**k for k in range(decades + 2)]) if decades < 4 else np.zeros(0)
    fine = fine[fine < limit]
    panel.set_yticks(np.concatenate([-fine, fine]), minor=True)


def _tick_text(tick: float) -> str:
    sign, size = "\N{MINUS SIGN}" if tick < 0 else "", abs(tick)
    if size == 0 or 1e-4 < size < 1e5:
        return f"{sign}{size:.5g}"
    many, power = f"{size:.0e}".split("e")
    return f"{sign}{'' if many == '1' else many + ' x '}$10^{{{int(power)}}}$"


def _shown(value: float, error: float, digits: int) -> str:
    return f"{value:.{digits}g} ± {error:.1g}" if np.isfinite(value) else "-"


def _colour(name: str) -> str:
    kind = name.removesuffix(" SDE")
    if "levy" in kind:
        return "levy"
    return kind if kind in style.COLOURS else "theory"
