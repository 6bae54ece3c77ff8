"""Plots as PNG files."""

from pathlib import Path

from pipeline.plots.plot import Plot

_COLORS = ("#1f6fb4", "#c4541b", "#4a8f3c", "#7a7a7a")


def write_png(plot: Plot, path: Path) -> None:
    """Draw a plot.

    Args:
        plot: The plot.
        path: The file; its folder is there.
    """
    # A second of imports that no other command should wait for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, line in enumerate(plot.lines):
        color = _COLORS[number % len(_COLORS)]
        if plot.has_bars:
            axes.bar(line.x, line.y, width=1.0, color=color, label=line.label)
        else:
            # A single point is no line.
            marker = "o" if plot.has_markers or len(line.x) == 1 else None
            axes.plot(line.x, line.y, color=color, marker=marker, markersize=4, label=line.label)
    for axis, is_log in ((axes.xaxis, plot.has_log_x), (axes.yaxis, plot.has_log_y)):
        if is_log:
            axis.axes.set(**{f"{axis.axis_name}scale": "log"})
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    if plot.has_days:
        axes.xaxis_date()
    if plot.has_markers:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(plot.title, loc="left", fontsize=10)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.grid(visible=True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(plot.lines) > 1:
        figure.legend(loc="outside upper right", ncols=len(plot.lines), frameon=False)
    figure.savefig(path, dpi=150)
