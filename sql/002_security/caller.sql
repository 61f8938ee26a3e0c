-- Which bot a policy is asked for, and who is asking.

create function security.policy_bot_id()
returns bigint
language plpgsql immutable parallel safe  -- on purpose: see the comment
set search_path = pg_catalog, pg_temp
as $func$
begin
    if current_user >= 'bot_1' and current_user < 'bot_:' and length(current_user) < 23
       and translate(substr(current_user, 5), '0123456789', '') = '' then
        return substr(current_user, 5)::bigint;
    end if;
    return null;
end
$func$;

comment on function security.policy_bot_id() is
    'For policies only: the bot whose login is current_user. Declared immutable so that planning
makes a constant of it, prunes to one leaf and estimates from that bot''s rows alone. Sound there,
because a plan that depends on policies is made anew when the role changes, and because the second
half of the policy compares the role when it runs. Anywhere else use core.current_bot_id().';

create function security.policy_user()
returns name
language plpgsql immutable parallel safe  -- on purpose: see policy_bot_id
set search_path = pg_catalog, pg_temp
as $func$
begin
    return current_user;
end
$func$;

comment on function security.policy_user() is
    'For policies only: current_user when the plan was made. Compared with current_user it makes a
plan that was made for another role return nothing.';

create function security.caller()
returns name
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select case current_setting('role') when 'none' then session_user
            else current_setting('role')::name end
$func$;

comment on function security.caller() is
    'The role in force outside of all definer functions, where current_user is the definer.';

create function security.calling_bot(p_hint text)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_bot_id  bigint := substring(security.caller() from '^bot_([1-9][0-9]{0,17})$')::bigint;
begin
    if v_bot_id is null then
        raise exception using
            errcode = 'MB003',
            message = format('%s is no bot', security.caller()),
            hint    = p_hint;
    end if;
    return v_bot_id;
end
$func$;

comment on function security.calling_bot(text) is
    'The bot that called a definer function, by its login or as a worker. MB003, with this hint: the
caller is no bot.';

create function security.may_see(p_bot_id bigint)
returns boolean
language sql stable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(pg_has_role(r.role, to_regrole('bot_' || p_bot_id)::oid, 'member'), false)
    or pg_has_role(r.role, 'app_super_admin', 'usage') or pg_has_role(r.role, 'app_owner', 'usage')
from (select security.caller()) as r (role)
$func$;

comment on function security.may_see(bigint) is
    'Whether the caller may read what is kept about a bot: an admin to whom it was granted, a
super_admin, a member of app_owner.';
