"""Entry point: finds commands by file name, imports only the one that is called, turns errors into exit codes."""

from __future__ import annotations

import ast
import errno
import importlib
import shlex
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from edgekd.errors import EdgekdError, ExitCode, suggestion

_COMMANDS = Path(__file__).parent / "commands"


class LazyGroup(click.Group):
    """A group whose commands are the files of a folder; `--help` reads their docstrings without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return sorted(path.stem.replace("_", "-") for path in _COMMANDS.glob("[!_]*.py"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one command that is called; a wrong name gets the nearest known one."""
        if cmd_name not in self.list_commands(ctx):
            ctx.fail(f"no such command '{cmd_name}'; {suggestion(cmd_name, self.list_commands(ctx))}")
        module = importlib.import_module(f"edgekd.cli.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the first docstring line of every command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_line(name)) for name in self.list_commands(ctx)])


def _first_line(name: str) -> str:
    source = (_COMMANDS / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from edgekd import __version__

        click.echo(f"edgekd {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Turn a trained PyTorch network into an engine that provably fits a device.

    Exit codes: 0 budget met, 1 internal error, 2 wrong usage, 3 budget missed, 4 accuracy limit missed,
    5 measurement not trustworthy, 6 target unreachable or incompatible, 7 export or parity failed,
    8 out of disk or memory, 130/143 interrupted (run the same command again to resume).
    """


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(ExitCode.TERMINATED)


def main() -> NoReturn:
    """Run the command line and leave with the documented exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        result = cli.main(standalone_mode=False)
        code = result if isinstance(result, int) else ExitCode.MET
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except EdgekdError as error:
        click.echo("\n".join([f"edgekd: {error}", *getattr(error, "__notes__", [])]), err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"interrupted; to resume: {_command_line()}", err=True)
        code = ExitCode.INTERRUPTED
    except SystemExit as leaving:
        click.echo(f"terminated; to resume: {_command_line()}", err=True)
        code = leaving.code if isinstance(leaving.code, int) else ExitCode.INTERNAL
    except Exception as error:
        code = _unforeseen(error)
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)  # all is said; a second Ctrl-C could only tear the goodbye apart
    sys.stdout.flush()
    sys.exit(int(code))


def _unforeseen(error: Exception) -> ExitCode:
    """Tell an error nobody raised on purpose: a lack of disk or memory in a sentence, all else as our own fault."""
    from edgekd.shortage import shortage

    found = shortage(error, {})
    if found is not None:
        click.echo(f"edgekd: {found}", err=True)
        return found.exit_code
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        click.echo(f"edgekd: {error.filename}: {error.strerror}; give another place", err=True)
        return ExitCode.USAGE
    traceback.print_exc()
    click.echo("edgekd: internal error; please report the lines above", err=True)
    return ExitCode.INTERNAL


def _command_line() -> str:
    return shlex.join(["edgekd", *sys.argv[1:]])


if __name__ == "__main__":
    main()
