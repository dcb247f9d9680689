"""How often intervals cover, and how often a network without skill is called above chance: by simulation.

    python benchmarks/coverage.py [--runs 400]     # about 15 minutes of one core; tables for docs/log

Videos come in groups, and each group has a share of its own that is recognised, drawn from a beta distribution
(differences of two networks: a Dirichlet distribution). Its mean is what the intervals are to cover; its width is given
by the correlation of two videos of one group: 0 where groups do not matter, 1 where a group is wholly right or wrong.
Groups have 20 videos each, or sizes that differ: lognormal, a third of them under 8, some above 60. To expect:
intervals that cover in 95 % of the runs or more.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pptsm.evaluation.statistics import gain_over, interval, interval_by_group, judge

GROUPS = (2, 3, 5, 8, 10, 20, 40)
CORRELATIONS = (0.0, 0.1, 0.3, 0.6, 0.9, 1.0)
ACCURACIES = (0.5, 0.7, 0.9, 0.98)
GAINS = ((0.15, 0.7, 0.15), (0.25, 0.7, 0.05))  # shares won, alike, lost
VIDEOS = 20  # of a group


def sizes_of(groups: int, equal: bool, rng: np.random.Generator) -> NDArray[np.int64]:
    """Videos of each group."""
    if equal:
        return np.full(groups, VIDEOS)
    return np.maximum(1, (VIDEOS * rng.lognormal(-0.5, 1.0, groups)).round()).astype(np.int64)


def outcomes(
    shares: tuple[float, ...], correlation: float, sizes: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[str]]:
    """The outcome of each video (its number in `shares`), and its group."""
    if correlation == 0:
        of_group = np.tile(shares, (len(sizes), 1))
    elif correlation == 1:
        of_group = np.eye(len(shares))[rng.choice(len(shares), len(sizes), p=shares)]
    else:
        of_group = rng.dirichlet(np.array(shares) * (1 - correlation) / correlation, len(sizes))
    found = [rng.choice(len(shares), size, p=each) for size, each in zip(sizes, of_group, strict=True)]
    return np.concatenate(found), [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)]


def drawn(
    shares: tuple[float, ...], correlation: float, groups: int, equal: bool, runs: int, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    """So many data sets."""
    for _ in range(runs):
        yield outcomes(shares, correlation, sizes_of(groups, equal, rng), rng)


def accuracy_covered(
    accuracy: float, correlation: float, groups: int, equal: bool, runs: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Coverage of the interval by video and of that by group, and the mean width of the latter."""
    by_video, by_group, width = 0, 0, 0.0
    for found, names in drawn((accuracy, 1 - accuracy), correlation, groups, equal, runs, rng):
        right = found == 0
        low, high = interval(int(right.sum()), len(right))
        by_video += low <= accuracy <= high
        of_groups = interval_by_group(right, names)
        assert of_groups is not None
        by_group += of_groups[0] <= accuracy <= of_groups[1]
        width += of_groups[1] - of_groups[0]
    return by_video / runs, by_group / runs, width / runs


def gain_covered(
    shares: tuple[float, ...], correlation: float, groups: int, equal: bool, runs: int, rng: np.random.Generator
) -> float:
    """Coverage of the interval of a gain."""
    covered, gain = 0, shares[0] - shares[2]
    for found, names in drawn(shares, correlation, groups, equal, runs, rng):
        right, other = found == 0, found == 2
        alike = rng.random(len(found)) < 0.5
        of = gain_over(right | ((found == 1) & alike), other | ((found == 1) & alike), names)
        assert of.gain_low is not None
        assert of.gain_high is not None
        covered += of.gain_low <= gain <= of.gain_high
    return covered / runs


def called_above(
    classes: int, correlation: float, groups: int, equal: bool, runs: int, rng: np.random.Generator
) -> float:
    """How often a network that guesses, right with some groups and wrong with others, is called above chance."""
    called = 0
    for found, names in drawn((1 / classes, 1 - 1 / classes), correlation, groups, equal, runs, rng):
        labels = np.arange(len(found)) % classes
        called += judge(found == 0, labels, names, classes).above_chance is True
    return called / runs


def best_called_above(epochs: int, corrected: bool, runs: int, rng: np.random.Generator) -> float:
    """The same of the best of so many epochs whose answers are random, of two classes and 60 videos, each its group."""
    labels, names, called = np.arange(60) % 2, [str(number) for number in range(60)], 0
    for _ in range(runs):
        best = max((rng.random(60) < 0.5 for _ in range(epochs)), key=np.mean)
        called += judge(best, labels, names, 2, compared=epochs if corrected else 1).above_chance is True
    return called / runs


def table(title: str, head: list[str], rows: Iterator[list[str]]) -> None:
    """Print a table in Markdown, each row as it comes."""
    print(f"\n{title}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400, help="data sets of each cell; of gains half as many")
    runs, rng = parser.parse_args().runs, np.random.default_rng(2026)
    forms = [(groups, equal) for groups in GROUPS for equal in (True, False)]
    head = ["groups", "sizes", *(f"correlation {each:g}" for each in CORRELATIONS)]

    def start(groups: int, equal: bool) -> list[str]:
        return [str(groups), "equal" if equal else "unequal"]

    for accuracy in ACCURACIES:
        cells = (
            [(groups, equal), *(accuracy_covered(accuracy, each, groups, equal, runs, rng) for each in CORRELATIONS)]
            for groups, equal in forms
        )
        table(
            f"Accuracy {accuracy:.0%}: % covered by video, by group (width of the latter, points)",
            head,
            (
                start(*form)
                + [f"{video:.0%}, {group:.1%} ({width * 100:.0f})".replace("%", "") for video, group, width in found]
                for form, *found in cells
            ),
        )
    for shares in GAINS:
        table(
            f"Gain of {100 * (shares[0] - shares[2]):+.0f} points, {shares[1]:.0%} of the videos alike: % covered",
            head,
            (
                start(*form)
                + [f"{gain_covered(shares, each, *form, runs // 2, rng):.1%}".rstrip("%") for each in CORRELATIONS]
                for form in forms
            ),
        )
    for classes in (2, 8):
        table(
            f"A network that guesses among {classes} classes: % called above chance (2.5 or fewer are meant)",
            head,
            (
                start(*form)
                + [f"{called_above(classes, each, *form, runs, rng):.1%}".rstrip("%") for each in CORRELATIONS]
                for form in forms
            ),
        )
    table(
        "The best of some epochs of random answers: % called above chance",
        ["epochs", "as if they were one", "as `keep: best` is judged"],
        (
            [
                str(epochs),
                *(f"{best_called_above(epochs, each, 5 * runs, rng):.1%}".rstrip("%") for each in (False, True)),
            ]
            for epochs in (1, 10, 50)
        ),
    )


if __name__ == "__main__":
    main()
