-- What a bot's program keeps of itself: written by the bot.

create function security.set_bot_config(p_config jsonb)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
declare
    v_bot_id  bigint := security.calling_bot('Log in as the bot whose config it is to be.');
begin
    if coalesce(jsonb_typeof(p_config), 'null') <> 'object' then
        perform core.refuse_value(
            'core.bots.config', 'an object', coalesce(jsonb_typeof(p_config), 'null'));
    end if;
    perform core.check_json(p_config, 'core.bots.config', 65536);
    update core.bots set config = p_config where bot_id = v_bot_id and config <> p_config;
end
$func$;

comment on function security.set_bot_config(jsonb) is
    'Replaces core.bots.config of the bot that calls, or that a worker acts as; nothing is written
if it is equal. MB003: the caller is no bot; MB012: it is no object, or beyond 65,536 bytes as it
prints, 512 levels, 1000 digits.';
