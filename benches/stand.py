"""What the benches of a whole fleet start, and what they read of it; imported by the scripts beside.

A stand is a folder that is removed afterwards, with a PostgreSQL server, a RabbitMQ broker, a judge model and any number
of `serve`, all on free loopback ports. Everything is ended with the block that started it.
"""

import argparse
import contextlib
import http.server
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))
from processes import Process, free_port, get, installed  # noqa: E402, F401

PATIENCE_SECONDS = 600
IN_FLIGHT = 32


def parser(text):
    """Arguments that every script has."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--binary", type=Path, help="measure this one instead of building")
    made.add_argument("--profile", default="bench", help="how the tools are built; `dev` is quick, to try a script")
    return made


@contextlib.contextmanager
def stand(arguments):
    """The binary and the tools, built, and a folder that is removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    binary = arguments.binary.resolve() if arguments.binary else build()
    with tempfile.TemporaryDirectory(prefix="driftline-bench-") as folder, contextlib.ExitStack() as stack:
        # So that PostgreSQL's own user may pass.
        os.chmod(folder, 0o755)
        yield Stand(binary, arguments.profile, Path(folder), stack)


class Stand:
    def __init__(self, binary, profile, folder, stack):
        self.binary, self.profile, self.folder, self.stack = binary, profile, folder, stack
        self.services = 0

    def start(self, process):
        """Starts what the stand ends."""
        return self.stack.enter_context(process)

    def postgres(self, *settings):
        return self.start(Postgres(self.folder, settings))

    def rabbitmq(self):
        return self.start(RabbitMq(self.folder))

    def model(self, pause_milliseconds):
        return self.start(Model(tool("judge_model", self.profile), self.folder, pause_milliseconds))

    def service(self, settings, roles="", **environment):
        """`serve` that the caller ends, or the stand."""
        self.services += 1
        folder = self.folder / f"service-{self.services}"
        folder.mkdir()
        return Service(self.binary, folder, settings, roles, environment)

    def load(self, service, count, rate=0, first=0, in_flight=IN_FLIGHT):
        """Sends traces in the background; `result()` waits for the sender and gives what it says."""
        return Load(tool("load", self.profile), service, count, rate, in_flight, first)


def build():
    subprocess.run(["cargo", "build", "--profile", "dist", "--locked"], cwd=REPOSITORY, check=True)
    return target_folder() / "dist" / "driftline"


def target_folder():
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    metadata = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    return Path(json.loads(metadata)["target_directory"])


BUILT = {}


def tool(name, profile="bench"):
    """The path of a bench that is a tool, built once."""
    if name not in BUILT:
        command = ["cargo", "bench", "--locked", "--bench", name, "--profile", profile, "--no-run"]
        messages = subprocess.run([*command, "--message-format", "json"], cwd=REPOSITORY, check=True, capture_output=True,
                                  text=True).stdout
        found = [json.loads(line) for line in messages.splitlines()]
        BUILT[name] = next(it["executable"] for it in found if it.get("target", {}).get("name") == name)
    return BUILT[name]


class Load:
    def __init__(self, program, service, count, rate, in_flight, first):
        url = f"http://{service.receiver}/v1/traces"
        command = [program, url, *map(str, (count, rate, in_flight, first))]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def is_running(self):
        return self.process.poll() is None

    def result(self):
        said, _ = self.process.communicate()
        if self.process.returncode != 0:
            sys.exit("the sender failed")
        return json.loads(said)


class Postgres(Process):
    """A server that writes through to the disk, as a production server does."""

    def __init__(self, folder, settings):
        self.folder, self.settings, self.port = folder, settings, free_port()
        self.bin = find("initdb", "/usr/lib/postgresql/*/bin").parent
        self.data = folder / "postgres"
        self.data.mkdir()
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            owner = pwd.getpwnam(self.user)
            os.chown(self.data, owner.pw_uid, owner.pw_gid)
        arguments = ["-U", "driftline", "-A", "trust", "-E", "UTF8", "--locale=C", "-D", str(self.data)]
        subprocess.run(self.command("initdb", *arguments), check=True, stdout=subprocess.DEVNULL, cwd=self.data)

    def command(self, program, *arguments):
        whole = [str(self.bin / program), *arguments]
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", *whole] if self.user else whole

    def __enter__(self):
        listening = ["-k", str(self.data), "-h", "127.0.0.1", "-p", str(self.port), "-c", "max_connections=300"]
        more = [part for setting in self.settings for part in ("-c", setting)]
        self.start(self.command("postgres", "-D", str(self.data), *listening, *more), self.folder, "postgres")
        self.wait(self.answers, "PostgreSQL listens")
        return self

    def stop(self):
        """Ends it at once, as a failure does; `__enter__` starts it again."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def answers(self):
        command = self.command("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "driftline", "-c", "SELECT 1", "postgres")
        return subprocess.run(command, capture_output=True, cwd=self.data).returncode == 0

    def database(self, name, template="template0"):
        self.sql("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgres://driftline@127.0.0.1:{self.port}/{name}"

    def sql(self, database, statement):
        """What a statement answers, as unaligned text."""
        command = self.command("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "driftline", "-q", "-At", "-v",
                               "ON_ERROR_STOP=1", "-c", statement, database)
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.data)
        if done.returncode != 0:
            sys.exit(f"PostgreSQL refused:\n{done.stderr}\n{statement}")
        return done.stdout.strip()


class RabbitMq(Process):
    """A broker with quorum queues, and a name daemon of its own."""

    def __init__(self, folder):
        self.home = folder / "rabbitmq"
        self.home.mkdir()
        self.port, self.epmd_port = free_port(), free_port()
        self.node = f"driftline{self.port}@localhost"
        (self.home / "plugins").write_text("[].")
        nothing = str(self.home / "none")
        self.environment = {
            "HOME": str(self.home), "ERL_EPMD_PORT": str(self.epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node, "RABBITMQ_NODE_PORT": str(self.port), "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()), "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "logs"), "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "plugins"), "RABBITMQ_CONFIG_FILE": nothing,
            "RABBITMQ_ADVANCED_CONFIG_FILE": nothing, "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_PID_FILE": str(self.home / "pid"), "RUNNING_UNDER_SYSTEMD": "true",
        }
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"

    def __enter__(self):
        epmd = [str(find("epmd", "/usr/bin")), "-port", str(self.epmd_port), "-address", "127.0.0.1"]
        self.names = subprocess.Popen(epmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server = find("rabbitmq-server", "/usr/lib/rabbitmq/bin")
        self.start([str(server)], self.home, "rabbitmq", **self.environment)
        self.wait(lambda: "completed with" in self.log.read_text(), "RabbitMQ listens")
        return self

    def __exit__(self, *_):
        self.ctl("stop")
        super().__exit__()
        self.names.kill()
        self.names.wait()

    def ctl(self, *arguments):
        command = [str(find("rabbitmqctl", "/usr/lib/rabbitmq/bin")), "-q", "-n", self.node, *arguments]
        return subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True).stdout

    def waiting(self):
        """Messages in each queue."""
        rows = self.ctl("list_queues", "name", "messages", "--no-table-headers").splitlines()
        return {name: int(count) for name, count in (row.split("\t") for row in rows)}


class Model(Process):
    """The judge model, which can be ended and started again."""

    def __init__(self, program, folder, pause_milliseconds):
        self.port, self.folder = free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.program, self.pause = program, pause_milliseconds

    def __enter__(self):
        self.start([self.program, "serve", str(self.port), str(self.pause)], self.folder, "model")
        self.wait(lambda: get(f"{self.url}/stats") is not None, "the model listens")
        return self

    def settings(self, concurrency=8):
        return f"""[judge.budget]
