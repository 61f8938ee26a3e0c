-- security.check_rules(), part 6: what bots reach, and what our tables call, in the whole database.

create function security.check_reach()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with reached as (
    select distinct c.oid, c.relrowsecurity and c.relforcerowsecurity as is_forced
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    cross join lateral (
        select c.relowner
        union all
        select (aclexplode(c.relacl)).grantee
        union all
        select (aclexplode(t.attacl)).grantee from pg_attribute as t
        where t.attrelid = c.oid and t.attacl is not null
    ) as a (grantee)
    where c.relkind in ('r', 'p', 'f', 'm') and c.relpersistence <> 't'
      and not security.is_server_schema(n.nspname)
      and (a.grantee = 0 and has_schema_privilege('app_bot', n.oid, 'usage')
           or a.grantee in (to_regrole('app_base'), to_regrole('app_bot'))
           or a.grantee in (select role from security.marked_logins() where kind ~ '^bot '))
      and not exists (
          select from pg_depend
          where classid = 'pg_class'::regclass and objid = c.oid and deptype = 'e')
)
select 'every table that a bot has a right on is protected', count(*) = 0, 'critical',
       string_agg(oid::regclass::text, ', ' order by oid::regclass::text)
from reached as r
where not (is_forced and exists (
          select from pg_policy where polrelid = r.oid and polname = 'own_rows'))
  and not exists (select from security.exceptions('shared table') as e where e = r.oid)
union all
select 'a bot only reads what bots share', count(*) = 0, 'critical',
       string_agg(t::regclass::text, ', ')
from security.exceptions('shared table') as t
where has_any_column_privilege('app_bot', t, 'insert, update, references')
   or has_table_privilege('app_bot', t, 'delete, truncate, trigger')
$func$;

comment on function security.check_reach() is
    'The part of security.check_rules() about the tables that bots reach, in any schema.';

create function security.check_calls()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with ours as (
    select c.oid
    from pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    join security.schema_owner as s on s.schema_name = n.nspname
), foreign_routine as (
    select p.oid
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    where not security.is_server_schema(n.nspname)
      and n.nspname not in (select schema_name from security.schema_owner)
      and not exists (
          select from pg_depend
          where classid = 'pg_proc'::regclass and objid = p.oid and deptype = 'e')
)
select 'what our tables call is ours', count(*) = 0, 'critical',
       string_agg(format('%s calls %s', i.identity, d.refobjid::regprocedure), ', ')
from pg_depend as d
cross join lateral pg_identify_object(d.classid, d.objid, d.objsubid) as i
where d.refclassid = 'pg_proc'::regclass and d.refobjid in (select oid from foreign_routine)
  and case d.classid
          when 'pg_constraint'::regclass then
              (select conrelid from pg_constraint where oid = d.objid)
          when 'pg_trigger'::regclass then (select tgrelid from pg_trigger where oid = d.objid)
          when 'pg_attrdef'::regclass then (select adrelid from pg_attrdef where oid = d.objid)
          when 'pg_policy'::regclass then (select polrelid from pg_policy where oid = d.objid)
          when 'pg_rewrite'::regclass then (select ev_class from pg_rewrite where oid = d.objid)
          when 'pg_class'::regclass then (select indrelid from pg_index where indexrelid = d.objid)
      end in (select oid from ours)
union all
select 'what is called for us when something happens is ours', count(*) = 0, 'critical',
       string_agg(h.hook, ', ')
from (
    select hook from core.leaf_hook
    union all
    select hook from security.event_hook
    union all
    select hook from security.acceptance_hook
) as h
where to_regprocedure(h.hook) is null
   or to_regprocedure(h.hook)::oid in (select oid from foreign_routine)
union all
select 'a bot_id that is left out is the caller''s', count(*) = 0, 'critical',
       string_agg(format('%s: %s', d.adrelid::regclass, pg_get_expr(d.adbin, d.adrelid)), ', ')
from pg_attrdef as d
join pg_attribute as a on (a.attrelid, a.attnum) = (d.adrelid, d.adnum)
join ours as o on o.oid = d.adrelid
where a.attname = 'bot_id' and pg_get_expr(d.adbin, d.adrelid) <> 'core.current_bot_id()'
$func$;

comment on function security.check_calls() is
    'The part of security.check_rules() about code that runs for our tables.';
