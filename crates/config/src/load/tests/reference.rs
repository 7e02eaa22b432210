//! `docs/configuration-reference.md`, made from `config.example.toml` and from what the reader says of each setting.
//!
//! Nothing in it is written by hand twice: the words are the example's, the values are the reasons with which the reader
//! refuses others, and a default is what makes no difference when it is set. `BLESS=1 cargo test --all-features
//! configuration_reference` writes the file anew.

mod refusals;
mod trial;

use std::fmt::Write as _;

use crate::unknown;
use toml::Value;

use super::*;
use trial::World;

/// One of them is refused by every setting that takes a text of some kind.
const TEXTS: [&str; 6] = ["?", "a b", "a=b=c", "", "http://contoso.com", "ftp:/"];

/// When a changed value is in force, where that takes no restart.
const LIVE: [(&str, &str); 12] = [
    ("server.tls.certificate_file", "its content within 10 s"),
    ("server.tls.private_key_file", "its content within 10 s"),
    ("client_secret_file", SECRET_FILE),
    ("certificate_file", SECRET_FILE),
    ("certificate_password_file", SECRET_FILE),
    ("federated_token_file", SECRET_FILE),
    ("access_key_file", SECRET_FILE),
    ("shared_cache.password_file", STORE_FILE),
    ("shared_cache.sentinel_password_file", STORE_FILE),
    ("shared_cache.encryption_keys_file", SECRET_FILE),
    (
        "assignments.file",
        "its content at once, or after `refresh_interval` where the file system does not report changes",
    ),
    ("telemetry.log_level", "SIGHUP, or until then `PUT /loglevel`"),
];
const SECRET_FILE: &str = "its content within 12 s";
const STORE_FILE: &str = "its content at the next connection";

const HEAD: &str = "\
# Configuration reference

<!-- Not written by hand. After a change of a setting, or of its words in config.example.toml:
     BLESS=1 cargo test --all-features configuration_reference -->

Every setting, by section. How the file and the variables go together is described in the
[Configuration](configuration.md), what to choose in the [operator's guide](operations.md). An example of the whole file is
[config.example.toml](../config.example.toml). `acs-token-broker check-config --config FILE` reports every problem of a
configuration at once.

- **Variable**: overrides the file. Lists are separated by commas or written as TOML, tables are written as TOML.
- **Values**: durations are `\"500ms\"`, `\"30s\"`, `\"5m\"`, `\"24h\"`, at most 366 days. Sizes are `\"64KiB\"`, `\"256MiB\"`, `\"1GiB\"`
  or bytes. Relative paths start from the file's folder, without a file from the working directory.
- **Default**: *required* means that there is none and it does not go without; where a section is for one mode or source, only
  in that one.
- **Change**: when a new value is in force. For files, *its content* means that the file is read again; another file name
  takes a restart as all else does.

";

/// A setting as the example shows it.
struct Shown {
    /// Its path, lists as `list[].key`.
    path: String,
    /// What stands behind `=`.
    value: Value,
    /// Whether the line is none of TOML's.
    commented: bool,
    /// The lines above it.
    words: String,
}

/// A table of the example, with its settings.
struct Part {
    /// The header's text; empty at the top.
    header: String,
    words: String,
    settings: Vec<Shown>,
}

/// The top of the workspace.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_configuration_reference_is_that_of_the_example_and_the_reader() {
    let file = top().join("docs/configuration-reference.md");
    let made = reference();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap();
    let different = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
    assert!(
        made == kept,
        "docs/configuration-reference.md is out of date; see its head. The first line that differs: {different:?}"
    );
}

/// Every variable that is read by its name must be documented.
#[test]
fn every_standard_variable_of_the_source_is_in_the_configuration_reference() {
    let mut read = BTreeSet::new();
    let mut folders = vec![top().join("src"), top().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("azure-emulator") && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let names = text.split('"').filter(|text| is_standard(text)).map(str::to_owned);
                read.extend(names);
            }
        }
    }
    assert!(read.contains("OTEL_SDK_DISABLED") && read.contains("AZURE_FEDERATED_TOKEN_FILE"));
    let documented = include_str!("variables.md");
    let missing: Vec<_> = read
        .iter()
        .filter(|name| !documented.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "variables.md beside this test does not name {missing:?}"
    );
}

fn is_standard(text: &str) -> bool {
    [
        "OTEL_",
        "AZURE_",
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
        "ACS_TOKEN_BROKER_CONFIG",
    ]
    .iter()
    .any(|start| text.starts_with(start))
        && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
}

