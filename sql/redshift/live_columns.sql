SELECT
    column_name,
    data_type,
    is_nullable = 'NO' AND column_default IS NULL AS needs_value
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = %(table)s
ORDER BY ordinal_position
