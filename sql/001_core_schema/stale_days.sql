-- Days whose metrics are out of date are noted.

create function core_upkeep.note_started()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    -- of an insert old is null, of a delete new
    insert into core.stale_days (bot_id, days)
    values (coalesce(new.bot_id, old.bot_id), core.days_of(array[old.started_at, new.started_at]));
    return null;
end
$func$;

comment on function core_upkeep.note_started() is
    'Trigger on core.conversations: notes the days on which there are now more or fewer new ones.';
