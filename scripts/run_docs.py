#!/usr/bin/env python3
"""Runs the commands that the documentation shows, and compares what they print.

Usage: scripts/run_docs.py BINARY PAGE [PAGE ...]

Each fenced block marked `console` is run, top to bottom, against a server that is started for the
page with the simulated engine and an empty data directory. In a block:

    $ command           run by bash; lines that begin with `> ` continue the command
    output              has to be printed (stdout and stderr); `…` stands for any text within a line
    …                   alone on a line: for any number of lines

Commands see the server at 127.0.0.1:8888 and localhost:8888, whatever its real port; the binary is
on the PATH; the working directory is empty at first and kept for the page. A `toml` block that
follows the comment `<!-- server config -->` is the server's config file. A block marked `sh` is not
run: it is for commands that need a real engine, a package manager or another host.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

SECONDS = 60
BLOCK = re.compile(r"^```console\n(.*?)^```", re.M | re.S)
CONFIG = re.compile(r"<!-- server config -->\s*```toml\n(.*?)^```", re.M | re.S)


class Server:
    def __init__(self, binary, folder, config):
        arguments = ["serve", "--engine", "simulated", "--listen", "127.0.0.1:0"]
        arguments += ["--data-dir", str(folder / "data")]
        if config:
            (folder / "server.toml").write_text(config)
            arguments += ["--config", str(folder / "server.toml")]
        log = open(folder / "server.log", "w")
        self.process = subprocess.Popen(
            [binary, *arguments], stdout=subprocess.PIPE, stderr=log, cwd=folder, text=True
        )
        line = self.process.stdout.readline()
        found = re.search(r"http://(\S+)", line)
        if not found:
            sys.exit(f"the server did not start: {line}{(folder / 'server.log').read_text()}")
        self.address = found[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=SECONDS)


def steps(block):
    """Each command of a block with the output it should print."""
    commands = []
    for line in block.splitlines():
        if line.startswith("$ "):
            commands.append(([line[2:]], []))
        elif not commands:
            sys.exit(f"a console block has to begin with `$ `: {line}")
        elif line.startswith("> ") or line == ">":
            commands[-1][0].append(line[2:])
        else:
            commands[-1][1].append(line)
    return [("\n".join(command), output) for command, output in commands]


def matches(expected, printed):
    """Compares lines of output; see the head of this file for `…`."""
    pattern = ""
    for line in expected:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(map(re.escape, line.rstrip().split("…"))) + r"[ \t]*\n"
    text = "".join(line.rstrip() + "\n" for line in printed.splitlines())
    return re.fullmatch(pattern, text) is not None


def run_page(binary, page):
    text = page.read_text()
    blocks = [(text[: match.start()].count("\n") + 2, match[1]) for match in BLOCK.finditer(text)]
    if not blocks:
        return 0
    config = CONFIG.search(text)
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "work").mkdir()
        server = Server(binary, folder, config and config[1])
        environment = {
            **os.environ,
            "PATH": f"{Path(binary).resolve().parent}:{os.environ['PATH']}",
            "TIDETABLE_SERVER": f"http://{server.address}",
            "HOME": str(folder),
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "TZ": "UTC",
        }
        try:
            for line, block in blocks:
                for command, expected in steps(block):
                    real = re.sub(r"\b(127\.0\.0\.1|localhost):8888", server.address, command)
                    done = subprocess.run(
                        ["bash", "-c", real], cwd=folder / "work", env=environment, text=True,
                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                        timeout=SECONDS,
                    )
                    printed = done.stdout.replace(server.address, "127.0.0.1:8888")
                    if not matches(expected, printed):
                        shown = "\n".join(expected)
                        log = (folder / "server.log").read_text()[-1500:]
                        sys.exit(
                            f"{page}:{line}: $ {command}\n--- the page says\n{shown}\n"
                            f"--- it printed\n{printed}--- the server's log ends\n{log}"
                        )
                    count += 1
        finally:
            server.stop()
    return count


def main():
    binary, *pages = sys.argv[1:]
    for page in map(Path, pages):
        print(f"{page}: {run_page(str(Path(binary).resolve()), page)} commands")


if __name__ == "__main__":
    main()
