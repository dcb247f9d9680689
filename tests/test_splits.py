"""What names, lists, label files and shares say, before any video is opened."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conftest import default_values, merged, params_with
from pptsm.ingest.annotations import read_split_lists
from pptsm.ingest.index import plan_index
from pptsm.ingest.splits import advice, covering_seed, place, split_sizes
from pptsm.ingest.texts import by_folder, read_groups, read_label_file
from pptsm.params.checking import check_params
from pptsm.runtime.errors import ParamsError, UserError

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
FORTY = [f"{label}/g{group:02d}_{number}.mp4" for label in ("jump", "run") for group in range(10) for number in (1, 2)]
Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text file and gives its name."""

    def written(name: str, text: str) -> str:
        (tmp_path / name).write_bytes(text.encode())
        return str(tmp_path / name)

    return written


def plan(ids: list[str], **changes: object) -> pd.DataFrame:
    """The plan's rows by id."""
    return plan_index(sorted(ids), params_with(index={"root": "videos", **changes}).index)[0].set_index("id")


def labels_of(ids: list[str], **changes: object) -> list[str]:
    """The plan's classes."""
    return plan_index(sorted(ids), params_with(index={"root": "videos", **changes}).index)[1]


# --- a group's place -------------------------------------------------------------------------------------


def test_a_groups_place_is_written_down_for_ever() -> None:
    """The same on every machine and with every version: another hash would mix old tests into new trainings."""
    assert [place(f"g{number}", SHARES, 9) for number in range(6)] == ["val", "train", "test", "test", "train", "train"]
    assert place("走る", SHARES, 2026) == place("走る", SHARES, 2026)


def test_places_come_out_in_the_shares() -> None:
    """Of 20,000 groups, within one percentage point (three standard deviations); another seed, other places."""
    places = pd.Series([place(f"group {number}", SHARES, 1) for number in range(20_000)])
    for split, share in SHARES.items():
        assert abs((places == split).mean() - share) < 0.01
    assert (places == [place(f"group {number}", SHARES, 2) for number in range(20_000)]).mean() < 0.6


def test_another_share_for_validation_moves_no_group_into_or_out_of_the_test() -> None:
    """Only from training to validation."""
    for number in range(500):
        old, new = place(str(number), SHARES, 1), place(str(number), {"train": 0.5, "val": 0.3, "test": 0.2}, 1)
        assert (old, new) in {("train", "train"), ("train", "val"), ("val", "val"), ("test", "test")}


def test_groups_and_classes_that_come_move_none_that_were_there() -> None:
    """Half of the groups first, then all, then a class more."""
    half = plan(FORTY[::4] + FORTY[1::4])
    whole = plan([*FORTY, *(name.replace("run", "swim") for name in FORTY[20:])])
    assert len(set(half["group"])) < len(set(whole["group"]))
    assert whole.loc[half.index, "split"].equals(half["split"])


def test_a_group_is_never_divided() -> None:
    """All videos of a group, in all classes, fall to one split."""
    table = plan(FORTY)
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert set(table["split"]) <= {"train", "val", "test"}


def test_the_embedded_scenes_are_dealt_70_10_20_by_the_default_seed() -> None:
    """As params.yaml says of index.split_seed."""
    params = params_with()
    ids = [f"{label}/scene{scene:02d}_{scene:03d}.mp4" for label in ("up", "down") for scene in range(100)]
    table, _ = plan_index(sorted(ids), params.index)
    assert table["split"].value_counts().to_dict() == {"train": 140, "test": 40, "val": 20}
    for seed in range(2026, params.index.split_seed):
        groups = pd.Series([place(group, SHARES, seed) for group in set(table["group"])]).value_counts()
        assert groups.to_dict() != {"train": 70, "test": 20, "val": 10}


def test_fewer_groups_than_splits_is_said_and_nothing_else() -> None:
    """No seed can help. With one split alone, one group will do."""
    coarse = "(?P<label>[^/]+)/.*(?P<group>[12]).mp4"
    with pytest.raises(UserError, match=r"^the groups are too coarse: 2 \(1, 2\) cannot fill 3 splits"):
        plan(FORTY, pattern=coarse)
    table = plan(FORTY, pattern=coarse, train_share=1.0, val_share=0.0, test_share=0.0)
    assert set(table["split"]) == {"train"}


