//! The runbook has an entry for each alert, and the troubleshooting guide quotes the source. Links are checked by tests/links.sh.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_alert_leads_to_its_entry_in_the_runbook_and_no_entry_is_left_over() {
    let alerts = fs::read_to_string(root().join("deploy/observability/prometheus/alerts.yaml")).unwrap();
    let alerts: serde_json::Value = serde_saphyr::from_str(&alerts).unwrap();
    let groups = alerts["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        let wanted = format!("/deploy/observability/runbook.md#{}", name.to_lowercase());
        assert!(url.ends_with(&wanted), "{name}: {url}");
        names.insert(name);
    }
    let runbook = fs::read_to_string(root().join("deploy/observability/runbook.md")).unwrap();
    let entries: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .filter(|heading| heading.starts_with("AcsBroker"))
        .collect();
    assert_eq!(entries, names);
}

/// Code in the first cells of a section's tables.
fn first_cells<'t>(guide: &'t str, heading: &str) -> Vec<&'t str> {
    let (_, section) = guide.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap()).collect()
}

#[test]
fn what_the_troubleshooting_guide_quotes_stands_in_the_source() {
    let guide = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let mut source = String::new();
    let mut folders = vec![root().join("src"), root().join("crates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                source.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut quoted = first_cells(&guide, "Other lines of the log");
    assert!(quoted.len() > 10, "{quoted:?}");
    let states = first_cells(&guide, "It is not ready");
    assert!(states.len() > 10, "{states:?}");
    quoted.extend(states);
    for line in quoted {
        // Ids, numbers and the rest of a sentence are not in the source.
        for part in line
            .split("TENANT")
            .flat_map(|part| part.split("N s"))
            .flat_map(|part| part.split('…'))
        {
            let part = part.trim_matches([' ', ':', ',']);
            assert!(source.contains(part), "`{line}`: the source has no `{part}`");
        }
    }
}

/// Sources name files beyond their own folders, and an image is built of what the Dockerfile copies.
#[test]
fn what_the_playground_takes_in_is_there_where_its_image_is_built() {
    let source = fs::read_to_string(root().join("crates/azure-emulator/src/playground/docs.rs")).unwrap();
    let beyond: BTreeSet<&str> = source
        .split("\"../../../../")
        .skip(1)
        .map(|rest| rest.split(['/', '"']).next().unwrap())
        .collect();
    assert_eq!(beyond, BTreeSet::from(["docs"]));
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let (_, stage) = dockerfile.split_once("\nFROM dependencies AS build-dev\n").unwrap();
    let stage = stage.split("\nFROM ").next().unwrap();
    let context = fs::read_to_string(root().join(".dockerignore")).unwrap();
    for folder in beyond {
        assert!(
            stage.contains(&format!("COPY {folder} ./{folder}\n")),
            "{folder}: {stage}"
        );
        assert!(
            context.lines().any(|line| line == format!("!{folder}")),
            "{folder}: {context}"
        );
    }
}
