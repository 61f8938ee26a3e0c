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
    -- audit.verify_seals believes these
    if p_kind in ('capture', 'erasure', 'retention', 'setting') then
        raise exception using
            errcode = 'MB209',
            message = format('an event of kind %s is the audit''s own to record', p_kind),
            hint    = 'Choose another kind.';
    end if;
    if p_kind is null or p_severity is null
       or p_severity not in ('info', 'notice', 'warning', 'critical') then
        raise exception using
            errcode = 'MB209',
            message = format('an event can''t be of kind %s and severity %s',
                             quote_nullable(p_kind), quote_nullable(p_severity)),
            hint    = 'Pass a kind, and info, notice, warning or critical.';
    end if;
    perform audit.record_event(p_kind, p_severity, p_detail, p_bot_id);
end
$func$;

comment on function audit.log_event(text, text, jsonb, bigint) is
    'Puts an event on record: kind, severity (info, notice, warning, critical), detail (no secrets,
no personal data), and the bot it is about, who may then read it. Goes when its transaction is
rolled back. MB209: the kind is one of the audit''s own, or something is missing.';
