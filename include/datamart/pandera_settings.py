"""pandera, configured by this project alone: nothing in the environment switches rules off or changes what they do.

Everything that judges imports pandera from here. pandera reads ``PANDERA_*`` when it is imported, and any spelling of
``PANDERA_VALIDATION_ENABLED`` that it does not know means off; so these variables are removed first, and its
configuration is set once, before any thread judges. Its ``config_context`` is not used: what it changes is seen, in
some versions, by all threads, and it restores what it saw on entry.
"""

from __future__ import annotations

import logging
import os
from contextvars import Context

log = logging.getLogger(__name__)

PREFIX = "PANDERA_"


def drop_variables() -> list[str]:
    """Remove pandera's variables from this process's environment; their names."""
    names = sorted(name for name in os.environ if name.startswith(PREFIX))
    for name in names:
        del os.environ[name]
        log.warning("The environment variable %s is ignored: pandera is configured by datamart alone.", name)
    return names


drop_variables()

import pandera.pandas as pandera  # noqa: E402 - after its variables are gone
from pandera import config  # noqa: E402


def configure() -> None:
    """Let every thread of this process validate schemas and data, whatever was configured before."""
    for holder in (config.CONFIG, config._CONTEXT_CONFIG):
        holder.validation_enabled = True
        holder.validation_depth = config.ValidationDepth.SCHEMA_AND_DATA
        holder.cache_dataframe = False
        holder.keep_cached_dataframe = False


# A thread begins with the configuration of an empty context; this thread may have one of its own.
Context().run(configure)
configure()

__all__ = ["pandera"]
