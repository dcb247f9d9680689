"""The report's pictures, each a function from a table to an SVG or JPEG for the page.

Drawn the same way each time: the same table gives the same bytes.
"""

import base64
import io

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

matplotlib.use("Agg")  # no window, and it must be chosen before pyplot
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

TEACHER, STUDENT, INK, FAINT = "#c2701c", "#1f6feb", "#24292f", "#d0d7de"
COLOURS = {"teacher": TEACHER, "student": STUDENT}
MOST_NAMED_CLASSES = 60  # beyond it, class names cannot be read and are left out

plt.rcParams.update(
    {
        "svg.hashsalt": "pptsm",
        "svg.fonttype": "none",  # text stays text: it can be searched and copied
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def training_curves(histories: dict[str, pd.DataFrame]) -> str:
    """Loss, top-1 and learning rate over the epochs of each role, as SVG; empty without any epoch."""
    histories = {role: table for role, table in histories.items() if len(table)}
    if not histories:
        return ""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.1), layout="constrained")
    for role, table in histories.items():
        style = {"color": COLOURS[role], "marker": "o", "markersize": 3}
        left.plot(table["epoch"], table["loss"], label=f"{role}, training", **style)
        middle.plot(table["epoch"], table["train_top1"] * 100, label=f"{role}, training", linestyle=":", **style)
        if "val_top1" in table:
            middle.plot(table["epoch"], table["val_top1"] * 100, label=f"{role}, validation", **style)
            left.plot(table["epoch"], table["val_loss"], label=f"{role}, validation", linestyle=":", **style)
        right.plot(table["epoch"], table["lr"], label=role, **style)
    for axis, title in ((left, "loss"), (middle, "top-1, %"), (right, "learning rate at the epoch's end")):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color=FAINT, linewidth=0.5)
        axis.legend(frameon=False, fontsize=8)
    middle.set_ylim(0, 102)
    return _svg(figure)


def confusion(matrix: NDArray[np.int64], classes: list[str]) -> str:
    """Rows are what it is, columns what it was taken for; shade is the share of the row."""
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(11.0, max(4.0, 1.8 + 0.42 * len(classes)))
    figure, axis = plt.subplots(figsize=(side, side), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= MOST_NAMED_CLASSES:
        axis.set_xticks(range(len(classes)), classes, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(classes)), classes)
    if len(classes) <= 30:
        for row, column in zip(*np.nonzero(matrix), strict=True):
            colour = "white" if shares[row, column] > 0.5 else INK
            axis.text(column, row, matrix[row, column], ha="center", va="center", color=colour, fontsize=8)
    axis.set(xlabel="taken for", ylabel="is")
    return _svg(figure)


def class_bars(table: pd.DataFrame) -> str:
    """Accuracy of each class, worst first; with very many classes only the worst."""
    table = table.sort_values(["accuracy", "class"]).head(MOST_NAMED_CLASSES)
    figure, axis = plt.subplots(figsize=(6.5, 0.9 + 0.26 * len(table)), layout="constrained")
    axis.barh(table["class"], table["accuracy"] * 100, color=STUDENT, height=0.7)
    for position, (share, videos) in enumerate(zip(table["accuracy"], table["videos"], strict=True)):
        axis.text(share * 100 + 1, position, f"{share:.0%} of {videos}", va="center", fontsize=8)
    axis.set(xlim=(0, 118), xlabel="recognised, %", xticks=range(0, 101, 20))
    axis.invert_yaxis()
    return _svg(figure)


def strip(frames: NDArray[np.uint8], height_px: int = 84) -> str:
    """Frames [T, H, W, 3] side by side, as a data URI of a JPEG."""
    width_px = round(frames.shape[2] * height_px / frames.shape[1])
    small = [np.asarray(Image.fromarray(frame).resize((width_px, height_px))) for frame in frames]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(small, axis=1)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
