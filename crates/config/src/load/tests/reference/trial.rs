//! Configurations in which a setting is tried: with which values it is refused, and which default it has.

use super::refusals::{in_words, required};
use super::*;

/// Complete configurations in which settings can be tried.
pub(super) struct World {
    folder: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for (name, content) in [("key", "a2V5"), ("secret", "secret"), ("hash", "0123456789abcdef")] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Self { folder }
    }

    /// A configuration in which the setting counts.
    pub(super) fn around(path: &str) -> Table {
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
            path if path.starts_with("exchange.teams_user") => format!(
                "{tenant}{endpoint}exchange.mode = \"teams_user\"\nexchange.teams_user = {{ access_key_file = \"key\" }}\n"
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
            path if path.starts_with("shared_cache") => {
                let sentinel = if path.starts_with("shared_cache.sentinel_") {
                    "kind = \"sentinel\"\nsentinel_master = \"store\"\n"
                } else {
                    ""
                };
                format!(
                    "{tenant}{endpoint}limits.replicas = 3\n[shared_cache]\nurl = \"redis://localhost\"\n\
                     encryption_keys_file = \"key\"\n{sentinel}"
                )
            }
            _ => format!("{tenant}{endpoint}"),
        };
        text.parse().unwrap()
    }

    pub(super) fn load(&self, table: &Table, variables: &[(&str, &str)]) -> Result<Config, Problems> {
        let file = self.folder.path().join("config.toml");
        fs::write(&file, table.to_string()).unwrap();
        load(Some(&file), &variables.iter().copied().collect()).map(|loaded| loaded.config)
    }

    /// Every setting that the reader asks for, tables aside.
    pub(super) fn settings(&self) -> BTreeSet<String> {
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
    pub(super) fn values(&self, setting: &Shown) -> String {
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
            "a string or a list" => ("text or list", text(&TEXTS)),
            "a whole number" => ("whole number", vec![Value::from(0), Value::from(i64::MAX)]),
            "a number" => ("number", [-0.1, 0.0, 1.5].map(Value::from).to_vec()),
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
    pub(super) fn default(&self, setting: &Shown) -> String {
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
            "[true, false, 7, 0.3, '7s', '7KiB', '7/1s', 'errors', '15m', '61m', '7m', 'warn', 'pretty', 'none', 'usgov', 'refuse', 'audit', \
             'gcch', 'x', '/x', \
            'identity', 'certificate', 'cluster', 'other.toml', 'http://localhost:1', '127.0.0.1:9', ['x'], ['voip'], \
            ['https://x.com'], ['10.0.0.0/8'], ['acs', 'file'], ['acs.retirement']]"
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
            Value::String(text) if text.is_empty() => "none".to_owned(),
            value => format!("`{value}`"),
        }
    }

    /// Credentials need one thing or another: what the setting is to the kind that needs it.
    pub(super) fn kind_that_requires(&self, path: &str) -> Option<String> {
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
    pub(super) fn has_its_variable(&self, setting: &Shown, without: &Table) {
        let Some(name) = variable(&setting.path) else { return };
        let text = as_variable(&setting.value);
        if let Err(problems) = self.load(without, &[(&name, &text)]) {
            let unknown = problems.0.iter().find(|problem| problem.key == name);
            assert!(unknown.is_none(), "{unknown:?}");
        }
    }

    pub(super) fn is_the_default_in_its_variable(&self, setting: &Shown, without: &Table, unset: &Config) {
        if let Some(name) = variable(&setting.path) {
            let text = as_variable(&setting.value);
            assert_eq!(self.load(without, &[(&name, &text)]).as_ref(), Ok(unset), "{name}");
        }
    }
}

pub(super) fn as_variable(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Sets or takes away a setting; in a list of tables, that of the first.
pub(super) fn set(table: &mut Table, path: &str, value: Option<Value>) {
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
