"""Reads Bicep with tree-sitter's grammar. It works nothing out: that is the compiler's to do."""

import pathlib
import re

import tree_sitter
import tree_sitter_bicep

HOME = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "azure"
GRAMMAR = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


def parse(source):
    """The grammar does not know `extension`, nor parameter files: their assignments are read as those of variables."""
    source = re.sub(r"^extension .*$", "", source, flags=re.M)
    return GRAMMAR.parse(re.sub(r"^param (\w+) = ", r"var \1 = ", source, flags=re.M).encode()).root_node


def walk(node):
    yield node
    for child in node.children:
        yield from walk(child)


def broken(source):
    """The lines that the grammar cannot read."""
    return sorted({node.start_point[0] + 1 for node in walk(parse(source)) if node.is_error or node.is_missing})


def text(node):
    return node.text.decode()


def properties(node):
    """The members of an object, or of the first one within that has any."""
    node = next((each for each in walk(node) if each.type == "object" and each.named_child_count), None)
    pairs = [each.named_children for each in node.named_children if each.type == "object_property"] if node else []
    return {text(pair[0]).strip("'"): pair[-1] for pair in pairs}


def at(node, path):
    for key in path.split("."):
        node = properties(node)[key]
    return node


class Declaration:
    def __init__(self, node, decorators):
        self.kind, self.name, self.decorators = node.type.removesuffix("_declaration"), text(node.named_children[0]), decorators
        # The second part is the file of a module, or the type of a resource; the last one is what is declared.
        self.of, self.value = text(node.named_children[1]).strip("'"), node.named_children[-1]


class File:
    def __init__(self, path):
        self.path, self.text, self.all, decorators = path, path.read_text(), [], ""
        for node in parse(self.text).named_children:
            if node.type.endswith("_declaration"):
                self.all.append(Declaration(node, decorators))
            decorators = text(node) if node.type == "decorators" else ""

    def of(self, *kinds):
        return {each.name: each for each in self.all if each.kind in kinds}
