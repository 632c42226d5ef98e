"""Kernels of networks of any architecture, from neural-tangents (Novak et al. 2020, arXiv:1912.02803).

The last release of neural-tangents, 0.6.5 of 2023, was written for the JAX of its time and requires TensorFlow for a
part that is not needed here. It is imported unchanged, while the few names that have moved in JAX are provided under
their old names.
"""

import functools
import importlib
import inspect
import pickle
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from math import isqrt, prod
from numbers import Integral
from threading import Lock
from types import ModuleType
from typing import Any, Self

import joblib
import numpy as np
from sklearn import get_config

from sklearn_ltdl.ntk._kernels import Kernel

VERSION = "0.6.5"
TESTED_JAX = "0.8 to 0.12"
MOVED = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")  # names that moved from jax.core to jax.extend.core
INSTALL = f"    pip install --no-deps neural-tangents=={VERSION}\n    pip install frozendict"
TEMPORARIES = 8  # compiled kernels hold at most so many arrays of the largest size; 6 or 7 were measured

_importing = Lock()


def load_neural_tangents() -> ModuleType:
    """Import neural-tangents 0.6.5, which recent JAX versions can no longer import directly.

    Install it without its dependencies, because TensorFlow (1.9 GB) is never used::

        pip install --no-deps neural-tangents==0.6.5
        pip install frozendict

    The second command reports TensorFlow as missing, which does no harm. Names that have moved in JAX are put where
    neural-tangents looks for them during its import, and removed afterwards. JAX 0.8 to 0.12 are known to work. `stax`,
    `predict` and the kernels of finite networks work, except ``empirical_ntk_fn`` with implementation 3, and with
    implementation 0, which tries 3. The subpackage `experimental` is empty.

    Returns
    -------
    neural_tangents : module

    Raises
    ------
    ImportError
        If neural-tangents is missing, has another version, or fails to import. The message says how to install it.

    See Also
    --------
    StaxKernel : Kernel of a neural-tangents network between rows of a table.

    Examples
    --------
    >>> from sklearn_ltdl.ntk import load_neural_tangents
    >>> stax = load_neural_tangents().stax  # doctest: +SKIP
    >>> network = stax.serial(stax.Dense(512), stax.Relu(), stax.Dense(1))  # doctest: +SKIP
    """
    try:
        installed = metadata.version("neural-tangents")
    except metadata.PackageNotFoundError:
        installed = None
    if installed != VERSION:
        found = "is not installed" if installed is None else f"is {installed}"
        raise ImportError(f"neural-tangents {found}; version {VERSION} is required. Install it with\n{INSTALL}")
    with _importing:
        if "neural_tangents" in sys.modules:
            return sys.modules["neural_tangents"]
        try:
            with _names_of_older_jax():
                return importlib.import_module("neural_tangents")
        except Exception as error:
            raise ImportError(
                f"neural-tangents {VERSION} fails to import ({type(error).__name__}: {error}). It is tested with JAX "
                f"{TESTED_JAX}; the installed version is {metadata.version('jax')}. Install it with\n{INSTALL}"
            ) from error


@contextmanager
def _names_of_older_jax():
    """Provide the names that neural-tangents imports from JAX, and an empty module for the part with TensorFlow."""
    import jax.core
    import jax.extend.core as extended
    from jax.interpreters import ad

    places = [
        (vars(jax.core), {name: getattr(extended, name) for name in MOVED}),
        (vars(ad), {"zeros_like_p": extended.Primitive("zeros_like")}),
        (sys.modules, {"jax.util": importlib.import_module("jax._src.util")}),
        (sys.modules, {"neural_tangents.experimental": ModuleType("neural_tangents.experimental")}),
    ]
    replaced = [{name: place[name] for name in names if name in place} for place, names in places]
    try:
        for place, names in places:
            place.update(names)
        yield
    finally:
        for (place, names), before in zip(places, replaced):
            for name in names:
                place.pop(name, None)
            place.update(before)


