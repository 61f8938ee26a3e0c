-- security.check(), part 2b: whose the logins of this installation are.

create function security.check_installation()
returns table (check_name text, ok boolean, severity text, detail text)
language sql stable
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
-- where the other database is still there, both may be as they are meant to be
select 'no other database has the logins of this installation', count(*) = 0,
       case when bool_or(is_gone) then 'critical' else 'notice' end,
       string_agg(what_happened, '; ')
from security.lost_logins()
union all
select 'the installation has its id', count(*) = 1, 'critical', 'security.installation is empty'
from security.installation
union all
select 'every admin and worker was made by a function of ours', count(*) = 0, 'critical',
       string_agg(format('%s, marked as %s', r.rolname, m.kind), ', ')
from security.marked_logins() as m
join pg_roles as r on r.oid = m.role
where m.kind in ('admin', 'worker')
  and not exists (
      select from security.made_login as l where l.login = r.rolname and l.kind = m.kind)
union all
select 'no login is left over from a database that is gone', count(*) = 0, 'notice',
       string_agg(format('%s: drop role %1$I', r.rolname), ', ')
from security.marks() as m
join pg_roles as r on r.oid = m.role
where m.database not in (select oid::text from pg_database)
  and not exists (select from security.claimable_logins() as c where c.login = r.rolname)
$func$;

comment on function security.check_installation() is
    'The part of security.check() about the installation: what a rename, a restore or a clone has
done to its logins, and who was marked by hand.';
