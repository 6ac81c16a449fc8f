-- What is left of such loads was brought by them: before, there was no row.
UPDATE {difference}
SET _change = CASE WHEN _change = 'changed' THEN 'removed' ELSE 'none' END
WHERE
    _change IN ('changed', 'added')
    AND _load_id IN (SELECT loads.load_id FROM ops.loads AS loads WHERE loads.undone_by IS NOT NULL)
