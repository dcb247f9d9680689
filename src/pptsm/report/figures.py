"""The report's pictures, each a function from a table to an SVG or JPEG for the page.

Drawn the same way each time: the same table gives the same bytes.
"""

import base64
import html
import io
import re
import warnings
from collections import Counter
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pptsm.evaluation.reliability import Bin, calibration_error
from pptsm.video.types import Box

matplotlib.use("Agg")  # no window, and it must be chosen before pyplot
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

STUDENT, INK, FAINT = "#1f6feb", "#24292f", "#d0d7de"
COLOURS = {"teacher": "#b35f0c", "student": STUDENT, "peer": "#8250df", "baseline": "#57606a"}
IN_STYLE = {STUDENT: "--mark", INK: "--ink", FAINT: "--line", "#57606a": "--soft", "#ffffff": "--page"}  # style.css's
TRAINING, VALIDATION = ":", "-"  # line styles, the same in every picture
OUTLINE = "#ffd33d"  # of a crop
MOST_CLASSES = 60  # beyond it, names cannot be read: only the worst classes are drawn
MOST_PANELS = 12  # of networks side by side
MOST_NAMED = 20  # points; names of more would lie over each other
MOST_LETTERS = 28  # of a class's name; a longer one would leave no room for the picture

plt.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text: it can be searched and copied
        "text.parse_math": False,  # class names are text: two dollar signs are no formula
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "text.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def training_curves(histories: dict[str, pd.DataFrame]) -> str:
    """Loss, top-1, learning rate and waiting over the epochs of each role, as SVG; empty without any epoch.

    The loss is the cross-entropy with the labels, which can be compared with the validation's and between
    roles. The whole of what training minimises (column `loss`: with a teacher's part it has another scale)
    is drawn apart where it is something else. The epoch whose weights were kept has a ring.
    """
    histories = {role: table for role, table in histories.items() if len(table)}
    if not histories:
        return ""
    figure, ((left, right), (rate, waiting)) = plt.subplots(
        2, 2, figsize=(11, 6), layout="constrained", height_ratios=(1.6, 1)
    )
    for role, table in histories.items():
        epoch, style = table["epoch"], {"color": COLOURS[role], "marker": "o", "markersize": 3}
        loss = table.get("cross_entropy", table["loss"])
        left.plot(epoch, loss, label=f"{role}, training", linestyle=TRAINING, **style)
        right.plot(epoch, table["train_top1"] * 100, label=f"{role}, training", linestyle=TRAINING, **style)
        if "val_top1" in table:
            left.plot(epoch, table["val_loss"], label=f"{role}, validation", linestyle=VALIDATION, **style)
            right.plot(epoch, table["val_top1"] * 100, label=f"{role}, validation", linestyle=VALIDATION, **style)
        if not np.allclose(loss, table["loss"]):
            left.plot(epoch, table["loss"], label=f"{role}, whole objective", color=COLOURS[role], linewidth=0.7)
        rate.plot(epoch, table["lr"], label=role, **style)
        waiting.plot(epoch, table["wait_share"] * 100, label=role, **style)
        kept = table.get("kept", pd.Series(0, table.index)) == 1  # older tables do not say
        for axis, values in (
            (left, table.get("val_loss", loss)),
            (right, table.get("val_top1", table["train_top1"]) * 100),
        ):
            axis.plot(epoch[kept], values[kept], "o", markersize=9, fillstyle="none", color=COLOURS[role])
    titles = {left: "loss", right: "top-1, %", rate: "learning rate at the epoch's end"}
    for axis, title in (titles | {waiting: "waiting for clips, % of the time"}).items():
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(color=FAINT, linewidth=0.5)
        axis.legend(frameon=False, fontsize=8)
    right.set_ylim(0, 102)
    waiting.set_ylim(bottom=0)
    return _svg(figure, "Loss, top-1, learning rate and waiting by epoch; the figures stand in the table below")