@dataclass(frozen=True)
class StaxKernel(Kernel):
    """Kernel of a neural-tangents network, of any architecture, between the rows of a table.

    Pass it as `kernel=` to `NTKKernelRegressor`, `NTKKernelClassifier` or other estimators that take a callable, such
    as `SVC`. Values are computed in double precision, whatever the setting of JAX, in blocks of pairs that fit in the
    `working_memory` of `sklearn.set_config`. Unlike `kernel_fn` itself it can be pickled, for the same Python version.

    Parameters
    ----------
    kernel_fn : callable
        Third element of the result of ``stax.serial(...)``. Its widths and its number of outputs do not matter.
    input_shape : tuple of int, default=None
        Shape of the network's input for one row, such as ``(8, 8, 1)`` for images of height, width and channels. None
        does not reshape rows.
    get : {'ntk', 'nngp'}, default='ntk'
        The tangent kernel, or the covariance of the outputs at initialisation.

    See Also
    --------
    load_neural_tangents : Import neural-tangents, or say how to install it.
    ntk_kernel : Kernel of a fully connected network, many times faster.

    Notes
    -----
    Between nearly parallel inputs, values are only accurate to 1e-8 of the diagonal. A network that pools
    (`GlobalAvgPool`, `AvgPool`) needs the covariances of all pairs of pixels; a network that flattens needs only those
    of equal pixels, which took a 50th of the time for images of 8 x 8.

    References
    ----------
    .. [1] R. Novak et al. "Neural Tangents: fast and easy infinite neural networks in Python". ICLR 2020,
       arXiv:1912.02803.
    .. [2] S. Arora et al. "On exact computation with an infinitely wide neural net". NeurIPS 2019, arXiv:1904.11955,
       section 4, for convolutions.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ltdl import NTKKernelClassifier
    >>> from sklearn_ltdl.ntk import StaxKernel, load_neural_tangents
    >>> stax = load_neural_tangents().stax  # doctest: +SKIP
    >>> network = stax.serial(stax.Conv(1, (3, 3)), stax.Relu(), stax.Flatten(), stax.Dense(1))  # doctest: +SKIP
    >>> kernel = StaxKernel(network[2], input_shape=(8, 8, 1))  # doctest: +SKIP
    >>> NTKKernelClassifier(kernel=kernel).fit(*load_digits(return_X_y=True))  # doctest: +SKIP
    """

    kernel_fn: Any
    input_shape: tuple[int, ...] | None = None
    get: str = "ntk"

    def __post_init__(self) -> None:
        if not is_kernel_fn(self.kernel_fn):
            raise TypeError(
                "kernel_fn must be a function with a parameter `get`, the third element of stax.serial(...); "
                f"got {self.kernel_fn!r}."
            )
        if self.get not in ("ntk", "nngp"):
            raise ValueError(f"get must be 'ntk' or 'nngp'; got {self.get!r}.")
        if self.input_shape is not None:
            if not all(isinstance(length, Integral) and length > 0 for length in np.atleast_1d(self.input_shape)):
                raise ValueError(f"input_shape must be a tuple of positive integers; got {self.input_shape!r}.")
            object.__setattr__(self, "input_shape", tuple(np.atleast_1d(self.input_shape).tolist()))  # hashable

    def _matrix(self, X, Z):
        x = self._inputs(X, "X")
        z = x if Z is None else self._inputs(Z, "Z")
        compiled = _compiled(self, x.shape[1:])
        size = isqrt(compiled.pairs())
        K = np.empty((len(x), len(z)))
        for rows in _blocks(len(x), size):
            for columns in _blocks(rows.stop if Z is None else len(z), size):
                K[rows, columns] = compiled.kernel(x[rows], z[columns], size)
                if Z is None and columns != rows:
                    K[columns, rows] = K[rows, columns].T
        return K

    def _diagonal(self, X):
        x = self._inputs(X, "X")
        compiled = _compiled(self, x.shape[1:])
        size = compiled.pairs()
        return np.concatenate([compiled.diagonal(x[rows], size) for rows in _blocks(len(x), size)])

    def _inputs(self, X, name):
        shape = X.shape[1:] if self.input_shape is None else self.input_shape
        if X.shape[1] != prod(shape):
            raise ValueError(
                f"{name} has {X.shape[1]} columns, but input_shape={self.input_shape} needs {prod(shape)}."
            )
        return X.reshape(len(X), *shape).astype(np.float64, copy=False)

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # immutable, and scikit-learn's clone need not compile it again

    def __reduce__(self) -> tuple[Any, ...]:
        by_value = joblib.wrap_non_picklable_objects(self.kernel_fn, keep_wrapper=False)  # kernel_fn is a closure
        return _unpickled, (pickle.dumps(by_value), self.input_shape, self.get)


