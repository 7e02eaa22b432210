//! `config.example.toml` says what the reader does.

use super::*;

fn example() -> (PathBuf, String) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config.example.toml");
    let text = fs::read_to_string(&file).unwrap();
    (file, text)
}

#[test]
fn the_example_holds_the_defaults() {
    let (file, _) = example();
    let example = load(Some(&file), &Environment::default()).unwrap();
    let mut defaults = config_of(MINIMAL, &[]);
    let Some(assignments) = &mut defaults.resources[0].assignments.file else {
        panic!("the default source is a file");
    };
    assignments.path = file.with_file_name("assignments.toml");
    assert_eq!(example.config, defaults);
    assert_eq!(example.warnings, Vec::<String>::new());
}

#[test]
fn the_example_holds_every_setting() {
    let (_, text) = example();
    let mut section = String::new();
    let mut shown = BTreeSet::new();
    for line in text.lines().map(|line| line.trim_start_matches("# ")) {
        if let Some(name) = line.strip_prefix("[[").and_then(|line| line.strip_suffix("]]")) {
            section = format!("{name}[]");
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            shown.insert(if section.is_empty() {
                key.to_owned()
            } else {
                format!("{section}.{key}")
            });
        }
    }
    let known = known_keys();
    let tables = [
        "assignments",
        "assignments.acs",
        "cache",
        "doctor",
        "entra",
        "entra.tenants",
        "exchange",
        "exchange.identity",
        "exchange.on_behalf_of",
        "exchange.teams_user",
        "graph",
        "limits",
        "management",
        "resources",
        "server",
        "server.cors",
        "server.tls",
        "shared_cache",
        "telemetry",
        "upstream",
        "upstream.breaker",
    ];
    let settings: BTreeSet<_> = known
        .into_iter()
        .filter(|key| !tables.contains(&key.as_str()))
        .collect();
    // Those of [[resources]] are read only where there are some; their tables have the keys of the top-level ones.
    let shown: BTreeSet<_> = shown
        .into_iter()
        .filter(|key| !key.starts_with("resources[]"))
        .collect();
    assert_eq!(shown, settings);
}