def confusion(truth_N: list[str], guess_N: list[str]) -> str:
    """Rows are what it is, columns what it was taken for; shade is the share of the row.

    With very many classes only those with the most mistakes have a row and a column of their own.
    """
    names = sorted({*truth_N, *guess_N})
    if len(names) > MOST_CLASSES:
        mistakes = Counter(name for pair in zip(truth_N, guess_N, strict=True) if pair[0] != pair[1] for name in pair)
        kept = sorted(sorted(names, key=lambda name: -mistakes[name])[:MOST_CLASSES])
        others = f"{len(names) - MOST_CLASSES} other classes"
        truth_N, guess_N = ([name if name in kept else others for name in side] for side in (truth_N, guess_N))
        names = [*kept, others]
    counts = pd.crosstab(pd.Series(truth_N), pd.Series(guess_N))
    matrix = counts.reindex(index=names, columns=names, fill_value=0).to_numpy()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(13.0, max(4.0, 1.8 + 0.42 * len(names)))
    figure, axis = plt.subplots(figsize=(side, side), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 10 if len(names) <= 30 else 7
    shown = [_shortened(name) for name in names]
    axis.set_xticks(range(len(names)), shown, rotation=60, ha="right", rotation_mode="anchor", fontsize=size)
    axis.set_yticks(range(len(names)), shown, fontsize=size)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "#0a2540"  # on this picture's own ground, dark page or light
        axis.text(column, row, matrix[row, column], ha="center", va="center", color=colour, fontsize=0.8 * size)
    axis.set(xlabel="taken for", ylabel="is")
    return _svg(figure, "What each class was taken for")


def class_bars(table: pd.DataFrame) -> str:
    """Accuracy of each class, worst first, with its interval where there is one; with very many classes only the worst.

    Args:
        table: `class`, `videos`, `accuracy`, and perhaps `low` and `high`; shares are 0 to 1.
    """
    table = table.sort_values(["accuracy", "class"]).head(MOST_CLASSES)
    figure, axis = plt.subplots(figsize=(6.5, 0.9 + 0.26 * len(table)), layout="constrained")
    rows, accuracy = range(len(table)), table["accuracy"] * 100
    axis.barh(rows, accuracy, color=STUDENT, height=0.7)
    ends = accuracy
    if "low" in table:
        ends = table["high"] * 100
        reach = np.clip([accuracy - table["low"] * 100, ends - accuracy], 0, None)
        axis.errorbar(accuracy, rows, xerr=reach, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
    axis.set_yticks(rows, [_shortened(name) for name in table["class"]])
    for position, (end, share, videos) in enumerate(zip(ends, table["accuracy"], table["videos"], strict=True)):
        axis.text(end + 1.5, position, f"{share:.0%} of {videos}", va="center", fontsize=8)
    axis.set(xlim=(0, 122), ylim=(len(table) - 0.5, -0.5), xlabel="recognised, %", xticks=range(0, 101, 20))
    return _svg(figure, "Share of each class's videos that were recognised, worst first")


def learning_curve(table: pd.DataFrame) -> str:
    """Top-1 by the number of training groups, with intervals, as SVG.

    Args:
        table: columns `train_groups`, `top1`, `low`, `high` and `train_top1`; shares are 0 to 1.
    """
    figure, axis = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
    groups, top1 = table["train_groups"], table["top1"] * 100
    reach = [top1 - table["low"] * 100, table["high"] * 100 - top1]
    axis.errorbar(groups, top1, yerr=np.clip(reach, 0, None), color=STUDENT, marker="o", capsize=3, label="held out")
    if table["train_top1"].notna().any():
        seen = table["train_top1"].astype(float) * 100
        axis.plot(groups, seen, linestyle=TRAINING, color=STUDENT, marker="o", markersize=3, label="training clips")
    axis.set(xlabel="training groups", ylabel="top-1, %", ylim=(0, 102))
    axis.set_xlim(left=0)
    axis.grid(color=FAINT, linewidth=0.5)
    axis.legend(frameon=False, fontsize=8)
    return _svg(figure, "Top-1 by the number of training groups")


def reliability(bins: dict[str, list[Bin]]) -> str:
    """How often networks are right by how sure they are, one panel each, as SVG; only the first of very many.

    Args:
        bins: name -> the network's bins.
    """
    drawn = dict(list(bins.items())[:MOST_PANELS])
    columns = min(len(drawn), 4)
    rows = -(-len(drawn) // columns)
    size = (2.6 * columns + 0.6, 2.7 * rows + 0.3)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=True, sharey=True
    )
    for axis, (name, found) in zip(axes.flat, drawn.items(), strict=False):
        low, width = [100 * one.low for one in found], [100 * (one.high - one.low) for one in found]
        right, sure = [100 * one.accuracy for one in found], [100 * one.confidence for one in found]
        axis.plot([0, 100], [0, 100], color=INK, linewidth=0.7, linestyle=TRAINING)
        axis.bar(low, right, width, align="edge", color=COLOURS.get(name, STUDENT), alpha=0.75)
        axis.plot(sure, right, "o", markersize=3, color=INK)
        axis.set(xlim=(0, 100), ylim=(0, 102))
        axis.set_title(f"{_shortened(name)}\n{100 * calibration_error(found):.1f} points off", fontsize=9)
    for axis in list(axes.flat)[len(drawn) :]:
        axis.set_axis_off()
    figure.supxlabel("probability of the answer, %", fontsize=9)
    figure.supylabel("right, %", fontsize=9)
    return _svg(figure, "Share of right answers by their probability; the figures stand in the table below")


def accuracy_against_latency(table: pd.DataFrame) -> str:
    """Top-1 with its interval by the milliseconds of a clip, a point per experiment, as SVG; empty without any.

    Args:
        table: columns `name`, `ms`, `top1`, `low`, `high` (shares are 0 to 1) and `baseline`, a bool.
    """
    table = table.dropna(subset=["ms", "top1"])
    if table.empty:
        return ""
    figure, axis = plt.subplots(figsize=(8, 4.2), layout="constrained")
    for is_baseline, rows in table.groupby("baseline"):
        top1 = rows["top1"] * 100
        reach = np.clip([top1 - rows["low"] * 100, rows["high"] * 100 - top1], 0, None)
        colour, said = ("#57606a", "baseline") if is_baseline else (STUDENT, "experiments")
        axis.errorbar(rows["ms"], top1, yerr=reach, fmt="o", color=colour, capsize=3, elinewidth=0.8, label=said)
    if len(table) <= MOST_NAMED:
        for name, ms, top1 in zip(table["name"], table["ms"], table["top1"] * 100, strict=True):
            axis.annotate(_shortened(name), (ms, top1), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axis.set(xlabel="ms of a clip, median", ylabel="top-1, %", ylim=(0, 104), xlim=(0, table["ms"].max() * 1.25))
    axis.grid(color=FAINT, linewidth=0.5)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return _svg(figure, "Top-1 by the milliseconds of a clip; the figures stand in the table")


def tuning_history(table: pd.DataFrame) -> str:
    """The value of each trial and the best so far, as SVG; empty without any.

    Args:
        table: columns `number` and `value` (0 to 1), in the order of the trials.
    """
    if table.empty:
        return ""
    figure, axis = plt.subplots(figsize=(8, 3.4), layout="constrained")
    value = table["value"] * 100
    axis.plot(table["number"], value, "o", color=STUDENT, markersize=4, label="trial")
    axis.step(table["number"], value.cummax(), where="post", color="#57606a", linewidth=1, label="best so far")
    axis.set(xlabel="trial", ylabel="validation top-1, %")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(color=FAINT, linewidth=0.5)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return _svg(figure, "Validation top-1 of each trial and the best so far; the figures stand in the table")


def strip(frames: NDArray[np.uint8], boxes: Sequence[Box] = (), height_px: int = 84) -> str:
    """Frames [T, H, W, 3] side by side, as a data URI of a JPEG; with the outline of boxes, in the frames' pixels."""
    scale = height_px / frames.shape[1]
    width_px = max(1, round(frames.shape[2] * scale))
    small = []
    for frame in frames:
        image = Image.fromarray(frame).resize((width_px, height_px))
        for left, top, right, bottom in boxes:
            outline = [left * scale, top * scale, right * scale - 1, bottom * scale - 1]
            ImageDraw.Draw(image).rectangle(outline, outline=OUTLINE)
        small.append(np.asarray(image))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(small, axis=1)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _shortened(name: str) -> str:
    """A class's name without its middle if it is long: names often differ in their ends."""
    half = MOST_LETTERS // 2
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[-half:]}"


def _svg(figure: Figure, alternative: str) -> str:
    """As SVG in the colours of the page, light or dark, with a text for who cannot see it."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # the text is drawn by the reader's browser, in fonts that have the letters
        warnings.filterwarnings("ignore", message=r"(Glyph .* missing from|Matplotlib currently does not support)")
        # ids are hashes with a salt: two pictures of a page share none
        with plt.rc_context({"svg.hashsalt": alternative}):
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    plt.close(figure)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{html.escape(alternative)}" ', 1)
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-z][\w.]*_\d+"', "", text)  # the same in each picture, and nothing refers to them
    for colour, name in IN_STYLE.items():
        text = text.replace(f": {colour}", f": var({name})")
    return text
