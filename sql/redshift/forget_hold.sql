DELETE FROM ops.holds
WHERE arrival_id = %(arrival_id)s
