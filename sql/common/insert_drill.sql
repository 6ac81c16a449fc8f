INSERT INTO ops.drills (drill_id, backup_id, passed, evidence, started_at, finished_at)
VALUES (%(drill_id)s, %(backup_id)s, %(passed)s, %(evidence)s, %(started_at)s, %(finished_at)s)
