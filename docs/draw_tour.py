"""Draw the pictures of docs/tour.md: `python docs/draw_tour.py FOLDER`, in half a minute.

FOLDER is one in which stage `index` has run with preset `motion`; the video is its first of class `left` in the test
split. The pictures go into docs/pictures, as PNG of at most 256 colours, because they travel with the repository.
"""

import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from pptsm.video.image_sequence import open_clip

PICTURES = Path(__file__).parent / "pictures"
SCALE = 2  # of the small frames, so that they can be seen
CHANNELS, FRAMES, MOVED = 8, 6, 2


def save(picture: Image.Image, name: str) -> None:
    """Write a picture with a palette of its own."""
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


def enlarged(picture: Image.Image) -> Image.Image:
    """The same pixels, as squares."""
    return picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)


def every_second_frame(video: Path) -> Image.Image:
    """Two rows of frames, in the order of time."""
    clip = open_clip(video)
    frames_THW3: NDArray[np.uint8] = clip.frames(np.arange(0, len(clip), 2)).pixels
    half = len(frames_THW3) // 2
    gap = 3
    rows = [
        np.concatenate([np.pad(frame, ((0, gap), (0, gap), (0, 0)), constant_values=255) for frame in row], axis=1)
        for row in (frames_THW3[:half], frames_THW3[half:])
    ]
    return Image.fromarray(np.concatenate(rows))


def shift() -> Image.Image:
    """Where each channel of each frame comes from, as a table: frames down, channels across."""
    figure = Figure(figsize=(7.2, 3.0), dpi=110)
    for axes, title, moved in zip(figure.subplots(1, 2), ("before", "after the shift"), (False, True), strict=True):
        shown_TC = np.tile(np.arange(FRAMES, dtype=float)[:, None], (1, CHANNELS))
        if moved:
            shown_TC[1:, :MOVED] -= 1
            shown_TC[0, :MOVED] = np.nan
            shown_TC[:-1, MOVED : 2 * MOVED] += 1
            shown_TC[-1, MOVED : 2 * MOVED] = np.nan
        axes.imshow(shown_TC, cmap="viridis", vmin=0, vmax=FRAMES - 1, aspect="auto")
        for (frame, channel), value in np.ndenumerate(shown_TC):
            text, colour = ("0", "black") if np.isnan(value) else (f"f{value:.0f}", "white" if value < 4 else "black")
            axes.text(channel, frame, text, ha="center", va="center", color=colour, fontsize=9)
        axes.set(title=title, xlabel="channels", ylabel="frames", xticks=[], yticks=range(FRAMES))
    figure.tight_layout()
    drawn = BytesIO()
    figure.savefig(drawn)
    return Image.open(drawn)


def drawn_by(project: Path, *words: object) -> Image.Image:
    """What a command of the package draws of a video, typed in the project's folder."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.png"
        subprocess.run(["pptsm", *map(str, words), "--out", out], cwd=project, check=True)
        return Image.open(out).copy()


def main() -> None:
    """Make all pictures of a project's video."""
    project = Path(sys.argv[1])
    index = pd.read_csv(project / "data/index.csv")
    row = index[(index["label"] == "left") & (index["split"] == "test")].iloc[0]
    video = (project / "data/raw/motion" / row["path"]).absolute()
    PICTURES.mkdir(exist_ok=True)
    save(every_second_frame(video), "tour_video")
    save(enlarged(drawn_by(project, "views", video)), "tour_seen")
    save(enlarged(drawn_by(project, "views", video, "--training", 2)), "tour_training")
    save(shift(), "tour_shift")
    print(f"pictures of {row['path']} are in {PICTURES}")


if __name__ == "__main__":
    main()