def dealt(classes: dict[str, list[str]], **changes: object) -> tuple[pd.DataFrame, object]:
    """A video for each group of each class, with its place."""
    params = params_with(index=changes).index
    rows = [(label, group) for label, groups in classes.items() for group in groups]
    videos = pd.DataFrame(rows, columns=["label", "group"])
    shares = {"train": params.train_share, "val": params.val_share, "test": params.test_share}
    videos["split"] = [place(group, shares, params.split_seed) for group in videos["group"]]
    return videos, params


def test_advice_names_the_gap_and_the_first_seed_without_one() -> None:
    """g0 is the only validation group of seed 9: a class without it misses validation."""
    classes = {"jump": [f"g{number}" for number in range(6)], "run": [f"g{number}" for number in range(1, 6)]}
    videos, params = dealt(classes, split_seed=9)
    sentence = advice(videos, params)
    assert sentence is not None
    assert sentence.startswith("val has no video of 'run' (index.split_seed 9). With index.split_seed: ")
    seed = covering_seed(videos, params)
    assert f"index.split_seed: {seed} each" in sentence
    assert advice(*dealt(classes, split_seed=seed)) is None
    assert covering_seed(*dealt(classes, split_seed=seed)) == seed
    for number in range(9, seed):
        assert advice(*dealt(classes, split_seed=number)) is not None


def test_advice_for_too_few_groups_names_the_other_ways() -> None:
    """Two groups of a class cannot be in three splits under any seed."""
    videos, params = dealt({"jump": [f"g{number}" for number in range(6)], "run": ["g1", "g2"]}, split_seed=9)
    assert covering_seed(videos, params) is None
    assert "set index.val_share to 0, or name groups in index.val_groups" in str(advice(videos, params))


