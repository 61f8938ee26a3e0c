-- Events that are no change of a row: logins, months, erasures.

create function audit.ensure_month(p_at timestamptz)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    perform core.ensure_partition('audit.security_audit_log', p_at);
end
$func$;

comment on function audit.ensure_month(timestamptz) is
    'Makes the log''s month that holds this time, unless it is there; writers call it on demand.';

create function audit.record_event(
    p_kind      text,
    p_severity  text,
    p_detail    jsonb,
    p_bot_id    bigint  default null
)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_at  timestamptz := clock_timestamp();
begin
    perform audit.ensure_month(v_at);
    insert into audit.security_audit_log
        (occurred_at, bot_id, operation, kind, severity, new_values)
    values (v_at, coalesce(p_bot_id, 0), 'EVENT', p_kind, p_severity, p_detail::json);
end
$func$;

comment on function audit.record_event(text, text, jsonb, bigint) is
    'Puts an event on record, of the audit''s own kinds, too.';

create function audit.log_event(
    p_kind      text,
    p_severity  text,
    p_detail    jsonb,
    p_bot_id    bigint  default null
)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
begin
    if p_kind = any (array[
        -- audit.verify_seals believes these
        'capture', 'erasure', 'erasure_reason', 'retention', 'setting', 'inventory_accepted',
        'schema_changed',
        -- these tell what security did with roles
        'role_made', 'role_dropped', 'role_granted', 'role_revoked', 'password_set', 'limits_set',
        'logins_claimed', 'bot_paused', 'bot_resumed', 'bot_retired']) then
        raise exception using
            errcode = 'MB209',
            message = format('an event of kind %s is the audit''s own to record', p_kind),
            hint    = 'Choose another kind.';
    end if;
    if p_kind is null or p_kind !~ '^[a-z][a-z0-9_]{0,62}$' or p_severity is null
       or p_severity not in ('info', 'notice', 'warning', 'critical')
       or jsonb_typeof(p_detail) <> 'object' or p_bot_id < 1 then
        raise exception using
            errcode = 'MB209',
            message = format('an event can''t be of kind %s, severity %s and bot %s, with a detail '
                             'that is %s', quote_nullable(left(p_kind, 80)),
                             quote_nullable(left(p_severity, 80)), coalesce(p_bot_id, 0),
                             coalesce(jsonb_typeof(p_detail), 'null')),
            hint    = 'Pass a kind in small letters; info, notice, warning or critical; an object; '
                      'a bot''s id, or null.';
    end if;
    perform audit.record_event(p_kind, p_severity, p_detail, p_bot_id);
end
$func$;

comment on function audit.log_event(text, text, jsonb, bigint) is
    'Puts an event on record: kind, severity (info, notice, warning, critical), detail (no secrets,
no personal data), and the bot it is about, who may then read it. Goes when its transaction is
rolled back. MB209: the kind is one of the audit''s or security''s own, or no word; the severity,
the detail or the bot is none.';

create function audit.hear_event(
    p_kind      text,
    p_severity  text,
    p_detail    jsonb,
    p_bot_id    bigint  default null
)
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
set row_security = on
as $func$
select audit.record_event(p_kind, p_severity, p_detail, p_bot_id)
$func$;

comment on function audit.hear_event(text, text, jsonb, bigint) is
    'Puts on record what security tells of roles and acceptances, for the provisioner: nobody else
says such things (security.event_hook).';
