//! Dependencies point one way: each room may know only those listed for it. ARCHITECTURE.md tells why.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every room with the rooms it may name.
const ROOMS: [(&str, &[&str]); 25] = [
    (
        "broker",
        &[
            "admission",
            "api",
            "authenticate",
            "authorize",
            "cache",
            "clock",
            "config",
            "credential",
            "exchange",
            "ids",
            "loopback",
            "management",
            "pipeline",
            "route",
            "secret",
            "serve",
            "tasks",
            "telemetry",
            "upstream",
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
            "ids",
            "pipeline",
            "secret",
            "serve",
            "telemetry",
            "untrusted",
        ],
    ),
    ("management", &["authenticate", "authorize", "serve", "telemetry"]),
    (
        "pipeline",
        &[
            "admission",
            "authenticate",
            "authorize",
            "cache",
            "clock",
            "exchange",
            "ids",
            "route",
            "secret",
            "telemetry",
            "untrusted",
        ],
    ),
    ("route", &["authenticate", "authorize", "exchange", "ids", "telemetry"]),
    (
        "exchange",
        &[
            "admission",
            "authenticate",
            "authorize",
            "cache",
            "clock",
            "config",
            "credential",
            "ids",
            "secret",
            "upstream",
        ],
    ),
    (
        "authorize",
        &[
            "authenticate",
            "cache",
            "clock",
            "config",
            "credential",
            "ids",
            "telemetry",
            "upstream",
        ],
    ),
    (
        "authenticate",
        &["clock", "ids", "secret", "tasks", "telemetry", "untrusted", "upstream"],
    ),
    (
        "credential",
        &[
            "certificates",
            "clock",
            "config",
            "ids",
            "secret",
            "telemetry",
            "untrusted",
            "upstream",
        ],
    ),
    ("cache", &["clock", "config", "secret"]),
    (
        "upstream",
        &[
            "build_info",
            "certificates",
            "clock",
            "config",
            "ids",
            "secret",
            "telemetry",
            "untrusted",
        ],
    ),
    ("telemetry", &["build_info", "clock", "config", "ids", "untrusted"]),
    ("serve", &["certificates"]),
    ("config", &["ids"]),
    ("admission", &[]),
    ("build_info", &[]),
    ("certificates", &[]),
    ("clock", &[]),
    ("ids", &[]),
    ("loopback", &[]),
    ("secret", &[]),
    ("tasks", &[]),
    ("untrusted", &[]),
    // A reading of the contracts of its own: it shares no type with the broker.
    ("emulator", &["clock", "loopback"]),
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

/// The room that a file belongs to: the first part of its path.
fn room(file: &Path) -> String {
    let inside = file.strip_prefix(sources()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a file's code names by `crate::`, its tests left out.
fn named(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect()
        })
        .collect()
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let mut files = Vec::new();
    rust_files(&sources(), &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let room = room(&file);
        let is_test = file
            .components()
            .any(|part| part.as_os_str().to_string_lossy().contains("tests"));
        if room == "bin" || is_test {
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            panic!("{room} is a new room: list it here and in ARCHITECTURE.md");
        };
        for other in named(&std::fs::read_to_string(&file).unwrap()) {
            if other != room && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{} names {other}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_rooms_have_no_circle() {
    // Rooms are taken away whose dependencies are gone, until none is left.
    let mut left: Vec<_> = ROOMS.to_vec();
    while !left.is_empty() {
        let names: BTreeSet<&str> = left.iter().map(|(name, _)| *name).collect();
        let before = left.len();
        left.retain(|(_, needs)| needs.iter().any(|need| names.contains(need)));
        assert!(left.len() < before, "a circle among {names:?}");
    }
}
