"""Every problem as lines for stderr and an exit code; tracebacks only on request."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from typer import TyperException

from soracli.core.errors import MachineError, RecipeError, SoraError, Stopped, nearest

GUESSES: Mapping[str, str] = MappingProxyType(
    {
        "--num-inference-steps": "--steps",
        "--num-sampling-steps": "--steps",
        "--num-steps": "--steps",
        "--num-frames": "--seconds",
        "--duration": "--seconds",
        "--length": "--seconds",
        "--guidance": "--guidance-scale",
        "--cfg-scale": "--guidance-scale",
        "--cfg": "--guidance-scale",
        "--width": "--size",
        "--height": "--size",
        "--resolution": "--size",
        "--output": "--out",
        "--force": "--overwrite",
        "--checkpoint": "--model",
        "--lora": "--adapter",
    }
)
"""What people type out of habit with other tools, and what it is called here."""

_MACHINE_ERRORS = MappingProxyType(
    {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EACCES: "no permission",
        errno.EPERM: "not permitted",
        errno.EROFS: "the file system is read-only",
        errno.EMFILE: "too many open files",
        errno.ENFILE: "too many open files",
        errno.ENOMEM: "out of memory",
        errno.EIO: "the disk fails to read or write",
    }
)
_SETTING = re.compile(r"-{0,2}([A-Za-z_][\w-]*(?:\.[\w-]+)*=.*)", re.DOTALL)
_EXTRA_ARGUMENTS = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((.*)\)", re.DOTALL)
_TRIED = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)
_NO_COMMAND = re.compile(r"No such command '(.*?)'.*", re.DOTALL)


def describe_error(error: BaseException) -> tuple[list[str], int]:
    """The lines to show for an exception, with their prefix, and the exit code.

    Args:
        error: Whatever a command raised.

    Returns:
        One line or, for a recipe, one for each problem; and the code of the table in ``soracli.core.errors``.
    """
    if isinstance(error, Stopped):
        return [f"sora: stopped: {_one_line(error)}"], error.exit_code
    if isinstance(error, RecipeError):
        return [f"sora: error: {_one_line(problem)}" for problem in error.problems], error.exit_code
    if isinstance(error, SoraError):
        return [f"sora: error: {_one_line(error)}"], error.exit_code
    if isinstance(error, TyperException):
        return [f"sora: error: {_one_line(usage_problem(error))}"], error.exit_code
    if machine := machine_problem(error):
        return [f"sora: error: {_one_line(machine)}"], MachineError.exit_code
    said = _one_line(f"{type(error).__name__}: {error}".removesuffix(": "))
    return [f"sora: error: this is a bug: {said}; run again with --debug for the traceback"], 1


def machine_problem(error: BaseException) -> str | None:
    """What the machine lacks, if that is what the exception says; None for any other exception."""
    if isinstance(error, OSError) and error.errno is not None and error.errno in _MACHINE_ERRORS:
        where = f": {error.filename}" if error.filename else ""
        return f"{_MACHINE_ERRORS[error.errno]}{where}; what was saved before is whole, and the same command goes on"
    torch = sys.modules.get("torch")  # if torch is not imported, the error is none of its
    device_memory = torch is not None and isinstance(error, torch.OutOfMemoryError)
    # torch reports that ordinary memory ran out as a plain RuntimeError.
    host_memory = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if isinstance(error, MemoryError) or device_memory or host_memory:
        place = "the device has" if device_memory else "the machine has"
        tried = _TRIED.search(str(error))
        more = f" ({tried[1]} more were wanted)" if tried else ""
        return (
            f"out of memory: {place} too little for this{more}; "
            "take a smaller batch or model (sora plan tells what fits)"
        )
    return None


def usage_problem(error: TyperException) -> str:
    """A wrong use of the command line in one line that names the nearest right one."""
    context: Any = getattr(error, "ctx", None)
    options = _options(context)
    see = f"; see: {context.command_path} --help" if context is not None else ""
    if (option := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
        return _unknown_option(option, options, see)
    message = error.format_message().strip().rstrip(".")
    if extra := _EXTRA_ARGUMENTS.fullmatch(message):
        settings = [match[1] for word in extra[1].split() if (match := _SETTING.fullmatch(word))]
        if settings and "--set" in options:
            return f"to change a key of the recipe write: --set {settings[0]}"
        return f"too many arguments: {extra[1]}; quote what has spaces{see}"
    commands = getattr(getattr(context, "command", None), "commands", None)
    if commands and message == "Missing command":
        return f"'{context.command_path}' needs a command: {', '.join(commands)}"
    if commands and (unknown := _NO_COMMAND.fullmatch(message)):
        near = nearest(unknown[1], commands)
        end = f"; did you mean '{context.command_path} {near}'?" if near else f"; there are {', '.join(commands)}"
        return f"no command '{context.command_path} {unknown[1]}'{end}"
    return message[:1].lower() + message[1:] + see


def _unknown_option(option: str, options: Sequence[str], see: str) -> str:
    name = option.partition("=")[0]
    if "." in name and "--set" in options:
        return f"no option {option}; to change a key of the recipe write: --set {name.lstrip('-')}=VALUE"
    ours = GUESSES.get(name)
    if ours not in options:
        ours = nearest(name, options)
    return f"no option {name}; did you mean {ours}?" if ours else f"no option {name}{see}"


def _options(context: Any) -> list[str]:
    """The option names of the command in which the error arose."""
    if context is None:
        return []
    names = [name for parameter in context.command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    return [name for name in (*names, "--help", "--debug") if name.startswith("-")]


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
