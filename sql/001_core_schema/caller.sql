-- Which bot is asking.

-- In plpgsql: an SQL function is planned anew by every insert that takes the default (15).
create function core.current_bot_id()
returns bigint
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
begin
    return substring(current_user::text from '^bot_([1-9][0-9]{0,17})$')::bigint;
end
$func$;

comment on function core.current_bot_id() is
    'The bot whose login this is (bot_<id>), null for every other role. The login is the tenant: a
setting could be changed by anyone who runs SQL.';
