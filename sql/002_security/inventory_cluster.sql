-- The inventory, part 3: what belongs to the cluster or to the database as a whole.

create function security.strong_roles()
returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with recursive strong as (
    select oid as role
    from pg_roles
    where rolsuper or rolreplication or rolbypassrls or rolcreaterole or rolname ~ '^pg_'
       or oid in (select role from security.roles())
       or oid = (select datdba from pg_database where datname = current_database())
    union
    select m.member from strong as s join pg_auth_members as m on m.roleid = s.role
)
select role from strong
$func$;

comment on function security.strong_roles() is
    'Roles that can do something to what is ours, and who may become them, by however many steps.';

create function security.role_facts()
returns table (kind text, object text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with ours as materialized (
    select role from security.marked_logins()
), login as materialized (
    select role from ours
    union all
    -- made for another database of the cluster, and not let in here
    select m.role
    from security.marks() as m
    where m.role not in (select role from ours)
      and m.role not in (select * from security.connecting_roles())
    union all select * from security.sister_provisioners()
), sister as materialized (
    -- who owns another database of the cluster, where our roles serve: a rule gives notice of them
    select datdba as role from pg_database
), known as materialized (
    select r.*, o.purpose,
           coalesce(o.purpose, case when r.rolname ~ '^pg_' then r.rolname end) as name
    from pg_roles as r
    left join security.roles() as o on o.role = r.oid
    where r.oid not in (select role from login)
)
select 'role', purpose,
       concat_ws(', ', case when rolcanlogin then 'login' else 'nologin' end,
                 case when rolsuper then 'superuser' end,
                 case when rolcreaterole then 'createrole' end,
                 case when rolcreatedb then 'createdb' end,
                 case when rolreplication then 'replication' end,
                 case when rolbypassrls then 'bypassrls' end,
                 case when not rolinherit then 'noinherit' end,
                 case when rolconnlimit <> -1 then 'connection limit ' || rolconnlimit end,
                 case when isfinite(rolvaliduntil) then 'valid until ' || to_char(
                     rolvaliduntil at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') end)
from known where purpose is not null
union all
select 'stranger', security.role_name(oid),
       concat_ws(', ', case when rolsuper then 'superuser' end,
                 case when rolreplication then 'replication' end,
                 case when rolbypassrls then 'bypassrls' end)
from known where purpose is null and (rolsuper or rolreplication or rolbypassrls)
union all
select 'membership',
       format('%s in %s', coalesce(k.name, security.role_name(m.member)),
              coalesce(p.name, security.role_name(m.roleid))),
       string_agg(distinct concat_ws(', ', 'member', case when m.admin_option then 'admin' end,
           case when to_jsonb(m) ->> 'inherit_option' = 'false' and k.rolinherit
                then 'without inherit' end,
           case when to_jsonb(m) ->> 'set_option' = 'false' then 'without set' end), '; ')
from pg_auth_members as m
join known as k on k.oid = m.member
join known as p on p.oid = m.roleid
where k.purpose is not null or k.rolname ~ '^pg_'
   or m.roleid in (select * from security.strong_roles())
      and not ((p.purpose is not null or p.rolname ~ '^app_[a-z_]+$')
               and m.member in (select role from sister))
      and (p.rolname !~ '^pg_' or k.rolcanlogin or exists (
          -- a role that no login can become is harmless: a sister database's migration makes such
          select from pg_roles as r
          where r.rolcanlogin and not r.rolsuper and r.oid not in (select role from sister)
            and pg_has_role(r.oid, k.oid, 'member')))
group by 2
$func$;

comment on function security.role_facts() is
    'Facts about our roles, about strangers with power, and about who is a member of ours, theirs,
the server''s own, or a member''s: (kind, object, definition). Logins made here are expected from
core.bots: security.login_differences().';

create function security.setting_facts()
returns table (kind text, object text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select 'setting',
       format('%s%s', split_part(c.setting, '=', 1), concat(
           case when s.setrole <> 0 then ' for ' || security.role_name(s.setrole) end,
           case when s.setdatabase <> 0 then ' in this database' end)),
       substr(c.setting, strpos(c.setting, '=') + 1)
from pg_db_role_setting as s
cross join lateral unnest(s.setconfig) as c (setting)
where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
  and (s.setrole = 0 or s.setrole in (select role from security.roles()))
union all
select 'right', format('to %s on parameter %s', security.role_name(a.grantee), p.parname),
       string_agg(a.privilege_type, ', ' order by a.privilege_type)
from pg_parameter_acl as p
cross join lateral aclexplode(p.paracl) as a
where a.grantee in (select * from security.bot_grantees())
   or a.grantee in (select role from security.roles())
group by 2
union all
select 'right', format('to %s on the database', security.role_name(a.grantee)), a.privileges
from pg_database as d
cross join lateral security.in_words(coalesce(d.datacl, acldefault('d', d.datdba)), d.datdba) as a
where d.datname = current_database()
  and a.grantee not in (select role from security.marked_logins())
union all
select 'right', format('to %s on tablespace %I', security.role_name(a.grantee), t.spcname),
       a.privileges
from pg_tablespace as t
cross join lateral security.in_words(t.spcacl, t.spcowner) as a
where a.grantee in (select * from security.bot_grantees())
   or a.grantee in (select role from security.roles())
union all
select 'database', 'this database',
       concat_ws(', ', 'connection limit ' || datconnlimit,
                 case when datistemplate then 'template' end)
from pg_database where datname = current_database()
union all
select 'subscription', subname::text,
       concat_ws(', ', case when subenabled then 'on' else 'off' end,
                 'owned by ' || security.role_name(subowner), 'of ' || subpublications::text)
from pg_subscription
where subdbid = (select oid from pg_database where datname = current_database())
union all
select 'event trigger', e.evtname::text,
       concat_ws(' ', 'on', e.evtevent, 'calls', e.evtfoid::regprocedure,
                 array_to_string(e.evttags, ', '), 'enabled', e.evtenabled)
from pg_event_trigger as e
$func$;

comment on function security.setting_facts() is
    'Settings of the database and of our roles, who has a right on the database, on a tablespace, or
may set a superuser''s parameter, whom the database subscribes to, and event triggers, which are a
superuser''s, so that a dump may leave them behind; as security.role_facts().';

create function security.replication_facts()
returns table (kind text, object text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select 'publication', p.pubname::text,
       concat_ws('; ', case when p.puballtables then 'all tables' end,
           case when p.pubviaroot then 'through roots' end,
           (select string_agg(n.nspname, ', ' order by n.nspname)
            from pg_publication_namespace as s join pg_namespace as n on n.oid = s.pnnspid
            where s.pnpubid = p.oid),
           (select string_agg(concat_ws(' ', r.prrelid::regclass,
                                        'where ' || pg_get_expr(r.prqual, r.prrelid),
                                        'columns ' || r.prattrs::text),
                              ', ' order by r.prrelid::regclass::text)
            from pg_publication_rel as r where r.prpubid = p.oid),
           concat('of', case when p.pubinsert then ' insert' end,
                  case when p.pubupdate then ' update' end,
                  case when p.pubdelete then ' delete' end,
                  case when p.pubtruncate then ' truncate' end))
from pg_publication as p
where p.puballtables
   or exists (select from pg_publication_rel as r
              where r.prpubid = p.oid
                and r.prrelid in (select relation from security.covered_relations()))
   or exists (select from pg_publication_namespace as s
              join pg_namespace as n on n.oid = s.pnnspid
              join security.schema_owner as o on o.schema_name = n.nspname
              where s.pnpubid = p.oid)
$func$;

comment on function security.replication_facts() is
    'Publications that take rows of ours along; as security.role_facts().';
