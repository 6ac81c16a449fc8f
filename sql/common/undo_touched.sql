-- Rows that a load put or removed and that what came later has changed, by what it was.
SELECT
    touched.change_id,
    COUNT(DISTINCT touched.{key}) AS rows_touched
FROM (
    SELECT
        put.{key},
        put._replaced_by AS change_id
    FROM ops.{history} AS put
    LEFT JOIN {target} AS target ON put.{key} = target.{key} AND target._load_id = %(load_id)s
    WHERE put._load_id = %(load_id)s AND target.{key} IS NULL
    UNION ALL
    SELECT
        was.{key},
        COALESCE(live._load_id, later._replaced_by, anew.load_id) AS change_id
    FROM ops.{history} AS was
    LEFT JOIN {target} AS live ON was.{key} = live.{key}
    LEFT JOIN (
        SELECT
            kept.{key},
            MAX(kept._replaced_by) AS _replaced_by
        FROM ops.{history} AS kept
        LEFT JOIN ops.loads AS gone ON kept._load_id = gone.load_id AND kept._replaced_by = gone.undone_by
        WHERE kept._replaced_seq > %(commit_seq)s AND gone.load_id IS NULL
        GROUP BY kept.{key}
    ) AS later ON was.{key} = later.{key}
    LEFT JOIN ops.{history} AS own ON was.{key} = own.{key} AND own._load_id = %(load_id)s
    CROSS JOIN (
        SELECT MIN(load_id) AS load_id
        FROM ops.loads
        WHERE
            table_name = %(table)s
            AND mode = 'replace'
            AND commit_seq > %(commit_seq)s
            AND verdict IN ('loaded', 'duplicate')
            AND undone_by IS NULL
    ) AS anew
    WHERE
        was._replaced_by = %(load_id)s
        AND was._replaced_seq = %(commit_seq)s
        AND (live._load_id IS NULL OR live._load_id <> %(load_id)s)
        AND own.{key} IS NULL
        AND COALESCE(live._load_id, later._replaced_by, anew.load_id) IS NOT NULL
) AS touched
GROUP BY touched.change_id
ORDER BY touched.change_id
