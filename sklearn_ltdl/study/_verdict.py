"""From per-row losses to a verdict: paired contrasts with intervals, and the few questions they answer.

All differences are in units of the dummy's mean loss, so that they mean the same on every table and for both losses.
"""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
HELD_BACK = {"rich": "lazy", "rfm": "ntk"}  # models that learn features, and the same ones that cannot


@dataclass(frozen=True)
class Contrast:
    """Mean paired difference between two methods' out-of-fold losses: positive where the candidate does better.

    Parameters
    ----------
    name : str
    candidate, reference : str
        The two methods; of a family, the one that was picked most often.
    difference, low, high : float
        Estimate and 95 % interval, in units of the dummy's mean loss.
    margin : float
        Differences within (-margin, margin) are equivalent in practice.
    n_rows : int
    """

    name: str
    candidate: str
    reference: str
    difference: float
    low: float
    high: float
    margin: float
    n_rows: int

    @property
    def state(self):
        """'above' the margin, 'below' minus the margin, 'inside' or 'undecided'."""
        if self.low > self.margin:
            return "above"
        if self.high < -self.margin:
            return "below"
        return "inside" if -self.margin < self.low and self.high < self.margin else "undecided"

    @property
    def answer(self):
        """Whether the candidate is better by more than the margin: True, False, or None if the interval contains it."""
        return True if self.low > self.margin else False if self.high < self.margin else None

    def rows_to_decide(self):
        """Return about how many rows take the interval off the margin, with one significant figure.

        Its width goes as one over the root of the number of rows, and the difference is taken to stay as estimated,
        or a margin away from the margin if it is nearer than that, where a decision would not matter.
        """
        half_width = (self.high - self.low) / 2
        distance = max(abs(self.difference - self.margin), self.margin)
        return int(float(f"{self.n_rows * max(2, (half_width / distance) ** 2):.0e}"))

    def __str__(self):
        return (
            f"{self.candidate} against {self.reference} saves {100 * self.difference:z.1f}% of the dummy's loss, "
            f"95% interval {100 * self.low:z.1f} to {100 * self.high:z.1f}"
        )


@dataclass(frozen=True)
class Verdict:
    """Answer to the question whether a table needs feature learning.

    Parameters
    ----------
    code : {'nothing', 'linear', 'kernel', 'features', 'trees', 'unclear'}
        The simplest kind of model that is as good as any of those compared; 'nothing' if none beats the dummy.
    sentence : str
    evidence : dict
        One object a contrast: its question and the answer ('yes', 'no' or 'undecided'), and the fields of `Contrast`
        with its state, which are missing if the contrast could not be drawn since its models failed.
    """

    code: str
    sentence: str
    evidence: dict


class HeldOut(NamedTuple):
    """Which rows were predicted in which split: one entry a prediction, as in the arrays of losses.

    Parameters
    ----------
    row, split : integer ndarray of shape (n_predictions,)
    weight : ndarray of shape (n_rows,)
        Of the rows.
    cluster : integer ndarray of shape (n_rows,)
        Rows of one cluster are not independent evidence.
    n_train : float
        Rows of training, in the mean over splits.
    """

    row: np.ndarray
    split: np.ndarray
    weight: np.ndarray
    cluster: np.ndarray
    n_train: float

    @classmethod
    def of(cls, splits, weight, cluster):
        """Return the predictions of a list of Split."""
        sizes = [len(split.test) for split in splits]
        row = np.concatenate([split.test for split in splits])
        n_train = float(np.mean([len(split.train) for split in splits]))
        return cls(row, np.repeat(np.arange(len(splits)), sizes), weight, cluster, n_train)

    def mean(self, values, chosen=slice(None)):
        """Return the weighted mean over rows, each averaged over its predictions, of some of the predictions."""
        row, n = self.row[chosen], len(self.weight)
        counts = np.bincount(row, minlength=n)
        seen = counts > 0
        by_row = np.bincount(row, values[chosen], minlength=n)[seen] / counts[seen]
        return np.average(by_row, weights=self.weight[seen])

    def interval(self, values):
        """Return the mean of values, such as paired differences of losses, and half the width of its 95 % interval.

        It is Student's over the rows, each averaged over its predictions, or over clusters of rows, which takes the
        fitted models as given; times the root of ``1 + n / n_train`` for n rows that are predicted, with which Nadeau
        and Bengio (2003, Machine Learning 52, eq. 16) add what other rows of training would change. They take the
        variance from the few means of the splits, where it comes from all rows here.

        Parameters
        ----------
        values : ndarray of shape (n_predictions,)

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
        correction = np.sqrt(1 + np.sum(seen) / self.n_train)
        return float(mean), float(stats.t.ppf((1 + LEVEL) / 2, size - 1) * correction * student)


def best_of(losses, names, held_out):
    """Return the losses of the best method of a family, and the name picked most often.

    In each split the method is the one with the least loss on the rows that the split does not predict: the rows that
    judge a choice have no part in it, so that the best of several equal methods looks no better than each.

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
        name = min(names, key=lambda name: held_out.mean(losses[name], others)) if others.any() else names[0]
        picked[inside] = losses[name][inside]
        picks[name] += 1
    return picked, picks.most_common(1)[0][0]


