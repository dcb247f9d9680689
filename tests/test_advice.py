"""What a verdict means and what to try next: one place for the log, the card, the report and the prediction."""

from typing import Any

import pytest

from pptsm.evaluation.diagnosis import Learning, diagnosis, figures, heading, in_words, next_steps, still_rising
from pptsm.serving.metadata import chance_warning

LEARNING = Learning(
    train_top1=0.6, epochs=40, clips_per_video=1, floor_decides=False, rising=False, random_start=True, mirrored=False,
    videos=40, groups=8, segments=8, crop_px=64,
)  # fmt: skip
VERDICT: dict[str, Any] = {
    "split": "val", "videos": 60, "groups": 6, "top1": 0.56, "low": 0.31, "low_by_video": 0.43, "guessing": 0.5,
    "largest_class": 0.525, "compared": 1, "above_chance": False,
}  # fmt: skip


def steps(verdict: dict[str, Any] | None = None, **learning: Any) -> list[str]:
    return next_steps("student", VERDICT | (verdict or {}), Learning(**vars(LEARNING) | learning))


def test_clips_learned_by_heart_want_more_videos_and_no_longer_training() -> None:
    """Training top-1 nearer to all than to chance, the validation curve flat."""
    found = steps(train_top1=0.95)
    assert found[0].startswith("Add videos, above all of other groups: it was trained on 40 of 8 groups")
    assert not any("Train longer" in step for step in found)


def test_a_curve_that_still_rises_wants_longer_training() -> None:
    """Whatever the training accuracy is."""
    for train_top1 in (0.6, 0.95):
        assert steps(train_top1=train_top1, rising=True)[0].startswith("Train longer: student.epochs was 40")


def test_a_flat_curve_is_no_reason_for_more_epochs() -> None:
    """Of a network that has not learned its clips either, other things come first; without a curve longer training."""
    assert steps()[0].startswith("Start from published weights")
    assert "Train longer" not in steps()[0]
    assert steps(rising=None)[0].startswith("Train longer")


def test_where_the_floor_decides_the_floor_is_named() -> None:
    """More epochs of fewer clips each are no longer training."""
    found = steps(rising=True, floor_decides=True, clips_per_video=3)[0]
    assert "training.min_clips" in found
    assert "student.epochs" not in found
    assert "clips_per_video" not in found


def test_what_is_done_already_is_not_advised() -> None:
    """Flip and a pretrained start; and the keys are those of the role's section."""
    text = " ".join(steps())
    assert "student.start" in text
    assert "training.flip" in text
    done = " ".join(steps(random_start=False, mirrored=True))
    assert "student.start" not in done
    assert "training.flip" not in done
    assert "teacher.start" in " ".join(next_steps("peer", VERDICT, LEARNING))


def test_too_few_groups_want_more_of_them_held_out() -> None:
    """By video it is above chance, by group it may be luck; with one group nobody can tell."""
    few = {"groups": 2, "low_by_video": 0.8, "top1": 0.9}
    assert "Hold out more videos" in steps(few)[0]
    assert heading("student", VERDICT | few) == "student: NOT ABOVE CHANCE"
    assert "if groups did not matter" in figures(VERDICT | few, "val")
    one = few | {"groups": 1, "above_chance": None}
    assert "60 videos of 1 group say little" in steps(one)[0]
    assert "one group cannot tell" in in_words("student", VERDICT | one, "val", LEARNING)
    assert "interval" not in figures(VERDICT | one, "val")


def test_above_chance_there_is_a_next_step_too() -> None:
    """A gap to the training clips, a rising curve, a wide interval, or nothing that stands out."""
    good = {"above_chance": True, "top1": 0.8, "low": 0.7, "low_by_video": 0.72}
    assert steps(good, train_top1=0.98)[0].startswith("Add videos")
    assert steps(good, train_top1=0.8, rising=True)[0].startswith("Train longer")
    assert steps(good | {"low": 0.54}, train_top1=0.8)[0].startswith("Hold out more")
    assert steps(good, train_top1=0.8)[0].startswith("Nothing stands out")


def test_chance_is_named_whatever_the_verdict_is() -> None:
    """Guessing, the largest class, and which of them is chance."""
    for above in (True, False, None):
        text = in_words("student", VERDICT | {"above_chance": above}, "val", LEARNING)
        assert "chance is 52.5% (guessing 50.0%, always the largest class 52.5%)" in text
        assert "60.0% of its training clips: it has not learned these either" in text


def test_videos_that_chose_the_epoch_are_called_that() -> None:
    """Otherwise the lower end could not be understood."""
    assert "chose the best of 50 epochs" in figures(VERDICT | {"compared": 50}, "val")
    assert "chose" not in figures(VERDICT, "val")


def test_untrained_weights_at_chance_point_to_labels_and_preset() -> None:
    """There is nothing to train longer."""
    found = next_steps("student", VERDICT, None)
    assert "index.label_file" in found[0]
    assert not any("Train longer" in step for step in found)


@pytest.mark.parametrize(
    ("curve", "rising"),
    [([0.5] * 9, False), ([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95], True), ([0.5, 0.6], None)],
)
def test_a_curve_rises_by_more_than_luck(curve: list[float], rising: bool | None) -> None:
    """Of 60 videos the mean of a third moves by 6 points by itself."""
    assert still_rising(curve, 60) is rising
    assert still_rising([value + 0.02 * (place > 5) for place, value in enumerate([0.5] * 9)], 60) is False


def test_the_log_and_the_prediction_say_the_same() -> None:
    """The same figures, the same first step."""
    verdict = VERDICT | {"train_top1": 0.6, "learning": vars(LEARNING)}
    log, warning = in_words("student", verdict, "val", LEARNING), chance_warning(verdict)
    assert warning is not None
    for said in (figures(verdict, "val"), next_steps("student", verdict, LEARNING)[0]):
        assert said in log
        assert said in warning
    assert diagnosis(verdict, LEARNING) in log
    assert chance_warning(verdict | {"above_chance": True}) is None
    assert "teacher.start" in str(chance_warning(verdict, "teacher"))
    assert "Do not rely" not in str(chance_warning(verdict | {"above_chance": None, "groups": 1}))
