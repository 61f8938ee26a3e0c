-- 000_registry: may this login migrate this database? Reads only; one row per check.
-- A DBA runs it with `psql -f`; a detail holds what was found and, where it won't do, the remedy.

with fact as (
    select current_setting('server_version_num')::integer as version,
           pg_encoding_to_char(d.encoding) as encoding,
           pg_is_in_recovery() as standby,
           r.rolsuper as superuser,
           r.rolsuper or r.rolcreaterole as makes_roles,
           pg_has_role(r.oid, d.datdba, 'usage') as owner,
           coalesce(has_schema_privilege(to_regnamespace('public'), 'create'), false) as may_create,
           (select enumvals from pg_catalog.pg_settings
            where name = 'default_toast_compression') as compressions,
           coalesce(pg_relation_size(to_regclass('pg_catalog.pg_dist_node')), 0) > 0 as has_nodes,
           (select string_agg(quote_ident(o.rolname), ', ' order by o.rolname)
            from pg_catalog.pg_roles as o
            where o.rolcreaterole and o.rolcanlogin and not o.rolsuper and o.oid <> r.oid
           ) as makers,
           quote_ident(r.rolname) as login,
           quote_ident(d.datname) as database
    from pg_catalog.pg_database as d
    join pg_catalog.pg_roles as r on r.rolname = current_user
    where d.datname = current_database()
)
select c.check_name, c.ok, c.found || case when c.ok then '' else '; ' || c.remedy end as detail
from fact as f
cross join lateral (values
    (1, 'the server is PostgreSQL 15 to 18', f.version between 150000 and 189999,
     'it is ' || current_setting('server_version'),
     'use a server of one of these versions'),
    (2, 'the database is encoded in UTF8', f.encoding = 'UTF8',
     'it is ' || f.encoding,
     'make another one: createdb --template=template0 --encoding=UTF8'),
    (3, 'the server can be written to', not f.standby,
     case when f.standby then 'it is a standby' else 'it is a primary' end,
     'connect to the primary'),
    (4, 'the login may make roles', f.makes_roles,
     case when f.superuser then 'superuser' when f.makes_roles then 'CREATEROLE'
          else 'neither superuser nor CREATEROLE' end,
     format('alter role %s createrole', f.login)),
    (5, 'the login has the rights of the database''s owner', f.owner,
     case when f.superuser then 'superuser' when f.owner then 'owner' else 'not the owner' end,
     format('alter database %s owner to %s', f.database, f.login)),
    (6, 'the login may make tables in schema public', f.may_create,
     case when f.may_create then 'CREATE' else 'no CREATE' end,
     format('grant create on schema public to %s', f.login)),
    (7, 'nothing is needed that only a superuser has', true,
     case when f.superuser then 'superuser'
          else 'note: without session_replication_role the JSON import takes a bit longer; '
               'without event triggers the log tells of the schema''s changes when accepted' end,
     ''),
    (8, 'long texts in the audit log are compressed', true,
     case when 'lz4' = any (f.compressions) then 'lz4'
          else 'note: with pglz, which is slower, since this server lacks lz4' end,
     ''),
    (9, 'the tables lie on one server', true,
     case when f.has_nodes
          then 'note: Citus has nodes; our tables stay on this one: don''t distribute them'
          else 'no Citus with nodes' end,
     ''),
    (10, 'no other login can make itself a member of our roles', true,
     case when f.version < 160000 and f.makers is not null
          then format('note: before 16 whoever makes roles may become any but a superuser: %s can '
                      'enter this installation', f.makers)
          else 'none can' end,
     '')
) as c (place, check_name, ok, found, remedy)
order by c.place;
