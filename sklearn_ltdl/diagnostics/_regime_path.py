"""The tangent kernel along training: when it turns and grows, and when the loss falls."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ltdl._shown import Shown, columns
from sklearn_ltdl._sklearn import Interval, validate_params
from sklearn_ltdl._targets import checked_list
from sklearn_ltdl._types import Seed
from sklearn_ltdl.diagnostics._regime import centred, cosine, moved
from sklearn_ltdl.diagnostics._trained import FEWEST_ROWS, network_along

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_ROWS = 300
_COLUMNS = {
    "steps": "step",
    "losses": "loss",
    "scores": "score",
    "displacements": "moved",
    "kernel_norms": "norm",
    "kernel_distances": "from first",
    "kernel_velocities": "from last",
    "alignments": "alignment",
}


@dataclass(frozen=True, eq=False, repr=False)
class RegimePath(Shown):
    """Result of `regime_path`: a network at several times in training, the first at the start.

    Parameters
    ----------
    steps : ndarray of shape (n_checkpoints,)
        Increasing.
    losses : ndarray of shape (n_checkpoints,)
        Mean squared error, or log loss, on the rows.
    scores : ndarray of shape (n_checkpoints,)
        R2 or accuracy on the rows.
    displacements : ndarray of shape (n_checkpoints,)
        ``|w - w0| / |w0|``.
    kernel_norms : ndarray of shape (n_checkpoints,)
        ``|K| / |K0|``, Frobenius norms.
    kernel_distances : ndarray of shape (n_checkpoints,)
        1 - centred kernel alignment (CKA) with the first kernel; it does not depend on the size of the kernel.
    kernel_velocities : ndarray of shape (n_checkpoints,)
        1 - CKA with the kernel of the previous checkpoint; nan at the first.
    alignments : ndarray of shape (n_checkpoints,)
        Centred alignment of the kernel with the target.
    score : {'R2', 'accuracy'}
    n_rows : int
        Number of rows that were used.
    notes : tuple of str
        Notes on what was left out.
    """

    steps: np.ndarray
    losses: np.ndarray
    scores: np.ndarray
    displacements: np.ndarray
    kernel_norms: np.ndarray
    kernel_distances: np.ndarray
    kernel_velocities: np.ndarray
    alignments: np.ndarray
    score: str
    n_rows: int
    notes: tuple[str, ...]

    def to_frame(self) -> "DataFrame":
        """Return the path as a pandas DataFrame, indexed by step."""
        from pandas import DataFrame

        return DataFrame({name: getattr(self, name) for name in _COLUMNS}).set_index("steps")

    def __str__(self) -> str:
        names = [self.score if name == "scores" else title for name, title in _COLUMNS.items()]
        lines = ["".join(f"{name:>11}" for name in names)]
        for row in zip(*(getattr(self, name) for name in _COLUMNS)):
            lines.append("".join(f"{value:>11.3g}" for value in row))
        return "\n".join([*lines, *self.notes])

    def _headline(self):
        return (
            f"{len(self.steps)} checkpoints on {self.n_rows} rows: loss from {self.losses[0]:.3g} to "
            f"{self.losses[-1]:.3g}, alignment with the target from {self.alignments[0]:.2f} to "
            f"{self.alignments[-1]:.2f}"
        )

    def _tables(self):
        yield columns(**{name: getattr(self, name) for name in _COLUMNS})

    def _notes(self):
        return self.notes


@validate_params(
    {
        "max_rows": [Interval(Integral, FEWEST_ROWS, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def regime_path(
    model: Any,
    checkpoints: Sequence[Any],
    X: Any,
    y: Any,
    *,
    steps: ArrayLike | None = None,
    classes: ArrayLike | None = None,
    max_rows: int = MAX_ROWS,
    random_state: Seed = 0,
) -> RegimePath:
    r"""Follow the tangent kernel of a network along its training.

    A lazy network keeps its first kernel. In a network that learns features, the kernel may align with the target while
    the loss has hardly changed, and only then grow ("silent alignment" [1]_); or it may align long after the training
    rows are fitted ("grokking" [2]_).

    Parameters
    ----------
    model : module of PyTorch, function of JAX, or fitted MLP of scikit-learn
        As in `regime_report`; also a net of skorch, a ``sklearn_ltdl.torch.TorchNetwork`` (its `before` is ignored), or
        a Pipeline that ends with one of these. The model is not changed and need not be in its final state.
    checkpoints : sequence of state_dict, path, (coefs, intercepts) or tree of arrays
        The weights at two or more times in training, in order, the first at the start. For a module, its states or
        files of them; for an MLP of scikit-learn, pairs ``(coefs, intercepts)``; for a function of JAX, its parameters.
        Give copies if training works in place.
    X : array-like of shape (n_samples, n_features)
        Rows that the network was *not* trained on, as in `regime_report`.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    steps : array-like of shape (n_checkpoints,), default=None
        Increasing numbers, such as epochs; None counts from 0.
    classes : array-like of shape (n_classes,), default=None
        As in `regime_report`.
    max_rows : int, default=300
        Maximum number of rows, which are drawn at random.
    random_state : int, RandomState instance or None, default=0
        Seed for drawing the rows.

    Returns
    -------
    path : RegimePath
        Path with `losses`, `alignments`, `kernel_distances`, `kernel_velocities` and more; `print` shows a table.

    See Also
    --------
    RegimePathDisplay : Plot of the path.
    regime_report : Compare start and end in more detail.

    Notes
    -----
    The cost of each checkpoint is one tangent kernel. Batch normalisation uses the statistics of the rows at each
    checkpoint.

    References
    ----------
    .. [1] A. Atanasov, B. Bordelon, C. Pehlevan. "Neural networks as kernel learners: the silent alignment effect".
       ICLR 2022, arXiv:2111.00034.
    .. [2] T. Kumar, B. Bordelon, S. J. Gershman, C. Pehlevan. "Grokking as the transition from lazy to rich training
       dynamics". ICLR 2024, arXiv:2310.06110.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> from sklearn_ltdl import regime_path
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((200, 5))
    >>> y = X[:, 0] * X[:, 1]
    >>> network, checkpoints = MLPRegressor(random_state=0), []
    >>> for epoch in range(30):
    ...     network = network.partial_fit(X[:100], y[:100])
    ...     checkpoints.append(([w.copy() for w in network.coefs_], [b.copy() for b in network.intercepts_]))
    >>> path = regime_path(network, checkpoints[::5], X[100:], y[100:])
    >>> bool(path.alignments[-1] > path.alignments[0])
    True
    """
    trained, each, X, y, notes = network_along(
        model, checkpoints, X, y, classes=classes, max_rows=max_rows, random_state=random_state
    )
    n = len(checkpoints)
    steps = np.arange(n) if steps is None else checked_list(steps, "steps", n, numbers=True)
    if np.any(np.diff(steps) <= 0):
        raise ValueError(f"steps must increase, one for each checkpoint; got {steps.tolist()}.")
    targets = trained.targets(y)
    T, points, first, last = centred(targets @ targets.T), [], None, None
    for weights in each:
        K = trained.function.kernel(weights, X)
        C = centred(K)
        if first is None:
            first = C, np.linalg.norm(K)
        points.append(
            (
                trained.mean_loss(weights, X, y),
                trained.score(y, trained.predict(weights, X)),
                moved(trained.before, weights),
                np.linalg.norm(K) / first[1],
                max(0.0, 1 - cosine(C, first[0])),
                np.nan if last is None else max(0.0, 1 - cosine(C, last)),
                cosine(C, T),
            )
        )
        last = C
    score = "R2" if trained.classes is None else "accuracy"
    return RegimePath(steps, *(np.array(column) for column in zip(*points)), score, len(X), tuple(notes))
