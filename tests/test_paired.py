"""McNemar's exact test, against another library and by hand."""

from math import comb

import pytest
from statsmodels.stats.contingency_tables import mcnemar

from pptsm.evaluation.paired import mcnemar_p


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 3), (8, 1), (1, 8), (0, 6), (25, 9), (140, 101)])
def test_mcnemar_is_that_of_statsmodels(first: int, second: int) -> None:
    """Whatever both networks recognise, or neither does; and whichever network stands first."""
    theirs = mcnemar([[17, first], [second, 4]], exact=True).pvalue
    assert mcnemar_p(first, second) == pytest.approx(theirs, rel=1e-12)
    assert mcnemar_p(second, first) == pytest.approx(theirs, rel=1e-12)


def test_mcnemar_by_hand() -> None:
    """Both tails of the binomial distribution; networks that differ nowhere are equal; counts are no negatives."""
    tail = sum(comb(9, count) for count in (0, 1)) / 2**9
    assert mcnemar_p(8, 1) == pytest.approx(2 * tail)
    assert mcnemar_p(0, 0) == 1.0
    with pytest.raises(ValueError, match="-1"):
        mcnemar_p(3, -1)
