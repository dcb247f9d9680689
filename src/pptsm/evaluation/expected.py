"""What a published accuracy lets one expect of the part of its videos that is at hand."""

from dataclasses import dataclass

from scipy import stats

MISS = 0.05


@dataclass(frozen=True)
class Expected:
    """Accuracies, 0 to 1, of a network that is as good as its publisher says."""

    low: float  # 95 % range where the missing videos are missing by chance
    high: float
    least: float  # where each missing video was one that it recognised
    most: float  # where none was


def expected_of_part(published: float, of: int, found: int) -> Expected | None:
    """The accuracies that a published one lets one expect on so many of its videos.

    Args:
        published: accuracy on all videos, 0 to 1.
        of: how many those are.
        found: how many of them are at hand.

    Returns:
        None where there are none, more than all, or the figure is none.

    Source: the number of right answers among videos drawn without replacement is hypergeometric.
    """
    if not (0 < found <= of and 0 <= published <= 1):  # said so that NaN is refused
        return None
    right = round(published * of)
    among = stats.hypergeom(of, right, found)
    low, high = (float(among.ppf(share)) / found for share in (MISS / 2, 1 - MISS / 2))
    return Expected(low, high, max(0, right - (of - found)) / found, min(right, found) / found)
