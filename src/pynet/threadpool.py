"""threadpoolctl knows pynet: importing this module registers it, as `import pynet` does where threadpoolctl is there.

>>> import pynet.threadpool
>>> with threadpoolctl.threadpool_limits(1):
...     trainer.fit(X, y)

The limit is that of pn.set_num_threads: it holds for models and trainers that were not given `n_threads`.  Needs
threadpoolctl 3.2 or newer.
"""

from __future__ import annotations

import threadpoolctl

__all__ = ["Controller"]


class Controller(threadpoolctl.LibController):
    """How threadpoolctl reads and sets the number of pynet's threads."""

    user_api = internal_api = "pynet"
    filename_prefixes = ("_core",)
    check_symbols = ("pn_get_num_threads", "pn_set_num_threads", "pn_version")

    def get_num_threads(self):
        return self.dynlib.pn_get_num_threads()

    def set_num_threads(self, num_threads):
        self.dynlib.pn_set_num_threads(num_threads)

    def get_version(self):
        from ._core import version

        return version


threadpoolctl.register(Controller)
