-- A bot's name is unique in the fleet.

create function core_upkeep.claim_bot_name()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if tg_op in ('UPDATE', 'DELETE') then
        delete from core.bot_names where bot_id = old.bot_id;
    end if;
    if tg_op in ('INSERT', 'UPDATE') then
        -- waits for a concurrent claim of the same name to end, so two can't both win
        insert into core.bot_names (bot_id, name) values (new.bot_id, new.name)
        on conflict (name) do nothing;
        if not found then
            raise exception using
                errcode = 'MB005',
                message = format('bot name %L is taken', new.name),
                hint    = 'Choose another name.';
        end if;
    end if;
    return null;
end
$func$;

comment on function core_upkeep.claim_bot_name() is
    'Trigger on core.bots: keeps core.bot_names. MB005: another bot has the name.';

create function core_upkeep.misnamed_bots()
returns setof bigint
language sql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select coalesce(b.bot_id, n.bot_id)
from core.bots as b
full join core.bot_names as n on n.bot_id = b.bot_id
where b.name is distinct from n.name
$func$;

comment on function core_upkeep.misnamed_bots() is
    'The bots whose claimed name is not their name, or that only a claim knows; for verify.sql.';