def questions(families):
    """Return candidates and references of each contrast, in their fixed order, among the methods asked for."""
    kernels = [name for name in families if families[name] == "kernel"]
    trees = [name for name in families if families[name] == "trees"]
    others = [name for name in families if families[name] not in ("trees", "dummy", "other")]
    every = others + trees
    rich, rfm = ([name] if name in families else [] for name in HELD_BACK)
    sides = {
        "signal": (every, ["dummy"]),
        "any_beyond_linear": ([name for name in every if name != "linear"], ["linear"]),
        "beyond_linear": (kernels, ["linear"]),
        "feature_learning": (rich, [HELD_BACK["rich"]]),
        "recursive_features": (rfm, [HELD_BACK["rfm"]]),
        "rich_against_kernel": (rich, kernels),
        "rfm_against_kernel": (rfm, kernels),
        "rich_against_linear": (rich, ["linear"]),
        "rfm_against_linear": (rfm, ["linear"]),
        "any_beyond_kernel": ([name for name in every if name not in kernels], kernels),
        "beyond_all": (trees, others),
    }
    return {name: pair for name, pair in sides.items() if all(pair)}


def draw_contrasts(losses, families, held_out, margin):
    """Return the contrasts by name, in their fixed order.

    Parameters
    ----------
    losses : dict of ndarrays of shape (n_predictions,)
        Out-of-fold losses of the methods that ran without failure.
    families : dict of str
        The family of each method that was asked for.
    held_out : HeldOut
    margin : float

    Returns
    -------
    contrasts : dict of Contrast or None
        None for a contrast whose candidates or references all failed; a contrast that was not asked for is left out.
    """
    unit = held_out.mean(losses["dummy"])
    n_rows = len(np.unique(held_out.row))
    contrasts = {}
    for name, sides in questions(families).items():
        alive = [[method for method in side if method in losses] for side in sides]
        if not all(alive):
            contrasts[name] = None
            continue
        (candidate, candidate_name), (reference, reference_name) = (best_of(losses, side, held_out) for side in alive)
        saved = reference - candidate
        mean = float(held_out.mean(saved) / unit)
        # The unit is an estimate, too: the error of a ratio is that of its numerator less its share of the unit.
        _, half = held_out.interval((saved - mean * losses["dummy"]) / unit)
        contrast = Contrast(name, candidate_name, reference_name, mean, mean - half, mean + half, margin, n_rows)
        lost, answer = [_is_lost(*pair, families) for pair in zip(sides, alive)], _answer(contrast)
        if (lost[0] and answer is not True) or (lost[1] and answer is not False):
            contrast = None  # the one that failed might have been the better one
        contrasts[name] = contrast
    return contrasts


def _is_lost(methods, alive, families):
    """Return whether one of the methods failed and has no like among the others, as kernels and trees are."""
    like = {families[name] for name in alive} & {"kernel", "trees"}
    return any(families[name] not in like for name in set(methods) - set(alive))


_QUESTIONS = {
    "signal": "any model beats the dummy",
    "any_beyond_linear": "any other model beats the linear model",
    "beyond_linear": "a kernel beats the linear model",
    "feature_learning": "the rich network beats the same network held lazy",
    "recursive_features": "the NTK in a learned metric (RFM) beats the NTK",
    "rich_against_kernel": "the rich network beats every kernel",
    "rfm_against_kernel": "the RFM beats every kernel",
    "rich_against_linear": "the rich network beats the linear model",
    "rfm_against_linear": "the RFM beats the linear model",
    "any_beyond_kernel": "any other model beats the kernels",
    "beyond_all": "trees beat every other model",
}

