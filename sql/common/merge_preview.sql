SELECT
    COUNT(*) AS staged,
    COUNT(target.{key}) AS matched,
    SUM(CASE WHEN target.{key} IS NOT NULL AND ({differs}) THEN 1 ELSE 0 END) AS differing
FROM {staging} AS staging
LEFT JOIN {target} AS target ON staging.{key} = target.{key}
