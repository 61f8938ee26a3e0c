-- 000_registry: the code of a database as statements: what makes each piece, and what drops it.
-- Reads only; names kinds and objects as security.inventory() does. Run with search_path
-- pg_catalog, pg_temp, or names would lack their schemas.
--   rank:    pieces in the order they were made
--   made:    statements that make the piece; or replace it, if it has the same shape
--   more:    what one that was not there needs besides: owner, rights, comment
--   dropped: the statement that takes it away
--   shape:   made replaces what is there if the shape of that is the beginning of this one
--   needed:  what stands on it

with extension as (
    select classid, objid from pg_depend where deptype = 'e'
), remark as (
    select d.classoid, d.objoid, d.objsubid, format('on %s %s', i.type, i.identity) as object,
           format('comment on %s %s is ',
                  case when i.type like '% column' then 'column'
                       when i.type like '% constraint' then 'constraint'
                       when i.type = 'composite type' then 'type'
                       when i.type = 'statistics object' then 'statistics'
                       else i.type end,
                  case i.type when 'domain constraint'
                       then replace(i.identity, ' on ', ' on domain ')
                       else i.identity end) as statement,
           quote_literal(d.description) as text
    from pg_description as d
    cross join lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) as o
    -- 17 and older write pg_catalog.json as json
    cross join lateral (select o.type, replace(o.identity, 'pg_catalog.', '')) as i (type, identity)
    where d.objoid >= 16384
      and (d.classoid, d.objoid) not in (select classid, objid from extension)
), dependency as (
    select d.refclassid, d.refobjid,
           string_agg(distinct case when r.oid is null
                                    then pg_describe_object(d.classid, d.objid, d.objsubid)
                                    else 'view ' || r.ev_class::regclass end, ', ') as names
    from pg_depend as d
    left join pg_rewrite as r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
    where d.deptype in ('n', 'a') and d.refobjid >= 16384
      and r.ev_class is distinct from d.refobjid
    group by d.refclassid, d.refobjid
), owned as (
    select 'pg_proc'::regclass as class, p.oid, p.oid::regprocedure::text as object,
           'routine' as kind, 'routine' as type, 'routine' as keyword, p.proowner as owner,
           p.proacl as acl, acldefault('f', p.proowner) as usual,
           rtrim(pg_get_functiondef(p.oid), e'\n') as made,
           array[p.prokind::text, pg_get_function_result(p.oid), p.proargnames::text,
                 p.proargmodes::text] || array_fill('default'::text, array[p.pronargdefaults])
               as shape
    from pg_proc as p
    where p.oid >= 16384 and p.prokind <> 'a'
    union all
    select 'pg_class', c.oid, c.oid::regclass::text, 'relation', 'view', 'table', c.relowner,
           c.relacl,
           acldefault('r', c.relowner),
           format(e'create or replace view %s%s as\n%s', c.oid::regclass,
                  ' with (' || array_to_string(c.reloptions, ', ') || ')',
                  rtrim(pg_get_viewdef(c.oid), ';')),
           (select array_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod),
                                       nullif(a.attcollation, 0)::regcollation) order by a.attnum)
            from pg_attribute as a
            where a.attrelid = c.oid and a.attnum > 0)
    from pg_class as c
    where c.oid >= 16384 and c.relkind = 'v'
), rights as (
    select o.class, o.oid,
           string_agg(format(e'\ngrant %s on %s %s to %s%s;', a.privilege_type, o.keyword, o.object,
                             a.grantee,
                             case when a.is_grantable then ' with grant option' else '' end),
                      '' order by a.grantee collate "C", a.privilege_type) as granted,
           string_agg(distinct a.grantee, ', ') as grantees
    from owned as o
    cross join lateral (
        select e.privilege_type, e.is_grantable,
               case e.grantee when 0 then 'public' else e.grantee::regrole::text end as grantee
        from aclexplode(coalesce(o.acl, o.usual)) as e
        where e.grantee <> o.owner) as a
    group by o.class, o.oid
)
select o.kind, o.object, o.oid::bigint as rank,
       format(e'%s;\nalter %s %s owner to %s;', o.made, o.type, o.object, o.owner::regrole) as made,
       concat(format('revoke all on %s %s from public;', o.keyword, o.object), r.granted,
              e'\n' || m.text) as more,
       format('drop %s %s;', o.type, o.object) as dropped, o.shape, d.names as needed
from owned as o
left join rights as r on r.class = o.class and r.oid = o.oid
left join dependency as d on d.refclassid = o.class and d.refobjid = o.oid
left join lateral (
    select string_agg(statement || text || ';', e'\n' order by objsubid) as text
    from remark where classoid = o.class and objoid = o.oid) as m on true
where (o.class::oid, o.oid) not in (select classid, objid from extension)
union all
select 'right', o.object, o.oid::bigint, coalesce(ltrim(r.granted, e'\n'), ''), '',
       format('revoke all on %s %s from %s;', o.keyword, o.object, coalesce(r.grantees, 'public')),
       '{}', null
from owned as o
left join rights as r on r.class = o.class and r.oid = o.oid
union all
select 'trigger', format('%s on %s', t.tgname, t.tgrelid::regclass), t.oid::bigint,
       concat(regexp_replace(pg_get_triggerdef(t.oid), '^CREATE TRIGGER',
                             'create or replace trigger'), ';',
              -- made anew it is enabled
              e'\nalter table ' || t.tgrelid::regclass
              || case t.tgenabled when 'A' then ' enable always' when 'R' then ' enable replica'
                                  when 'D' then ' disable' end || format(' trigger %I;', t.tgname)),
       (select string_agg(statement || text || ';', '') from remark
        where classoid = 'pg_trigger'::regclass and objoid = t.oid),
       format('drop trigger %I on %s;', t.tgname, t.tgrelid::regclass),
       -- a constraint trigger can't be replaced
       array[case when t.tgconstraint <> 0 then pg_get_triggerdef(t.oid) end], null
from pg_trigger as t
join pg_class as c on c.oid = t.tgrelid
where not t.tgisinternal and t.tgparentid = 0 and not c.relispartition
union all
select 'policy', format('%s on %s', p.polname, p.polrelid::regclass), p.oid::bigint,
       concat(format('create policy %I on %s as %s for %s to %s', p.polname, p.polrelid::regclass,
                     case when p.polpermissive then 'permissive' else 'restrictive' end,
                     case p.polcmd when 'r' then 'select' when 'a' then 'insert'
                                   when 'w' then 'update' when 'd' then 'delete' else 'all' end,
                     (select string_agg(case g when 0 then 'public' else g::regrole::text end, ', ')
                      from unnest(p.polroles) as g)),
              e'\n    using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
              e'\n    with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ';'),
       (select string_agg(statement || text || ';', '') from remark
        where classoid = 'pg_policy'::regclass and objoid = p.oid),
       format('drop policy %I on %s;', p.polname, p.polrelid::regclass), '{}', null
from pg_policy as p
join pg_class as c on c.oid = p.polrelid
where not c.relispartition
union all
select 'comment', object, 0, statement || text || ';', '', statement || 'null;', '{}', null
from remark;
