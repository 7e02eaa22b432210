//! What labels may say, and that the documentation tells of each instrument.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use telemetry::metrics::catalogue::ALL;

use super::{REQUESTS, scrape};
use crate::support::http::{Answer, Call};
use crate::support::stack::Stack;

/// Everything that is refused or issued leaves no trace of who it was: neither an id nor a part of a token.
#[tokio::test]
async fn no_label_tells_of_a_user_or_a_token() {
    let stack = Stack::start().await;
    let mut secrets = BTreeSet::new();
    for user in ["alex", "adele", "diego", "megan", "app-only"] {
        let token = stack.user(user).token();
        let answers: [Answer; 3] = [
            stack.post_token(&token).await,
            stack.post_acs_path(&token).await,
            Call::new("POST", stack.url(&format!("/{token}?{token}"))).send().await,
        ];
        Call::new(&token[..40].replace(['_', '-'], "X"), stack.url("/token"))
            .bearer(&token)
            .send()
            .await;
        secrets.extend(answers.iter().filter(|answer| answer.status == 200).map(Answer::token));
        secrets.insert(token);
    }
    let mut ids: Vec<String> = stack
        .emulator
        .scenario()
        .users
        .iter()
        .map(|user| user.object_id.to_string())
        .collect();
    ids.extend(
        stack
            .emulator
            .scenario()
            .groups
            .iter()
            .map(|group| group.id.to_string()),
    );
    let scraped = scrape(&stack).await;
    let parts = secrets
        .iter()
        .flat_map(|token| token.split('.').skip(1))
        .filter(|part| part.len() > 8);
    for secret in parts.chain(ids.iter().map(String::as_str)) {
        assert!(!scraped.text.contains(secret), "{secret}");
    }
    let known: BTreeSet<String> = ALL
        .iter()
        .flat_map(|instrument| instrument.labels)
        .map(|label| label.replace('.', "_"))
        .chain(["le".to_owned()])
        .collect();
    for series in scraped.series().iter().filter(|series| series.name != "target_info") {
        for (label, value) in &series.labels {
            assert!(known.contains(label), "{} has {label}", series.name);
            assert!(value.len() <= 64, "{label}={value}");
        }
    }
    let methods = scraped.sum(REQUESTS, &[("http_request_method", "_OTHER")]);
    assert!(methods >= 1.0, "made-up methods are one");
}

/// docs/telemetry.md has a row for each instrument, and for nothing else.
#[test]
fn the_documentation_is_what_is_registered() {
    let mut table = String::from("| name | as scraped | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for of in ALL {
        let labels: Vec<String> = of.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, scraped, labels) = (of.name, of.prometheus_name(), labels.join(", "));
        let unit = if of.unit.is_empty() {
            String::new()
        } else {
            format!("`{}`", of.unit)
        };
        writeln!(
            table,
            "| `{name}` | `{scraped}` | {unit} | {labels} | {} |",
            of.description
        )
        .unwrap();
    }
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/telemetry.md")).unwrap();
    assert!(
        readme.contains(&table),
        "docs/telemetry.md, section Metrics, shall have this table:\n{table}"
    );
    assert_eq!(
        readme.matches("\n| `acs_broker.").count() + readme.matches("\n| `http.").count(),
        ALL.len()
    );
}
