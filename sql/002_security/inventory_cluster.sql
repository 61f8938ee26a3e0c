-- The inventory, part 3: what belongs to the cluster or to the database as a whole.

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
    select d.objoid
    from pg_shdescription as d
    where d.classoid = 'pg_authid'::regclass and d.objoid not in (select role from ours)
      and d.description ~ '^(bot [1-9][0-9]*|admin|worker) of database '
      and d.objoid not in (select * from security.connecting_roles())
), sister as materialized (
    -- who owns another database of the cluster, where our roles serve: a rule gives notice of them
    select datdba as role from pg_database
), known as materialized (
    select r.*, o.purpose
    from pg_roles as r
    left join security.roles() as o on o.role = r.oid
    where r.oid not in (select role from login) and r.rolname !~ '^pg_'
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
       format('%s in %s', coalesce(k.purpose, security.role_name(m.member)),
              case when p.rolname ~ '^pg_' then p.rolname
                   else coalesce(o.purpose, security.role_name(m.roleid)) end),
       string_agg(distinct concat_ws(', ', 'member', case when m.admin_option then 'admin' end,
           case when to_jsonb(m) ->> 'inherit_option' = 'false' and k.rolinherit
                then 'without inherit' end,
           case when to_jsonb(m) ->> 'set_option' = 'false' then 'without set' end), '; ')
from pg_auth_members as m
join known as k on k.oid = m.member
join pg_roles as p on p.oid = m.roleid
left join security.roles() as o on o.role = m.roleid
where m.roleid not in (select role from login)
  and (k.purpose is not null or p.rolname ~ '^pg_'
       or o.purpose is not null and m.member not in (select role from sister))
group by 2
$func$;

comment on function security.role_facts() is
    'Facts about our roles, about strangers with power, and about who is a member of ours or of the
server''s own roles: (kind, object, definition). Logins made here are expected from core.bots:
security.login_differences().';

create function security.setting_facts()
returns table (kind text, object text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
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
$func$;

comment on function security.setting_facts() is
    'Settings of the database and of our roles, and who has a right on the database or may set a
superuser''s parameter; as security.role_facts().';

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
union all
select 'event trigger', e.evtname::text,
       concat_ws(' ', 'on', e.evtevent, 'calls', e.evtfoid::regprocedure,
                 array_to_string(e.evttags, ', '), 'enabled', e.evtenabled)
from pg_event_trigger as e
$func$;

comment on function security.replication_facts() is
    'Publications that take rows of ours along, and event triggers; as security.role_facts().';

create function security.server_right_facts()
returns table (kind text, object text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with given as materialized (  -- named are only those that the server did not make itself
    select u.class, u.object, u.part, a.grantee, a.privilege_type
    from (
        select 'pg_class'::regclass, oid, 0, relacl,
               acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner)
        from pg_class where relacl is not null
        union all
        select 'pg_class'::regclass, attrelid, attnum, attacl, null
        from pg_attribute where attacl is not null
        union all
        select 'pg_proc'::regclass, oid, 0, proacl, acldefault('f', proowner)
        from pg_proc where proacl is not null
    ) as u (class, object, part, acl, usual)
    left join pg_init_privs as i
        on (i.classoid, i.objoid, i.objsubid) = (u.class, u.object, u.part)
    cross join lateral (
        select grantee, privilege_type from aclexplode(u.acl)
        except
        select grantee, privilege_type from aclexplode(coalesce(i.initprivs, u.usual))) as a
    where (u.object < 16384  -- the server's own
           or exists (select from pg_depend
                      where classid = u.class and objid = u.object and deptype = 'e'))
      and u.acl is distinct from coalesce(i.initprivs, u.usual)
)
select 'right',
       format('to %s on %s %s', coalesce(w.name, security.role_name(g.grantee)), o.type,
              o.identity),
       string_agg(distinct g.privilege_type, ', ')
from given as g
left join security.known_names() as w on w.role = g.grantee
cross join lateral pg_identify_object(g.class, g.object, g.part) as o
group by 2
$func$;

comment on function security.server_right_facts() is
    'Rights on objects of the server or of an extension that were given since it was made; as
security.role_facts().';
