"""One panel of a sweep's figure: lines with bands along one axis, a heat map over two, or the seeds of one point."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgdsde import style
from sgdsde.sweeps.reading.averages import SeedAverage
from sgdsde.sweeps.reading.scales import Scale, draw_ticks

MISSING_COLOUR = "0.55"
MOST_WRITTEN_COLUMNS, MOST_WRITTEN_ROWS = 5, 6
_LINE_STYLES = ("isotropic", "anisotropic", "levy", "diagonal", "constant", "SGD")
MOST_LINES = len(_LINE_STYLES)
NO_VALUE = "no finite value"
FAIL, FAIL_COLOUR = "verdict: fail", "#EE0000"
UNDERPOWERED, UNDERPOWERED_COLOUR = "underpowered: not passed", "0.25"
_NOT_PASSED = {
    "fail": {"edgecolor": FAIL_COLOUR, "linestyle": "-", "label": FAIL},
    "underpowered": {"edgecolor": UNDERPOWERED_COLOUR, "linestyle": (0, (1.2, 0.9)), "label": UNDERPOWERED},
}
SOME_LEFT_OUT = "mean over fewer seeds: some not finite or failed"


def plain(text: str, width: int) -> str:
    """A text broken into lines that matplotlib does not read as mathematics."""
    lines = [textwrap.fill(line, width) for line in text.split("\n")]
    return "\n".join(lines).replace("$", r"\$")


def left_out(average: SeedAverage) -> str:
    """How many runs are not in the means, `3 not finite, 1 failed of 96 runs`; empty where all are."""
    num_runs = average.num_seeds * average.value.size
    counts = {"not finite": int(average.num_diverged.sum()), "failed": int(average.num_failed.sum())}
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f"{', '.join(parts)} of {num_runs} runs" if parts else ""


def error_label(average: SeedAverage) -> str:
    """What the error bars are."""
    if np.isfinite(average.standard_error).any():
        return f"mean ± 1 standard error\n({average.num_seeds} seeds)"
    if np.isfinite(average.own_error).any():
        return "one seed\n± 1 standard error of the check" if average.num_seeds == 1 else "± 1 standard error"
    return "one seed" if average.num_seeds == 1 else f"mean of {average.num_seeds} seeds"


def colour_label(average: SeedAverage, *, is_named: bool) -> str:
    """What the colours are: the mean, how well it is known, and a prediction that is the same everywhere."""
    name = f"{average.name}\n" if is_named else ""
    label = f"{name}mean of {average.num_seeds} seeds" if average.num_seeds > 1 else f"{name}one seed"
    errors = average.error[np.isfinite(average.error)]
    if errors.size:
        label += f"\nstandard error up to {errors.max():.2g}"
    if _is_constant(average.predicted):
        label += f"\npredicted {np.nanmax(average.predicted):.3g} everywhere"
    return label


def draw_lines(panel: Any, average: SeedAverage, scale: Scale, names: Sequence[str]) -> None:
    """Lines with bands of one standard error, one for each of `names`; `average` has shape (len(names), size)."""
    for row, (name, look) in enumerate(zip(names, _looks(names), strict=True)):
        line, label = average.part(row), plain(name, 40) or None
        if scale.is_categorical:
            points = look | {"linestyle": "none", "capsize": 3, "zorder": 3}
            panel.errorbar(scale.places, line.value, line.error, **points, label=label)
        else:
            band = {"color": look["color"], "alpha": 0.2, "linewidth": 0}
            panel.plot(scale.places, line.value, **look, label=label, zorder=3)
            panel.fill_between(scale.places, line.value - line.error, line.value + line.error, **band)
        some = np.isfinite(line.value) & (line.num_left_out > 0)
        if some.any():
            hollow = {"marker": look["marker"], "color": look["color"], "linestyle": "none", "markersize": 5}
            panel.plot(scale.places[some], line.value[some], **hollow, markerfacecolor="white", zorder=4)
            hollow |= {"color": MISSING_COLOUR, "marker": "o"}
            panel.plot([], [], **hollow, markerfacecolor="white", label=f"hollow: {SOME_LEFT_OUT}")
        none = ~np.isfinite(line.value)
        if none.any():
            crosses = {"marker": "x", "linestyle": "none", "markersize": 5}
            height = np.full(none.sum(), 0.03 + 0.05 * row)
            at_bottom = {"transform": panel.get_xaxis_transform(), "color": look["color"], "zorder": 5}
            panel.plot(scale.places[none], height, **crosses, **at_bottom)
            panel.plot([], [], **crosses, color=MISSING_COLOUR, label=f"cross: {NO_VALUE}")
            _draw_rings(panel, scale.places[none], height, line.verdict[none], transform=panel.get_xaxis_transform())
        _draw_rings(panel, scale.places[~none], line.value[~none], line.verdict[~none])
    if np.isfinite(average.predicted).any():
        theory = style.line("theory")
        if scale.is_categorical:  # a bar at each category; between them there is nothing to predict
            theory |= {"linestyle": "none", "marker": "_", "markersize": 18, "markeredgewidth": 2}
        is_same = np.allclose(average.predicted, average.predicted[:1], rtol=1e-9, atol=0, equal_nan=True)
        for row, look in enumerate(_looks(names)[: 1 if is_same else None]):
            marker = {} if is_same or scale.is_categorical else {"marker": look["marker"], "markerfacecolor": "white"}
            panel.plot(scale.places, average.predicted[row], **theory | marker, zorder=2)
        panel.plot([], [], **theory, label="predicted")
    if not np.isfinite(average.value).any():
        panel.set_yticks([])
    elif _is_wide(np.concatenate([average.value.ravel(), average.predicted.ravel()])):
        panel.set_yscale("log")
    if scale.is_categorical:
        panel.set_xlim(-0.5, len(scale.texts) - 0.5)
    draw_ticks(panel.xaxis, scale, is_even=False, room=0.024)


def draw_heat_map(panel: Any, average: SeedAverage, vertical: Scale, horizontal: Scale, norm: Any) -> Any:
    """A heat map of the means, predicted values as contours; `average` has shape (vertical, horizontal).

    A cell without a finite value shows the hatched ground. Returns what a colour bar describes.
    """
    num_rows, num_columns = average.value.shape
    ground = {"facecolor": "0.93", "edgecolor": MISSING_COLOUR, "hatch": "////"}
    panel.patch.set(**ground, linewidth=0)
    mesh = panel.pcolormesh(
        np.arange(num_columns + 1) - 0.5, np.arange(num_rows + 1) - 0.5, np.ma.masked_invalid(average.value), norm=norm
    )
    for spine in panel.spines.values():
        spine.set_visible(False)
    if not np.isfinite(average.value).all():
        panel.fill_between([], [], **ground, linewidth=0, label=f"hatched: {NO_VALUE}")
    some = np.argwhere(np.isfinite(average.value) & (average.num_left_out > 0))
    if some.size:
        crosses = {"marker": "x", "linestyle": "none", "markersize": 5 if max(average.value.shape) <= 10 else 2.5}
        panel.plot(some[:, 1] + 0.36, some[:, 0] + 0.36, **crosses, color="black", path_effects=_outline("white"))
        panel.plot([], [], **crosses, color="black", label=f"cross: {SOME_LEFT_OUT}")
    if vertical.is_categorical or horizontal.is_categorical:
        _write_cells(panel, average)
    else:
        _draw_contours(panel, average.predicted)
    _draw_frames(panel, average.verdict)
    draw_ticks(panel.xaxis, horizontal, is_even=True, room=0.03)
    draw_ticks(panel.yaxis, vertical, is_even=True, room=0.07)
    return mesh


def draw_seeds(panel: Any, average: SeedAverage, seeds: Sequence[int]) -> None:
    """The seeds of a single point and, beside them, their mean with one standard error; `average` has shape ()."""
    places = np.arange(len(seeds))
    own = average.sample_errors if np.isfinite(average.sample_errors).any() else None
    look = {"linestyle": "none", "capsize": 2}
    panel.errorbar(places, average.samples, own, marker="o", color=style.COLOURS["diagonal"], **look, label="a seed")
    none = np.isnan(average.samples)
    if none.any():
        crosses = {"marker": "x", "linestyle": "none", "color": MISSING_COLOUR}
        height = np.full(none.sum(), 0.03)
        panel.plot(places[none], height, transform=panel.get_xaxis_transform(), **crosses, label=f"cross: {NO_VALUE}")
    texts, last = [str(seed) for seed in seeds], len(seeds)
    if len(seeds) > 1:
        last = len(seeds) + max(0.5, 0.04 * len(seeds))
        panel.errorbar(last, average.value, average.error, marker="s", color="black", **look, label="their mean")
    place, verdict = np.array([last if len(seeds) > 1 else 0]), average.verdict.reshape(1)
    if np.isfinite(average.value):
        _draw_rings(panel, place, average.value.reshape(1), verdict)
    else:
        _draw_rings(panel, place, np.array([0.03]), verdict, transform=panel.get_xaxis_transform())
    if np.isfinite(average.predicted):
        panel.axhline(float(average.predicted), **style.line("theory"), label="predicted", zorder=1)
    every = -(-len(seeds) // 6)
    ticks = dict(zip(places[::every].tolist(), texts[::every])) | ({last: "mean"} if len(seeds) > 1 else {})
    if len(seeds) > 1 and every > 1 and last - (len(seeds) - 1) // every * every < 0.8 * every:
        del ticks[(len(seeds) - 1) // every * every]  # too close to the mean
    panel.set_xticks(list(ticks), list(ticks.values()))
    panel.set_xlim(-0.6, last + 0.6)


def colour_norm(average: SeedAverage) -> Any:
    """The colours of all finite means of a value: logarithmic where they span more than two decades."""
    from matplotlib.colors import LogNorm, Normalize

    finite = average.value[np.isfinite(average.value)]
    if finite.size == 0:
        return Normalize(0, 1)
    low, high = float(finite.min()), float(finite.max())
    if _is_wide(finite):
        return LogNorm(low, high)
    margin = 0.0 if high > low else 0.05 * abs(high) or 0.05
    return Normalize(low - margin, high + margin)


def _is_wide(numbers: np.ndarray) -> bool:
    """Whether all finite numbers are positive and span more than two decades."""
    numbers = numbers[np.isfinite(numbers)]
    return bool(numbers.size and numbers.min() > 0 and numbers.max() > 100 * numbers.min())


def _is_constant(predicted: np.ndarray) -> bool:
    """Whether there are predictions and all are the same number."""
    finite = predicted[np.isfinite(predicted)]
    return bool(finite.size and np.ptp(finite) <= 1e-9 * np.abs(finite).max())


def _looks(names: Sequence[str]) -> list[dict[str, Any]]:
    """A line style for each name: its own where the name is that of a dynamics, else one that is still free."""
    if len(names) == 1:
        return [style.line("SGD")]
    own = {name.lower(): name for name in _LINE_STYLES}
    taken = [own.get(name.lower()) for name in names]
    free = iter([name for name in _LINE_STYLES if name not in taken])
    return [style.line(name or next(free)) for name in taken]


def _draw_rings(panel: Any, across: np.ndarray, up: np.ndarray, verdicts: np.ndarray, **where: Any) -> None:
    """Around every point whose verdict over seeds is not "pass": a red ring for "fail", else a dark, dotted one."""
    ring = {"facecolor": "none", "s": 100, "linewidth": 1.5, "zorder": 6, "clip_on": False}
    for verdict, look in _NOT_PASSED.items():
        if (bad := verdicts == verdict).any():
            panel.scatter(across[bad], up[bad], marker="o", **ring, **look, **where)


def _draw_frames(panel: Any, verdicts: np.ndarray) -> None:
    """Inside every cell whose verdict over seeds is not "pass": a red frame for "fail", else a dark, dotted one."""
    from matplotlib.patches import Rectangle

    is_large = max(verdicts.shape) <= 12
    for verdict, look in _NOT_PASSED.items():
        for row, column in np.argwhere(verdicts == verdict):
            corner, box = (column - 0.44, row - 0.44), {"width": 0.88, "height": 0.88, "fill": False, "zorder": 4}
            box["linewidth"] = 1.8 if is_large else 1.0
            if verdict != "fail":  # white between the dots: a colour map has dark cells
                panel.add_patch(Rectangle(corner, **box, edgecolor="white"))
            frame = Rectangle(corner, **box, **look)
            panel.add_patch(frame).set_path_effects(_outline("white") if is_large else [])


def _outline(colour: str) -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground=colour)]


def _draw_contours(panel: Any, predicted: np.ndarray) -> None:
    """Predicted values as labelled contour lines over the cells' centres, where there is something to draw."""
    finite = predicted[np.isfinite(predicted)]
    if finite.size == 0 or _is_constant(predicted):
        return
    low, high = finite.min(), finite.max()
    spaced = np.geomspace if low > 0 and high > 100 * low else np.linspace
    levels = spaced(low, high, 6)[1:-1]
    lines = panel.contour(np.ma.masked_invalid(predicted), levels=levels, colors="white", linewidths=1.2)
    lines.set_path_effects(_outline("black"))
    for text in panel.clabel(lines, fmt="%.3g", fontsize=7):
        text.set(path_effects=_outline("black"), rotation=0)
    panel.plot([], [], color="white", path_effects=_outline("black"), label="lines: predicted")


def _write_cells(panel: Any, average: SeedAverage) -> None:
    """Between categories nothing is interpolated: the cells hold the numbers, predicted ones in brackets."""
    has_prediction = np.isfinite(average.predicted).any()
    if average.value.shape[0] > MOST_WRITTEN_ROWS or average.value.shape[1] > MOST_WRITTEN_COLUMNS:
        if has_prediction:
            panel.plot([], [], linestyle="none", label="predictions are in the table")
        return
    look = {"ha": "center", "va": "center", "fontsize": 7, "linespacing": 1.5, "color": "white"}
    for (row, column), value in np.ndenumerate(average.value):
        lines = [f"{value:.3g}"] if np.isfinite(value) else []
        lines += [f"({average.predicted[row, column]:.3g})"] if has_prediction else []
        panel.text(column, row, "\n".join(lines), **look, path_effects=_outline("black"))
    if has_prediction:
        panel.plot([], [], linestyle="none", label="in brackets: predicted")
