"""What the workers of a Dask cluster have in common: the version of this package, and their processor."""

from threadpoolctl import threadpool_info

import sklearn_ltdl
from sklearn_ltdl._sklearn import warn

LACKING = "The workers of the Dask cluster lack sklearn_ltdl; install it on the machines where they run."


def check_workers(client):
    """Raise an error if workers have no package or another version, and warn if their processors differ; asks once."""
    try:
        versions = client.run(eval, "__import__('sklearn_ltdl').__version__")  # an older one may lack this module
    except ModuleNotFoundError as error:
        raise RuntimeError(LACKING) from error
    require_version(versions.values(), sklearn_ltdl.__version__)
    warn_if_different(set().union(*client.run(processors).values()))


def require_version(theirs, expected):
    """Raise an error unless all versions of the workers are that of the client."""
    others = sorted({*theirs} - {expected})
    if others:
        raise RuntimeError(
            f"The Dask cluster has workers with sklearn_ltdl {', '.join(others)}; expected {expected}, as the client "
            "has, because results would differ. Install one version."
        )


def processors():
    """Return the kinds of processor that linear algebra is compiled for here, mostly one."""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return {str(pool.get("architecture", "unknown")) for pool in pools} or {"unknown"}


def warn_if_different(processors):
    """Warn if workers have more than one kind of processor."""
    if len(processors) > 1:
        warn(
            f"The workers of the Dask cluster have different processors ({', '.join(sorted(processors))}): their last "
            "digits may differ, and with them those of a fit that is repeated."
        )
