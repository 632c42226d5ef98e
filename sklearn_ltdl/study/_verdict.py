"""From per-row losses to a verdict: paired contrasts with intervals, and the few questions they answer.

All differences are in units of the dummy's mean loss, so that they mean the same on every table and for both losses.
"""

from collections import Counter
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


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

    def exceeds(self, threshold):
        """Return True if the interval is above the threshold, False if it is below, None if it contains it."""
        return True if self.low > threshold else False if self.high < threshold else None

    def rows_to_decide(self, threshold):
        """Return about how many rows take the interval off the threshold, with one significant figure.

        Its width goes as one over the root of the number of rows, and the difference is taken to stay as estimated,
        or a margin away from the threshold if it is nearer than that, where a decision would not matter.
        """
        half_width = (self.high - self.low) / 2
        distance = max(abs(self.difference - threshold), self.margin)
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


def interval(differences, fold_of):
    """Return mean, lower and upper end of a 95 % interval of paired differences of losses.

    The wider of two: Student's interval over the rows, each averaged over the repeats, which knows the test rows'
    noise but takes the fitted models as given; and that of Nadeau and Bengio (2003, Machine Learning 52, eq. 16) over
    the folds of all repeats, which adds the share of the training sets.

    Parameters
    ----------
    differences : ndarray of shape (n_rows, n_repeats)
    fold_of : integer ndarray of the same shape
        The fold in which each row was predicted.
    """
    by_row = differences.mean(axis=1)
    n, repeats = differences.shape
    row_half = stats.t.ppf((1 + LEVEL) / 2, n - 1) * by_row.std(ddof=1) / np.sqrt(n)
    by_fold = np.array([differences[fold_of[:, r] == k, r].mean() for r in range(repeats) for k in np.unique(fold_of)])
    folds = by_fold.size // repeats
    variance = (1 / by_fold.size + 1 / (folds - 1)) * by_fold.var(ddof=1)  # test over training rows is 1/(folds - 1)
    fold_half = stats.t.ppf((1 + LEVEL) / 2, by_fold.size - 1) * np.sqrt(variance)
    center, half = by_row.mean(), max(row_half, fold_half)
    return center, center - half, center + half


def best_of(losses, names, fold_of):
    """Return the losses, row by row, of the best method of a family, and the name picked most often.

    In each fold the method is the one with the least loss on the rows outside it: the rows that judge a choice have no
    part in it, so that the best of several equal methods looks no better than each.

    Parameters
    ----------
    losses : dict of ndarrays of shape (n_rows, n_repeats)
    names : list of keys of `losses`
    fold_of : integer ndarray of shape (n_rows, n_repeats)
    """
    picked = np.empty(fold_of.shape)
    picks = Counter()
    for r in range(fold_of.shape[1]):
        for k in np.unique(fold_of):
            inside = fold_of[:, r] == k
            name = min(names, key=lambda name: losses[name][~inside].mean())
            picked[inside, r] = losses[name][inside, r]
            picks[name] += 1
    return picked, picks.most_common(1)[0][0]


def draw_contrasts(losses, families, fold_of, margin):
    """Return the contrasts by name, in their fixed order.

    Parameters
    ----------
    losses : dict of ndarrays of shape (n_rows, n_repeats)
        Out-of-fold losses of the methods that ran without failure.
    families : dict of str
        The family of each method that was asked for.
    fold_of : integer ndarray of shape (n_rows, n_repeats)
    margin : float

    Returns
    -------
    contrasts : dict of Contrast or None
        None for a contrast whose candidates or references all failed; a contrast that was not asked for is left out.
    """
    unit = losses["dummy"].mean()
    kernels = [name for name in families if families[name] == "kernel"]
    trees = [name for name in families if families[name] == "trees"]
    others = [name for name in families if families[name] not in ("trees", "dummy")]
    rich = ["rich"] if {"rich", "lazy"} <= set(families) else []
    questions = {
        "signal": (others + trees, ["dummy"]),
        "beyond_linear": (kernels, ["linear"]),
        "feature_learning": (rich, ["lazy"]),
        "rich_against_kernel": (rich, kernels),
        "rich_against_linear": (rich, ["linear"]),
        "beyond_all": (trees, others),
    }
    contrasts = {}
    for name, sides in questions.items():
        if not all(sides):
            continue
        alive = [[method for method in side if method in losses] for side in sides]
        if not all(alive):
            contrasts[name] = None
            continue
        (candidate, candidate_name), (reference, reference_name) = (best_of(losses, side, fold_of) for side in alive)
        estimate = interval((reference - candidate) / unit, fold_of)
        contrasts[name] = Contrast(name, candidate_name, reference_name, *map(float, estimate), margin, len(fold_of))
    return contrasts


