-- One login for many bots: a worker becomes a bot for one transaction.

create function security.act_as(p_bot_id bigint)
returns void
language plpgsql  -- not a definer: those can't set the role
set search_path = pg_catalog, pg_temp
as $func$
begin
    perform set_config('role', 'bot_' || coalesce(p_bot_id::text, ''), true);
exception when insufficient_privilege or invalid_parameter_value then
    raise exception using
        errcode = 'MB124',
        message = format('%s may not act as bot %s', session_user,
                         coalesce(p_bot_id::text, 'null')),
        hint    = format('If it is to: select security.grant_bot_to_admin(%s, %L).',
                         coalesce(p_bot_id::text, 'BOT_ID'), session_user);
end
$func$;

comment on function security.act_as(bigint) is
    'SET LOCAL ROLE bot_<id>, for a worker that shares a pool of connections: begin, act_as, the
bot''s work, commit. Ends with the transaction; outside of a transaction block with the statement
itself, so that the next one sees no row and writes none. Everybody may call it, as everybody may
SET ROLE to what they were granted. MB124: the login was not given this bot, or there is none.';

-- A worker has no right before it is a bot, and none by a role that it could have inherited.
insert into security.rule_exception (rule, object, reason) values
    ('public routine', 'security.act_as(bigint)',
     'it does what SET ROLE does, with the same rights');

grant usage on schema security to public;
