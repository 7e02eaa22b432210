//! The configuration as operators meet it: files, variables, problems.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

mod example;
mod invisible;
mod problems;
mod reference;
mod shared_cache;
mod sources;
mod teams_users;
mod unreadable;
mod ways_in;

const TENANT: &str = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11";
const MINIMAL: &str = r#"
entra.tenants = [{ id = "8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11" }]
exchange.endpoint = "https://contoso.communication.azure.com"
"#;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let prefixed = variables.iter().map(|(name, text)| match name.strip_prefix("__") {
        Some(rest) => (format!("ACS_TOKEN_BROKER__{rest}"), (*text).to_owned()),
        None => ((*name).to_owned(), (*text).to_owned()),
    });
    prefixed.collect()
}

fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, text).unwrap();
    load(Some(&file), &environment(variables)).map_err(|problems| {
        let shorten = |problem: Problem| Problem {
            key: problem.key.replace(file.to_str().unwrap(), "FILE"),
            ..problem
        };
        Problems(problems.0.into_iter().map(shorten).collect())
    })
}

fn config_of(text: &str, variables: &[(&str, &str)]) -> Config {
    load_text(text, variables).unwrap().config
}

/// The problems of a file that is otherwise complete: the environment holds what has no default.
fn problems_of(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let mut all = Vec::new();
    if !text.contains("tenants") {
        all.push(("__ENTRA__TENANTS", "[{ id = '8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11' }]"));
    }
    if !text.contains("endpoint") {
        all.push(("__EXCHANGE__ENDPOINT", "https://contoso.communication.azure.com"));
    }
    all.extend(variables);
    lines(&load_text(text, &all).unwrap_err())
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.to_string().lines().map(str::to_owned).collect()
}

/// Every setting, as the reader asks for them.
fn known_keys() -> BTreeSet<String> {
    let table = parse(MINIMAL).unwrap();
    let (findings, _) = read(Ok(table), &Environment::default(), |root| {
        sections::config(root, Path::new(""), &Environment::default())
    });
    findings.known
}
