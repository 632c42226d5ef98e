"""A trained network explained as a kernel machine with its own tangent kernel."""

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
SAME = 0.95  # agreement from which two models count as predicting the same


@dataclass(frozen=True, eq=False, repr=False)
class KernelExplanation(Shown):
    """Result of `explain_as_kernel`; `print` shows the sentence.

    Parameters
    ----------
    verdict : {'lazy', 'kernel enough', 'learned kernel', 'no kernel', 'unknown'}
        'lazy' as in `regime_report`. Otherwise: 'kernel enough' if the kernel of the initial weights predicts the same
        (an agreement of at least 0.95), 'learned kernel' if only the kernel of the trained weights does, 'no kernel' if
        neither does. 'unknown' if neither does on training rows, because the network may have interpolated the rows
        that the machines leave out.
    sentence : str
        The verdict with its evidence.
    agreement_before, agreement_after : float
        Agreement of the two kernel machines with the network: the share of the variance of its predictions that they
        explain, or the share of rows for which they predict the same class.
    score_network, score_before, score_after : float or None
        R2 or accuracy of the network and of the two machines on the rows on which they are compared; None without
        targets for these rows.
    machine : NTKKernelRegressor or NTKKernelClassifier
        Ridge with the tangent kernel of the trained network, fitted on the input rows of the network; with
        `loo_predictions_` (regression) or `loo_decision_function_`, `dual_coef_` and `alpha_`.
    initial_machine : NTKKernelRegressor or NTKKernelClassifier
        The same with the kernel of the initial weights.
    notes : tuple of str
        What was left out.
    model : estimator, Pipeline, search or callable
        The model that is explained.
    kernel : {'after', 'before'}
        Which of the two machines `predict`, `influence` and `without` use.
    X : ndarray of shape (n_fitted, n_features)
        Rows on which the machines were fitted, as inputs of the network.
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
        """Return the predictions of the machine: ridge with the kernel of the trained or of the initial weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Input of the model, before the steps of its pipeline.
        return_std : bool, default=False
            Whether to also return the posterior standard deviation of a Gaussian process with this kernel, as in
            `NTKKernelRegressor.predict`; for numeric targets only. With the kernel after training, this is in effect a
            linearised Laplace approximation. It is only weakly related to the errors of the network (see the user
            guide).

        Returns
        -------
        prediction : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        std : ndarray of the shape of `prediction`
            Only if `return_std`.
        """
        if not return_std:
            return self._asked.predict(self._rows(X))
        if not isinstance(self._asked, NTKKernelRegressor):
            raise ValueError("return_std=True is for networks that predict numbers; this network predicts classes.")
        return self._asked.predict(self._rows(X), return_std=True)

    def influence(self, X: Any) -> np.ndarray:
        """Return the influence of each fitted row on each prediction of the machine.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Input of the model, before the steps of its pipeline.

        Returns
        -------
        ndarray of shape (n_samples, n_fitted) or (n_samples, n_fitted, n_outputs)
            The prediction, or the score of a class, minus that of a machine fitted without the row.
        """
        return self._asked.influence(self._rows(X))

    def without(self, rows: ArrayLike) -> Pipeline:
        """Return the machine refitted exactly without some of its rows.

        It keeps the kernel, and the penalty relative to the *sum* of the losses. For one row, the change of a
        prediction is therefore its `influence`. The influences of several rows do not add up; use this method for them.

        Parameters
        ----------
        rows : array-like of int or bool
            Rows to leave out, as indices or as a mask: columns of `influence`.

        Returns
        -------
        machine : Pipeline
            Pipeline with `predict`, which takes the input of the model, before the steps of its pipeline.
        """
        kept = np.ones(len(self.X))
        try:
            kept[check_array(rows, ensure_2d=False, dtype=None, input_name="rows")] = 0.0
        except IndexError as error:
            raise ValueError(
                f"rows must be indices or a mask for the {len(kept)} rows of the machine: {error}."
            ) from error
        if kept.sum() < 2:
            raise ValueError(f"rows leaves only {kept.sum():.0f} of {len(kept)} rows; keep at least two.")
        alpha = self._asked.alpha_ * len(kept) / kept.sum()
        reduced = type(self._asked)(**self._asked.get_params(deep=False) | {"alpha": alpha})
        return make_pipeline(FunctionTransformer(self._rows), reduced.fit(self.X, self.y, sample_weight=kept))

    @property
    def _asked(self):
        return self.machine if self.kernel == "after" else self.initial_machine

    def _rows(self, X):
        """Return the input rows of the network."""
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
    """Compare a trained network with kernel machines that use its tangent kernel.

    Near given weights, a network is linear in its weights, with the tangent kernel. A lazy network is ridge regression
    with the kernel of its initial weights. A network that has learned features may still be ridge regression with the
    kernel of its trained weights.

    Parameters
    ----------
    model : estimator, Pipeline that ends with one, search over one, or callable
        As in `regime_report`.
    X : array-like of shape (n_samples, n_features)
        The training rows of the network, on which the machines are fitted. On other rows a machine would learn
        something different, even if the network is lazy.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    X_test : array-like of shape (n_test, n_features), default=None
        At least ten held-out rows on which network and machines are compared. If None, they are compared on `X`: the
        machines leave out each row in turn, but the network has seen the row, and so has the kernel after training.
    y_test : array-like of shape (n_test,) or (n_test, n_outputs), default=None
        Targets for the scores on `X_test`.
    before, after, classes : parameters, default=None
        As in `regime_report`.
    kernel : {'after', 'before'}, default='after'
        The machine that `predict`, `influence` and `without` of the result use: with the kernel after training, or with
        the kernel before training, which has not seen the rows.
    max_rows : int, default=2000
        Maximum number of rows of `X`, and of `X_test`, which are drawn at random.
    random_state : int, RandomState instance or None, default=0
        Seed for drawing the rows.

    Returns
    -------
    explanation : KernelExplanation
        Result with `verdict`, `sentence`, `machine`, `predict`, `influence` and the agreements.

    See Also
    --------
    regime_report : Report on the changes of weights and kernels.

    References
    ----------
    .. [1] P. Domingos. "Every model learned by gradient descent is approximately a kernel machine". 2020,
       arXiv:2012.00152.
    .. [2] P. W. Koh, P. Liang. "Understanding black-box predictions via influence functions". ICML 2017.

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
    >>> most = abs(explanation.influence(X[300:301])[0]).argmax()  # the row that influences this prediction most
    """
    if X_test is None and y_test is not None:
        raise ValueError("y_test is given without X_test. Give both, or neither.")
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
    where = f"{len(X)} rows, each left out in turn" if X_test is None else f"{len(rows)} held-out rows"
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
            else "Your network is lazy, a linear model in its weights with its initial kernel. Ridge regression with "
            "this kernel predicts differently, because its penalty differs, or because training stopped early"
        ),
        "kernel enough": (
            "Your network has left the lazy regime without need: ridge regression with the kernel of its initial "
            "weights predicts the same"
        ),
        "learned kernel": (
            "Your network has learned a kernel: ridge regression with its kernel after training predicts the same, "
            "but ridge regression with its initial kernel does not"
        ),
        "no kernel": "Ridge regression with the tangent kernel of your network, before or after training, predicts "
        "differently",
        "unknown": "Training rows cannot show whether a kernel predicts the same as your network; give X_test",
    }[verdict]
    what = "the variance of its predictions" if trained.classes is None else "its classes"
    text = (
        f"{opening}. On {where}, the kernel before training reproduces {100 * agreements[0]:.1f} % of {what}, the "
        f"kernel after training {100 * agreements[1]:.1f} %."
    )
    if scores[0] is None:
        return text
    name = "R2" if trained.classes is None else "accuracy"
    return f"{text} The {name} is {scores[0]:.3f} for the network, {scores[1]:.3f} and {scores[2]:.3f} for the kernels."