_BEATEN = "any_beyond_linear", "beyond_linear", "any_beyond_kernel"
_GAINS = {"feature_learning": "rich", "recursive_features": "rfm"}  # contrasts of a model with itself held back


def decide(contrasts):
    """Return the Verdict of contrasts as returned by `draw_contrasts`.

    Each question is answered yes, no or undecided, and an undecided answer is never read as a no: the verdict is
    'unclear' unless the answers that are decided imply it.
    """
    answers = {name: _answer(contrast) for name, contrast in contrasts.items()}

    def answer(name):
        return answers.get(name, False)  # what was not asked for is not claimed

    ways = {
        gain: _all_of(
            answer(gain),
            answers.get(f"{model}_against_kernel", True),
            answers.get(f"{model}_against_linear", True),
        )
        for gain, model in _GAINS.items()
    }
    features = _any_of(*ways.values())
    trees, kernel, beyond_kernel = answer("beyond_all"), answer("beyond_linear"), answer("any_beyond_kernel")

    if answer("signal") is not True:
        code, because = "nothing" if answer("signal") is False else "unclear", ["signal"]
    elif answer("any_beyond_linear") is False and kernel is not True:
        code, because = "linear", ["any_beyond_linear"]
    elif trees is True:
        code, because = "trees", ["beyond_all"]
    elif trees is False and features is True:
        shown = [gain for gain in ways if ways[gain]]
        code, because = "features", shown + [f"{_GAINS[gain]}_against_kernel" for gain in shown]
    elif kernel is True and beyond_kernel is False:
        code, because = "kernel", ["beyond_linear", "any_beyond_kernel"]
    else:
        matters = {
            "any_beyond_linear": True,
            "beyond_linear": features is not True,
            "any_beyond_kernel": features is not True and kernel is not False,
            "beyond_all": True,
        }
        for gain, model in _GAINS.items():
            for name in (gain, f"{model}_against_kernel", f"{model}_against_linear"):
                matters[name] = features is None and ways[gain] is None
        code, because = "unclear", [name for name in answers if answers[name] is None and matters[name]]
    evidence = {
        name: {"question": _QUESTIONS[name], "answer": {True: "yes", False: "no", None: "undecided"}[answers[name]]}
        | ({} if contrast is None else {**asdict(contrast), "state": contrast.state})
        for name, contrast in contrasts.items()
    }
    sentence = _sentence(code, because, contrasts)
    if set(contrasts) < set(_QUESTIONS):  # nothing was learned of the models left out
        sentence = f"Among the models compared, {sentence[0].lower()}{sentence[1:]}"
    return Verdict(code, sentence, evidence)


def _answer(contrast):
    return None if contrast is None else contrast.answer


def _all_of(*answers):
    """Kleene's conjunction: one no is a no, else one undecided is undecided."""
    return False if False in answers else None if None in answers else True


def _any_of(*answers):
    """Kleene's disjunction: one yes is a yes, else one undecided is undecided."""
    return True if True in answers else None if None in answers else False


_CLAIMS = {
    "nothing": "No model does usefully better than the dummy, which ignores the columns",
    "linear": "A linear model is enough",
    "kernel": "A kernel is enough, and a linear model is not",
    "features": "This table rewards feature learning",
    "trees": "Trees do better here than linear models, kernels and networks",
}


def _sentence(code, because, contrasts):
    if code != "unclear":
        evidence = "; ".join(dict.fromkeys(str(contrasts[name]) for name in because if contrasts.get(name)))
        return f"{_CLAIMS[code]} ({evidence or contrasts['signal']})."
    if not because:
        shown = "; ".join(str(contrasts[name]) for name in _BEATEN if contrasts.get(name))
        return f"Cannot tell: the linear model is beaten, but not by one kind of model that is clearly why ({shown})."
    first = because[0]
    contrast, question = contrasts[first], _QUESTIONS[first]
    if contrast is None:
        return f"Cannot tell whether {question}, since models that this needs failed."
    rows = contrast.rows_to_decide()
    return f"Cannot tell whether {question} ({contrast}; about {rows} rows would decide it)."
