-- Locks on the log and its seals, waited for no longer than 2 s.

create function audit.claim_month(p_leaf regclass)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off
set lock_timeout = '2s'
as $func$
declare
    v_holders  text;
begin
    for v_attempt in 1 .. 3 loop
        begin
            lock table only audit.security_audit_log in access exclusive mode;
            execute format('lock table %s in access exclusive mode', p_leaf);
            return;
        exception when lock_not_available then
            v_holders := security.clear_the_way(
                array['audit.security_audit_log'::regclass],
                case when v_attempt < 3 then '^(bot|worker)' end);
        end;
    end loop;
    perform security.refuse_to_wait(format('month %s can''t be dropped', p_leaf), v_holders);
end
$func$;

comment on function audit.claim_month(regclass) is
    'Locks the log and one of its months for a drop. After 2 s it ends the sessions of bots and
workers that are in the way: a bot could keep the log for ever by reading it. MB130: others''
sessions are in the way.';

create function audit.claim_seals(p_what text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
as $func$
begin
    lock table audit.seal in share row exclusive mode;
exception when lock_not_available then
    perform security.refuse_to_wait(
        p_what, security.clear_the_way(array['audit.seal'::regclass]));
end
$func$;

comment on function audit.claim_seals(text) is
    'Keeps others from sealing and erasing until the transaction ends. MB130: somebody else has done
so for 2 s.';
