-- some any any any: at the end of each use of a connection of a pool
SELECT pg_advisory_unlock_all();
CLOSE ALL;
UNLISTEN *;
RESET ALL;

-- some: an array of times, as it comes in binary
SELECT array_agg(window_start ORDER BY window_start) FROM clicks_minute
