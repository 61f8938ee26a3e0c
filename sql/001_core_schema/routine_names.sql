-- Functions that are kept by their signature, to be called.

create function core.routine_name(p_signature text)
returns regproc
language sql stable strict parallel safe
set search_path = pg_catalog, pg_temp
as $func$
-- regprocedure finds the function by its arguments; regproc writes its name without them
select p_signature::regprocedure::oid::regproc
$func$;

comment on function core.routine_name(text) is
    'The function of a signature as it is called: the registries of hooks, tasks, probes and the
like keep signatures, as text. 42883: there is no such function.';
