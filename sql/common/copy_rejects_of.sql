INSERT INTO ops.rejected_rows (load_id, line, reasons, "raw")
SELECT
    %(copy_id)s,
    line,
    reasons,
    "raw"
FROM ops.rejected_rows
WHERE load_id = %(load_id)s
