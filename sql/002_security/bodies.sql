-- Whether the server can read the bodies of routines.

-- With check_function_bodies off, as headers have it for what a later migration adds, a syntax
-- error passes, too. All of this runs as whoever migrates: a validator asks for the right to
-- execute what it looks at, and no role of ours has that on everything.

create function security.validate_body(p_routine regprocedure)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
set row_security = on
set check_function_bodies = on
as $func$
declare
    v_validator  regproc;
    v_path       text;
begin
    select l.lanvalidator::regproc, coalesce(
               (select substr(c.setting, 13) from unnest(p.proconfig) as c (setting)
                where c.setting ~ '^search_path='),
               (select reset_val from pg_settings where name = 'search_path'))
    into v_validator, v_path
    from pg_proc as p
    join pg_language as l on l.oid = p.prolang
    where p.oid = p_routine and l.lanvalidator <> 0 and l.lanname not in ('c', 'internal');
    if found then
        perform set_config('search_path', v_path, true);  -- ours comes back at the end
        execute format('select %s($1)', v_validator) using p_routine::oid;
    end if;
end
$func$;

comment on function security.validate_body(regprocedure) is
    'Fails as CREATE FUNCTION would with check_function_bodies on, under the routine''s own search
path: the server''s error, with its position in the body. 42501: the caller may not execute it.';

create function security.body_faults(p_routines regprocedure[])
returns table (routine regprocedure, code text, message text)
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
begin
    foreach routine in array p_routines loop
        continue when not has_function_privilege(routine, 'execute');  -- a stranger's
        begin
            perform security.validate_body(routine);
        exception when others then
            code := sqlstate;
            message := sqlerrm;
            return next;
        end;
    end loop;
end
$func$;

comment on function security.body_faults(regprocedure[]) is
    'What is wrong with the bodies of routines: (routine, code: SQLSTATE, message: the server''s).
Passes over those that the caller may not execute.';

create function security.refuse_syntax_errors(p_routines regprocedure[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
declare
    v_fault  record;
begin
    for v_fault in select * from security.body_faults(p_routines) loop
        if v_fault.code = '42601' then
            raise exception using
                errcode = 'MB115',
                message = format('the body of %s: %s', v_fault.routine, v_fault.message),
                hint    = 'Correct it in its file, then repeat.';
        end if;
        raise notice 'the body of % can''t run yet: %', v_fault.routine, v_fault.message;
    end loop;
end
$func$;

comment on function security.refuse_syntax_errors(regprocedure[]) is
    'MB115: the body of a routine has a syntax error. Whatever else keeps it from running, a later
migration may bring: a notice says that.';

create function security.check_bodies()
returns table (check_name text, ok boolean, detail text)
language sql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
as $func$
select 'every routine can run: its body names what is there', count(*) = 0,
       string_agg(format('%s: %s', f.routine, f.message), '; ' order by f.routine::text)
from security.body_faults(array(
    select r.routine::regprocedure from security.covered_routines() as r)) as f
$func$;

comment on function security.check_bodies() is
    'Whether the server can read every body that the inventory looks at: (check_name, ok, detail).
For whoever migrates, once every migration is applied: before, a routine may know what is yet to
come.';
