"""Types that many signatures share."""

from typing import Any, TypeAlias

import numpy as np

Values: TypeAlias = Any  # a number or an array of NumPy, JAX or numba: a formula runs on all of them
Seed: TypeAlias = int | np.random.RandomState | None
