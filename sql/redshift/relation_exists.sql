SELECT 1
FROM information_schema.tables
WHERE table_schema = %(schema)s AND table_name = %(name)s
