-- What a rollback would throw away, and whether it may.

create function core.refuse_loss(p_message text, p_losses json)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_first   text;
    v_losses  text;
begin
    select min(l.key) filter (where l.place = 1),
           string_agg(format('%s: %s', l.key, l.value), ', ' order by l.place)
    into v_first, v_losses
    from (
        select key, value, row_number() over (order by ordinality) as place
        from json_each_text(p_losses) with ordinality
        where value <> '0'
    ) as l;
    if v_losses is null then
        return;
    elsif coalesce(nullif(current_setting('app.discard_data', true), '')::boolean, false) then
        raise notice 'thrown away: %', v_losses;
        return;
    end if;
    raise exception using
        errcode = 'MB001',
        message = format(p_message, v_first),
        detail  = format('At stake: %s.', v_losses),
        hint    = 'Take a backup, then repeat with --discard-data, which throws this away '
                  '(in psql: set app.discard_data = on).';
end
$func$;

comment on function core.refuse_loss(text, json) is
    'Begins a rollback: {"what it throws away": how many}. Where app.discard_data is on it says that
in a notice; else MB001, with p_message, in which %s stands for the first of them. None, or 0 of
each: nothing.';

create function core_upkeep.preview_rollback()
returns table (what text, row_count bigint)
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_table  regclass;
begin
    for v_table in select t from core.hash_tables() as t loop
        what := v_table::text;
        execute format('select count(*) from %s', v_table) into row_count;
        return next;
    end loop;
end
$func$;

comment on function core_upkeep.preview_rollback() is
    'What the rollback of 001_core_schema would throw away: (what, row_count).';
