"""Plot of the matrix that a recursive feature machine has learned."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


class AGOPDisplay:
    """Image of the average gradient outer product of a recursive feature machine.

    Entry (i, j) is the mean over the training rows of the product of the prediction's slopes in features i and j,
    divided by the largest diagonal entry. The diagonal shows which features matter. An off-diagonal entry is positive
    if two slopes tend to be large in the same rows and to have the same sign.

    Parameters
    ----------
    agop : ndarray of shape (n_features, n_features)
    feature_names : array-like of str, default=None
        Names of the features; None means 'x0', 'x1', ...

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    im_ : matplotlib AxesImage

    See Also
    --------
    RFMRegressor : Learns the matrix.

    Examples
    --------
    >>> from sklearn_ltdl import AGOPDisplay, RFMClassifier
    >>> from sklearn_ltdl.datasets import make_parity
    >>> X, y = make_parity(100, 5, random_state=0)
    >>> display = AGOPDisplay.from_estimator(RFMClassifier(random_state=0).fit(X, y))
    >>> sorted(label.get_text() for label in display.ax_.get_yticklabels())[:2]
    ['x0', 'x1']
    """

    def __init__(self, *, agop: np.ndarray, feature_names: Sequence[str] | None = None) -> None:
        self.agop = agop
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, feature_names: Sequence[str] | None = None, max_features: int = 20, ax: Any = None
    ) -> Self:
        """Draw the matrix of a fitted estimator.

        Parameters
        ----------
        estimator : RFMRegressor, RFMClassifier or Pipeline that ends with one
            A fitted estimator.
        feature_names : array-like of str, default=None
            Names of the features; None takes the names seen in `fit`, or 'x0', 'x1', ... if there are none.
        max_features : int, default=20
            Maximum number of features to draw. Those with the largest diagonal entries are drawn, in descending order.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : AGOPDisplay
        """
        check_is_fitted(estimator)
        machine = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        if not hasattr(machine, "agop_"):
            raise ValueError(
                f"estimator is a {type(machine).__name__}, which has no agop_; give a fitted RFMRegressor or "
                "RFMClassifier, or a Pipeline that ends with one."
            )
        if feature_names is None:
            feature_names = getattr(machine, "feature_names_in_", None)
        if feature_names is None and machine is not estimator and hasattr(estimator, "feature_names_in_"):
            feature_names = estimator[:-1].get_feature_names_out()
        display = cls(agop=machine.agop_, feature_names=feature_names)
        return display.plot(max_features=max_features, ax=ax)

    def plot(self, *, max_features: int = 20, ax: Any = None) -> Self:
        """Draw the matrix.

        Parameters
        ----------
        max_features : int, default=20
            Maximum number of features to draw. Those with the largest diagonal entries are drawn, in descending order.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : AGOPDisplay
        """
        import matplotlib.pyplot as plt

        d = len(self.agop)
        names = [f"x{i}" for i in range(d)] if self.feature_names is None else list(self.feature_names)
        if len(names) != d:
            raise ValueError(f"feature_names has {len(names)} names; the matrix has {d} features.")
        diagonal = np.diagonal(self.agop)
        top = np.argsort(-diagonal, kind="stable")[:max_features]
        largest = diagonal.max() if diagonal.max() > 0 else 1.0
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_: Any = ax
        self.figure_: Any = ax.figure
        self.im_: Any = ax.imshow(self.agop[np.ix_(top, top)] / largest, cmap="RdBu_r", vmin=-1, vmax=1)
        labels = [names[i] for i in top]
        ax.set_xticks(range(len(top)), labels, rotation=90)
        ax.set_yticks(range(len(top)), labels)
        self.figure_.colorbar(self.im_, ax=ax, label="average gradient outer product")
        return self
