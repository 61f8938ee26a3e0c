-- security.check(), part 3: tables and policies.

create function security.kept_tables()
returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select c.oid
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
left join security.schema_owner as s on s.schema_name = n.nspname
where c.relkind in ('r', 'p')
  and (s.schema_name is not null
       or coalesce(pg_partition_root(c.oid), c.oid) in (select t from core.bot_tables() as t))
$func$;

comment on function security.kept_tables() is
    'The tables that the rules are about, and their partitions: those in our schemas, and those in
core.bot_table wherever they are.';

create function security.check_tables()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with kept as (
    select c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relispartition, b.attnum
    from security.kept_tables() as t (relation)
    join pg_class as c on c.oid = t.relation
    join pg_attribute as b on b.attrelid = c.oid and b.attname = 'bot_id' and not b.attisdropped
)
select 'a table with bot_id has row level security forced on its owner, too', count(*) = 0,
       'critical', string_agg(oid::regclass::text, ', ' order by oid::regclass::text)
from kept where not relispartition and not (relrowsecurity and relforcerowsecurity)
union all
select 'a leaf has row level security, not forced', count(*) = 0, 'critical',
       string_agg(oid::regclass::text, ', ' order by oid::regclass::text)
from kept where relispartition and (not relrowsecurity or relforcerowsecurity)
union all
select 'TRUNCATE and a new bot_id are refused, in replica mode too', count(*) = 0, 'critical',
       string_agg(format('%s on %s', e.tgname, k.oid::regclass), ', ')
from kept as k
-- 34: before truncate, for the statement; 18: before update, for the statement
join (values ('refuse_truncate', 34, true), ('refuse_new_bot_id', 18, false)
     ) as e (tgname, tgtype, on_leaves) on e.on_leaves or not k.relispartition
where not exists (
    select from pg_trigger as t
    where t.tgrelid = k.oid and t.tgname = e.tgname and t.tgtype = e.tgtype and t.tgenabled = 'A'
      and t.tgfoid = 'security.refuse_write()'::regprocedure and t.tgqual is null
      and t.tgattr::text = case when e.on_leaves then '' else k.attnum::text end)
union all
select 'a table with bot_id is in core.bot_table, and its primary key begins with bot_id',
       count(*) = 0, 'critical', string_agg(k.oid::regclass::text, ', ')
from kept as k
where not k.relispartition
  and (k.oid not in (select t from core.bot_tables() as t)
       or not exists (
           select from pg_index as i
           where i.indrelid = k.oid and i.indisprimary and i.indimmediate
             and i.indkey[0] = k.attnum))
union all
select 'every table in core.bot_table is there', count(*) = 0, 'critical',
       string_agg(relation::text, ', ')
from core.bot_table where relation not in (select t from core.bot_tables() as t)
union all
select 'no rule diverts what is written', count(*) = 0, 'critical',
       string_agg(format('%s on %s', w.rulename, k.oid::regclass), ', ')
from kept as k
join pg_rewrite as w on w.ev_class = k.oid
union all
select 'nobody has a right on a leaf, but app_backup to read', count(*) = 0, 'critical',
       string_agg(format('%s on %s to %s', a.privilege_type, k.oid::regclass,
                         a.grantee::regrole), ', ')
from kept as k
join pg_class as c on c.oid = k.oid
cross join lateral (
    select * from aclexplode(c.relacl)
    union all
    select x.* from pg_attribute as t cross join lateral aclexplode(t.attacl) as x
    where t.attrelid = k.oid) as a
where k.relispartition and a.grantee <> c.relowner
  and not (a.grantee = 'app_backup'::regrole and a.privilege_type = 'SELECT')
$func$;

comment on function security.check_tables() is
    'The part of security.check() about tables, leaves and their guards.';

create function security.check_bounds()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select 'every column that a bot may write has a bound', count(*) = 0, 'critical',
       string_agg(format('%s.%I', a.attrelid::regclass, a.attname), ', '
                  order by a.attrelid::regclass::text, a.attnum)
