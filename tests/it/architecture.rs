//! The order of the broker's stages. What the crates may name is held by Cargo; ARCHITECTURE.md says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every module at the top of `src/` with those that it may name. Tests within a file count like the rest of it.
const MODULES: [(&str, &[&str]); 14] = [
    (
        "doctor",
        &["authenticate", "authorize", "broker", "exchange", "route", "shared"],
    ),
    (
        "broker",
        &[
            "admission",
            "api",
            "authenticate",
            "authorize",
            "cache",
            "exchange",
            "limits",
            "management",
            "pipeline",
            "route",
            "shared",
        ],
    ),
    (
        "api",
        &[
            "admission",
            "authenticate",
            "authorize",
            "cache",
            "exchange",
            "limits",
            "pipeline",
            "route",
        ],
    ),
    ("management", &["authenticate", "authorize", "pipeline"]),
    (
        "pipeline",
        &[
            "admission",
            "authenticate",
            "authorize",
            "cache",
            "exchange",
            "limits",
            "route",
        ],
    ),
    ("shared", &["cache", "exchange"]),
    ("route", &["authenticate", "authorize", "cache", "exchange"]),
    (
        "exchange",
        &["admission", "authenticate", "authorize", "cache", "limits"],
    ),
    ("authorize", &["authenticate", "limits"]),
    ("authenticate", &[]),
    ("cache", &[]),
    ("limits", &[]),
    ("admission", &[]),
    ("lib", &[]),
];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The module that a file belongs to: the first part of its path.
fn module(file: &Path) -> String {
    let inside = file.strip_prefix(sources()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that a file names by `crate::`, in one path or in a list.
fn named(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let name = |rest: &str| -> String {
        rest.trim_start()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            // The first name of each item; nested braces belong to their item.
            let mut depth = 0;
            let mut item = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(name(&item));
                        item.clear();
                        continue;
                    }
                    _ => {}
                }
                item.push(c);
            }
            found.insert(name(&item));
        } else {
            found.insert(name(rest));
        }
    }
    found.remove("");
    found
}

#[test]
fn modules_name_only_those_below_them() {
    let mut files = Vec::new();
    rust_files(&sources(), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let module = module(&file);
        if module == "bin" {
            continue;
        }
        let Some((_, allowed)) = MODULES.iter().find(|(name, _)| *name == module) else {
            panic!("{module} is a new module: list it here and in ARCHITECTURE.md");
        };
        for other in named(&std::fs::read_to_string(&file).unwrap()) {
            let is_listed = MODULES.iter().any(|(name, _)| *name == other);
            if other != module && is_listed && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{} names {other}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_modules_have_no_circle() {
    // Modules are taken away whose dependencies are gone, until none remains.
    let mut remaining: Vec<_> = MODULES.to_vec();
    while !remaining.is_empty() {
        let names: BTreeSet<&str> = remaining.iter().map(|(name, _)| *name).collect();
        let before = remaining.len();
        remaining.retain(|(_, needs)| needs.iter().any(|need| names.contains(need)));
        assert!(remaining.len() < before, "a circle among {names:?}");
    }
}

#[test]
fn names_are_found_in_every_form() {
    let text = "use crate::cache::Entry;\n// crate::comment::x\nuse crate::{\n    api::{self, error},\n    route,\n};\nfn f() -> crate::exchange::E {}";
    let expected = ["api", "cache", "exchange", "route"].map(str::to_owned);
    assert_eq!(named(text), BTreeSet::from(expected));
}

/// The crates of the workspace, each with those of them that its manifest lists.
fn manifests() -> BTreeMap<String, BTreeSet<String>> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |folder: &Path| -> toml::Table {
        let text = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        text.parse().unwrap()
    };
    let whole = read(top);
    let ours: Vec<(&String, &str)> = whole["workspace"]["dependencies"]
        .as_table()
        .unwrap()
        .iter()
        .filter_map(|(name, dependency)| Some((name, dependency.get("path")?.as_str()?)))
        .collect();
    let named = |manifest: &toml::Table| {
        let listed = manifest["dependencies"].as_table().unwrap();
        let ours = ours.iter().filter(|(name, _)| listed.contains_key(*name));
        ours.map(|(name, _)| (*name).clone()).collect::<BTreeSet<_>>()
    };
    let crates = ours
        .iter()
        .map(|(_, path)| ((*path).to_owned(), named(&read(&top.join(path)))));
    crates.chain([("src/".to_owned(), named(&whole))]).collect()
}

#[test]
fn the_table_of_crates_is_that_of_the_manifests() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## The crates\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let mut listed = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let code = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        // The last: the package at the top stands there with its folder.
        let name = code(cells[1]).pop().unwrap();
        listed.insert(name, code(cells[3]).into_iter().filter(|name| name != "dev").collect());
    }
    assert_eq!(listed, manifests());
}
