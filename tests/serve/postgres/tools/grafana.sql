-- some: which server it is
SELECT current_setting('server_version_num')::int/100 AS version

-- any: whether it has more functions of time
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'

-- some: tables
SELECT CASE WHEN quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )
      THEN quote_ident(table_name)
      ELSE quote_ident(table_schema) || '.' || quote_ident(table_name)
    END AS "table"
FROM information_schema.tables
WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog', '_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_internal', '_timescaledb_config', 'timescaledb_information', 'timescaledb_experimental')
ORDER BY 1

-- some: columns of a table
SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns WHERE quote_ident(table_name) = 'clicks_minute'

-- some: a panel over time
SELECT floor(extract(epoch from window_start)/60)*60 AS "time", sum(clicks) AS clicks FROM clicks_minute WHERE window_start BETWEEN '2026-03-07T00:00:00Z' AND '2026-03-08T00:00:00Z' GROUP BY 1 ORDER BY 1

-- some: a list to choose from
SELECT DISTINCT ad_id AS __text, ad_id AS __value FROM clicks_minute ORDER BY 1

-- some: numbers to draw by
SELECT generate_series(1, 3)