def test_a_split_far_from_its_share_is_said_with_a_seed_that_is_near() -> None:
    """Shares count groups: a few have most of the videos."""
    sizes = {f"g{number}": 60 if number < 3 else 5 for number in range(20)}
    rows = [(label, group) for group, size in sizes.items() for label in ("jump", "run") for _ in range(size // 2 + 1)]
    videos = pd.DataFrame(rows, columns=["label", "group"])

    def drawn(seed: int) -> tuple[pd.DataFrame, object]:
        placed = videos.assign(split=[place(group, SHARES, seed) for group in videos["group"]])
        return placed, params_with(index={"split_seed": seed}).index

    far = next(seed for seed in range(100) if (drawn(seed)[0]["split"] == "test").mean() > 0.4)
    sentence = str(advice(*drawn(far)))
    count = int((drawn(far)[0]["split"] == "test").sum())
    assert f"test has {count} of {len(videos)} videos, {count / len(videos):.0%} where its share is 20%" in sentence
    assert "shares count groups" in sentence
    seed = covering_seed(*drawn(far))
    assert f"With index.split_seed: {seed} each split has every class and about its share" in sentence
    assert advice(*drawn(seed)) is None
    shares = drawn(seed)[0]["split"].value_counts(normalize=True)
    assert all(abs(shares[split] - share) <= 0.4 * share for split, share in SHARES.items())


def test_a_split_far_from_its_share_is_said_even_where_no_seed_helps() -> None:
    """Two groups are nine tenths of the dataset."""
    rows = [(label, f"g{number}") for number in range(6) for label in ("jump", "run") for _ in range(2)]
    videos = pd.DataFrame([*rows, *[("run", "big"), ("run", "large")] * 100], columns=["label", "group"])
    seed = next(
        seed for seed in range(1000) if covering_seed(videos, params_with(index={"split_seed": seed}).index) == seed
    )
    videos["split"] = [place(group, SHARES, seed) for group in videos["group"]]
    sentence = str(advice(videos, params_with(index={"split_seed": seed}).index))
    assert "No seed near it does better: name groups in index.val_groups and test_groups" in sentence


def test_no_advice_where_shares_do_not_decide() -> None:
    """Named groups are somebody's decision; validation judges it."""
    videos, params = dealt({"jump": ["g1"], "run": ["g2"]}, test_groups=["g1"])
    assert advice(videos, params) is None


def test_split_sizes_name_a_few_groups() -> None:
    """At most five by name, and the count of all."""
    videos = pd.DataFrame({"group": [f"g{number}" for number in range(7)] * 2, "split": "train"})
    assert split_sizes(videos) == [
        "train: 14 videos of 7 groups (g0, g1, g2, g3, g4, ...)",
        "val: 0 videos of 0 groups",
        "test: 0 videos of 0 groups",
    ]


# --- the pattern -----------------------------------------------------------------------------------------

IN_FOLDERS = "(?P<split>[^/]+)/(?P<label>[^/]+)/(?P<group>[^_/]+)_[^/]*"


@pytest.mark.parametrize("folder", ["testing", "holdout", "eval"])
def test_an_unknown_split_folder_is_refused(folder: str) -> None:
    """Its videos would be dealt out at random, test videos into training."""
    ids = [f"{split}/{name}" for split in ("train", folder) for name in FORTY]
    with pytest.raises(UserError, match=rf"matches '{folder}' \(40 videos\), which names no split. Known are train,"):
        plan(ids, pattern=IN_FOLDERS)


def test_known_split_folders_decide() -> None:
    """Upper case and the usual long forms are known."""
    names = {"Train": "train", "training": "train", "val": "val", "valid": "val", "VALIDATION": "val", "test": "test"}
    table = plan([f"{split}/{name}" for split in names for name in FORTY], pattern=IN_FOLDERS)
    for folder, split in names.items():
        assert set(table.loc[table.index.str.startswith(f"{folder}/"), "split"]) == {split}


@pytest.mark.parametrize("name", ["grp", "groups", "actor", "Split"])
def test_a_misspelt_group_of_the_pattern_is_refused(name: str) -> None:
    """It would be ignored, and each video be its own group."""
    change = {"index": {"pattern": f"(?P<label>[^/]+)/(?P<{name}>[^_/]+)_[^/]*"}}
    with pytest.raises(
        ParamsError, match=rf"named groups \['{name}'\], but may only have \['group', 'label', 'split'\]"
    ):
        check_params(merged(default_values(), change), "params.yaml")


@pytest.mark.parametrize(("pattern", "part"), [
    ("(?:(?P<split>train)/)?(?P<label>jump|run)/(?P<group>[^_/]+)_[^/]*", "split"),
    ("(?:train/)?(?P<label>jump|run)/(?P<group>g00)?.*", "group"),
])  # fmt: skip
def test_a_group_that_is_empty_for_some_paths_is_refused(pattern: str, part: str) -> None:
    """Those videos would be dealt out beside the others."""
    ids = [f"train/{name}" for name in FORTY[:20]] + FORTY[20:]
    with pytest.raises(UserError, match=rf"the group `{part}` of index.pattern .* is empty for \d+ of 40 videos"):
        plan(ids, pattern=pattern)


def test_a_few_unmatched_files_stay_in_the_table() -> None:
    """Up to the share that params.yaml allows, and not one more."""
    stray = ["notes.mp4", "raw/old/x.mp4"]
    table = plan(FORTY + stray, max_unmatched_share=2 / 42)
    assert set(table.loc[stray, "status"]) == {"unmatched"}
    assert set(table.loc[stray, "split"]) == {""}
    with pytest.raises(UserError, match=r"2 of the 42 .*: 1 in '.' \(for example 'notes.mp4'\), 1 in 'raw/old'"):
        plan(FORTY + stray, max_unmatched_share=0.047)


def test_one_class_is_none() -> None:
    """It would be recognised in all cases."""
    with pytest.raises(UserError, match=r"at least two classes are needed, but 20 of 20 .* of 1 \(run\)"):
        plan(FORTY[20:])


def test_folders_are_counted_the_fullest_first() -> None:
    """With an example each; more than five are counted."""
    names = ["b/1", *(f"a/{number}" for number in range(3)), "c/1", "d/1", "e/1", "f/1", "g/1"]
    assert by_folder(names).startswith("3 in 'a' (for example 'a/0'), 1 in 'b' (for example 'b/1'), ")
    assert by_folder(names).endswith(", and more in 2 other folders")


# --- classes ---------------------------------------------------------------------------------------------


def test_spellings_that_might_be_one_class_are_refused() -> None:
    """In the folders and in the label file; both are named."""
    with pytest.raises(UserError, match=r"the folder 'videos' has class names .* 'Run', 'run'"):
        plan([*FORTY, "Run/g00_3.mp4"])


@pytest.mark.parametrize(
    "lines", ["Run\njump\nrun\n", "air drumming\nAir_drumming\n", "jump\njump\n", "\u00e9\ne\u0301\n"]
)
def test_a_label_file_that_names_a_class_twice_is_refused(write: Write, lines: str) -> None:
    """Equal but for case, spaces, underscores and the way an accent is written is equal."""
    with pytest.raises(UserError, match=r"labels.txt' has class names more than once, .*: '[^']*', '[^']*'\. Give"):
        read_label_file(write("labels.txt", lines))


@pytest.mark.parametrize(("text", "names"), [
    ("archery\nbowling\n", ["archery", "bowling"]),
    ("0 archery\n1 bowling\n", ["archery", "bowling"]),
    ("1 archery\n2 bowling\n", ["archery", "bowling"]),
    ("2 archery\n0 climbing\n1 bowling\n", ["climbing", "bowling", "archery"]),
    ("\ufeff0 archery\r\n\r\n1 bowling\r\n", ["archery", "bowling"]),
    ("1 handed\n2 handed\n", ["1 handed", "2 handed"]),
    ("1 handed\n2 handed\nwalk\n", ["1 handed", "2 handed", "walk"]),
    ("0 1 handed\n1 2 handed\n", ["1 handed", "2 handed"]),
    ("line\u2028break\nwalk\n", ["line\u2028break", "walk"]),
])  # fmt: skip
def test_numbers_in_a_label_file_decide_the_order(write: Write, text: str, names: list[str]) -> None:
    """Where all lines have one, from 0 or 1 without holes; else they are a part of the names."""
    assert read_label_file(write("labels.txt", text)) == names


@pytest.mark.parametrize("text", ["0 a\n2 b\n", "2 a\n3 b\n", "1 a\n1 b\n", "0 a\n1 a\n2 b\n", "100 m\n200 m sprint\n"])
def test_numbers_that_might_be_meant_either_way_are_refused(write: Write, text: str) -> None:
    """Dropped, they would mix the logits; kept, they would name other classes."""
    with pytest.raises(UserError, match=r"every line of the label file .* begins with a number, but these are not"):
        read_label_file(write("labels.txt", text))


@pytest.mark.parametrize("text", [
    "0,run\n1,walk\n", "1: run\n2: walk\n", "walk 1\nrun 0\n", "run,1\nwalk,2\n", "0) run\n1) walk\n",
    "run = 0\nwalk = 1\n",
])  # fmt: skip
def test_numbers_in_another_form_are_refused(write: Write, text: str) -> None:
    """They would be taken for names, and the lines for the order."""
    with pytest.raises(UserError, match="has a number, but not as a number, a space and a name"):
        read_label_file(write("labels.txt", text))


@pytest.mark.parametrize(
    "names", [["level 1", "level 2"], ["take 5", "high 5"], ["0 run 0", "1 walk 1"], ["1.5 m", "2.5 m"]]
)
def test_numbers_that_are_a_part_of_names_stay(write: Write, names: list[str]) -> None:
    """Where they do not count the classes, or each line has its number before."""
    assert read_label_file(write("labels.txt", "\n".join(names))) == [
        name.removeprefix(f"{n} ") for n, name in enumerate(names)
    ]


def test_an_empty_label_file_is_said_to_be_empty(write: Write) -> None:
    """Not that each class is unknown."""
    with pytest.raises(UserError, match="is empty"):
        read_label_file(write("labels.txt", "\n \n"))


def test_the_label_files_numbers_reach_the_index(write: Write) -> None:
    """Lines out of order, folders in another spelling: label and number are the file's."""
    table = plan(FORTY, label_file=write("labels.txt", "1 Jump\n0 Run\n"))
    assert table.loc["jump/g00_1.mp4", ["label", "label_index"]].tolist() == ["Jump", 1]
    assert table.loc["run/g00_1.mp4", ["label", "label_index"]].tolist() == ["Run", 0]
    with pytest.raises(
        UserError, match=r"classes \['run'\] are not in index.label_file .*, which names \['jump', 'swim'"
    ):
        plan(FORTY, label_file=write("labels.txt", "jump\nswim\n"))


# --- split lists -----------------------------------------------------------------------------------------


def lists(write: Write, train: list[str], test: list[str]) -> dict[str, str]:
    """Parameters that name these lists."""
    return {"train_list": write("train.txt", "\n".join(train)), "test_list": write("test.txt", "\n".join(test))}


TEST = [name for name in FORTY if "/g08" in name or "/g09" in name]
TRAIN = [name for name in FORTY if name not in TEST]


@pytest.mark.parametrize("form", [
    "{}", "{} 3", "{}\t3", "./{}", ".//./{} 3", "{} Jump high",
])  # fmt: skip
def test_lists_of_all_forms_read_alike(write: Write, form: str) -> None:
    """With or without a label, with "./", from Windows, with a byte order mark."""
    ids = ["my clips 1/a b.avi 2/x.MP4", "run/v 7.mp4"]
    windows = "\ufeff" + "\r\n".join(form.format(name).replace("/", "\\") for name in ids) + "\r\n\r\n"
    for text in ("\n".join(map(form.format, ids)), windows):
        listed = read_split_lists(write("train.txt", text), write("test.txt", "b/y.avi"), params_with().index, [])
        assert dict(zip(listed["path"], listed["split"], strict=True)) == {
            ids[0]: "train",
            ids[1]: "train",
            "b/y.avi": "test",
        }


def test_a_video_in_both_lists_is_refused(write: Write) -> None:
    """It would be tested on what was trained on."""
    with pytest.raises(UserError, match=r"test.txt line 1 names 'jump/g08_1.mp4' again, which train.txt line 33 has"):
        plan(FORTY, **lists(write, [*TRAIN, "./jump/g08_1.mp4 0"], TEST))


def test_lists_decide_the_split(write: Write) -> None:
    """Each video goes where its list says."""
    table = plan(FORTY, **lists(write, TRAIN, TEST))
    assert set(table.loc[TRAIN, "split"]) == {"train"}
    assert set(table.loc[TEST, "split"]) == {"test"}
    assert len(table) == len(TRAIN) + len(TEST)


def test_the_share_of_missing_videos_is_of_the_lists_own(write: Write) -> None:
    """10 of 40 are missing; 400 files beside them, of which the lists do not speak, change nothing."""
    others = [f"other/g{number}_1.mp4" for number in range(400)]
    here = [name for name in FORTY if "g00" not in name and "g01_1" not in name]
    with pytest.raises(
        UserError, match=r"6 of the 40 videos in index.train_list .*: 3 in 'jump' .*15.0%.*max_missing_share"
    ):
        plan(here + others, **lists(write, TRAIN, TEST))
    table = plan(here + others, **lists(write, TRAIN, TEST), max_missing_share=0.15)
    assert (table["status"] == "missing").sum() == 6
    assert set(table.loc[table["status"] == "missing", "split"]) == {""}


def test_the_share_of_unlisted_videos_is_of_the_lists_classes(write: Write) -> None:
    """5 files of 45 that no list names stop; 400 of another class do not."""
    others = [f"other/g{number}_1.mp4" for number in range(400)]
    more = [f"run/g2{number}_1.mp4" for number in range(5)]
    with pytest.raises(
        UserError, match=r"5 of the 45 videos of the lists' classes .*: 5 in 'run' .*11.1%.*max_unlisted_share"
    ):
        plan(FORTY + others + more, **lists(write, TRAIN, TEST))
    table = plan(FORTY + others + more, **lists(write, TRAIN, TEST), max_unlisted_share=0.12)
    assert (table["status"] == "unlisted").sum() == 405
    assert set(table.loc[others, "label_index"]) == {-1}
    assert set(table.loc[more, "label_index"]) == {1}
    assert set(table.loc[others + more, "split"]) == {""}


def test_a_subset_list_over_a_root_with_more_classes_names_the_subsets_classes(write: Write) -> None:
    """With and without a label file; the other folders may even be spelt in two ways."""
    ids = [*FORTY, "other/g0_1.mp4", "Other/g0_1.mp4"]
    assert labels_of(ids, **lists(write, TRAIN, TEST)) == ["jump", "run"]
    names = write("labels.txt", "run\njump\n")
    assert labels_of(ids, **lists(write, TRAIN, TEST), label_file=names) == ["run", "jump"]
    names = write("labels.txt", "run\njump\nother\n")
    assert plan(ids, **lists(write, TRAIN, TEST), label_file=names).loc["other/g0_1.mp4", "label_index"] == -1


def test_a_missing_video_in_another_spelling_stops_nothing(write: Write) -> None:
    """Its label is put into the label file's spelling, or is of no known class; the share allows it."""
    odd = ["Jump/gone_1.mp4", "swim/gone_1.mp4", "nowhere.mp4"]
    table = plan(
        FORTY, **lists(write, TRAIN + odd, TEST), label_file=write("l.txt", "jump\nrun"), max_missing_share=0.1
    )
    assert table.loc[odd, "label"].tolist() == ["jump", "swim", ""]
    assert table.loc[odd, "label_index"].tolist() == [0, -1, -1]
    changes = {**lists(write, TRAIN + odd[::2], TEST), "max_missing_share": 0.1}
    assert labels_of(FORTY, **changes) == ["jump", "run"]
    assert labels_of(FORTY, **changes, pattern="(?:(?P<label>jump|run)/)?.*") == ["jump", "run"]


def test_a_class_that_is_missing_altogether_stays_a_class(write: Write) -> None:
    """Validation then stops for it: fewer classes would be another dataset."""
    assert labels_of(FORTY, **lists(write, [*TRAIN, "swim/g_1.mp4"], TEST), max_missing_share=0.1) == [
        "jump",
        "run",
        "swim",
    ]


def test_spellings_of_a_listed_class_are_refused(write: Write) -> None:
    """Unlisted "Run" beside listed "run": which is meant is not known."""
    with pytest.raises(UserError, match="'Run', 'run'"):
        plan([*FORTY, "Run/g00_9.mp4"], **lists(write, TRAIN, TEST))


def test_validation_groups_are_taken_out_of_the_training_list(write: Write) -> None:
    """Videos of that group in the test list stay there; a group without training videos is refused."""
    table = plan(FORTY, **lists(write, TRAIN, TEST), val_groups=["g03", "g05"])
    assert set(table.loc[table["group"].isin(["g03", "g05"]), "split"]) == {"val"}
    assert table["split"].value_counts().to_dict() == {"train": 24, "val": 8, "test": 8}
    with pytest.raises(UserError, match=r"index.val_groups names \['g08'\], but no training video is of these groups"):
        plan(FORTY, **lists(write, TRAIN, TEST), val_groups=["g03", "g08"])


def test_test_groups_beside_lists_are_refused() -> None:
    """The lists already say which videos are for the test."""
    change = {"index": {"train_list": "a", "test_list": "b", "test_groups": ["g1"]}}
    with pytest.raises(ParamsError, match="test_groups is given, but the lists already say"):
        check_params(merged(default_values(), change), "params.yaml")


@pytest.mark.parametrize(("change", "may"), [
    ({"train_share": 0.8, "test_share": 0.1}, True),
    ({"train_share": 0.8, "val_share": 0.0}, False),
    ({"val_groups": ["g1"]}, True),
    ({"test_groups": ["g1"]}, False),
    ({"train_list": "a", "test_list": "b"}, False),
    ({"train_list": "a", "test_list": "b", "val_groups": ["g1"]}, True),
    ({"pattern": IN_FOLDERS, "train_share": 1.0, "val_share": 0.0, "test_share": 0.0}, True),
])  # fmt: skip
def test_the_best_epoch_needs_a_validation_split(change: dict, may: bool) -> None:
    """It is refused where it is certain that there will be none."""
    values = merged(default_values(), {"index": change, "training": {"keep": "best"}})
    if may:
        assert check_params(values, "p").training.keep == "best"
    else:
        with pytest.raises(ParamsError, match=r"training.keep is best, but the index has no validation split"):
            check_params(values, "p")


# --- groups from a file ----------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["path,group\n", "\ufeffPath, Group\r\n", ""])
def test_groups_from_a_file_take_the_place_of_the_patterns(write: Write, head: str) -> None:
    """With or without a first line, from Windows, with quotes."""
    rows = "".join(f'"./{name}",person {number % 7}\r\n' for number, name in enumerate(FORTY))
    table = plan(FORTY, group_file=write("groups.csv", head + rows))
    assert table.loc[FORTY, "group"].tolist() == [f"person {number % 7}" for number in range(40)]
    assert (table.groupby("group")["split"].nunique() == 1).all()


def test_a_group_file_may_speak_where_the_pattern_does_not(write: Write) -> None:
    """The pattern's group may then be empty."""
    rows = "\n".join(f"{name},{number % 5}" for number, name in enumerate(FORTY))
    table = plan(FORTY, pattern="(?P<label>[^/]+)/(?P<group>g00)?.*", group_file=write("groups.csv", rows))
    assert set(table["group"]) == set("01234")


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda rows: rows[:-2], r"2 of 40 videos are not named, for example 'run/g09_1.mp4': it must name every video; "
                             r"the group of one that nothing else belongs to may be its path"),
    (lambda rows: [*rows, '"jump/g00_1'], r"is no CSV, line 41: unexpected end of data"),
    (lambda rows: [*rows, "gone/x.mp4,a"], r"line 41 names 'gone/x.mp4', which is not below index.root"),
    (lambda rows: [*rows, rows[0]], r"line 41 names 'jump/g00_1.mp4' again"),
    (lambda rows: [rows[0], "", "jump/g00_2.mp4", *rows[2:]], r"line 3 is 'jump/g00_2.mp4', not \"path,group\""),
    (lambda rows: [rows[0], "jump/g00_2.mp4,", *rows[2:]], r"line 2 is 'jump/g00_2.mp4,', not"),
    (lambda rows: [f"{row},1" for row in rows], r"1,1', not .* and 36 more\.$"),
])  # fmt: skip
def test_a_group_file_with_gaps_or_faults_is_refused(write: Write, change: Callable, sentence: str) -> None:
    """The line is named."""
    rows = [f"{name},{number % 5}" for number, name in enumerate(FORTY)]
    with pytest.raises(UserError, match=sentence):
        plan(FORTY, group_file=write("groups.csv", "\n".join(change(rows))))


