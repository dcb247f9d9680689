"""Whether explanations are right where the truth is known: on the embedded motion videos. Exit code 1 if they are not.

    python benchmarks/explain.py PROJECT

Cost: about a minute on a quiet core. PROJECT is a folder in which the default pipeline has run: its student is asked,
as weights and as exported file. Settings and seeds were fixed before these videos were drawn. To expect:

- Grad-CAM: the share of the maps' mass that lies on the shape, over the shape's share of the area, at least 3 in the
  mean over new videos, and below that with the mean map of a clip in the place of each of its maps;
- occlusion: in videos composed so that one segment alone moves, that segment is found in at least 90 % of those whose
  class is answered;
- order: on the test split, reversing turns each right answer into the other one of its pair.
"""

import sys
from pathlib import Path

import numpy as np

from measure import machine
from pptsm.data.clips import EvaluationVideos, frame_source
from pptsm.data.table import in_split, load_index
from pptsm.data.transforms import ClipArray, normalise
from pptsm.data.views import pixels_of_frames
from pptsm.evaluation.engines import onnx_pixel_scorer, open_session
from pptsm.evaluation.explain import explain_clip
from pptsm.evaluation.gradcam import enlarged, gradcam
from pptsm.evaluation.order import order_by_class
from pptsm.ingest.motion import CLASSES, PAIRS, draw_video
from pptsm.params.checking import load_params
from pptsm.params.schema import Motion
from pptsm.serving.metadata import ModelMetadata
from pptsm.serving.predictor import Predictor
from pptsm.weights.card import load_network, read_card

MAP_SEED, COMPOSED_SEED = 3001, 3002
SCENES = 10
LEAST_MASS, LEAST_FOUND = 3.0, 0.9
POSES = (1, 3, 5)  # of eight along the way of a motion: where a composed video stands, passes, and stands
DIFFERENCE = 4  # levels by which the shape differs from the ground


def drawn(name: str, motion: Motion, seed: int, scene: int) -> np.ndarray:
    """A video of scenes that the network has not seen; with noise 0 the same shape at the same places."""
    looks = np.random.default_rng([seed, 1_000 + scene])
    return draw_video(name, motion, looks, np.random.default_rng([seed, CLASSES.index(name), scene]))


def maps_lie_on_the_shape(folder: Path, motion: Motion) -> bool:
    """Whether Grad-CAM's mass lies on the shape, and no map that is the same for all segments does so well."""
    network, spec = load_network(folder), read_card(folder).clip
    quiet = motion.model_copy(update={"noise": 0.0})
    own, same, areas = [], [], []
    for name in CLASSES:
        for scene in range(SCENES):
            clip = normalise(pixels_of_frames(drawn(name, motion, MAP_SEED, scene), spec, "uniform"))
            clean = drawn(name, quiet, MAP_SEED, scene).astype(int)
            shape = (abs(clean - clean[:, :1, :1]) > DIFFERENCE).any(axis=-1, keepdims=True)
            mask = pixels_of_frames((255 * shape).astype(np.uint8).repeat(3, -1), spec, "uniform").values[:, 0] / 255
            maps = enlarged(gradcam(network, clip), spec.test_crop_px, spec.test_crop_px)
            mean = np.broadcast_to(maps.mean(axis=0), maps.shape)
            areas.append(mask.mean())
            own.append((maps * mask).sum() / maps.sum() / mask.mean())
            same.append((mean * mask).sum() / mean.sum() / mask.mean())
    print(
        f"Grad-CAM, {len(own)} videos: mass on the shape over its share of the area ({np.mean(areas):.3f}): mean "
        f"{np.mean(own):.2f}, median {np.median(own):.2f}, least {np.min(own):.2f}, at least {LEAST_MASS:g} in "
        f"{np.mean(np.array(own) >= LEAST_MASS):.0%}; the mean map for all segments: {np.mean(same):.2f}"
    )
    return bool(np.mean(own) >= LEAST_MASS > np.mean(same))


def composed(name: str, motion: Motion, scene: int, segment: int, segments: int) -> np.ndarray:
    """A video that stands still, but for one segment that shows where the shape passes from one place to another.

    Every other segment has a twin beside it: whichever of them is replaced, all that was shown is still shown.
    """
    clean = drawn(name, motion.model_copy(update={"noise": 0.0}), COMPOSED_SEED, scene).astype(float)
    before, at, after = (clean[round(pose * (len(clean) - 1) / 7)] for pose in POSES)
    shown = [before] * segment + [at] + [after] * (segments - segment - 1)
    frames = np.repeat(np.stack(shown), len(clean) // segments, axis=0)
    rng = np.random.default_rng([COMPOSED_SEED, CLASSES.index(name), scene, segment])
    noisy = frames + rng.normal(0, 255 * motion.noise, frames.shape)
    return noisy.clip(0, 255).round().astype(np.uint8)


def the_decisive_segment_is_found(predictor: Predictor, motion: Motion) -> bool:
    """Whether occlusion finds it in the composed videos."""
    spec = predictor.metadata.clip
    found, right = [], []
    for name in CLASSES:
        for scene in range(SCENES):
            for segment in range(2, spec.segments - 2):
                frames = composed(name, motion, scene, segment, spec.segments)
                clip: ClipArray = normalise(pixels_of_frames(frames, spec, "uniform"))
                said = explain_clip(predictor.logits, clip)
                found.append(said.decisive == segment)
                right.append(predictor.metadata.labels[said.answer] == name)
    of_right = np.array(found)[right]
    print(
        f"occlusion, {len(found)} composed videos: the decisive segment is found in {np.mean(found):.1%}; of the "
        f"{len(of_right)} that are answered with their class, in {np.mean(of_right):.1%}"
    )
    return bool(len(of_right) and np.mean(of_right) >= LEAST_FOUND)


def reversing_turns_each_answer(project: Path, model: Path) -> bool:
    """Whether, on the test split, every right answer becomes the other one of its pair."""
    params, index = load_params(project / "params.yaml"), load_index(project / "data/index.csv")
    said = ModelMetadata.of_file(model)
    source = frame_source(params, project / "data/frames")
    videos = EvaluationVideos(in_split(index, "test"), source, said.clip, params.sampling)
    score, views = onnx_pixel_scorer(open_session(model)), params.compute.batch_views
    partner = PAIRS | {back: name for name, back in PAIRS.items()}
    good = True
    for one in order_by_class(score, videos, len(said.labels), batch_views=views, workers=0):
        label, became = said.labels[one.label], "-" if one.became is None else said.labels[one.became]
        print(
            f"order, {label:>13}: of {one.videos} right answers reversing leaves {one.kept['reversed']:.0%} (most "
            f"become {became}), shuffling {one.kept['shuffled']:.0%}; needs time: {one.needs_time}"
        )
        good &= one.kept["reversed"] == 0 and became == partner[label] and bool(one.needs_time)
    return good


def main() -> None:
    """Measure, print, judge."""
    project = Path(sys.argv[1])
    motion, model = load_params(project / "params.yaml").motion, project / "models/export/model.onnx"
    print(machine())
    predictor = Predictor(model, runtime="onnxruntime")
    good = [
        maps_lie_on_the_shape(project / "models/student", motion),
        the_decisive_segment_is_found(predictor, motion),
        reversing_turns_each_answer(project, model),
    ]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
