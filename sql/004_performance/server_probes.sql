-- Probes of the server: sessions, locks, indexes.

create function performance.database_octets()
returns float8
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
-- where an owner migrated, app_maintainer may neither connect nor read statistics
select case when has_database_privilege(current_database(), 'connect')
              or pg_has_role('pg_read_all_stats', 'usage')
            then pg_database_size(current_database())
            else (select sum(pg_total_relation_size(oid)) from pg_class where relkind in ('r', 'm'))
       end::float8
$func$;

comment on function performance.database_octets() is
    'The size of the database; where that may not be asked, of its tables with their indexes.';

create function performance.probe_database_size()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, performance.database_octets(), null
$func$;

comment on function performance.probe_database_size() is 'The probe database_size.';

create function performance.probe_connections()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, sum(numbackends) / c.places, format('%s of %s', sum(numbackends), c.places)
from pg_stat_database
cross join (
    select current_setting('max_connections')::float8
           - current_setting('superuser_reserved_connections')::float8
) as c (places)
group by c.places
$func$;

comment on function performance.probe_connections() is 'The probe connections.';

create function performance.probe_login_connections()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('login', r.rolname::text), a.sessions::float8 / r.rolconnlimit,
       format('%s of %s', a.sessions, r.rolconnlimit)
from security.sessions_now() as a
join security.marked_logins() as m on m.role = a.role
join pg_roles as r on r.oid = a.role
where r.rolconnlimit > 0
$func$;

comment on function performance.probe_login_connections() is 'The probe login_connections.';

create function performance.probe_oldest_transaction()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, date_part('epoch', clock_timestamp() - t.started_at), t.who
from (
    select xact_start, format('pid %s, login %s, %s, %s', pid, usename, state, application_name)
    from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend'
      and pid <> pg_backend_pid()
    union all
    select prepared, format('prepared transaction %L of %s', gid, owner)
    from pg_prepared_xacts
    where database = current_database()
) as t (started_at, who)
where t.started_at is not null
order by t.started_at
limit 1
$func$;

comment on function performance.probe_oldest_transaction() is 'The probe oldest_transaction.';

create function performance.probe_unseen_sessions()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, case when pg_has_role('pg_read_all_stats', 'usage') then 0 else 1 end, null
$func$;

comment on function performance.probe_unseen_sessions() is 'The probe unseen_sessions.';

create function performance.probe_lock_wait()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select '{}'::jsonb, date_part('epoch', clock_timestamp() - waitstart),
       format('pid %s waits for pid %s', pid, array_to_string(pg_blocking_pids(pid), ', '))
from pg_locks
where not granted and waitstart is not null
order by waitstart
limit 1
$func$;

comment on function performance.probe_lock_wait() is 'The probe lock_wait.';

create function performance.probe_wraparound()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('counter', w.counter), max(w.age) / 2 ^ 31,
       format('the oldest is database %s',
              (array_agg(d.datname order by w.age desc))[1])
from pg_database as d
cross join lateral (values ('transactions', age(d.datfrozenxid)::float8),
                           ('multixacts', mxid_age(d.datminmxid)::float8)) as w (counter, age)
group by w.counter
$func$;

comment on function performance.probe_wraparound() is 'The probe wraparound.';

create function performance.our_indexes()
returns table (index_name regclass, is_valid boolean, is_unique boolean, octets bigint,
               scans bigint)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select coalesce(h.inhparent, x.indexrelid)::regclass,
       bool_and(x.indisvalid and r.indisvalid is not false),  -- valid leaves, but one has none
       bool_or(x.indisunique), sum(pg_relation_size(x.indexrelid))::bigint,
       coalesce(sum(pg_stat_get_numscans(x.indexrelid)), 0)::bigint
from pg_index as x
join pg_class as c on c.oid = x.indexrelid
left join pg_inherits as h on h.inhrelid = x.indexrelid
left join pg_index as r on r.indexrelid = h.inhparent
where c.relnamespace::regnamespace::text ~ '^(core|audit|json_import|performance|security)'
  and not exists (select from pg_inherits as p where p.inhparent = x.indexrelid)
group by coalesce(h.inhparent, x.indexrelid)
$func$;

comment on function performance.our_indexes() is
    'The indexes of our tables, those of partitions taken together: (index_name, is_valid,
is_unique, octets, scans).';

create function performance.probe_unused_indexes()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('index', index_name), octets, null
from performance.our_indexes()
where scans = 0 and not is_unique
$func$;

comment on function performance.probe_unused_indexes() is 'The probe unused_indexes.';

create function performance.probe_invalid_indexes()
returns table (labels jsonb, value float8, note text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select jsonb_build_object('index', index_name), 1, null
from performance.our_indexes()
where not is_valid
$func$;

comment on function performance.probe_invalid_indexes() is 'The probe invalid_indexes.';
