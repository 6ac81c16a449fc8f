SELECT gone.{key}
FROM ops.{history} AS gone
LEFT JOIN {target} AS target ON gone.{key} = target.{key}
WHERE
    gone._replaced_by = %(change_id)s
    AND gone._replaced_seq = %(commit_seq)s
    AND target.{key} IS NULL
