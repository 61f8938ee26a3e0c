-- How a login that was made here is known.

create function security.mark(p_what text)
returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select format('%s of installation %s, database %s', p_what, i.installation_id, d.oid)
from security.installation as i
join pg_database as d on d.datname = current_database()
$func$;

comment on function security.mark(text) is
    'The comment on a login that was made for this database: bot 7, admin or worker, then the
installation''s id and the database''s oid. A role without it, or with another one, is none of ours,
whatever its name and whatever the database''s.';

create function security.marked_logins()
returns table (role oid, kind text)
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select d.objoid, k.kind
from pg_shdescription as d
cross join lateral (select split_part(d.description, ' of installation ', 1)) as k (kind)
where d.classoid = 'pg_authid'::regclass
  -- the cheapest first: a cluster may have thousands of logins that are another database's
  and strpos(d.description, (select security.mark(''))) > 0
  and d.description = k.kind || (select security.mark(''))
  and k.kind ~ '^(bot [1-9][0-9]*|admin|worker)$'
$func$;

comment on function security.marked_logins() is
    'The logins that were made for this database: (role, kind: bot 7, admin or worker).';

create function security.login_kind(p_role oid)
returns text
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select kind
from (select shobj_description(p_role, 'pg_authid')) as d (mark)
cross join lateral (select split_part(d.mark, ' of installation ', 1)) as k (kind)
where d.mark = security.mark(k.kind) and k.kind ~ '^(bot [1-9][0-9]*|admin|worker)$'
$func$;

comment on function security.login_kind(oid) is
    'What a login was made as for this database: bot 7, admin or worker; null if it was not.';

create function security.marks()
returns table (role oid, kind text, installation text, database text)
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select d.objoid, m.part[1], m.part[2], m.part[3]
from pg_shdescription as d
cross join lateral regexp_match(
    d.description,
    '^(bot [1-9][0-9]*|admin|worker) of installation ([0-9a-f-]{36}), database ([0-9]+)$'
) as m (part)
where d.classoid = 'pg_authid'::regclass and m.part is not null
$func$;

comment on function security.marks() is
    'Every login of the cluster that an installation like this one made: (role, kind, installation:
its id, database: its database''s oid). As texts: a comment may hold anything.';
