"""Whether the resource types, their versions and their properties exist.

With BICEP_TYPES and GRAPH_TYPES, git clones of Azure/bicep-types-az and microsoftgraph/msgraph-bicep-types, every property
is looked up in the types that Microsoft publishes, its literal value too, and those that are required or read-only; what
was found is written to checked.json. Without them, nothing may be used that checked.json does not name.
"""

import json
import os
import pathlib
import subprocess

from bicep import File
from common import ROOT, files

CHECKED = pathlib.Path(__file__).with_name("checked.json")
REQUIRED, READ_ONLY = 1, 2
# Of the language, not of the type.
LANGUAGE = {"name", "parent", "scope", "dependsOn"}
problems = []


class Types:
    def __init__(self, repository, kind):
        self.repository = repository
        namespace, version = kind.split("/")[0].lower(), kind.split("@")[1]
        found = [path for path in self.git("ls-tree", "-r", "--name-only", "HEAD", "generated").split()
                 if path.endswith("/types.json") and f"/{namespace}/" in path
                 and path.split("/")[-2] == version and self.load(path, kind)]
        # The extension's version stands where Azure's have a date.
        self.found = bool(found) or any(self.load(path, kind) for path in
                                        [f"generated/microsoftgraph/microsoft.graph/v1.0/{graph_version()}/types.json"]
                                        if namespace == "microsoft.graph")

    def git(self, *arguments):
        return subprocess.run(["git", "-C", self.repository, *arguments], check=True, capture_output=True, text=True).stdout

    def load(self, path, kind):
        types = json.loads(self.git("show", f"HEAD:{path}"))
        for each in types:
            if each["$type"] == "ResourceType" and each["name"].lower() == kind.lower():
                self.types, self.body = types, self.at(each["body"], types)
                return True
        return False

    def at(self, reference, types=None):
        return (types or self.types)[int(reference["$ref"].rsplit("/", 1)[1])]


def graph_version():
    config = json.loads((ROOT / "deploy/azure/bicepconfig.json").read_text())
    return config["extensions"]["microsoftGraphV1"].rsplit(":", 1)[1]


def literals(node, file, local=()):
    """The objects, arrays and plain values that an expression may come to, as far as the text tells."""
    kind = node[0]
    if kind == "if":
        yield from literals(node[2], file)
        yield from literals(node[3], file)
    elif kind == "name" and node[1] in file.of("var"):
        yield from literals(file.of("var")[node[1]]["value"], file)
    elif kind == "call" and node[1] == "concat":
        for each in node[2]:
            yield from literals(each, file)
    elif kind == "call" and node[1] == "map" and node[2][1][0] == "lambda":
        for each in literals(node[2][1][2], file):
            yield ("array", [each])
    elif kind == "sure":
        yield from literals(node[1], file)
    else:
        yield node


def look(node, kind, types, path, file, seen, where):
    for value in literals(node, file):
        if kind["$type"] == "UnionType":
            options = [types.at(each) for each in kind["elements"]]
            allowed = [each.get("value") for each in options if each["$type"] == "StringLiteralType"]
            if value[0] == "value" and isinstance(value[1], str):
                seen.add(f"{path} = {value[1]}")
                if value[1] not in allowed:
                    problems.append(f"{where}: {path} may be {', '.join(allowed)}, not {value[1]}")
        elif value[0] == "value" and value[1] is not None:
            wanted = {"StringType": str, "StringLiteralType": str, "IntegerType": int, "BooleanType": bool}.get(kind["$type"])
            if kind["$type"] != "AnyType" and (wanted is None or not isinstance(value[1], wanted) or (wanted is int and isinstance(value[1], bool))):
                problems.append(f"{where}: {path} is {kind['$type']}, not {value[1]!r}")
        elif value[0] == "array":
            if kind["$type"] != "ArrayType":
                problems.append(f"{where}: {path} is no list")
                continue
            for each in value[1]:
                look(each, types.at(kind["itemType"]), types, f"{path}[]", file, seen, where)
        elif value[0] == "object":
            members(value, kind, types, path, file, seen, where)


