"""From per-row losses to a verdict: paired contrasts with intervals, and the few questions they answer.

All differences are in units of the mean loss of the baseline (the method 'dummy'), so that they mean the same on every
table and for both losses.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._shown import Shown

LEVEL = 0.8  # of the intervals that decide: the verdict was wrong in 1.4 % of 1000 problems (docs/benchmarks.md)
SCORE_LEVEL = 0.95  # of the intervals of scores, which do not affect the verdict
HELD_BACK = {"rich": "lazy", "rfm": "ntk"}  # models that learn features, and their counterparts that cannot


@dataclass(frozen=True)
class Contrast:
    """Mean paired difference between two methods' out-of-fold losses, positive if the candidate is better.

    Parameters
    ----------
    name : str
    candidate, reference : str
        The two methods; for a family, the method that was picked most often.
    difference, low, high : float
        Estimate and interval, in units of the baseline's mean loss.
    margin : float
        Differences within (-margin, margin) count as ties.
    n_rows : int
    level : float
        Of the interval: 0.8, or more if there are several stages.
    """

    name: str
    candidate: str
    reference: str
    difference: float
    low: float
    high: float
    margin: float
    n_rows: int
    level: float = LEVEL

    @property
    def state(self) -> str:
        """'above' the margin, 'below' minus the margin, 'inside' or 'undecided'."""
        if self.low > self.margin:
            return "above"
        if self.high < -self.margin:
            return "below"
        return "inside" if -self.margin < self.low and self.high < self.margin else "undecided"

    @property
    def answer(self) -> bool | None:
        """Whether the candidate is better by more than the margin; None if the interval contains the margin."""
        return True if self.low > self.margin else False if self.high < self.margin else None

    def rows_to_decide(self):
        """Return about how many rows move the interval away from the margin, to one significant digit.

        The width of the interval is assumed to fall as one over the root of the number of rows, and the difference to
        stay as estimated. A difference closer to the margin than one margin is moved to this distance, because a
        decision would not matter there.
        """
        half_width = (self.high - self.low) / 2
        distance = max(abs(self.difference - self.margin), self.margin)
        return int(float(f"{self.n_rows * max(2, (half_width / distance) ** 2):.0e}"))

    def __str__(self) -> str:
        better, worse, low, high = self.candidate, self.reference, self.low, self.high
        if self.difference < 0:
            better, worse, low, high = worse, better, -high, -low
        return (
            f"{better} saves {100 * abs(self.difference):.1f} % of the baseline's loss over {worse}, "
            f"{100 * self.level:.0f} % interval {100 * low:z.1f} to {100 * high:z.1f}"
        )


@dataclass(frozen=True, repr=False)
class Verdict(Shown):
    """Answer to the question whether a table needs feature learning.

    Parameters
    ----------
    code : {'nothing', 'linear', 'kernel', 'features', 'trees', 'unclear'}
        The simplest kind of model that no other kind beats by more than the margin. 'features' means that no simpler
        kind is as good; trees may be as good. 'nothing' means that no model beats the baseline.
    sentence : str
    possible : tuple of str
        The codes that the evidence leaves. 'several' means that several kinds of model beat the linear one and none of
        them leads.
    needs_features : {'yes', 'no', 'open'}
        'yes' if 'features' is the only code that is left, 'no' if 'features' is not left, and 'open' otherwise.
    recommendation : Recommendation or None
        The model to use; None if it was not computed.
    at : str
        Of a sample of a longer table, the number of training rows that the verdict is about; else empty.
    evidence : dict
        One entry per contrast: its question and the answer ('yes', 'no' or 'undecided'), and the fields of `Contrast`
        with its state. These fields are missing if the contrast could not be computed because its models failed.
    """

    code: str
    sentence: str
    evidence: dict[str, Any]
    possible: tuple[str, ...] = ()
    needs_features: str = "open"
    recommendation: object = None
    at: str = ""

    @property
    def line(self) -> str:
        """The verdict in one line: its code, or the codes that are left, and whether the table needs features."""
        left = "" if len(self.possible) < 2 else f" ({' or '.join(self.possible)})"
        at = f", {self.at}" if self.at else ""
        return f"{self.code}{left}{at}. Needs features: {self.needs_features}."

    def _headline(self):
        advice = "" if self.recommendation is None else f" {self.recommendation.sentence}"
        return f"{self.line}{advice} {self.sentence}"

    def _tables(self):
        yield ("question", "answer"), [(part["question"], part["answer"]) for part in self.evidence.values()]


class HeldOut(NamedTuple):
    """Which rows were predicted in which split, with one entry per prediction, as in the arrays of losses.

    Parameters
    ----------
    row, split : integer ndarray of shape (n_predictions,)
    weight : ndarray of shape (n_rows,)
        Weights of the rows.
    cluster : integer ndarray of shape (n_rows,)
        Rows of one cluster are not independent evidence.
    n_train : float
        Mean number of training rows over the splits.
    n_looks : int
        0 for splits whose training rows overlap. For disjoint training sets that predict the same rows, the number of
        stages after each of which a verdict is made.
    """

    row: np.ndarray
    split: np.ndarray
    weight: np.ndarray
    cluster: np.ndarray
    n_train: float
    n_looks: int = 0

    @property
    def level(self):
        """Level of the intervals that decide."""
        return 1 - (1 - LEVEL) / max(1, self.n_looks)

    @classmethod
    def of(cls, splits, weight, cluster, n_looks=0):
        """Return the predictions of a list of Split."""
        sizes = [len(split.test) for split in splits]
        row = np.concatenate([split.test for split in splits])
        n_train = float(np.mean([len(split.train) for split in splits]))
        return cls(row, np.repeat(np.arange(len(splits)), sizes), weight, cluster, n_train, n_looks)

    def mean(self, values, chosen=slice(None)):
        """Return the weighted mean over rows of the chosen predictions, each row averaged over its predictions."""
        row, n = self.row[chosen], len(self.weight)
        counts = np.bincount(row, minlength=n)
        seen = counts > 0
        by_row = np.bincount(row, values[chosen], minlength=n)[seen] / counts[seen]
        return np.average(by_row, weights=self.weight[seen])

    def interval(self, values, level):
        """Return the mean of values, such as paired differences of losses, and half the width of its interval.

        The interval is Student's interval over the rows, each averaged over its predictions, or over clusters of rows.
        It takes the fitted models as given. Its width is therefore multiplied by the root of ``1 + n / n_train`` for n
        predicted rows, the factor of Nadeau and Bengio (2003, Machine Learning 52, eq. 16) for the effect of other
        training rows. They estimate the variance from the few means of the splits; here it comes from all rows.

        Disjoint training sets need no such factor. The variance of the mean over sets and rows is at most that of the
        means of the sets plus that of the means of the rows, and Satterthwaite's formula has its degrees of freedom.

        Parameters
        ----------
        values : ndarray of shape (n_predictions,)
        level : float
            Nominal coverage of the interval, below 1.

        Returns
        -------
        mean, half_width : float
        """
        counts = np.bincount(self.row, minlength=len(self.weight))
        by_row = np.bincount(self.row, values, minlength=len(self.weight)) / np.maximum(counts, 1)
        seen, mean = counts > 0, self.mean(values)
        clusters = np.unique(self.cluster[seen], return_inverse=True)[1]
        by_cluster = np.bincount(clusters, (self.weight * (by_row - mean))[seen])
        size = max(2, len(by_cluster))
        student = np.sqrt(size / (size - 1) * np.sum(by_cluster**2)) / self.weight[seen].sum()
        if self.n_looks:
            return float(mean), self._crossed(values, student, size, level)
        correction = np.sqrt(1 + np.sum(seen) / self.n_train)
        return float(mean), float(stats.t.ppf((1 + level) / 2, size - 1) * correction * student)

    def _crossed(self, values, error_of_rows, n_rows, level):
        """Return half the width of an interval of a mean over training sets and over rows."""
        by_set = [self.mean(values, self.split == k) for k in np.unique(self.split)]
        parts = np.array([np.var(by_set, ddof=1) / len(by_set), error_of_rows**2])
        if not parts.any():
            return 0.0
        freedom = parts.sum() ** 2 / np.sum(parts**2 / [len(by_set) - 1, n_rows - 1])
        return float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(parts.sum()))

    def share(self, values, baseline, level):
        """Return the mean of values over that of the baseline's losses, and half the width of the ratio's interval.

        The unit is an estimate, too: the error of the ratio is that of the numerator minus the ratio times the unit.
        """
        unit = self.mean(baseline)
        ratio = float(self.mean(values) / unit)
        return ratio, self.interval((values - ratio * baseline) / unit, level)[1]


def best_of(losses, names, held_out):
    """Return the losses of the best method of a family, and the name that was picked most often.

    In each split, the method with the least loss on the rows that the split does not predict is picked. If the split
    predicts all rows, the losses in the other splits are used. The rows that judge a choice are not used to make it, so
    the best of several equal methods looks no better than each of them.

    Parameters
    ----------
    losses : dict of ndarrays of shape (n_predictions,)
    names : list of keys of `losses`
    held_out : HeldOut
    """
    if len(names) == 1:
        return losses[names[0]], names[0]
    picked = np.empty(len(held_out.row))
    picks = Counter()
    for k in np.unique(held_out.split):
        inside = held_out.split == k
        others = ~np.isin(held_out.row, held_out.row[inside])
        others = others if others.any() else ~inside  # splits that all predict the same rows
        name = min(names, key=lambda name: held_out.mean(losses[name], others))
        picked[inside] = losses[name][inside]
        picks[name] += 1
    return picked, picks.most_common(1)[0][0]


def questions(families):
    """Return the candidates and references of each contrast, in their fixed order, among the requested methods."""
    linear = [name for name in families if families[name] == "linear"]
    kernels = [name for name in families if families[name] == "kernel"]
    trees = [name for name in families if families[name] == "trees"]
    others = [name for name in families if families[name] not in ("trees", "dummy", "other")]
    every = others + trees
    fixed = [name for name in others if name == "lazy" or name in linear + kernels]
    rich, rfm = ([name] if name in families else [] for name in HELD_BACK)
    sides = {
        "signal": (every, ["dummy"]),
        "any_beyond_linear": ([name for name in every if name not in linear], linear),
        "beyond_linear": (kernels, linear),
        "feature_learning": (rich, [HELD_BACK["rich"]]),
        "recursive_features": (rfm, [HELD_BACK["rfm"]]),
        "rich_beyond_fixed": (rich, fixed),
        "rfm_beyond_fixed": (rfm, fixed),
        "any_beyond_kernel": ([name for name in every if name not in kernels], kernels),
        "beyond_all": (trees, others),
    }
    return {name: pair for name, pair in sides.items() if all(pair)}


def draw_contrasts(losses, families, held_out, margin):
    """Return the contrasts by name, in their fixed order.

    Parameters
    ----------
    losses : dict of ndarrays of shape (n_predictions,)
        Out-of-fold losses of the methods that did not fail.
    families : dict of str
        The family of each requested method.
    held_out : HeldOut
    margin : float

    Returns
    -------
    contrasts : dict of Contrast or None
        None for a contrast whose answer a failed method might have changed; contrasts that were not requested are left
        out.
    """
    if held_out.mean(losses["dummy"]) == 0:
        raise ParameterError(
            "y", "the baseline predicts every held-out row exactly, so no model can be better; use other splits."
        )
    n_rows = len(np.unique(held_out.row))
    contrasts = {}
    for name, sides in questions(families).items():
        alive = [[method for method in side if method in losses] for side in sides]
        if not all(alive):
            contrasts[name] = None
            continue
        (candidate, candidate_name), (reference, reference_name) = (best_of(losses, side, held_out) for side in alive)
        mean, half = held_out.share(reference - candidate, losses["dummy"], held_out.level)
        ends = mean, mean - half, mean + half
        contrast = Contrast(name, candidate_name, reference_name, *ends, margin, n_rows, held_out.level)
        lost = [len(some) < len(side) for some, side in zip(alive, sides)]
        if (lost[0] and contrast.answer is not True) or (lost[1] and contrast.answer is not False):
            contrast = None  # the failed method might have been better
        contrasts[name] = contrast
    return contrasts


_QUESTIONS = {
    "signal": "any model beats the baseline",
    "any_beyond_linear": "any other model beats the linear model",
    "beyond_linear": "a kernel beats the linear model",
    "feature_learning": "the rich network beats the same network held lazy",
    "recursive_features": "the NTK in a learned metric (RFM) beats the NTK",
    "rich_beyond_fixed": "the rich network beats all with fixed features",
    "rfm_beyond_fixed": "the RFM beats all with fixed features",
    "any_beyond_kernel": "any other model beats the kernels",
    "beyond_all": "trees beat every other model",
}

_IMPLIES = {  # a model that beats the best of several models beats each of them
    "beyond_linear": {"any_beyond_linear"},
    "rich_beyond_fixed": {"any_beyond_linear", "any_beyond_kernel"},
    "rfm_beyond_fixed": {"any_beyond_linear", "any_beyond_kernel"},
    "beyond_all": {"any_beyond_linear", "any_beyond_kernel"},
}
CODES = ("nothing", "linear", "kernel", "features", "trees", "unclear")
_WAYS = ("feature_learning", "rich_beyond_fixed"), ("recursive_features", "rfm_beyond_fixed")


def decide(contrasts):
    """Return the Verdict of contrasts as returned by `draw_contrasts`.

    Each question is answered yes, no or undecided. An undecided answer is never read as a no. If all possible answers
    to the undecided questions lead to the same code, this code is the verdict; otherwise the verdict is 'unclear'.
    """
    answers = {name: None if contrast is None else contrast.answer for name, contrast in contrasts.items()}
    possible = _possible(answers)
    codes = {_code(yes) for yes in possible}
    code = next(iter(codes)) if len(codes) == 1 else "unclear"
    evidence = {
        name: {"question": _QUESTIONS[name], "answer": {True: "yes", False: "no", None: "undecided"}[answers[name]]}
        | ({} if contrast is None else {**asdict(contrast), "state": contrast.state})
        for name, contrast in contrasts.items()
    }
    left = tuple("several" if code == "unclear" else code for code in CODES if code in codes)
    needs = "open"
    if any(answers.keys() >= {*way} for way in _WAYS):  # otherwise no model that learns features was compared
        needs = "yes" if codes == {"features"} else "no" if codes and "features" not in codes else "open"
    return Verdict(code, _sentence(code, answers, possible, contrasts), evidence, left, needs)


def _possible(answers):
    """Return the possible sets of questions with answer yes, given the decided answers and what a yes implies."""
    decided = {name for name, answer in answers.items() if answer}
    undecided = [name for name, answer in answers.items() if answer is None]
    filled = (frozenset(decided.union(*some)) for some in product(*([set(), {name}] for name in undecided)))
    return {yes for yes in filled if all(_IMPLIES.get(name, set()) & answers.keys() <= yes for name in yes)}


def _code(yes):
    """Return the verdict if the answer to some questions is yes, and the answer to all others is no."""
    if "signal" not in yes:
        return "nothing"
    if "any_beyond_linear" not in yes:
        return "linear"
    if "beyond_all" in yes:
        return "trees"
    if any(yes.issuperset(way) for way in _WAYS):
        return "features"
    return "kernel" if "beyond_linear" in yes and "any_beyond_kernel" not in yes else "unclear"


_CLAIMS = {  # with the contrasts that imply them
    "nothing": ("No model beats the baseline, which ignores the inputs, by more than the margin", ["signal"]),
    "linear": ("A linear model is enough", ["any_beyond_linear"]),
    "kernel": ("A kernel is enough, and a linear model is not", ["beyond_linear", "any_beyond_kernel"]),
    "features": ("Models that learn features do better than all others", [name for way in _WAYS for name in way]),
    "trees": ("Tree ensembles do better than all other models", ["beyond_all"]),
}


def _sentence(code, answers, possible, contrasts):
    """Return the verdict in words, with the contrasts that imply it or the first open question."""
    if code != "unclear":
        claim, names = _CLAIMS[code]
        if code == "features":
            names = [name for way in _WAYS if all(answers.get(name) for name in way) for name in way]
        if code == "linear" and "any_beyond_linear" not in answers:
            claim, names = "The linear model beats the baseline", ["signal"]
        return f"{claim} ({_cited(names, contrasts)})."
    turning = [name for name in answers if any(yes ^ {name} in possible and _turns(yes, name) for yes in possible)]
    if not turning:
        shown = _cited(["any_beyond_linear", "beyond_linear", "any_beyond_kernel"], contrasts)
        if not possible:
            return f"Cannot tell: the answers contradict each other ({shown})."
        return f"Several kinds of model beat the linear one, and none of them clearly leads ({shown})."
    contrast, question = contrasts[turning[0]], _QUESTIONS[turning[0]]
    if contrast is None:
        return f"Cannot tell whether {question}, because the models that this needs failed."
    enough = f"about {contrast.rows_to_decide()} rows would probably be enough to decide"
    return f"Cannot tell whether {question} ({contrast}; {enough})."


def _turns(yes, name):
    return _code(yes) != _code(yes ^ {name})


def _cited(names, contrasts):
    """Return contrasts as text, one for each pair of models."""
    by_pair = {}
    for name in names:
        if contrasts.get(name) is not None:
            by_pair.setdefault(frozenset((contrasts[name].candidate, contrasts[name].reference)), contrasts[name])
    return "; ".join(map(str, by_pair.values()))
