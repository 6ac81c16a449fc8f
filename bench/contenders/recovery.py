"""This project's backup or restore, as a Dag's task calls it, in a process of its own."""

from __future__ import annotations

import boto3

from bench.contenders import Clock, job
from bench.contenders.ours import Phases
from datamart.objects import ObjectStore
from datamart.recovery.backup import Backup
from datamart.recovery.point import Wanted
from datamart.recovery.restore import Restore
from datamart.settings import load_settings
from datamart.warehouse.postgres import PostgresWarehouse
from embedded.settings import BACKUP_BUCKET


def main() -> None:
    """Take a backup of the job's ``backup`` table, or restore its ``restore`` table to the backup ``backup_id``."""
    wanted = job()
    clock, phases = Clock(), Phases()
    warehouse = PostgresWarehouse(wanted["dsn"])
    settings, client = load_settings({}), boto3.client("s3")
    backups = ObjectStore(client, BACKUP_BUCKET)
    phases.watch(warehouse, "warehouse")
    told: dict[str, object] = {}
    try:
        if "backup" in wanted:
            manifest = Backup(warehouse, backups, settings).take([wanted["backup"]])
            table = manifest.tables[wanted["backup"]]
            told = {"backup_id": manifest.backup_id, "rows": table.rows, "bytes": table.size}
        else:
            store = ObjectStore(client, settings.data_bucket)
            restore = Restore(warehouse, store, backups, settings, {"dag_id": "bench", "run_id": wanted["run"]})
            told = restore.restore(Wanted(wanted["restore"], wanted["backup_id"])).as_json()
    finally:
        warehouse.close()
    clock.finish(phases=phases.seconds, told=told)


if __name__ == "__main__":
    main()
