"""Several modules of the package as one file that runs without it, torch-free.

The code is the package's own, line by line, in the order in which its modules need one another; so what leaves the
package cannot differ from what stays.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

_PACKAGE = "soracli"


def one_file(module: str, stand_ins: Mapping[str, str]) -> str:
    """Source text of a module together with all of the package that it imports.

    Sections of recipes (modules called ``config``) are left out: they must be named in annotations alone.

    Args:
        module: Dotted name; its docstring becomes that of the file.
        stand_ins: Modules of the package that are taken instead of a foreign one, by the foreign one's name.

    Raises:
        ValueError: If two of the modules give different things one name, or import inside a function.
    """
    sources: dict[str, str] = {}
    _collect(module, stand_ins, sources)
    imports: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    bodies = []
    for name, text in sources.items():
        tree = ast.parse(text)
        dropped: set[int] = set()
        for node in tree.body:
            if _is_docstring(tree, node) or isinstance(node, ast.Import | ast.ImportFrom):
                dropped |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
            for defined in _defined(node):
                if names.setdefault(defined, name) != name:
                    raise ValueError(f"{names[defined]} and {name} both define {defined}")
        for node in _imports(tree, name):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    imports.setdefault(ast.unparse(ast.Import([alias])), set())
            elif _target(node, stand_ins) is None and node.module != "__future__":
                imports.setdefault(f"from {node.module} import ", set()).update(alias.name for alias in node.names)
        lines = [line for number, line in enumerate(text.splitlines(), 1) if number not in dropped]
        said = "" if name == module else _comment(ast.get_docstring(tree) or "")
        bodies.append(f"# {'-' * 10} {name}\n{said}\n" + "\n".join(lines).strip())
    head = [f"{start}{', '.join(sorted(found))}" for start, found in imports.items()]
    head.sort(key=lambda line: (line.startswith("from "), line))
    docstring = ast.get_docstring(ast.parse(sources[module])) or ""
    parts = [f'"""{docstring}\n"""', "from __future__ import annotations", "\n".join(head)]
    return "\n\n".join(parts) + "\n\n\n" + "\n\n\n".join(bodies) + "\n"


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _collect(module: str, stand_ins: Mapping[str, str], sources: dict[str, str]) -> None:
    """Read a module after those that it needs."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    text = Path(spec.origin).read_text(encoding="utf-8")
    for node in _imports(ast.parse(text), module):
        target = _target(node, stand_ins) if isinstance(node, ast.ImportFrom) else None
        if target is not None and target not in sources and not target.endswith(".config"):
            _collect(target, stand_ins, sources)
    sources[module] = text


def _imports(tree: ast.Module, module: str) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            if node not in tree.body:
                raise ValueError(f"{module} imports inside a function or a condition, line {node.lineno}")
            if any(alias.asname for alias in node.names):
                raise ValueError(f"{module} imports under another name, line {node.lineno}")
            yield node


def _target(node: ast.ImportFrom, stand_ins: Mapping[str, str]) -> str | None:
    """The module of the package that an import is taken from, None if it stays."""
    name = node.module or ""
    return stand_ins.get(name, name if name.partition(".")[0] == _PACKAGE else None)


def _is_docstring(tree: ast.Module, node: ast.stmt) -> bool:
    return node is tree.body[0] and ast.get_docstring(tree) is not None


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
