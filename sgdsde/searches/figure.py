"""The figure of a search: the objective as trials went on, and against each field that was searched."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgdsde import style
from sgdsde.searches.space import Choices, Interval
from sgdsde.sweeps.reading.scales import in_words, value_text

MOST_COLUMNS = 3
WIDE = 30.0
"""Positive values whose largest is this many times their smallest are drawn on a logarithmic scale."""


def drawn_search(search: Any, trials: Sequence[Any]) -> Any:
    """The objective against the number of the trial, with the best so far, and against each searched field, with error
    bars of one standard error over seeds. Trials without a value are crosses at the lower edge.

    Args:
        search: the `Search`.
        trials: `Trial`s, at least one.

    Returns:
        A matplotlib Figure.
    """
    num_panels = 1 + len(search.space)
    num_columns = min(num_panels, MOST_COLUMNS) if num_panels != 4 else 2
    drawn, grid = style.figure(-(-num_panels // num_columns), num_columns, squeeze=False)
    panels = list(grid.flat)
    with style.context():
        value = np.array([np.nan if t.outcome.value is None else t.outcome.value for t in trials])
        error = np.array([t.outcome.standard_error or 0.0 for t in trials])
        is_log = bool((value[np.isfinite(value)] > 0).all() and np.nanmax(value, initial=0) > WIDE * _smallest(value))
        if is_log:  # what a bar would reach below zero is not on the scale
            error = np.stack([np.where(error < value, error, 0.0), error])
        best = _best(value, search.objective.is_maximised)
        number = np.array([t.number for t in trials])
        _draw_progress(panels[0], number, value, error, best, search)
        for part, panel in zip(search.space, panels[1:]):
            _draw_field(panel, part, [t.values[part.field] for t in trials], value, error, best)
        for panel in panels[:num_panels]:
            panel.margins(y=0.1)  # the crosses of failed trials stand below the points
            if is_log:
                panel.set_yscale("log")
            if not np.isfinite(value).any():
                panel.set_yticks([])
            panel.set_ylabel(_words(search.objective.name))
        for panel in panels[num_panels:]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
        title = " ".join(f"{search.experiment.name}: {search.experiment.description.split(chr(10))[0]}".split())
        drawn.suptitle(textwrap.fill(title, int(13 * drawn.get_figwidth())).replace("$", r"\$"), fontsize=10)
    return drawn


def _smallest(value: np.ndarray) -> float:
    return float(np.nanmin(value, initial=np.inf))


def _best(value: np.ndarray, is_maximised: bool) -> int | None:
    """The place of the best trial; None where there is no value."""
    if not np.isfinite(value).any():
        return None
    return int(np.nanargmax(value) if is_maximised else np.nanargmin(value))


def _words(text: str) -> str:
    return textwrap.fill(in_words(text.removeprefix("check:").strip()), 34).replace("$", r"\$")


def _draw_progress(
    panel: Any, number: np.ndarray, value: np.ndarray, error: np.ndarray, best: int | None, search: Any
) -> None:
    seeds = search.num_seeds
    label = f"a trial: mean ± 1 standard error\nof {seeds} seeds" if seeds > 1 else "a trial (one seed)"
    _draw_points(panel, number, value, error, best, label)
    if best is not None:
        along = np.fmax if search.objective.is_maximised else np.fmin
        panel.step(number, along.accumulate(value), where="post", color=style.COLOURS["theory"], label="best so far")
    panel.set_xlabel("trial")
    panel.xaxis.get_major_locator().set_params(integer=True)


def _draw_field(
    panel: Any, part: Interval | Choices, values: list, value: np.ndarray, error: np.ndarray, best: int | None
) -> None:
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    if isinstance(part, Interval):
        places = np.array(values, float)
        if part.is_log:
            panel.set_xscale("log")
            if part.is_whole:
                panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
                panel.xaxis.set_minor_locator(NullLocator())
        room = (part.high / part.low) ** 0.04 if part.is_log else 0.04 * (part.high - part.low)
        panel.set_xlim(*((part.low / room, part.high * room) if part.is_log else (part.low - room, part.high + room)))
    else:  # beside each other within a choice, in the order of the trials
        beside = np.linspace(-0.25, 0.25, len(values)) if len(values) > 1 else np.zeros(1)
        places = np.array([part.values.index(entry) for entry in values]) + beside
        texts = [value_text(entry).replace("$", r"\$") for entry in part.values]
        is_long = sum(map(len, texts)) > 36
        slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if is_long else {}
        panel.set_xticks(range(len(texts)), texts, **slanted)
        panel.set_xlim(-0.5, len(texts) - 0.5)
    _draw_points(panel, places, value, error, best, None)
    panel.set_xlabel(in_words(part.field))


def _draw_points(
    panel: Any, places: np.ndarray, value: np.ndarray, error: np.ndarray, best: int | None, label: str | None
) -> None:
    told = lambda text: text if label else None
    bars = {"fmt": "o", "color": style.COLOURS["isotropic"], "markersize": 3.5, "elinewidth": 0.8, "alpha": 0.8}
    panel.errorbar(places, value, error, **bars, label=label)
    failed = ~np.isfinite(value)
    if failed.any():
        crosses = {"marker": "x", "linestyle": "none", "color": style.COLOURS["anisotropic"], "markersize": 5}
        height = np.full(failed.sum(), 0.03)
        panel.plot(
            places[failed],
            height,
            **crosses,
            transform=panel.get_xaxis_transform(),
            label=told("no value (diverged or failed)"),
        )
    if best is not None:
        ring = {"marker": "o", "linestyle": "none", "markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.6}
        panel.plot(places[best], value[best], **ring, color=style.COLOURS["gibbs"], zorder=5, label=told("best"))
