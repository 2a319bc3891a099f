-- some: settings
SHOW ALL

-- some: one that may not be there
SELECT current_setting('search_path', true)

-- some: a number of a transaction
SELECT txid_current()

-- any: comments
SELECT relname, obj_description(oid), obj_description(oid, 'pg_class') FROM pg_class WHERE relname = 'clicks'

-- some: users
SELECT usename, usesuper FROM pg_user

-- none: indexes, and what is known of columns
SELECT i.indexname, s.n_distinct FROM pg_indexes i JOIN pg_stats s ON s.tablename = i.tablename

-- none: locks
SELECT * FROM pg_locks

-- some: time zones
SELECT name, is_dst FROM pg_timezone_names

-- none: extensions
SELECT name FROM pg_available_extensions

-- some: what a name is the number of
SELECT to_regclass('public.clicks') IS NOT NULL AS is_there, to_regclass('public.nothing') IS NULL AS is_not

-- some: numbers
SELECT n FROM generate_series(1, 3) AS s(n) ORDER BY n FETCH FIRST 2 ROWS ONLY

-- some: the number of a type
SELECT oid FROM pg_type WHERE oid = to_regtype('timestamptz')

-- some: what a function takes
SELECT proargnames[1], proallargtypes[2] FROM pg_proc WHERE proname = 'json_each'

-- some: values in brackets, as drivers write them into statements
SELECT count(*) FROM clicks_minute WHERE ad_id = ANY(('{"1","2"}')) AND clicks = ANY(('{10,20}')::bigint[]) LIMIT ('1')

-- some: values in the place of tables, as TypeORM asks when it connects
SELECT * FROM current_database()

-- some: the same of the schema
SELECT * FROM current_schema()
