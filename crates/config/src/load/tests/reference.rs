//! `docs/configuration-reference.md`, made from `config.example.toml` and from what the reader says of each setting.
//!
//! Nothing in it is written by hand twice: the words are the example's, the values are the reasons with which the reader
//! refuses others, and a default is what makes no difference when it is set. `BLESS=1 cargo test --all-features
//! configuration_reference` writes the file anew.

use std::fmt::Write as _;

use crate::unknown;
use toml::Value;

use super::*;

/// One of them is refused by every setting that takes a text of some kind.
const TEXTS: [&str; 6] = ["?", "a b", "a=b=c", "", "http://contoso.com", "ftp:/"];

/// When a changed value is in force, where that takes no restart.
const LIVE: [(&str, &str); 9] = [
    ("server.tls.certificate_file", "its content within 10 s"),
    ("server.tls.private_key_file", "its content within 10 s"),
    ("client_secret_file", SECRET_FILE),
    ("certificate_file", SECRET_FILE),
    ("certificate_password_file", SECRET_FILE),
    ("federated_token_file", SECRET_FILE),
    ("access_key_file", SECRET_FILE),
    (
        "assignments.file",
        "its content at once, or after `refresh_interval` where the file system tells nothing of changes",
    ),
    ("telemetry.log_level", "SIGHUP, or until then `PUT /loglevel`"),
];
const SECRET_FILE: &str = "its content within 12 s";

const HEAD: &str = "\
# Configuration reference

<!-- Not written by hand. After a change of a setting, or of its words in config.example.toml:
     BLESS=1 cargo test --all-features configuration_reference -->

