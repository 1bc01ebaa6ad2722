"""The picture of the demo: a contact sheet of results, and plots of the two runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .frame import Pixels
from .runs import SAMPLES, Run

if TYPE_CHECKING:  # an extra: not imported before it is needed
    from matplotlib.axes import Axes

_INK, _FAINT = "#212529", "#868e96"
_COLOURS = "#d9480f", "#3b6ea5"  # of the rings, and of the queue
_LEFT, _RIGHT = 0.04, 0.97  # margins
_COLUMNS = 4
_ROWS = SAMPLES // _COLUMNS
_BINS = 32  # of the time axis


def draw(path: Path, rings: Run, queue: Run, footer: str) -> None:
    """Write the picture as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.8, 8.2), dpi=125)  # this height makes the cells of the sheet 16:9
    title = f"{rings.size[0]}×{rings.size[1]} video through three processes"
    what = "what came back through two rings: the worker in the middle has marked what moves"
    figure.text(_LEFT, 0.951, title, size=20, weight="bold", color=_INK)
    figure.text(_LEFT, 0.919, what, size=12, color=_FAINT)
    grid = {"left": _LEFT, "right": _RIGHT}
    sheet = figure.add_gridspec(_ROWS, _COLUMNS, **grid, top=0.903, bottom=0.489, wspace=0.015, hspace=0.025)
    for i, sample in enumerate(rings.samples):  # a very short run has fewer
        axes = figure.add_subplot(sheet[divmod(i, _COLUMNS)])
        axes.imshow(_smaller(sample))
        axes.axis("off")
    plots = figure.add_gridspec(1, 2, **grid, top=0.37, bottom=0.08, wspace=0.09)
    _plot_rates(figure.add_subplot(plots[0]), rings, queue)
    _plot_latencies(figure.add_subplot(plots[1]), rings, queue)
    figure.text(_RIGHT, 0.015, footer, size=9, color=_FAINT, ha="right")
    figure.savefig(path, format="png")


def _smaller(pixels: Pixels) -> npt.NDArray[np.float64]:
    """Return the image at most 480 pixels wide, each pixel the mean of a square; values from 0 to 1."""
    step = max(1, pixels.shape[1] // 480)
    height, width = pixels.shape[0] // step, pixels.shape[1] // step
    squares = pixels[: height * step, : width * step].reshape(height, step, width, step, 3)
    means: npt.NDArray[np.float64] = squares.mean(axis=(1, 3)) / 255
    return means


def _plot_rates(axes: "Axes", *runs: Run) -> None:
    for run, colour in zip(runs, _COLOURS, strict=True):
        edges = np.linspace(0, run.arrivals[-1], _BINS + 1)
        counts, _ = np.histogram(run.arrivals, edges)
        axes.stairs(counts / edges[1], edges, baseline=None, color=colour, linewidth=2)
    _finish(axes, "Frames per second", runs, [f"{run.rate:.0f}" for run in runs])


def _plot_latencies(axes: "Axes", *runs: Run) -> None:
    for run, colour in zip(runs, _COLOURS, strict=True):
        edges = np.linspace(0, run.arrivals[-1], _BINS + 1)
        bins = np.searchsorted(edges[1:-1], run.arrivals)
        latencies = np.array(run.latencies) * 1e3
        filled = np.unique(bins)
        median, high = np.array([np.percentile(latencies[bins == i], (50, 99)) for i in filled]).T
        middles = (edges[filled] + edges[filled + 1]) / 2
        axes.plot(middles, median, color=colour, linewidth=2)
        axes.fill_between(middles, median, high, color=colour, alpha=0.2, linewidth=0)
    figures = [f"{run.latency(50) * 1e3:.0f}" for run in runs]
    _finish(axes, "Latency in ms: median, shaded up to the 99th percentile", runs, figures)


def _finish(axes: "Axes", title: str, runs: tuple[Run, ...], figures: list[str]) -> None:
    axes.set_title(title, loc="left", size=12, color=_INK, pad=26)
    for run, figure, colour, left in zip(runs, figures, _COLOURS, (0, 0.4), strict=True):
        axes.text(left, 1.04, f"{run.name}: {figure}", transform=axes.transAxes, size=11, color=colour, weight="bold")
    axes.set_xlim(0, max(run.arrivals[-1] for run in runs))
    axes.set_ylim(0)
    axes.set_xlabel("seconds", loc="right", color=_FAINT)
    axes.tick_params(length=0, colors=_FAINT)
    axes.grid(axis="y", color=_FAINT, alpha=0.25)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