_QUESTIONS = {  # each is answered by a threshold: the margin, or minus the margin for 'no worse than'
    "signal": "any model beats the dummy",
    "beyond_linear": "a kernel beats the linear model",
    "feature_learning": "the rich network beats the same network held lazy",
    "rich_against_kernel": "the rich network is no worse than the best kernel",
    "rich_against_linear": "the rich network beats the linear model",
    "beyond_all": "trees beat every other model",
}


def decide(contrasts):
    """Return the Verdict of contrasts as returned by `draw_contrasts`.

    Each question is answered yes, no or undecided, and an undecided answer is never read as a no: the verdict is
    'unclear' unless the answers that are decided imply it.
    """
    answers = {name: _answer(name, contrast) for name, contrast in contrasts.items()}

    def answer(name):
        return answers.get(name, False)  # what was not asked for is not claimed

    features = _all_of(
        answer("feature_learning"), answers.get("rich_against_kernel", True), answers.get("rich_against_linear", True)
    )
    network_beyond_kernel = _all_of(answer("rich_against_linear"), _negated(answer("beyond_linear")))
    trees, kernel = answer("beyond_all"), answer("beyond_linear")

    if answer("signal") is False:
        code, because = "nothing", ["signal"]
    elif answer("signal") is None:
        code, because = "unclear", ["signal"]
    elif trees is True:
        code, because = "trees", ["beyond_all"]
    elif trees is False and features is True:
        code, because = "features", ["feature_learning", "rich_against_kernel"]
    elif trees is False and features is False and kernel is True:
        code, because = "kernel", ["beyond_linear", "feature_learning"]
    elif trees is False and features is False and kernel is False and network_beyond_kernel is False:
        code, because = "linear", ["beyond_linear", "rich_against_linear", "beyond_all"]
    else:
        matters = {
            "beyond_all": trees is None,
            "feature_learning": features is None,
            "rich_against_kernel": features is None,
            "rich_against_linear": features is None or (kernel is False and features is False),
            "beyond_linear": features is not True,
        }
        code, because = "unclear", [name for name in answers if answers[name] is None and matters.get(name)]
    evidence = {
        name: {"question": _QUESTIONS[name], "answer": {True: "yes", False: "no", None: "undecided"}[answers[name]]}
        | ({} if contrast is None else {**asdict(contrast), "state": contrast.state})
        for name, contrast in contrasts.items()
    }
    sentence = _sentence(code, because, contrasts)
    if set(contrasts) < set(_QUESTIONS):  # nothing was learned of the models left out
        sentence = f"Among the models compared, {sentence[0].lower()}{sentence[1:]}"
    return Verdict(code, sentence, evidence)


def _threshold(contrast):
    return -contrast.margin if contrast.name == "rich_against_kernel" else contrast.margin


def _answer(name, contrast):
    return None if contrast is None else contrast.exceeds(_threshold(contrast))


def _all_of(*answers):
    """Kleene's conjunction: one no is a no, else one undecided is undecided."""
    return False if False in answers else None if None in answers else True


def _negated(answer):
    return None if answer is None else not answer


_CLAIMS = {
    "nothing": "No model does usefully better than the dummy, which ignores the columns",
    "linear": "A linear model is enough",
    "kernel": "A kernel is enough, and a linear model is not",
    "features": "This table rewards feature learning",
    "trees": "Trees do better here than linear models, kernels and networks",
}


def _sentence(code, because, contrasts):
    if code != "unclear":
        evidence = "; ".join(str(contrasts[name]) for name in because if contrasts.get(name))
        return f"{_CLAIMS[code]} ({evidence or contrasts['signal']})."
    if not because:
        shown = "; ".join(str(contrasts[name]) for name in ("rich_against_linear", "beyond_linear"))
        return f"Cannot tell: a network beats the linear model, but no kernel does, and learning no features ({shown})."
    first = because[0]
    contrast, question = contrasts[first], _QUESTIONS[first]
    if contrast is None:
        return f"Cannot tell whether {question}, since its models failed."
    rows = contrast.rows_to_decide(_threshold(contrast))
    return f"Cannot tell whether {question} ({contrast}; about {rows} rows would decide it)."
