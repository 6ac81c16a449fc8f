UPDATE ops.loads
SET undone_by = %(change_id)s, undone_seq = %(commit_seq)s
WHERE load_id = %(load_id)s AND undone_by IS NULL