def members(value, kind, types, path, file, seen, where):
    if kind["$type"] not in ("ObjectType", "DiscriminatedObjectType"):
        if kind["$type"] != "AnyType":
            problems.append(f"{where}: {path} is {kind['$type']}, no object")
        return
    properties = dict(kind.get("properties") or kind.get("baseProperties") or {})
    rest = kind.get("additionalProperties")
    if kind["$type"] == "DiscriminatedObjectType":
        chosen = next((one[1] for key, one, _ in value[1] if key[1] == kind["discriminator"]), None)
        if chosen not in kind["elements"]:
            problems.append(f"{where}: {path}.{kind['discriminator']} is none of {', '.join(kind['elements'])}")
            return
        element = types.at(kind["elements"][chosen])
        properties |= element.get("properties") or {}
        rest = rest or element.get("additionalProperties")
    present = set()
    for key, one, _ in value[1]:
        name = key[1] if key[0] == "value" else None
        present.add(name)
        if not path and name in LANGUAGE and (name not in properties or name == "name"):
            continue
        below = f"{path}.{name}" if path else name
        if name in properties:
            seen.add(below)
            if properties[name].get("flags", 0) & READ_ONLY:
                problems.append(f"{where}: {below} is read-only")
            look(one, types.at(properties[name]["type"]), types, below, file, seen, where)
        elif rest is None:
            problems.append(f"{where}: there is no {below}")
    for name, each in properties.items():
        if each.get("flags", 0) & REQUIRED and name not in present and not (not path and name == "name"):
            problems.append(f"{where}: {path + '.' if path else ''}{name} is required")


def used(node, file, path=""):
    """The paths of properties that the text names, for comparison with those that were found."""
    for value in literals(node, file):
        if value[0] == "array":
            for each in value[1]:
                yield from used(each, file, f"{path}[]")
        elif value[0] == "object":
            for key, one, _ in value[1]:
                if key[0] == "value":
                    below = f"{path}.{key[1]}" if path else key[1]
                    yield below
                    yield from used(one, file, below)


def resources():
    for path in files():
        file = File(path)
        for kind, statement in file.resources():
            yield file, kind, statement


def against_types(azure, graph):
    found, cache = {}, {}
    for file, kind, statement in resources():
        where = f"{file.path.name}: {statement['name']}"
        if kind not in cache:
            cache[kind] = Types(graph if kind.startswith("Microsoft.Graph/") else azure, kind)
        types = cache[kind]
        if not types.found:
            problems.append(f"{where}: there is no {kind}")
            continue
        seen = found.setdefault(kind, set())
        if not statement["existing"]:
            members(statement["body"], types.body, types, "", file, seen, where)
        # Free keys (tags, metadata) are no properties of the type; what is used is what was allowed.
        seen.update(used(statement["body"], file))
    if problems:
        raise SystemExit("\n".join(problems))
    CHECKED.write_text(json.dumps({kind: sorted(each for each in seen if " = " not in each) for kind, seen in sorted(found.items())}, indent=1) + "\n")
    print(f"{len(found)} resource types and {sum(len(each) for each in found.values())} properties and values are Microsoft's; written to {CHECKED.name}")


def against_list():
    checked = json.loads(CHECKED.read_text())
    count = 0
    for file, kind, statement in resources():
        if kind not in checked:
            problems.append(f"{file.path.name}: {kind} was never looked up")
            continue
        for path in used(statement["body"], file):
            count += 1
            if path not in checked[kind]:
                problems.append(f"{file.path.name}: {statement['name']}: {path} of {kind} was never looked up")
    if problems:
        raise SystemExit("\n".join([*problems, "Run tests/azure/properties.py with BICEP_TYPES and GRAPH_TYPES."]))
    print(f"{count} properties of {len(checked)} resource types were looked up before")


if os.environ.get("BICEP_TYPES"):
    against_types(os.environ["BICEP_TYPES"], os.environ["GRAPH_TYPES"])
else:
    against_list()
