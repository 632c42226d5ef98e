"""Pictures of what a kernel machine has learned."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


class AGOPDisplay:
    """Average gradient outer product of a recursive feature machine, as an image.

    Entry (i, j) is the mean over the training rows of the product of the prediction's slopes in features i and j, over
    the largest of the diagonal. The diagonal says which features matter; off it, slopes that are large in the same rows
    and of the same sign are positive.

    Parameters
    ----------
    agop : ndarray of shape (n_features, n_features)
    feature_names : array-like of str, default=None
        'x0', 'x1', ... if None.

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
        """Draw the matrix of a fitted machine.

        Parameters
        ----------
        estimator : RFMRegressor, RFMClassifier or Pipeline that ends with one
            Fitted.
        feature_names : array-like of str, default=None
            Those that the machine was given in `fit`, or 'x0', 'x1', ..., if None.
        max_features : int, default=20
            So many features of the largest diagonal entries are drawn, the largest first.
        ax : matplotlib Axes, default=None
            A new figure's if None.

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
            So many features of the largest diagonal entries are drawn, the largest first.
        ax : matplotlib Axes, default=None
            A new figure's if None.

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
