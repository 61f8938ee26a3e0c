-- 000_registry: which runners are at work. Reads only; a row for each lock of one, as `view, who`.
-- A DBA runs it with `psql -f`. What this login may not see is a question mark.

select format('%I.%I', n.nspname, c.relname) as view,
       format('%s (backend %s, login %s, correlation id %s) since %s',
              coalesce(nullif(regexp_replace(a.application_name, ' [0-9a-f-]{36}$', ''), ''), '?'),
              l.pid, coalesce(a.usename, '?'),
              coalesce(substring(a.application_name from ' ([0-9a-f-]{36})$'), '?'),
              coalesce(to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), '?')
       ) as who
from pg_catalog.pg_locks as l
join pg_catalog.pg_class as c on c.oid = l.relation
join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
left join pg_catalog.pg_stat_activity as a on a.pid = l.pid
where l.database = (select oid from pg_catalog.pg_database where datname = current_database())
  and (n.nspname, c.relname) in (('public', '_migration_lock'), ('json_import', 'turn'))
  and l.mode = 'ShareUpdateExclusiveLock'
  and l.granted;
