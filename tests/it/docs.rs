//! What the documents point to is there: files, headings, the runbook's entries.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Those at the top; all below `deploy` are looked at too.
const AT_THE_TOP: [&str; 4] = ["README.md", "SECURITY.md", "ARCHITECTURE.md", "CHANGELOG.md"];

/// A Markdown file.
#[derive(Default)]
struct Document {
    anchors: BTreeSet<String>,
    links: Vec<String>,
}

impl Document {
    fn read(text: &str) -> Self {
        let mut document = Self::default();
        let mut heading: Option<String> = None;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let before = times.entry(anchor.clone()).or_default();
                    document.anchors.insert(match *before {
                        0 => anchor,
                        before => format!("{anchor}-{before}"),
                    });
                    *before += 1;
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                _ => {}
            }
        }
        document
    }
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents by their paths from the top.
fn documents() -> BTreeMap<PathBuf, Document> {
    let mut files: Vec<PathBuf> = AT_THE_TOP.iter().map(PathBuf::from).collect();
    let mut folders = vec![PathBuf::from("deploy")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                files.push(path);
            }
        }
    }
    let read = |file: PathBuf| {
        let text = fs::read_to_string(root().join(&file)).unwrap();
        (file, Document::read(&text))
    };
    files.into_iter().map(read).collect()
}

/// `..` taken out; `None` if the path leaves the project.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if !plain.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            part => plain.push(part),
        }
    }
    Some(plain)
}

/// Why a link leads nowhere.
fn broken(link: &str, from: &Path, documents: &BTreeMap<PathBuf, Document>) -> Option<&'static str> {
    if link.starts_with("https://") || link.starts_with("http://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = match link.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (link, None),
    };
    let target = match file {
        "" => from.to_owned(),
        file => {
            let Some(target) = plain(&from.with_file_name(file)) else {
                return Some("leaves the project");
            };
            target
        }
    };
    if !root().join(&target).exists() {
        return Some("there is no such file");
    }
    let found = anchor.is_none_or(|anchor| {
        documents
            .get(&target)
            .is_some_and(|document| document.anchors.contains(anchor))
    });
    (!found).then_some("there is no such heading")
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = documents();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, document) in &documents {
        for link in &document.links {
            seen += 1;
            if let Some(reason) = broken(link, file, &documents) {
                wrong.push(format!("{}: {link}: {reason}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} links were found");
}

#[test]
fn every_alert_leads_to_its_entry_in_the_runbook_and_no_entry_is_left_over() {
    let alerts = fs::read_to_string(root().join("deploy/observability/prometheus/alerts.yaml")).unwrap();
    let alerts: serde_json::Value = serde_saphyr::from_str(&alerts).unwrap();
    let groups = alerts["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let documents = documents();
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        let (_, link) = url.split_once("/blob/main/").unwrap();
        assert_eq!(broken(link, Path::new("README.md"), &documents), None, "{name}: {link}");
        assert!(link.ends_with(&format!("#{}", anchor(name))), "{name}: {link}");
        names.insert(anchor(name));
    }
    let entries = &documents[Path::new("deploy/observability/runbook.md")].anchors;
    let entries: BTreeSet<String> = entries
        .iter()
        .filter(|entry| entry.starts_with("acsbroker"))
        .cloned()
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
    let guide = fs::read_to_string(root().join("deploy/TROUBLESHOOTING.md")).unwrap();
    let mut source = String::new();
    let mut folders = vec![root().join("src")];
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

#[test]
fn anchors_are_those_of_github() {
    for (heading, expected) in [
        ("Where to run it", "where-to-run-it"),
        ("Entra's signing keys", "entras-signing-keys"),
        ("[[entra.tenants]]", "entratenants"),
        ("user_hash_key", "user_hash_key"),
        ("Incident: a secret has leaked", "incident-a-secret-has-leaked"),
        ("CPU / memory", "cpu--memory"),
    ] {
        assert_eq!(anchor(heading), expected);
    }
    let twice = Document::read("# A `b`\n## A b\n[x](y.md#z) and `[no](link)`\n");
    assert_eq!(twice.anchors, ["a-b", "a-b-1"].map(str::to_owned).into());
    assert_eq!(twice.links, ["y.md#z"]);
}
