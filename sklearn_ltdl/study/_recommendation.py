"""Which model to use: the simplest model over which no other is likely to save much, with a bound on this saving."""

from dataclasses import dataclass

from sklearn_ltdl._shown import Shown
from sklearn_ltdl.study._verdict import HELD_BACK

BOUND_LEVEL = 0.85  # of the intervals of the bound: above that of the verdict, since they choose the model
SIMPLEST_FIRST = ("dummy", "linear", "kernel", "rfm", "trees", "network", "other")
_NOUNS = {
    "dummy": "The baseline", "linear": "A linear model", "kernel": "A kernel model", "trees": "A tree ensemble",
    "rfm": "A kernel in learned features", "network": "A neural network", "other": "The model",
}  # fmt: skip
_FEATURES = {
    "yes": "Learning features pays.",
    "no": "Learning features adds nothing that matters.",
    "open": "Whether learning features helps is open.",
    "": "No model that learns features was compared.",
}


_OF_VERDICT = {  # the families that a clear verdict leaves
    "nothing": {"dummy"}, "linear": {"linear"}, "kernel": {"kernel"}, "features": {"rfm", "network"},
    "trees": {"trees"},
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class Recommendation(Shown):
    """The model to use, and a bound on what this choice can cost.

    Parameters
    ----------
    model : str
    bound : float
        In units of the baseline's loss. No model that was tried is likely to save more than this over the recommended
        model. The bound is the largest upper end of the 85 % intervals of the differences in loss, or 0 if all of them
        are negative.
    rivals : tuple of str
        Models that may be better by more than the margin.
    sentence : str
    """

    model: str
    bound: float
    rivals: tuple
    sentence: str

    def _headline(self):
        return self.sentence


def recommend(losses, families, held_out, margin, verdict, explained):
    """Return the Recommendation for methods whose fits did not fail.

    It is the simplest method whose bound is at most the margin, or at most twice the least bound; of all methods, or of
    those of the kind that a clear verdict names.

    Parameters
    ----------
    losses : dict of ndarrays of shape (n_predictions,)
    families : dict of str
    held_out : HeldOut
    margin : float
        Share of the baseline's loss that does not matter.
    verdict : Verdict
    explained : callable (list of (method, noun)) -> str
        Says in words what the methods achieve.
    """
    above = {name: _savings(name, losses, held_out) for name in losses}
    bounds = {name: max((0.0, *ends.values())) for name, ends in above.items()}
    left = _OF_VERDICT.get(verdict.code, SIMPLEST_FIRST)
    names = [name for name in losses if families[name] in left] or list(losses)
    enough = max(margin, 2 * min(bounds[name] for name in names))
    names.sort(key=lambda name: (SIMPLEST_FIRST.index(families[name]), bounds[name]))
    model = next(name for name in names if bounds[name] <= enough)
    rivals = tuple(name for name, end in above[model].items() if end > margin)
    most = f"save more than {100 * bounds[model]:.1f} % of the baseline's loss"
    if families[model] == "dummy":
        advice = f"No model tried is likely to {most}: use the baseline, or look for other columns."
    elif bounds[model] < 0.0005:
        advice = f"Use {model}: no model tried is likely to do better."
    else:
        advice = f"Use {model}: no model tried is likely to {most} over it."
    compared = [model, *(["linear"] if "linear" in losses and model != "linear" else [])]
    rest = [name for name in losses if name not in (model, "dummy")]
    if model == "linear" and rest:
        compared.append(min(rest, key=lambda name: held_out.mean(losses[name])))
    achieved = explained([(name, _NOUNS[families[name]]) for name in compared])
    return Recommendation(
        model,
        bounds[model],
        rivals,
        f"{achieved} {_FEATURES[verdict.needs_features if {*HELD_BACK} & {*losses} else '']} {advice}",
    )


def _savings(name, losses, held_out):
    """Return the upper ends of the intervals of the loss that each other method saves over a method."""
    others = (other for other in losses if other != name)
    shares = {other: held_out.share(losses[name] - losses[other], losses["dummy"], BOUND_LEVEL) for other in others}
    return {other: mean + half for other, (mean, half) in shares.items()}


def in_words(task, target, scores):
    """Return a function that describes what methods achieve, for `recommend`.

    Parameters
    ----------
    task : {'regression', 'classification'}
    target : str or None
    scores : dict of float
        R2, or the share of rows that are classified correctly, by method.
    """
    what = "the target" if target is None else target

    def explained(methods):
        (name, noun), *others = methods
        share = f"{100 * max(0.0, scores[name]):.1f} %"
        rest = "".join(f", {other[0].lower()}{other[1:]} {100 * max(0.0, scores[o]):.1f} %" for o, other in others)
        if task == "regression":
            return f"{noun} explains {share} of the variation of {what}{rest}."
        return f"{noun} predicts {what} correctly in {share} of the rows{rest}."

    return explained