daily_usd = 1000000.0
[judge.models.default]
base_url = "{self.url}/v1"
model = "m"
concurrency = {concurrency}
input_usd_per_mtok = 0.4
output_usd_per_mtok = 1.6
"""

    def stop(self):
        self.process.kill()
        self.process.wait()

    def reset(self):
        get(f"{self.url}/reset")

    def stats(self):
        return json.loads(get(f"{self.url}/stats"))


class Service(Process):
    """`serve` with some of its roles, `web` among them, in a folder of its own."""

    def __init__(self, binary, folder, settings, roles, environment):
        self.folder, self.settings, self.environment = folder, settings, environment
        self.receiver, self.web = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        listening = f'[receive]\nhttp = "{self.receiver}"\ngrpc = ""\n[web]\nlisten = "{self.web}"\n'
        (folder / "driftline.toml").write_text(listening + settings)
        self.command = [str(binary), "serve", *(["--roles", roles] if roles else [])]

    def __enter__(self):
        self.start(self.command, self.folder, "driftline", **self.environment)
        self.wait(lambda: get(f"http://{self.web}/readyz") is not None, "the service is ready", PATIENCE_SECONDS)
        return self

    def metric(self, name):
        """The sum over its labels; 0 where nothing was counted, `None` while it does not answer."""
        text = get(f"http://{self.web}/metrics")
        if text is None:
            return None
        found = re.findall(rf"^driftline_{re.escape(name)}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", text, re.M)
        return sum(map(float, found))

    def depths(self):
        """What waits in the store, by queue."""
        found = re.findall(r'^driftline_queue_depth\{queue="(\w+)"\} (\d+)$', get(f"http://{self.web}/metrics") or "", re.M)
        return {queue: int(depth) for queue, depth in found}

    def has_caught_up(self):
        depths = self.depths()
        return bool(depths) and sum(depths[queue] for queue in ("pending", "judge", "outbox")) == 0

    def cpu_seconds(self):
        return cpu_seconds(self.process.pid)

    def memory(self, what="VmRSS"):
        return memory(self.process.pid, what)


def cpu_seconds(pid):
    # The second field is the program's name in brackets, which may hold spaces; user and system time are 14 and 15.
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in after_name[11:13]) / os.sysconf("SC_CLK_TCK")


def memory(pid, what):
    """Bytes: `VmRSS` now, `VmHWM` at most so far."""
    return int(re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


class Backend:
    """A tracing backend that takes everything, and can go away and come back."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Taking)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def settings(self):
        return f'[[write_back]]\nkind = "otlp"\nendpoint = "{self.url}"\n'

    def stop(self):
        self.server.is_away = True
        self.server.shutdown()
        self.server.server_close()

    def __exit__(self, *_):
        self.stop()


class Taking(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        # Connections that are kept alive outlive the server.
        if getattr(self.server, "is_away", False):
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Sampler:
    """Reads something every second until the block ends."""

    def __init__(self, read):
        self.read, self.samples, self.ended = read, [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        started = time.monotonic()
        while not self.ended.wait(1):
            self.samples.append((time.monotonic() - started, self.read()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def find(program, folder):
    """A program below a folder, or on the path."""
    root, pattern = Path("/"), f"{folder.lstrip('/')}/{program}"
    there = sorted(root.glob(pattern)) or [Path(path) for path in [shutil.which(program)] if path]
    if not there:
        sys.exit(f"{program} is missing: `cargo test` as root installs it, see CONTRIBUTING.md")
    return there[-1]


def store(url):
    return f'[store]\nurl = "{url}"\n'


def queue(broker):
    return f'[queue]\nurl = "{broker.url}"\n'
