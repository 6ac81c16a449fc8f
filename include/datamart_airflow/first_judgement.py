"""What pandera does when it judges for the first time, done once: a process that tasks are forked from imports this,
the last of all.

There is no rule in here: a process that imports it ahead keeps no code of a version that is gone. What was imported
before is frozen: the garbage collector of a forked process would copy it all by looking through it.
"""

from __future__ import annotations

import gc
import os

import pandas as pd
import pyarrow as pa

for name in [name for name in os.environ if name.startswith("PANDERA_")]:
    del os.environ[name]  # as datamart.pandera_settings does, which is not imported here

import pandera.pandas as pandera  # noqa: E402


def _judge() -> None:
    kind = pd.ArrowDtype(pa.binary())
    values = pd.Series(pd.arrays.ArrowExtensionArray(pa.array([b"", b"x"])), dtype=kind)
    check = pandera.Check(lambda column: column.isna(), name="first", ignore_na=False)
    schema = pandera.DataFrameSchema({"value": pandera.Column(kind, [check], nullable=False)}, strict=True)
    try:
        schema.validate(pd.DataFrame({"value": values}), lazy=True)
    except pandera.errors.SchemaErrors:
        return


_judge()
gc.collect()
gc.freeze()
