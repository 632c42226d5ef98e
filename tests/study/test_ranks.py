import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sklearn_ltdl.study import CriticalDifferenceDisplay, mean_ranks

matplotlib.use("Agg")

DEMSAR = {  # table 6 of Demsar (2006): the ranks of four versions of a decision tree on 14 data sets
    "C4.5": [4, 1, 4, 4, 4, 1, 3, 2.5, 4, 2.5, 4, 3, 4, 3],
    "C4.5+m": [3, 2, 1, 1, 2, 2.5, 2, 2.5, 3, 2.5, 2.5, 2, 1, 1],
    "C4.5+cf": [2, 3, 2, 3, 3, 4, 4, 4, 2, 2.5, 1, 4, 2, 4],
    "C4.5+m+cf": [1, 4, 3, 2, 1, 2.5, 1, 1, 1, 2.5, 2.5, 1, 3, 2],
}


def test_the_worked_example_of_demsar():  # section 3.2.2 and figure 1
    ranks = mean_ranks(pd.DataFrame(DEMSAR))
    assert dict(zip(ranks.names, ranks.ranks.round(3).tolist())) == {
        "C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143
    }  # fmt: skip
    assert ranks.chi2 == pytest.approx(9.28, abs=0.005)
    assert ranks.f_statistic == pytest.approx(3.69, abs=0.005)
    assert stats.f.sf(2.85, 3, 39) == pytest.approx(0.05, abs=0.001)  # the critical value that it names
    assert ranks.p_value == pytest.approx(stats.f.sf(3.69, 3, 39), rel=0.01)
    assert ranks.critical_difference == pytest.approx(1.25, abs=0.005)
    assert ranks.groups == [ranks.names]
    weaker = mean_ranks(pd.DataFrame(DEMSAR), alpha=0.1)  # at which it tells C4.5 from the two with m
    assert weaker.critical_difference == pytest.approx(1.12, abs=0.005)
    assert weaker.groups == [("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5")]


@pytest.mark.parametrize(
    ("alpha", "quantiles"),  # table 5a of Demsar (2006), from two to ten classifiers
    [
        (0.05, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        (0.10, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
    ],
)
def test_critical_values_are_those_of_the_table(alpha, quantiles):
    for k, quantile in enumerate(quantiles, start=2):
        ranks = mean_ranks(np.arange(6.0 * k).reshape(6, k), alpha=alpha)
        assert ranks.critical_difference / np.sqrt(k * (k + 1) / 36) == pytest.approx(quantile, abs=0.0011)


def test_friedman_statistic_is_that_of_scipy(rng):
    losses = rng.random((12, 5)) + 0.1 * np.arange(5)
    assert mean_ranks(losses).chi2 == pytest.approx(stats.friedmanchisquare(*losses.T).statistic)


def test_two_methods_are_told_apart_by_chance_as_often_as_alpha_says(rng):
    apart = [np.ptp((r := mean_ranks(rng.random((30, 4)), n_resamples=100)).ranks) > r.critical_difference
             for _ in range(600)]  # fmt: skip
    assert 0.03 < np.mean(apart) < 0.07  # two standard errors about 0.05


def test_intervals_hold_their_coverage(rng):
    """The expected rank of the first of three exponential variables of rates 2, 1, 1 is 1 + 2 * P(other < it)."""
    expected = 1 + 2 * (1 / 3)
    held = []
    for seed in range(400):
        losses = rng.exponential([0.5, 1.0, 1.0], size=(40, 3))
        frame = mean_ranks(losses, names=["a", "b", "c"], n_resamples=400, random_state=seed).to_frame()
        held.append(frame.loc["a", "low"] <= expected <= frame.loc["a", "high"])
    assert 0.91 < np.mean(held) < 0.98


def test_failures_are_last_and_ties_share_their_ranks():
    ranks = mean_ranks([[0.1, 0.1, np.nan], [np.nan, 0.3, np.nan]], names=["a", "b", "c"])
    assert ranks.to_frame()["mean_rank"].to_dict() == {"b": 1.25, "a": 2.0, "c": 2.75}


def test_the_same_order_on_every_table_is_no_chance():
    ranks = mean_ranks(np.arange(30.0).reshape(10, 3))
    assert ranks.ranks.tolist() == ranks.low.tolist() == ranks.high.tolist() == [1, 2, 3]
    assert ranks.p_value == 0
    assert "p < 0.0001" in str(ranks)
    assert mean_ranks(np.arange(120.0).reshape(40, 3)).groups == []  # 40 tables tell all apart


@pytest.mark.parametrize("losses", [[1.0, 2.0], [[1.0, 2.0]], [[1.0], [2.0]], np.zeros((3, 3, 3))])
def test_too_few_tables_or_methods_are_named(losses):
    with pytest.raises(ValueError, match=r"losses: expected shape \(n_tables, n_methods\), both at least 2"):
        mean_ranks(losses)


def test_the_diagram_is_drawn_from_the_numbers():
    display = CriticalDifferenceDisplay.from_losses(pd.DataFrame(DEMSAR), alpha=0.1)
    ranks = display.ranks
    for j, name in enumerate(ranks.names):
        assert display.stems_[name].get_xdata()[0] == ranks.ranks[j]
        assert list(display.intervals_[name].get_xdata()) == [ranks.low[j], ranks.high[j]]
    assert np.ptp(display.difference_.get_xdata()) == pytest.approx(ranks.critical_difference)
    for bar, group in zip(display.bars_, ranks.groups, strict=True):
        low, high = bar.get_xdata()
        assert [name for name, rank in zip(ranks.names, ranks.ranks) if low < rank < high] == list(group)
    display.figure_.canvas.draw()
    box = display.ax_.get_window_extent()
    heights = [text.get_window_extent() for text in display.ax_.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(heights) for b in heights[:i])
    assert all(box.y0 <= text.y0 for text in heights)
    matplotlib.pyplot.close(display.figure_)