def is_kernel_fn(kernel):
    """Return whether a callable is a kernel function of neural-tangents, by its parameter `get`."""
    try:
        return "get" in inspect.signature(kernel).parameters
    except (TypeError, ValueError):  # not a callable, or a C function without a signature
        return False


def as_kernel(kernel):
    """Return a kernel or a user's callable unchanged, and a `kernel_fn` of neural-tangents as a `StaxKernel`."""
    if isinstance(kernel, type):
        raise TypeError(f"kernel is the class {kernel.__name__}; give an object of it, such as {kernel.__name__}().")
    return StaxKernel(kernel) if is_kernel_fn(kernel) else kernel


def _unpickled(kernel_fn, input_shape, get):
    load_neural_tangents()  # the pickle refers to its modules by name
    return StaxKernel(pickle.loads(kernel_fn), input_shape, get)


class _Compiled:
    """Jitted functions of a kernel for inputs of one shape, and their memory needs."""

    def __init__(self, kernel, shape) -> None:
        import jax

        from sklearn_ltdl._backends.jax import precise

        kernel_fn = functools.partial(kernel.kernel_fn, get=kernel.get)
        self.shape, self.precise = shape, precise
        self.pair = jax.jit(kernel_fn)
        self.self_pairs = jax.jit(jax.vmap(lambda x: kernel_fn(x[None], None)[0, 0]))
        with precise():
            one = jax.ShapeDtypeStruct((1, *shape), np.float64)
            try:
                traced = jax.make_jaxpr(kernel_fn)(one, one)
            except Exception as error:
                raise ValueError(
                    f"kernel_fn does not take inputs of shape {shape} ({type(error).__name__}: {error}). "
                    "Give StaxKernel(kernel_fn, input_shape=...) the shape of one input of the network."
                ) from error
        if [value.shape for value in traced.out_avals] != [(1, 1)]:
            raise ValueError(
                f"kernel_fn returns shape {traced.out_avals[0].shape} for one pair of inputs, expected (1, 1). "
                "End the network with Flatten or GlobalAvgPool, and Dense."
            )
        entries = max(value.aval.size for step in traced.jaxpr.eqns for value in step.outvars)
        self.bytes = 8 * TEMPORARIES * entries  # needed for one pair

    def pairs(self):
        """Return the number of pairs that fit in the working memory."""
        limit = get_config()["working_memory"]
        if self.bytes > limit * 2**20:
            raise MemoryError(
                f"The kernel of one pair of inputs of shape {self.shape} needs {self.bytes / 2**20:.0f} MiB, more "
                f"than the working_memory of {limit} MiB. Use smaller inputs, a network that flattens, not pools, "
                "or sklearn.set_config(working_memory=...)."
            )
        return int(limit * 2**20 // self.bytes)

    def kernel(self, x, z, size):
        with self.precise():
            return np.asarray(self.pair(_padded(x, size), _padded(z, size)))[: len(x), : len(z)]

    def diagonal(self, x, size):
        with self.precise():
            return np.asarray(self.self_pairs(_padded(x, size)))[: len(x)]


_compiled = functools.lru_cache(maxsize=8)(_Compiled)


def _padded(x, size):
    """Repeat rows up to a power of two or a full block: compiling for a new shape would take a second."""
    return np.resize(x, (min(size, 1 << (len(x) - 1).bit_length()), *x.shape[1:]))


def _blocks(n, size):
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]
