"""Notice that a Dask cluster has no workers, for which Dask itself waits for ever without a word."""

import time
from contextlib import suppress

PATIENCE = 60.0  # seconds for which a cluster may be without workers
LOOKS = 2.0  # seconds between two looks at the cluster


class Watch:
    """Looks at the workers of a cluster while its results are waited for.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client):
        self.client, self.seen = client, time.monotonic()

    def look(self):
        """Raise an error if there have been no workers for too long."""
        if self._has_workers():
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > PATIENCE:
            raise RuntimeError(
                f"The Dask cluster has had no workers for {PATIENCE:.0f} s. Start some, and run this again."
            )

    def _has_workers(self):
        with suppress(OSError):  # of a scheduler that is just lost
            return self.client.status == "running" and bool(self.client.nthreads())
        return False
