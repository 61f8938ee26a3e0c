-- The inventory, part 5: the server's own objects, and those of kinds that have no part above.

create function security.server_right_facts()
returns table (kind text, object text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with object (class, object, part, acl, usual, is_servers) as (
    select 'pg_class'::regclass, oid, 0, relacl,
           acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner), relkind = 't'
    from pg_class where relacl is not null
    union all
    select 'pg_class', attrelid, attnum, attacl, null, false
    from pg_attribute where attacl is not null
    union all
    select 'pg_proc', oid, 0, proacl, acldefault('f', proowner), false
    from pg_proc where proacl is not null
    union all
    select 'pg_namespace', oid, 0, nspacl, acldefault('n', nspowner),
           security.is_server_schema(nspname)
    from pg_namespace where nspacl is not null
    union all
    select 'pg_type', oid, 0, typacl, acldefault('T', typowner), false
    from pg_type where typacl is not null
    union all
    select 'pg_language', oid, 0, lanacl, acldefault('l', lanowner), false
    from pg_language where lanacl is not null
    union all
    select 'pg_foreign_data_wrapper', oid, 0, fdwacl, acldefault('F', fdwowner), false
    from pg_foreign_data_wrapper where fdwacl is not null
    union all
    select 'pg_foreign_server', oid, 0, srvacl, acldefault('S', srvowner), false
    from pg_foreign_server where srvacl is not null
    union all
    select 'pg_largeobject', oid, 0, lomacl, acldefault('L', lomowner), false
    from pg_largeobject_metadata where lomacl is not null
), given as materialized (  -- named are only those that the server did not make itself
    select o.*, a.grantee, a.privilege_type,
           o.object < 16384 or o.is_servers or exists (
               select from pg_depend
               where classid = o.class and objid = o.object and deptype = 'e') as is_made
    from object as o
    left join pg_init_privs as i
        on (i.classoid, i.objoid, i.objsubid) = (o.class, o.object, o.part)
    cross join lateral (
        select grantee, privilege_type from aclexplode(o.acl)
        except
        select grantee, privilege_type from aclexplode(coalesce(i.initprivs, o.usual))) as a
    where o.acl is distinct from coalesce(i.initprivs, o.usual)
)
select 'right',
       format('to %s on %s %s', security.role_name(g.grantee), o.type, o.identity),
       string_agg(distinct g.privilege_type, ', ')
from given as g
cross join lateral pg_identify_object(g.class, g.object, g.part) as o
where g.is_made
   -- of the other kinds no other part of the inventory knows
   or g.class not in ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass)
      and (g.grantee in (select * from security.bot_grantees())
           or g.grantee in (select role from security.roles()))
group by 2
$func$;

comment on function security.server_right_facts() is
    'Rights on objects of the server or of an extension that were given since it was made, and what
bots and our own roles may do with types, languages, foreign servers and large objects; as
security.role_facts().';

create function security.other_facts(p_relations oid[])
returns table (kind text, object text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with object as (
    select 'pg_operator'::regclass as class, oid, oprnamespace as space, oprowner as owner,
           'calls ' || oprcode::text as definition from pg_operator
    union all
    select 'pg_opclass', oid, opcnamespace, opcowner, case when opcdefault then 'default' end
    from pg_opclass
    union all
    select 'pg_opfamily', oid, opfnamespace, opfowner, null from pg_opfamily
    union all
    select 'pg_collation', oid, collnamespace, collowner, null from pg_collation
    union all
    select 'pg_conversion', oid, connamespace, conowner,
           case when condefault then 'default ' end || 'calls ' || conproc::text from pg_conversion
    union all
    select 'pg_ts_config', oid, cfgnamespace, cfgowner, null from pg_ts_config
    union all
    select 'pg_ts_dict', oid, dictnamespace, dictowner, dictinitoption from pg_ts_dict
    union all
    select 'pg_statistic_ext', oid,
           case when stxrelid in (select unnest(p_relations)) then 0 else stxnamespace end,
           stxowner, pg_get_statisticsobjdef(oid) from pg_statistic_ext
    union all
    select 'pg_cast', oid, 0, null,
           concat_ws(' ', castcontext, castmethod, nullif(castfunc, 0)::regprocedure) from pg_cast
    union all
    select 'pg_transform', oid, 0, null, null from pg_transform
    union all
    select 'pg_am', oid, 0, null, 'calls ' || amhandler::text from pg_am
    union all
    select 'pg_language', oid, 0, lanowner, case when lanpltrusted then 'trusted' end
    from pg_language
)
select i.type, replace(i.identity, 'pg_catalog.', ''),
       concat_ws(', ', 'owned by ' || security.role_name(nullif(o.owner, 0)), o.definition)
from object as o
cross join lateral pg_identify_object(o.class, o.oid, 0) as i
where o.oid >= 16384
  and (o.space = 0 or o.space in (
      select n.oid
      from pg_namespace as n
      where n.nspname in (select schema_name from security.schema_owner
                          union all select 'pg_catalog')))
  and not exists (select from pg_depend where classid = o.class and objid = o.oid and deptype = 'e')
union all
select 'user mapping', format('of %s on server %I', security.role_name(umuser), srvname), 'there'
from pg_user_mappings
where umuser in (select * from security.bot_grantees())
   or umuser in (select role from security.roles())
union all
select 'security label', format('by %s on %s %s', provider, objtype, objname), label
from pg_seclabels
$func$;

comment on function security.other_facts(oid[]) is
    'What decides how our SQL is understood and planned, and hangs on no table: casts, languages and
the like of the whole database, operators and the like in our schemas and among the server''s own,
and who is let in to another server; as security.role_facts(). Nothing that an extension made.';

create function security.catalog_facts()
returns table (kind text, object text, definition text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
with line (catalog, place, content) as (
    select 'pg_proc', oid::bigint,
           concat_ws('|', proname, prolang, prosecdef, proleakproof, proisstrict, provolatile,
                     proparallel, prosrc, probin, prosqlbody, proconfig, prosupport::oid)
    from pg_proc where oid < 16384
    union all
    select 'pg_rewrite', w.oid, concat_ws('|', c.relname, w.ev_enabled, w.ev_action)
    from pg_rewrite as w
    join pg_class as c on c.oid = w.ev_class
    where c.oid < 16384 and c.relnamespace = 'pg_catalog'::regnamespace
    union all
    select 'pg_operator', oid,
           concat_ws('|', oprname, oprleft, oprright, oprcode::oid, oprcom, oprnegate,
                     oprrest::oid, oprjoin::oid)
    from pg_operator where oid < 16384
    union all
    select 'pg_cast', oid,
           concat_ws('|', castsource, casttarget, castfunc, castcontext, castmethod)
    from pg_cast where oid < 16384
    union all
    select 'pg_language', oid,
           concat_ws('|', lanname, lanpltrusted, lanplcallfoid, laninline, lanvalidator,
                     lanowner)
    from pg_language where oid < 16384
    union all
    select 'pg_amop', oid, concat_ws('|', amopstrategy, amopopr, amopmethod)
    from pg_amop where amopfamily < 16384
    union all
    select 'pg_amproc', oid, concat_ws('|', amprocnum, amproc::oid)
    from pg_amproc where amprocfamily < 16384
)
select 'catalog', catalog || ' as the server made it',
       security.body_digest(string_agg(md5(content), ' ' order by place))
from line
group by catalog
$func$;

comment on function security.catalog_facts() is
    'A digest of each of the server''s catalogs that our code and our rules rest on, without what
was added to it: (kind, object, definition). Another version of the server has others.';
