-- The tokens of the bots' messengers.

create table security.bot_token (
    bot_id      bigint       not null,
    token       text         not null,
    created_at  timestamptz  not null default now(),
    updated_at  timestamptz  not null default now(),

    constraint bot_token_pk primary key (bot_id)
);

comment on table security.bot_token is
    'What a bot shows its messenger. Nobody reads it but the bot, its own, by get_bot_token(), and a
worker that acts as it. No constraint on the token: its error would show the row.';
comment on column security.bot_token.token is 'In clear: the messenger wants it so.';
comment on column security.bot_token.created_at is 'When the bot first got one.';
comment on column security.bot_token.updated_at is 'When it got this one.';

insert into core.bot_table (relation, on_bot_drop) values ('security.bot_token', 'delete');

create function security.set_bot_token(p_bot_id bigint, p_token text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform security.require_bot(p_bot_id);
    -- a regular expression counts to 255 only
    if p_token is null or p_token !~ '^[!-~]+$' or length(p_token) > 1000 then
        raise exception using
            errcode = 'MB107',
            message = format('the token for bot %s is empty, too long or holds a blank '
                             '(it is not shown here)', p_bot_id),
            hint    = 'Pass it as the messenger gave it.';
    end if;
    insert into security.bot_token as t (bot_id, token)
    values (p_bot_id, p_token)
    on conflict (bot_id) do update set token = excluded.token, updated_at = now();
end
$func$;

comment on function security.set_bot_token(bigint, text) is
    'Gives a bot its token; no error shows it. MB003, MB105; MB107: it can''t be one.';

create function security.get_bot_token()
returns text
language plpgsql stable
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
set quote_all_identifiers = off
as $func$
declare
    v_bot_id  bigint := security.calling_bot('Log in as the bot whose token you need.');
begin
    if session_user <> 'bot_' || v_bot_id
       and security.login_kind(to_regrole(quote_ident(session_user))) is distinct from 'worker' then
        raise exception using
            errcode = 'MB125',
            message = format('the token of bot %s is not for %s', v_bot_id, session_user),
            hint    = 'Log in as the bot, or as a worker that was given it. A lost token: the '
                      'messenger makes another one, security.set_bot_token keeps it.';
    end if;
    -- whoever may give the bot another password may log in as it, which nothing here can tell
    raise log 'token of bot % read by login % at %', v_bot_id, session_user,
        coalesce(host(inet_client_addr()), 'the local socket');
    return (select token from security.bot_token where bot_id = v_bot_id);
end
$func$;

comment on function security.get_bot_token() is
    'The token of the bot that asks, null if none was set: for its own login, and for a worker that
acts as it. The server''s log keeps a line of each read. MB003: the caller is no bot; MB125: an
admin, or somebody else, who became the bot.';
