-- The tables of core and the tokens are audited from here on.

insert into audit.marked_column (relation, column_name, mark) values
    ('security.bot_token', 'token', 'secret');

do $begin$
declare
    v_table  regclass;
begin
    perform core.ensure_partition('audit.security_audit_log', now() + n * interval '1 month')
    from generate_series(0, 2) as n;
    for v_table in select relation from core.bot_table where is_audited order by place loop
        perform audit.enable(v_table, case when v_table = 'core.messages'::regclass then 'keys'
                                           else 'changed' end);
    end loop;
    perform security.inventory_rows('audit.capture', '{relation}');
    perform security.inventory_rows('audit.marked_column', '{relation,column_name}');
    -- what steers: of a migration's own changes its acceptance tells
    foreach v_table in array array(
        select relation from security.inventoried_table
        where relation not in ('audit.capture'::regclass, 'audit.marked_column'::regclass))
        || array['security.bot_limit', 'security.login_limit', 'security.public_right']::regclass[]
    loop
        perform audit.enable(v_table);
    end loop;
    perform security.hand_over(s, 'app_auditor')
    from unnest(array['audit_partitions', 'audit']) as s;
    -- what was accepted before there was a log
    perform audit.record_event('inventory_accepted', 'notice', security.acceptance_record(a))
    from security.acceptance as a
    order by a.acceptance_id;
end
$begin$;
