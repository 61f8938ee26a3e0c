-- updated_at follows every change.

create function core.touch_updated_at()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    new.updated_at := now();
    return new;
end
$func$;

comment on function core.touch_updated_at() is
    'Trigger: the row changed now, whatever it was told.';