Every setting, by section. How the file and the variables go together is told in the
[Configuration](configuration.md), what to choose in the [operator's guide](operations.md). An example of the whole file is
[config.example.toml](../config.example.toml). `acs-token-broker check-config --config FILE` tells every problem of a
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
    let told = include_str!("variables.md");
    let untold: Vec<_> = read
        .iter()
        .filter(|name| !told.contains(&format!("`{name}`")))
        .collect();
    assert!(
        untold.is_empty(),
        "variables.md beside this test does not tell of {untold:?}"
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
    let mut told = BTreeSet::new();
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
                told.insert(setting.path.clone()),
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
        told,
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

/// Complete configurations in which settings can be tried.
struct World {
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for (name, content) in [("key", "a2V5"), ("secret", "secret"), ("hash", "0123456789abcdef")] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Self { folder }
    }

    /// A configuration in which the setting counts.
    fn around(path: &str) -> Table {
        let tenant = format!("entra.tenants = [{{ id = \"{TENANT}\" }}]\n");
        let endpoint = "exchange.endpoint = \"https://contoso.communication.azure.com\"\n";
        let own_api = "entra.audiences = [\"api\"]\nentra.required_scopes = [\"access\"]\n";
        let app = "client_id = \"8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11\", client_secret_file = \"secret\"";
        let acs = "assignments.acs.access_key_file = \"key\"\n";
        let text = match path {
            path if path.starts_with("resources[]") => {
                format!("{tenant}[[resources]]\nname = \"one\"\n{endpoint}")
            }
            path if path.starts_with("exchange.on_behalf_of") => {
                format!(
                    "{tenant}{endpoint}{own_api}exchange.mode = \"on_behalf_of\"\nexchange.on_behalf_of = {{ {app} }}\n"
                )
            }
            path if path.starts_with("exchange.identity") || path == "exchange.mode" => format!(
                "{tenant}{endpoint}{own_api}exchange.mode = \"identity\"\nexchange.identity = {{ access_key_file = \"key\" }}\n\
                 assignments.unknown_groups = \"refuse\"\n"
            ),
            path if path.starts_with("graph") => {
                format!("{tenant}{endpoint}assignments.unknown_groups = \"graph\"\ngraph = {{ {app} }}\n")
            }
            path if path.starts_with("assignments.acs") => {
                format!("{tenant}{endpoint}{acs}assignments.sources = [\"acs\"]\n")
            }
            path if path.starts_with("assignments") => format!("{tenant}{endpoint}{acs}"),
            path if path.starts_with("server.tls") => format!(
                "{tenant}{endpoint}server.tls = {{ certificate_file = \"secret\", private_key_file = \"secret\" }}\n"
            ),
            _ => format!("{tenant}{endpoint}"),
        };
        text.parse().unwrap()
    }

    fn load(&self, table: &Table, variables: &[(&str, &str)]) -> Result<Config, Problems> {
        let file = self.folder.path().join("config.toml");
        fs::write(&file, table.to_string()).unwrap();
        load(Some(&file), &variables.iter().copied().collect()).map(|loaded| loaded.config)
    }

    /// Every setting that the reader asks for, tables aside.
    fn settings(&self) -> BTreeSet<String> {
        let mut settings = BTreeSet::new();
        for table in [Self::around(""), Self::around("resources[]")] {
            let environment = Environment::default();
            let (findings, _) = read(Ok(table), &environment, |root| {
                sections::config(root, self.folder.path(), &environment)
            });
            settings.extend(findings.known);
        }
        let tables: BTreeSet<_> = settings
            .iter()
            .filter_map(|key| key.rsplit_once('.'))
            .map(|(table, _)| table.to_owned())
            .collect();
        // The tables of a resource are settings of its own; what is in them is documented once, for the top.
        let in_resource = |key: &str| key.strip_prefix("resources[].").is_some_and(|key| key.contains('.'));
        let is_table = |key: &str| {
            !key.starts_with("resources[].") && (tables.contains(key) || tables.contains(&format!("{key}[]")))
        };
        settings.retain(|key| !in_resource(key) && !is_table(key));
        settings
    }

    /// What the reader takes: its type and every reason for which it refuses something.
    fn values(&self, setting: &Shown) -> String {
        let path = &setting.path;
        let around = Self::around(path);
        let refusals = |value: Value| {
            let mut table = around.clone();
            set(&mut table, path, Some(value));
            let problems = self
                .load(&table, &[])
                .err()
                .map(|problems| problems.0)
                .unwrap_or_default();
            let own = problems.into_iter().filter(|problem| {
                let key = unknown::pattern(&problem.key);
                key == *path || key == format!("{path}[]")
            });
            own.map(|problem| problem.reason).collect::<Vec<_>>()
        };
        let mistyped = |value: Value| {
            let date = Value::Datetime("1979-05-27".parse().unwrap());
            let value = if value.is_array() {
                Value::Array(vec![date])
            } else {
                date
            };
            let reason = refusals(value)
                .into_iter()
                .find_map(|reason| reason.strip_prefix("is a date or time, not ").map(str::to_owned));
            reason.unwrap_or_else(|| panic!("{path}: has no type"))
        };
        let wanted = mistyped(Value::from(""));
        let mut reasons = Vec::new();
        let text = |texts: &[&str]| texts.iter().map(|text| Value::from(*text)).collect::<Vec<_>>();
        let (kind, tries) = match wanted.as_str() {
            "true or false" => return "`true` or `false`".to_owned(),
            "a table" => return "table".to_owned(),
            "a string" => ("text", text(&TEXTS)),
            "a whole number" => ("whole number", vec![Value::from(0), Value::from(i64::MAX)]),
            "a whole number or \"off\"" => ("whole number or `\"off\"`", vec![Value::from(0), Value::from(i64::MAX)]),
            wanted if wanted.starts_with("a duration") => ("duration", text(&["0s", "1ms", "90s", "8784h"])),
            wanted if wanted.starts_with("a size") => ("size", vec![Value::from(0)]),
            "a list" => {
                let items = TEXTS.map(|text| Value::Array(vec![Value::from(text)]));
                ("list", items.into_iter().chain([Value::Array(Vec::new())]).collect())
            }
            other => panic!("{path}: {other} is a type that this test does not know"),
        };
        for value in tries {
            for reason in refusals(value.clone()) {
                let reason = in_words(path, &reason);
                let reason = match value.as_array() {
                    Some(items) if !items.is_empty() && !reason.is_empty() => format!("each {reason}"),
                    _ => reason,
                };
                if !reason.is_empty() && !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        // A narrower kind of text says that it is one.
        let narrower = reasons
            .first()
            .is_some_and(|reason| kind == "text" && !reason.starts_with("only "));
        let kind = (!narrower).then(|| kind.to_owned());
        kind.into_iter().chain(reasons).collect::<Vec<_>>().join("; ")
    }

    /// What holds where the setting is not there.
    fn default(&self, setting: &Shown) -> String {
        let path = &setting.path;
        let mut without = Self::around(path);
        set(&mut without, path, None);
        let unset = self.load(&without, &[]);
        self.has_its_variable(setting, &without);
        let unset = match unset {
            Ok(config) => config,
            Err(problems) => {
                let own = problems
                    .0
                    .iter()
                    .find(|problem| unknown::pattern(&problem.key).starts_with(path.as_str()));
                // A file may stand for a secret, and is asked for by the secret's name.
                let secret = path.strip_suffix("_file").unwrap_or_default();
                if own.is_none() && problems.0.iter().any(|problem| problem.key == secret) {
                    return format!("*required*, or `{}`", leaf(secret));
                }
                let own = own.unwrap_or_else(|| panic!("{path}: {problems}"));
                return required(&own.reason).unwrap_or_else(|| panic!("{own}"));
            }
        };
        let with = |value: Value| {
            let mut table = without.clone();
            set(&mut table, path, Some(value));
            self.load(&table, &[])
        };
        if with(setting.value.clone()).as_ref() != Ok(&unset) {
            assert!(
                setting.commented,
                "{path}: the example shows another value than the default"
            );
            return self.kind_that_requires(path).unwrap_or("none".to_owned());
        }
        // That it makes no difference means something only where another value does.
        let pool: Value =
            "[true, false, 7, '7s', '7KiB', '15m', '61m', '7m', 'warn', 'pretty', 'none', 'usgov', 'refuse', 'x', \
            'identity', 'certificate', 'other.toml', 'http://localhost:1', '127.0.0.1:9', ['x'], ['voip'], \
            ['https://x.com'], ['10.0.0.0/8'], ['acs', 'file']]"
                .parse()
                .unwrap();
        let matters = pool.as_array().unwrap().iter().any(|value| match with(value.clone()) {
            Ok(config) => config != unset,
            Err(problems) => problems
                .0
                .iter()
                .all(|problem| !unknown::pattern(&problem.key).starts_with(path.as_str())),
        });
        if !matters {
            assert!(setting.commented, "{path}: no value makes a difference");
            return self.kind_that_requires(path).unwrap_or("none".to_owned());
        }
        self.is_the_default_in_its_variable(setting, &without, &unset);
        match &setting.value {
            Value::Array(items) if items.is_empty() => "none".to_owned(),
            value => format!("`{value}`"),
        }
    }

    /// Credentials need one thing or another: what the setting is to the kind that needs it.
    fn kind_that_requires(&self, path: &str) -> Option<String> {
        let (section, _) = path.rsplit_once('.')?;
        [None, Some("certificate"), Some("workload_identity")]
            .into_iter()
            .find_map(|kind| {
                let mut table = Self::around(path);
                set(&mut table, &format!("{section}.client_secret_file"), None);
                set(&mut table, &format!("{section}.access_key_file"), None);
                if kind.is_some() {
                    set(&mut table, &format!("{section}.credential"), kind.map(Value::from));
                }
                let problems = self.load(&table, &[]).err()?;
                let own = problems.0.iter().find(|problem| problem.key == path)?;
                required(&own.reason)
            })
    }

    /// The variable is one that the reader asks for.
    fn has_its_variable(&self, setting: &Shown, without: &Table) {
        let Some(name) = variable(&setting.path) else { return };
        let text = as_variable(&setting.value);
        if let Err(problems) = self.load(without, &[(&name, &text)]) {
            let unknown = problems.0.iter().find(|problem| problem.key == name);
            assert!(unknown.is_none(), "{unknown:?}");
        }
    }

    fn is_the_default_in_its_variable(&self, setting: &Shown, without: &Table, unset: &Config) {
        if let Some(name) = variable(&setting.path) {
            let text = as_variable(&setting.value);
            assert_eq!(self.load(without, &[(&name, &text)]).as_ref(), Ok(unset), "{name}");
        }
    }
}

/// What stands for a default where a problem says that there is none.
fn required(reason: &str) -> Option<String> {
    if let Some(other) = reason.strip_prefix("or ") {
        let other = other.split(' ').next()?;
        return Some(format!("*required*, or `{other}`"));
    }
    let rest = reason.strip_prefix("is required")?;
    Some(match rest {
        rest if rest.contains("AZURE_FEDERATED") => "`AZURE_FEDERATED_TOKEN_FILE`".to_owned(),
        rest if rest.contains("beside credential") => "*required* beside `credential`".to_owned(),
        _ => "*required*".to_owned(),
    })
}

fn as_variable(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Sets or takes away a setting; in a list of tables, that of the first.
fn set(table: &mut Table, path: &str, value: Option<Value>) {
    let (parents, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut place = table;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        place = if let Some(list) = parent.strip_suffix("[]") {
            place[list].as_array_mut().unwrap()[0].as_table_mut().unwrap()
        } else {
            let inner = place.entry(parent).or_insert_with(|| Value::Table(Table::new()));
            inner.as_table_mut().unwrap()
        };
    }
    match value {
        Some(value) => drop(place.insert(key.to_owned(), value)),
        None => drop(place.remove(key)),
    }
}

/// What a refusal says of the values that are taken.
fn in_words(path: &str, reason: &str) -> String {
    if reason.starts_with("names a file that cannot be read") {
        return "a file that can be read".to_owned();
    }
    if reason.starts_with("is a secret") {
        return "a secret, from its variable alone".to_owned();
    }
    if let Some(credential) = reason.strip_prefix("belongs to credential = ") {
        return format!("only with credential = {credential}");
    }
    let first = |reason: &str| reason.split_once("; ").map_or(reason, |(first, _)| first).to_owned();
    for (start, words) in [
        ("must not be empty", ""),
        ("is longer than 366 days", ""),
        ("must be https", "https, beyond loopback addresses"),
        ("must have ", ""),
        ("must be ", ""),
        ("must hold ", ""),
    ] {
        if let Some(rest) = reason.strip_prefix(start) {
            return match (start, words) {
                ("must be " | "must have " | "must hold ", _) => first(rest),
                (_, words) => words.to_owned(),
            };
        }
    }
    if let Some(rest) = reason.strip_prefix("must end in ") {
        return format!("a file name that ends in {rest}");
    }
    if let Some(rest) = reason.strip_prefix("is not ") {
        return match rest.split_once("; an origin is ") {
            Some((_, form)) => format!("an origin, {form}"),
            None => rest
                .replace("; there are", ", one of")
                .replace("; it is written as", ","),
        };
    }
    panic!("{path}: `{reason}` is a refusal that this test cannot turn round")
}
