-- any: a session that reads
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED

-- some: tables, and what they are for
SELECT n.nspname AS schema, c.relname AS name, CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'v' THEN 'VIEW' END AS type, d.description AS description, NULLIF(c.reltuples, -1)::bigint AS estimated_row_count
FROM pg_catalog.pg_class AS c
INNER JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid
LEFT JOIN pg_catalog.pg_description AS d ON c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
WHERE c.relkind IN ('r', 'p', 'v', 'f', 'm') AND n.nspname NOT LIKE 'information_schema' AND n.nspname NOT LIKE 'pg_catalog'
ORDER BY type, schema, name

-- some: what may be asked
SELECT NULL AS role, t.schemaname AS schema, t.objectname AS table,
       pg_catalog.has_any_column_privilege(current_user, '"' || t.schemaname || '"' || '.' || '"' || t.objectname || '"', 'update') AS update,
       pg_catalog.has_any_column_privilege(current_user, '"' || t.schemaname || '"' || '.' || '"' || t.objectname || '"', 'select') AS select
FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables) t
WHERE t.schemaname !~ '^pg_' AND t.schemaname <> 'information_schema'

-- none: foreign keys
SELECT fk_ns.nspname AS "fk-table-schema", fk_table.relname AS "fk-table-name", fk_column.attname AS "fk-column-name", pk_ns.nspname AS "pk-table-schema", pk_table.relname AS "pk-table-name", pk_column.attname AS "pk-column-name"
FROM pg_constraint c
JOIN pg_class fk_table ON c.conrelid = fk_table.oid
JOIN pg_namespace fk_ns ON c.connamespace = fk_ns.oid
JOIN pg_attribute fk_column ON c.conrelid = fk_column.attrelid
JOIN pg_class pk_table ON c.confrelid = pk_table.oid
JOIN pg_namespace pk_ns ON pk_table.relnamespace = pk_ns.oid
JOIN pg_attribute pk_column ON c.confrelid = pk_column.attrelid
WHERE fk_ns.nspname !~ '^information_schema|catalog_history|pg_' AND c.contype = 'f' AND fk_column.attnum = ANY(c.conkey) AND pk_column.attnum = ANY(c.confkey)
ORDER BY fk_ns.nspname, fk_table.relname

-- some: columns
SELECT c.column_name AS name, c.udt_name AS "database-type", c.ordinal_position - 1 AS "database-position", c.table_schema AS "table-schema", c.table_name AS "table-name", c.is_nullable = 'YES' AS nullable
FROM information_schema.columns AS c
WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' AND c.table_schema IN ('public')
ORDER BY "table-schema", "table-name", "database-position"

-- some: a question
SELECT DATE_TRUNC('day', "public"."clicks_minute"."window_start") AS "window_start", SUM("public"."clicks_minute"."clicks") AS "sum" FROM "public"."clicks_minute" GROUP BY DATE_TRUNC('day', "public"."clicks_minute"."window_start") ORDER BY DATE_TRUNC('day', "public"."clicks_minute"."window_start") ASC
