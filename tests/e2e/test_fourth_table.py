"""One more entry in the dictionary is all that a fourth table needs."""

from __future__ import annotations

from typing import Any

from datamart.load import Loader
from datamart.loads import Verdict
from datamart.migrations import migrate
from datamart.objects import ObjectStore
from datamart.recovery.backup import Backup
from datamart.recovery.point import Wanted
from datamart.recovery.restore import Restore
from datamart.settings import load_settings
from datamart.tables import TABLES, Column, Table, Type
from datamart.warehouse.postgres import PostgresWarehouse

OFFICES = Table(
    "offices",
    (Column("id", Type.INTEGER), Column("city", Type.TEXT), Column("opened", Type.DATETIME)),
)


def test_a_fourth_table_loads(stack: Any) -> None:
    env = stack.env
    client = stack.s3
    tables = (*TABLES, OFFICES)
    store = ObjectStore(client, env["DATA_BUCKET"])
    store.write("fourth/offices_2021.csv", b'city,opened,id\n"Bern\nMitte",2021-02-03T04:05:06Z,7\nX,never,8\n')
    warehouse = PostgresWarehouse(env["WAREHOUSE_URI"])
    migrate(warehouse, tables=tables)
    try:
        loader = Loader(warehouse, store, load_settings({}), {"run_id": "test"}, tables)
        (arrival,) = store.list("fourth/")
        outcome = loader.load(arrival)
        assert (outcome.verdict, outcome.counts.inserted, outcome.counts.rejected) == (Verdict.LOADED, 1, 1)
        assert loader.load(arrival) == outcome
        rows = warehouse.query("SELECT id, city, opened::text FROM offices")
        assert rows == [(7, "Bern\nMitte", "2021-02-03 04:05:06")]
        rejects = client.get_object(
            Bucket=store.bucket, Key=f"rejected/offices/offices_rejected_{outcome.load_id}.csv"
        )["Body"].read()
        assert rejects == (
            f"_line,_reasons,_load_id,city,opened,id\r\n4,opened:not_a_datetime,{outcome.load_id},X,never,8\r\n".encode()
        )
        store.write("repaired/offices_repaired.csv", rejects.replace(b"never", b"2022-01-01T00:00:00Z"))
        (repaired,) = store.list("repaired/")
        answer = loader.load(repaired)
        assert (answer.verdict, answer.counts.inserted, answer.repairs) == (Verdict.LOADED, 1, outcome.load_id)
        assert warehouse.query("SELECT repairs FROM ops.loads WHERE load_id = %(id)s", {"id": answer.load_id}) == [
            (outcome.load_id,)
        ]
        backups = ObjectStore(client, env["BACKUP_BUCKET"])
        manifest = Backup(warehouse, backups, load_settings({}), tables).take(["offices"])
        before = warehouse.query("SELECT * FROM offices ORDER BY id")
        warehouse.execute("DELETE FROM offices WHERE id = 7")
        restore = Restore(warehouse, store, backups, load_settings({}), {"run_id": "test"}, tables)
        change = restore.restore(Wanted("offices", manifest.backup_id))
        assert (change.added, change.rows) == (1, 2)
        assert warehouse.query("SELECT * FROM offices ORDER BY id") == before
    finally:
        warehouse.close()
