DELETE FROM ops.loads
WHERE load_id = %(load_id)s AND verdict = 'failed'