fn reference() -> String {
    let parts = parts();
    let world = World::new();
    let mut reported = BTreeSet::new();
    let mut made = HEAD.to_owned();
    let known: BTreeSet<&str> = parts
        .iter()
        .flat_map(|part| &part.settings)
        .map(|setting| setting.path.as_str())
        .collect();
    for part in &parts {
        match part.header.as_str() {
            "" => made.push_str("## At the top\n\n"),
            header => writeln!(made, "## {header}\n").unwrap(),
        }
        if !part.words.is_empty() {
            writeln!(made, "{}\n", marked(&part.words, &known)).unwrap();
        }
        made.push_str("| key | variable | values | default | what it is | change |\n|---|---|---|---|---|---|\n");
        for setting in &part.settings {
            assert!(
                reported.insert(setting.path.clone()),
                "{} stands twice in the example",
                setting.path
            );
            let words = words_of(setting, &parts);
            writeln!(
                made,
                "| `{}` | {} | {} | {} | {} | {} |",
                leaf(&setting.path),
                variable(&setting.path).map_or("none of its own".to_owned(), |name| format!("`{name}`")),
                cell(&marked(&world.values(setting), &known)),
                cell(&world.default(setting)),
                cell(&marked(&words, &known)),
                live(&setting.path).map_or("restart".to_owned(), str::to_owned),
            )
            .unwrap();
        }
        made.push('\n');
    }
    assert_eq!(
        reported,
        world.settings(),
        "the example shows other settings than the reader asks for"
    );
    made.push_str(include_str!("variables.md"));
    made
}

/// The example's tables in their order.
fn parts() -> Vec<Part> {
    let text = fs::read_to_string(top().join("config.example.toml")).unwrap();
    let part = |header: &str, words: &[&str]| Part {
        header: header.to_owned(),
        words: words.join(" "),
        settings: Vec::new(),
    };
    let mut parts = vec![part("", &[])];
    let mut words = Vec::new();
    for line in text.lines() {
        let bare = line.trim_start_matches("# ");
        let pair = bare.split_once(" = ").filter(|(key, _)| !key.contains(' '));
        if bare.is_empty() {
            words.clear();
        } else if bare.starts_with('[') && bare.ends_with(']') {
            parts.push(part(bare, &words));
            words.clear();
        } else if let Some((key, value)) = pair {
            let part = parts.last_mut().unwrap();
            let path = match part.header.trim_matches(['[', ']']) {
                "" => key.to_owned(),
                table if part.header.starts_with("[[") => format!("{table}[].{key}"),
                table => format!("{table}.{key}"),
            };
            part.settings.push(Shown {
                path,
                value: value.parse().unwrap(),
                commented: line.starts_with('#'),
                words: words.join(" "),
            });
            words.clear();
        } else {
            words.push(bare);
        }
    }
    parts
}

/// The example's words; of a credential's keys, which stand in several tables, those of the first.
fn words_of(setting: &Shown, parts: &[Part]) -> String {
    let words = match setting.words.as_str() {
        "" => {
            let first = format!("exchange.on_behalf_of.{}", leaf(&setting.path));
            let first = parts
                .iter()
                .flat_map(|part| &part.settings)
                .find(|other| other.path == first);
            let words = first.map(|first| first.words.clone()).unwrap_or_default();
            assert!(
                !words.is_empty(),
                "config.example.toml has no words for {}",
                setting.path
            );
            words
        }
        own => own.to_owned(),
    };
    // "A ..." above one key and "... or B." above the next read on in the example, but not in a table.
    let words = match words.strip_suffix(" ...") {
        Some(words) => format!("{words}."),
        None => words,
    };
    match words.strip_prefix("... or ") {
        Some(words) => format!("Or {words}"),
        None => words,
    }
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap()
}

fn variable(path: &str) -> Option<String> {
    let name = path.to_ascii_uppercase().replace('.', "__");
    (!path.contains('[')).then(|| format!("ACS_TOKEN_BROKER__{name}"))
}

fn live(path: &str) -> Option<&'static str> {
    let of = |key: &str| LIVE.iter().find(|(live, _)| *live == key).map(|(_, when)| *when);
    of(path).or_else(|| of(leaf(path)))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Settings, values and names of code as code.
fn marked(text: &str, known: &BTreeSet<&str>) -> String {
    let mark = |word: &str| {
        let start = word.len() - word.trim_start_matches('(').len();
        let end = word.trim_end_matches(['.', ',', ';', ':', ')']).len();
        let core = &word[start..end.max(start)];
        let quoted = core.len() > 1 && core.starts_with('"') && core.ends_with('"');
        let plain = core.contains('`') || core.is_empty();
        if !plain && (quoted || core.contains(['_', '{']) || core.starts_with('[') || known.contains(core)) {
            format!("{}`{core}`{}", &word[..start], &word[end..])
        } else {
            word.to_owned()
        }
    };
    text.split(' ').map(mark).collect::<Vec<_>>().join(" ")
}
