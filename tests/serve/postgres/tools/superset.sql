-- some: which server it is
select pg_catalog.version()

-- some: where it is
select current_schema()

-- some: how strings are written
show standard_conforming_strings

-- some: schemas
SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname NOT LIKE 'pg\_%' ORDER BY nspname

-- none: views
SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relkind = ANY (ARRAY['v']) AND pg_catalog.pg_class.relpersistence != 't' AND pg_catalog.pg_namespace.nspname = 'public'

-- some: a chart over time
SELECT DATE_TRUNC('hour', window_start) AS window_start, sum(clicks) AS "SUM(clicks)" FROM public.clicks_minute WHERE window_start >= TO_TIMESTAMP('2026-03-07 00:00:00.000000', 'YYYY-MM-DD HH24:MI:SS.US') GROUP BY DATE_TRUNC('hour', window_start) ORDER BY "SUM(clicks)" DESC LIMIT 1000

-- any: hstore, as psycopg asks
SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'
