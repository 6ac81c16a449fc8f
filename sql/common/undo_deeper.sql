-- A row that would become what a load brought which is undone itself becomes what that load replaced.
UPDATE {difference}
SET {deeper_assignments}, _load_id = was._load_id
FROM ops.{history} AS was, ops.loads AS undone
WHERE
    {difference}._load_id = undone.load_id
    AND undone.undone_by IS NOT NULL
    AND was.{key} = {difference}.{key}
    AND was._replaced_by = undone.load_id
    AND {difference}._change IN ('changed', 'added')
