"""A trained network as a machine of its own tangent kernel."""

import textwrap
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_array, check_consistent_length

from sklearn_ltdl._shown import Shown
from sklearn_ltdl._sklearn import Interval, StrOptions, validate_params
from sklearn_ltdl._types import Seed
from sklearn_ltdl.diagnostics._regime import LAZY_GAP, Ridge, linearization_gap, mean_gap, prediction_gap
from sklearn_ltdl.diagnostics._trained import (
    FEWEST_ROWS,
    checked_column,
    checked_rows,
    dense,
    some_rows,
    trained_network,
    unwrapped,
)
from sklearn_ltdl.ntk import NTKKernelClassifier, NTKKernelRegressor

MAX_ROWS = 2000
SAME = 0.95  # agreement from which two models predict the same


@dataclass(frozen=True, eq=False, repr=False)
class KernelExplanation(Shown):
    """What `explain_as_kernel` found; printing it shows the sentence.

    Parameters
    ----------
    verdict : {'lazy', 'kernel enough', 'learned kernel', 'no kernel', 'unknown'}
        'lazy' is what `regime_report` calls so. If it is not: which kernel predicts the same (an agreement of at least
        0.95), that of its initial weights; only that of its trained ones; or neither. Unknown where neither does on
        rows that the network has seen, where a machine leaves out what the network has interpolated.
    sentence : str
        The verdict with its evidence.
    agreement_before, agreement_after : float
        Of the kernel machines with the network: the share of the variance of its predictions that they explain, or of
        the rows that they give the same class.
    score_network, score_before, score_after : float or None
        R2, or accuracy, of the three on the rows on which they are compared; None without their target.
    machine : NTKKernelRegressor or NTKKernelClassifier
        Ridge with the tangent kernel of the trained network, on the rows as the network saw them; with
        `loo_predictions_` (regression) or `loo_decision_function_`, `dual_coef_` and `alpha_`.
    initial_machine : NTKKernelRegressor or NTKKernelClassifier
        The same with the kernel of the initial weights.
    notes : tuple of str
        What was left out.
    model : estimator, Pipeline, search or callable
        The model that is explained.
    kernel : {'after', 'before'}
        Which of the two machines `predict`, `influence` and `without` ask.
    X : ndarray of shape (n_fitted, n_features)
        The rows of the machines, as the network sees them.
    y : ndarray of shape (n_fitted,) or (n_fitted, n_outputs)
        Their targets.
    """

    verdict: str
    sentence: str
    agreement_before: float
    agreement_after: float
    score_network: float | None
    score_before: float | None
    score_after: float | None
    machine: NTKKernelRegressor | NTKKernelClassifier
    initial_machine: NTKKernelRegressor | NTKKernelClassifier
    notes: tuple[str, ...]
    model: object
    kernel: str
    X: np.ndarray
    y: np.ndarray

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the predictions of the machine, ridge with the kernel of the trained or of the initial weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As the model takes it, before the steps of its pipeline.
        return_std : bool, default=False
            Whether to return the posterior standard deviation of the regression function too, in a Gaussian process
            whose covariance is the kernel, as `NTKKernelRegressor.predict` does; with the kernel after training a
            linearised Laplace approximation, in effect. It ranks the errors of the network weakly (see the user guide).
            Of numbers only.

        Returns
        -------
        prediction : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        std : ndarray of the shape of `prediction`
            Only if `return_std`.
        """
        if not return_std:
            return self._asked.predict(self._rows(X))
        if not isinstance(self._asked, NTKKernelRegressor):
            raise ValueError("return_std=True is for networks that predict numbers; this one predicts classes.")
        return self._asked.predict(self._rows(X), return_std=True)

    def influence(self, X: Any) -> np.ndarray:
        """Return what each row of the machine adds to each of its predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As the model takes it, before the steps of its pipeline.

        Returns
        -------
        ndarray of shape (n_samples, n_fitted) or (n_samples, n_fitted, n_outputs)
            The prediction, or the score of a class, less that of a machine that was fitted without the row.
        """
        return self._asked.influence(self._rows(X))

    def without(self, rows: ArrayLike) -> Pipeline:
        """Return the machine fitted without some of its rows, exactly: what the network would have learned less.

        Kernel and penalty stay, the latter against the *sum* of the losses, so that for one row the change of a
        prediction is its `influence`. For several, whose influences do not add up, this is the one to ask.

        Parameters
        ----------
        rows : array-like of int or bool
            Which of the rows of the machine, as numbers or as a mask: columns of `influence`.

        Returns
        -------
        machine : Pipeline
            Takes rows as the model does, before the steps of its pipeline; with `predict`.
        """
        kept = np.ones(len(self.X))
        try:
            kept[check_array(rows, ensure_2d=False, dtype=None, input_name="rows")] = 0.0
        except IndexError as error:
            raise ValueError(
                f"rows must be numbers or a mask of the {len(kept)} rows of the machine: {error}."
            ) from error
        if kept.sum() < 2:
            raise ValueError(f"rows has all but {kept.sum():.0f} of {len(kept)} rows; leave two at least.")
        alpha = self._asked.alpha_ * len(kept) / kept.sum()
        reduced = type(self._asked)(**self._asked.get_params(deep=False) | {"alpha": alpha})
        return make_pipeline(FunctionTransformer(self._rows), reduced.fit(self.X, self.y, sample_weight=kept))

    @property
    def _asked(self):
        return self.machine if self.kernel == "after" else self.initial_machine

    def _rows(self, X):
        """Return rows as the network sees them."""
        return dense(checked_rows(*unwrapped(self.model), X, fewest=1))

    def __str__(self) -> str:
        return "\n".join([textwrap.fill(self.sentence, 100), *(textwrap.fill(note, 100) for note in self.notes)])

    def _headline(self):
        return self.sentence

    def _tables(self):
        rows = [
            ("network", None, self.score_network),
            ("kernel of the initial weights", self.agreement_before, self.score_before),
            ("kernel of the trained weights", self.agreement_after, self.score_after),
        ]
        yield ("model", "agreement with the network", "score"), rows

    def _notes(self):
        return self.notes


@validate_params(
    {
        "kernel": [StrOptions({"before", "after"})],
        "max_rows": [Interval(Integral, FEWEST_ROWS, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def explain_as_kernel(
    model: Any,
    X: Any,
    y: Any,
    *,
    X_test: Any = None,
    y_test: ArrayLike | None = None,
    before: Any = None,
    after: Any = None,
    classes: ArrayLike | None = None,
    kernel: str = "after",
    max_rows: int = MAX_ROWS,
    random_state: Seed = 0,
) -> KernelExplanation:
    """Fit the kernel machine that a trained network would be if it were one, and say whether it is.

    Near its weights a network is linear in them, with the tangent kernel. A lazy network is ridge regression with the
    kernel of its initial weights. One that has learned features may still be a machine of the kernel that it ends with.

    Parameters
    ----------
    model : estimator, Pipeline that ends with one, search over one, or callable
        As in `regime_report`.
    X : array-like of shape (n_samples, n_features)
        The rows on which the network was trained, on which the machines are fitted. From others a machine learns
        something else than the network did, even where the network is lazy.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    X_test : array-like of shape (n_test, n_features), default=None
        Fresh rows, ten at least, on which network and machines are compared. If None they are compared on `X`: the
        machines leave out each row in turn, but the network has seen it, and so has the kernel that it ended with.
    y_test : array-like of shape (n_test,) or (n_test, n_outputs), default=None
        For the scores on `X_test`.
    before, after, classes : parameters, default=None
        As in `regime_report`.
    kernel : {'after', 'before'}, default='after'
        Which machine `predict`, `influence` and `without` of the result ask: that of the kernel after training, or of
        the one before, which has not seen the rows.
    max_rows : int, default=2000
        At most so many rows of `X`, and of `X_test`, drawn at random, take part.
    random_state : int, RandomState instance or None, default=0
        Draws the rows, if there are more.

    Returns
    -------
    explanation : KernelExplanation
        `verdict`, `sentence`, `machine`, `predict`, `influence`, and the agreements.

    See Also
    --------
    regime_report : What the weights and the kernels say.

    References
    ----------
    .. [1] P. Domingos. "Every model learned by gradient descent is approximately a kernel machine". 2020,
       arXiv:2012.00152.
    .. [2] P. W. Koh, P. Liang. "Understanding black-box predictions via influence functions". ICML 2017: influence.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_ltdl import LazyNetRegressor, explain_as_kernel
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LazyNetRegressor(random_state=0)).fit(X[:300], y[:300])
    >>> explanation = explain_as_kernel(model, X[:300], y[:300], X_test=X[300:], y_test=y[300:])
    >>> explanation.verdict
    'lazy'
    >>> most = abs(explanation.influence(X[300:301])[0]).argmax()  # the row that moves this prediction most
    """
    if X_test is None and y_test is not None:
        raise ValueError("y_test is the target of X_test, which is missing. Give both, or none.")
    trained, X, y, notes = trained_network(
        model,
        X,
        y,
        before=before,
        after=after,
        classes=classes,
        max_rows=max_rows,
        random_state=random_state,
    )
    machines = [_machine(trained, weights).fit(X, y) for weights in (trained.before, trained.after)]
    if X_test is None:
        rows, target, ridges = X, y, [Ridge.left_out(machine) for machine in machines]
    else:
        rows, target = checked_rows(*unwrapped(model), X_test, "X_test"), None
        if y_test is not None:
            target = checked_column(y_test, "y_test")
            check_consistent_length(rows, target)
            target = trained.checked_target(target, "y_test")
        some, more = some_rows(rows.shape[0], max_rows, random_state, "rows of X_test")
        rows, target, notes = dense(rows[some]), None if target is None else target[some], notes + more
        ridges = [Ridge.at(machine, rows) for machine in machines]
    predictions = [trained.predict(trained.after, rows), *(ridge.predictions for ridge in ridges)]
    before, after = (trained.score(predictions[0], other) for other in predictions[1:])
    scores = [None if target is None else trained.score(target, prediction) for prediction in predictions]
    if mean_gap(linearization_gap(trained, rows), prediction_gap(*ridges)) <= LAZY_GAP:
        verdict = "lazy"
    elif before >= SAME:
        verdict = "kernel enough"
    elif after >= SAME:
        verdict = "learned kernel"
    else:
        verdict = "unknown" if X_test is None else "no kernel"
    where = f"{len(X)} rows, each left out in turn" if X_test is None else f"{len(rows)} rows that it has not seen"
    sentence = _sentence(verdict, trained, (before, after), scores, where)
    return KernelExplanation(
        verdict, sentence, before, after, *scores, *machines[::-1], tuple(notes), model, kernel, X, y
    )


def _machine(trained, weights):
    """Return ridge regression with the tangent kernel at given weights."""
    machine = NTKKernelRegressor if trained.classes is None else NTKKernelClassifier
    return machine(kernel=partial(trained.function.kernel, weights), random_state=0)


def _sentence(verdict, trained, agreements, scores, where):
    opening = {
        "lazy": (
            "Your network is lazy: ridge regression with the kernel of its initial weights predicts the same"
            if agreements[0] >= SAME
            else "Your network is lazy, a linear model of its weights with the kernel that it began with. Ridge "
            "regression with that kernel predicts something else: it has another penalty, or training ended early"
        ),
        "kernel enough": (
            "Your network went further than a lazy one, and need not have: ridge regression with the kernel of its "
            "initial weights predicts the same"
        ),
        "learned kernel": (
            "Your network has learned a kernel: ridge regression with the one that it ended with predicts the same, "
            "with the one that it began with it does not"
        ),
        "no kernel": "Ridge regression with the tangent kernel of your network, before or after training, predicts "
        "something else",
        "unknown": "Whether a kernel predicts the same as your network cannot be told from rows that it has seen; give "
        "X_test",
    }[verdict]
    what = "the variance of its predictions" if trained.classes is None else "its classes"
    text = (
        f"{opening}. On {where}, the kernel before training gives {100 * agreements[0]:.1f} % of {what}, the kernel "
        f"after training {100 * agreements[1]:.1f} %."
    )
    if scores[0] is None:
        return text
    name = "R2" if trained.classes is None else "accuracy"
    return (
        f"{text} The {name} of the network is {scores[0]:.3f}, of the two machines {scores[1]:.3f} and {scores[2]:.3f}."
    )
