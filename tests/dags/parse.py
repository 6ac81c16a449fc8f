"""Parses a folder of Dags as Airflow does and says what came of it and what the files did meanwhile.

A process of its own (``python parse.py <folder of Dags> <folder of their modules>``, one JSON object on standard
output): Airflow keeps settings and modules for the life of a process. The policies that judge the answer are in
``test_dags``, not here.
"""

from __future__ import annotations

import _socket
import contextlib
import importlib.abc
import json
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import dropwhile
from pathlib import Path
from types import FrameType
from typing import Any

HEAVY = frozenset({"boto3", "pandas", "pandera", "psycopg2", "pyarrow"})
CLOCKS = frozenset({"now", "utcnow", "today"})
STORES = frozenset(
    {
        "BaseHook.get_connection",
        "Connection.get",
        "Connection.get_connection_from_secrets",
        "Variable.get",
        "Variable.get_variable_from_secrets",
        "Variable.set",
        "_get_connection",
        "_get_variable",
    }
)


class HeavyImports(importlib.abc.MetaPathFinder):
    """Finds nothing; remembers through which lines, from the Dag file on, a heavy module was asked for first."""

    def __init__(self, dags: Path) -> None:
        self.chains: dict[str, list[str]] = {}
        self._dags = f"{dags}/"

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname in HEAVY and fullname not in self.chains:
            stack = traceback.extract_stack()[:-1]
            from_dag = dropwhile(lambda frame: not frame.filename.startswith(self._dags), stack)
            self.chains[fullname] = [
                f"{frame.filename}:{frame.lineno}: {frame.line}"
                for frame in from_dag
                if frame.line and "importlib" not in frame.filename
            ]


class Questions:
    """What the project's files ask of the clock, and anyone of stores and the network, while they are parsed."""

    def __init__(self, project: Sequence[Path]) -> None:
        self.asked: list[str] = []
        self._roots = tuple(f"{folder}/" for folder in project)

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code.co_qualname in STORES:
                self._note(code.co_qualname, frame)
            elif code.co_name in CLOCKS and frame.f_back and self._own(frame.f_back):
                self._note(code.co_name, frame)
        elif event == "c_call":
            owner = getattr(arg, "__self__", None)
            if owner is time or (isinstance(owner, type) and issubclass(owner, date) and arg.__name__ in CLOCKS):
                if self._own(frame):
                    self._note(arg.__name__, frame)
            elif arg is _socket.getaddrinfo or (isinstance(owner, _socket.socket) and arg.__name__ == "connect"):
                self._note(arg.__name__, frame)

    def _own(self, frame: FrameType) -> bool:
        return frame.f_code.co_filename.startswith(self._roots)

    def _note(self, question: str, frame: FrameType | None) -> None:
        while frame is not None and not self._own(frame):
            frame = frame.f_back
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "outside the project's files"
        self.asked.append(f"{question} at {place}")


@contextlib.contextmanager
def watched(heavy: HeavyImports, questions: Questions) -> Iterator[None]:
    """Both watchers at work."""
    sys.meta_path.insert(0, heavy)
    sys.setprofile(questions)
    try:
        yield
    finally:
        sys.setprofile(None)
        sys.meta_path.remove(heavy)


def parse(dags: Path, modules: Path) -> dict[str, Any]:
    """What Airflow makes of a folder; the only place that knows where Airflow keeps its DagBag."""
    from airflow.dag_processing.dagbag import DagBag

    known_before = sorted(HEAVY & set(sys.modules))
    heavy, questions = HeavyImports(dags), Questions([dags, modules])
    with watched(heavy, questions):
        bag = DagBag(dags)
    return {
        "known_before": known_before,
        "heavy": heavy.chains,
        "asked": questions.asked,
        "import_errors": bag.import_errors,
        "warnings": bag.captured_warnings,
        "dags": {dag_id: described(dag) for dag_id, dag in bag.dags.items()},
    }


def described(dag: Any) -> dict[str, Any]:
    """What the policies judge of one Dag."""
    return {
        "file": Path(dag.fileloc).name,
        "owners": sorted({task.owner for task in dag.tasks}),
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "retries": dag.default_args.get("retries"),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "unchecked": [task.task_id for task in dag.tasks if not checked(task)],
        "params": {name: param.schema | {"description": param.description} for name, param in params_of(dag)},
    }


def checked(task: Any) -> bool:
    """Whether the run's conf is checked before the task does anything, mapped or not."""
    hook = task.partial_kwargs.get("pre_execute") if task.is_mapped else task._pre_execute_hook
    return getattr(hook, "__name__", None) == "refuse_unknown_conf"


def params_of(dag: Any) -> list[tuple[str, Any]]:
    """Params themselves, not their values."""
    return [(name, dag.params.get_param(name)) for name in dag.params]


if __name__ == "__main__":
    answer = parse(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"\n{json.dumps(answer)}")