def test_a_group_file_names_whatever_a_file_may_be_called(write: Write) -> None:
    """Commas, quotes, line breaks and spaces around a name; lines are counted through them."""
    odd = ['jump/a, "b"\n.mp4', "run/x\ry.mp4", " run/z.mp4", "jump/\t.mp4"]
    text = io.StringIO(newline="")
    csv.writer(text).writerows((name, "odd") for name in odd)
    assert read_groups(write("groups.csv", text.getvalue()), odd, odd) == dict.fromkeys(odd, "odd")
    with pytest.raises(UserError, match=r"line 7 names 'gone.mp4', which is not below"):
        read_groups(write("groups.csv", text.getvalue() + "gone.mp4,x\n"), odd, odd)


def test_a_group_file_may_name_files_that_take_no_part(write: Write) -> None:
    """Unmatched, unlisted and missing ones; it need not."""
    rows = [f"{name},{number % 5}" for number, name in enumerate(FORTY)]
    beside = ["stray.mp4", "run/g50_1.mp4", "jump/gone_1.mp4"]
    changes = dict.fromkeys(("max_unmatched_share", "max_missing_share", "max_unlisted_share"), 0.1)
    for more in ([], [f"{name},x" for name in beside]):
        table = plan(
            FORTY + beside[:2],
            **lists(write, [*TRAIN, beside[2]], TEST),
            **changes,
            group_file=write("groups.csv", "\n".join(rows + more)),
        )
        assert set(table.loc[FORTY, "group"]) == set("01234")
        assert table.loc[beside, "status"].tolist() == ["unmatched", "unlisted", "missing"]
