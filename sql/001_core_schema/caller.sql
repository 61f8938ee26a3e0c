-- Which bot is asking.

-- In plpgsql: an SQL function is planned anew by every insert that takes the default (15).
create function core.current_bot_id()
returns bigint
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    -- no regular expression, which every statement would pay for; names compare as in "C"
    if current_user >= 'bot_1' and current_user < 'bot_:' and length(current_user) < 23
       and translate(substr(current_user, 5), '0123456789', '') = '' then
        return substr(current_user, 5)::bigint;
    end if;
    return null;
end
$func$;

comment on function core.current_bot_id() is
    'The bot whose login this is (bot_<id>), null for every other role. The login is the tenant: a
setting could be changed by anyone who runs SQL.';
