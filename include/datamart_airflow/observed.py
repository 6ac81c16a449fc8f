"""What a task did, told outside: metrics of each file as soon as it is done, lineage of all at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from datamart.datasets import of_loads
from datamart.loads import Outcome
from datamart.measures import of_given_up, of_load
from datamart_airflow import lineage, metrics


class Loads:
    """The files of one task; ``way`` says who brought them."""

    def __init__(self, way: str) -> None:
        self._way = way
        self._outcomes: list[Outcome] = []

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """More of them."""
        lineage_too = lineage.on()
        for one in outcomes:
            metrics.send(of_load(one, self._way))
            if lineage_too:
                self._outcomes.append(one)

    def given_up(self, table: str | None) -> None:
        """A file that was not loaded, and that no other try of the task will load."""
        metrics.send(of_given_up(table, self._way))

    def tell(self) -> None:
        """Lineage of them all."""
        lineage.tell(lambda places: of_loads(self._outcomes, places))


@contextmanager
def loads(way: str) -> Iterator[Loads]:
    """For as long as a task loads files; what it did before it failed is told too."""
    found = Loads(way)
    with metrics.delivery():
        try:
            yield found
        finally:
            found.tell()
