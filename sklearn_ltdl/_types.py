"""Types that many signatures share."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

Values: TypeAlias = Any  # a number or an array of NumPy, JAX or numba: a formula runs on all of them
Seed: TypeAlias = int | np.random.RandomState | None
MatrixLike: TypeAlias = ArrayLike | sparse.sparray | sparse.spmatrix
