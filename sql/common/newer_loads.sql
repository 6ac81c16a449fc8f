SELECT DISTINCT
    kept.load_id,
    kept.clean_parts,
    newer.mode
FROM ops.loads AS newer
INNER JOIN ops.loads AS kept
    ON kept.load_id = CASE WHEN newer.clean_parts = 0 THEN newer.duplicate_of ELSE newer.load_id END
WHERE
    newer.table_name = %(table)s
    AND newer.verdict IN ('loaded', 'duplicate')
    AND newer.undone_by IS NULL
    AND newer.listed_at >= %(listed_at)s
    AND (newer.listed_at > %(listed_at)s OR newer.arrived_at >= %(arrived_at)s)
    AND (
        newer.listed_at > %(listed_at)s
        OR newer.arrived_at > %(arrived_at)s
        OR newer.source_key{bytewise} > %(key)s
    )
    AND newer.listed_at <= %(listed_until)s
