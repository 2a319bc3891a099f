-- any any some any: first of all
SET DateStyle=ISO; SET client_min_messages=notice; SELECT set_config('bytea_output','hex',false) FROM pg_show_all_settings() WHERE name = 'bytea_output'; SET client_encoding='utf-8';

-- some: the database
SELECT db.oid as did, db.datname, db.datallowconn, pg_encoding_to_char(db.encoding) AS serverencoding,
       has_database_privilege(db.oid, 'CREATE') as cancreate, datistemplate
FROM pg_catalog.pg_database db
WHERE db.datname = current_database()

-- any: whether the connection is encrypted by GSSAPI
SELECT gss_authenticated, encrypted FROM pg_catalog.pg_stat_gssapi WHERE pid = pg_backend_pid()

-- some: who asks
SELECT roles.oid as id, roles.rolname as name, roles.rolsuper as is_superuser,
       CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreaterole END as can_create_role,
       CASE WHEN roles.rolsuper THEN true ELSE roles.rolcreatedb END as can_create_db,
       CASE WHEN 'pg_signal_backend'=ANY(ARRAY(WITH RECURSIVE cte AS (
       SELECT pg_roles.oid,pg_roles.rolname FROM pg_roles WHERE pg_roles.oid = roles.oid
       UNION ALL
       SELECT m.roleid, pgr.rolname FROM cte cte_1
       JOIN pg_auth_members m ON m.member = cte_1.oid
       JOIN pg_roles pgr ON pgr.oid = m.roleid)
       SELECT rolname FROM cte)) THEN True ELSE False END as can_signal_backend
FROM pg_catalog.pg_roles as roles
WHERE rolname = current_user

-- some: which databases there are
SELECT db.oid as did, db.datname as name, ta.spcname as spcname, db.datallowconn,
       db.datistemplate AS is_template, has_database_privilege(db.oid, 'CREATE') as cancreate, datdba as owner
FROM pg_catalog.pg_database db
LEFT OUTER JOIN pg_catalog.pg_tablespace ta ON db.dattablespace = ta.oid
WHERE db.oid > 0::OID OR db.datname IN ('postgres', 'edb')
ORDER BY datname

-- none: what others do
SELECT pid, datname, usename, application_name, client_addr, state, query FROM pg_stat_activity WHERE pid = pg_backend_pid()

-- some: the schemas
SELECT nsp.oid, nsp.nspname as name, has_schema_privilege(nsp.oid, 'CREATE') as can_create,
       has_schema_privilege(nsp.oid, 'USAGE') as has_usage
FROM pg_catalog.pg_namespace nsp
WHERE nsp.nspname NOT LIKE E'pg\\_%' AND NOT nsp.nspname = 'information_schema'
ORDER BY nspname

-- some: the tables of a schema
SELECT rel.oid, rel.relname AS name
FROM pg_catalog.pg_class rel
WHERE rel.relkind IN ('r','s','t','p') AND rel.relnamespace = 'public'::regnamespace AND NOT rel.relispartition
ORDER BY rel.relname

-- any: whether it follows another server
SELECT pg_is_in_recovery() AS inrecovery