from pg_attribute as a
join security.kept_tables() as k (relation) on k.relation = a.attrelid
join pg_class as c on c.oid = a.attrelid and not c.relispartition
join pg_type as t on t.oid = core.base_type(a.atttypid)
where a.attnum > 0 and not a.attisdropped
  and (has_column_privilege('app_bot', a.attrelid, a.attnum, 'insert')
       or has_column_privilege('app_bot', a.attrelid, a.attnum, 'update'))
  -- of these types each value is as small as the others, and none of them is infinite
  and t.oid <> all (array['int2', 'int4', 'int8', 'bool', 'uuid', 'oid', 'char']::regtype[])
  and t.typtype <> 'e'
  and not (a.atttypmod >= 0 and t.typcategory in ('S', 'V', 'N'))  -- varchar(9), numeric(9, 2)
  and not exists (
      select from pg_constraint as d
      where d.contypid = a.atttypid and d.contype = 'c' and d.convalidated)
  -- what only an UPDATE writes
  and not (not has_column_privilege('app_bot', a.attrelid, a.attnum, 'insert') and exists (
      select from pg_trigger as g
      join pg_proc as p on p.oid = g.tgfoid and p.proname = 'check_message_state'
      where g.tgrelid = a.attrelid and a.attnum = any (g.tgattr::smallint[])
        and p.pronamespace = to_regnamespace('core_upkeep') and g.tgenabled in ('O', 'A')))
  and not exists (
      select from pg_constraint as d
      where d.conrelid = a.attrelid and d.contype = 'c' and d.convalidated
        and d.conkey = array[a.attnum])
$func$;

comment on function security.check_bounds() is
    'The part of security.check() about the columns that bots write: a domain with a CHECK, or a
CHECK of the table on this column alone, says how large a value may be.';

create function security.check_pair()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
as $func$
select 'the immutable pair is what it was', count(*) = 0, 'critical', string_agg(e.name, ', ')
from (values
    ('security.policy_bot_id()',
     'begin if current_user >= ''bot_1'' and current_user < ''bot_:'' '
     'and length(current_user) < 23 and translate(substr(current_user, 5), ''0123456789'', '''') '
     '= '''' then return substr(current_user, 5)::bigint; end if; return null; end'),
    ('security.policy_user()', 'begin return current_user; end')
) as e (name, body)
where not exists (
    select
    from pg_proc as p
    where p.oid = to_regprocedure(e.name)
      and p.provolatile = 'i' and p.proparallel = 's' and not p.prosecdef and not p.proisstrict
      and p.proconfig = array['search_path=pg_catalog, pg_temp']
      and btrim(regexp_replace(p.prosrc, e'\\s+', ' ', 'g')) = e.body)
$func$;

comment on function security.check_pair() is
    'The part of security.check() about the two functions that every policy of a bot calls.';

create function security.check_policies()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
with policy as (
    select p.polrelid, p.polname, p.polcmd, p.polpermissive, c.relispartition,
           coalesce(r.rolname, 'public') as role, coalesce(o.kind, '') as kind,
           pg_get_expr(p.polqual, p.polrelid) as qual,
           pg_get_expr(p.polwithcheck, p.polrelid) as with_check
    from pg_policy as p
    join security.kept_tables() as t (relation) on t.relation = p.polrelid
    join pg_class as c on c.oid = t.relation
    cross join lateral unnest(p.polroles) as g (grantee)
    left join pg_roles as r on r.oid = g.grantee
    left join security.roles() as o on o.role = g.grantee
)
select 'every policy says what its role may have it say', count(*) = 0, 'critical',
       string_agg(format('%s on %s to %s', polname, polrelid::regclass, role), ', ')
from policy
where not polpermissive or not case
    when relispartition then role = 'app_backup' and polcmd = 'r' and qual = 'true'
    when role = 'public' then
        polcmd = '*' and with_check is null and qual = '((bot_id = security.policy_bot_id()) AND '
            'COALESCE((CURRENT_USER = security.policy_user()), false))'
    when role = 'app_admin' then
        polcmd = 'r' and qual = 'pg_has_role((to_regrole((''bot_''::text || bot_id)))::oid, '
            '''member''::text)'
    when role in ('app_super_admin', 'app_backup') then polcmd = 'r' and qual = 'true'
    -- app_owner is let in nowhere: what it runs for others fails closed
    when kind = 'owner' and role <> 'app_owner' then
        coalesce(qual, 'true') = 'true' and coalesce(with_check, 'true') = 'true'
    else false
end
union all
select 'the immutable pair is used in policies only', count(*) = 0, 'critical',
       string_agg(u.place, ', ')
from (
    select pg_describe_object(d.classid, d.objid, d.objsubid)
    from pg_depend as d
    where d.refclassid = 'pg_proc'::regclass and d.classid <> 'pg_policy'::regclass
      and d.refobjid in ('security.policy_bot_id()'::regprocedure,
                         'security.policy_user()'::regprocedure)
    union all
    select p.oid::regprocedure::text
    from pg_proc as p
    where strpos(p.prosrc, 'policy_') > 0 and p.prosrc ~ e'policy_(bot_id|user)\\M'
      and p.oid not in ('security.admit_bots(regclass)'::regprocedure,
                        'security.check_policies()'::regprocedure,
                        'security.check_pair()'::regprocedure)
) as u (place)
$func$;

comment on function security.check_policies() is 'The part of security.check() about policies.';
