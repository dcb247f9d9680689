"""Two networks that answered the same videos: whether their difference could be one between equals."""

from scipy import stats


def mcnemar_p(only_first: int, only_second: int) -> float:
    """The two-sided p value of the exact test of McNemar: how likely so uneven a split is between equal networks.

    Videos that both recognise, or neither, say nothing about the difference and are not asked for.

    Args:
        only_first: videos that the first network alone recognises.
        only_second: videos that the second network alone recognises.

    Returns:
        0 to 1; 1 where the networks differ in no video.

    Raises:
        ValueError: a count is below 0.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages"
    (1947); exact, by the binomial distribution.

    >>> mcnemar_p(8, 1)
    0.0390625
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts of videos are 0 or more, and these are {only_first} and {only_second}")
    differing = only_first + only_second
    return float(stats.binomtest(only_first, differing).pvalue) if differing else 1.0
