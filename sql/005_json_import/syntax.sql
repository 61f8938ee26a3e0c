-- Where the text is no JSON.

create function json_import.is_cut_token(p_token text, p_text text)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $func$
select coalesce(
    p_token <> '' and right(p_text, length(p_token)) = p_token
    and (p_token ~ '^"'
         or p_token ~ e'^-?((0|[1-9][0-9]*)(\\.[0-9]*)?([eE][+-]?[0-9]*)?)?$'
         or starts_with('true', p_token) or starts_with('false', p_token)
         or starts_with('null', p_token)),
    false)
$func$;

comment on function json_import.is_cut_token(text, text) is
    'Whether an invalid token is the beginning of a valid one and the end of the text.';

create function json_import.syntax_defects(p_text text)
returns setof json_import.defect
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $func$
declare
    v_detail   text;
    v_context  text;
    v_token    text;
begin
    perform p_text::json;
exception
    when statement_too_complex then
        return query values ('', 'MB407', 'nested deeper than 512 levels', null::text);
    when program_limit_exceeded then
        return query values ('', 'MB408', 'larger than jsonb can hold', null::text);
    when invalid_text_representation or untranslatable_character then
        get stacked diagnostics
            v_detail = pg_exception_detail, v_context = pg_exception_context;
        v_token := substring(v_detail from '^Token "(.*)" is invalid');
        return query select
            '', case when v_detail ~ 'ended unexpectedly'
                       or json_import.is_cut_token(v_token, p_text)
                          -- and a whole token of its kind might stand there
                          and not exists (
                              select
                              from json_import.syntax_defects(
                                  left(p_text, -length(v_token))
                                  || case when v_token ~ '^"' then '""'
                                          when v_token ~ '^[-0-9]' then '0' else 'null' end) as d
                              where d.code <> 'MB406')
                     then 'MB406' else 'MB405' end,
            concat_ws('; ', format('not JSON at line %s',
                                   substring(v_context from e'JSON data, line (\\d+)')), v_detail),
            left(substring(v_context from e'JSON data, line \\d+: ([^\\n]*)'), 200);
end
$func$;

comment on function json_import.syntax_defects(text) is
    'Where a text stops being JSON: MB405 with its line, MB406 at its end, MB407, MB408.';
