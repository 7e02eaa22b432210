//! The pages of `docs/` that the playground links to, as HTML.

use std::collections::HashMap;

use axum::extract::Path;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// Name and text of each page.
const PAGES: [(&str, &str); 10] = [
    ("assignments", include_str!("../../../../docs/assignments.md")),
    ("caching", include_str!("../../../../docs/caching.md")),
    ("emulator", include_str!("../../../../docs/emulator.md")),
    ("entra-setup", include_str!("../../../../docs/entra-setup.md")),
    ("errors", include_str!("../../../../docs/errors.md")),
    ("front-end", include_str!("../../../../docs/front-end.md")),
    ("modes", include_str!("../../../../docs/modes.md")),
    (
        "set-up-your-tenants",
        include_str!("../../../../docs/set-up-your-tenants.md"),
    ),
    ("troubleshooting", include_str!("../../../../docs/troubleshooting.md")),
    ("try-it", include_str!("../../../../docs/try-it.md")),
];

/// Name and content of each picture in them.
const PICTURES: [(&str, &[u8]); 5] = [
    (
        "doctor-fails.png",
        include_bytes!("../../../../docs/images/doctor-fails.png"),
    ),
    (
        "doctor-passes.png",
        include_bytes!("../../../../docs/images/doctor-passes.png"),
    ),
    (
        "playground-refusal.png",
        include_bytes!("../../../../docs/images/playground-refusal.png"),
    ),
    (
        "playground-token.png",
        include_bytes!("../../../../docs/images/playground-token.png"),
    ),
    (
        "setup-plan.png",
        include_bytes!("../../../../docs/images/setup-plan.png"),
    ),
];

pub(super) async fn picture(Path(name): Path<String>) -> Response {
    match PICTURES.iter().find(|(known, _)| *known == name) {
        Some((_, png)) => (super::guarded("image/png"), *png).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(super) async fn page(Path(name): Path<String>) -> Response {
    match PAGES.iter().find(|(known, _)| *known == name) {
        Some((_, markdown)) => super::page(document(markdown)),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn document(markdown: &str) -> String {
    let title = markdown.lines().next().unwrap_or_default().trim_start_matches("# ");
    let mut body = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut body, events(markdown).into_iter());
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\
         <link rel=\"stylesheet\" href=\"/playground/docs.css\"></head>\
         <body><nav><a href=\"/\">Playground</a></nav><main>{body}</main></body></html>"
    )
}

/// The text with ids at its headings, as GitHub gives them, and links that lead somewhere here. Other links, and HTML,
/// become text.
fn events(markdown: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event<'_>> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let mut seen = HashMap::new();
    let mut kept_links = Vec::new();
    for at in 0..events.len() {
        let event = match &events[at] {
            Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
                level: *level,
                id: Some(CowStr::from(heading_id(&events[at + 1..], &mut seen))),
                classes: Vec::new(),
                attrs: Vec::new(),
            }),
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            }) => {
                let target = target(dest_url);
                kept_links.push(target.is_some());
                match target {
                    Some(target) => Event::Start(Tag::Link {
                        link_type: *link_type,
                        dest_url: CowStr::from(target),
                        title: title.clone(),
                        id: id.clone(),
                    }),
                    None => Event::Text(CowStr::from("")),
                }
            }
            Event::End(TagEnd::Link) if kept_links.pop() == Some(false) => Event::Text(CowStr::from("")),
            Event::Html(text) | Event::InlineHtml(text) => Event::Text(text.clone()),
            other => other.clone(),
        };
        events[at] = event;
    }
    events
}

/// Where a link of the docs leads here, if anywhere.
fn target(link: &str) -> Option<String> {
    if link.starts_with('#') {
        return Some(link.to_owned());
    }
    let (file, fragment) = link.split_once('#').map_or((link, None), |(file, id)| (file, Some(id)));
    let name = file.strip_suffix(".md")?;
    PAGES.iter().find(|(known, _)| *known == name)?;
    Some(fragment.map_or_else(|| format!("/docs/{name}"), |id| format!("/docs/{name}#{id}")))
}

/// A heading's id: its text in lower case with hyphens for spaces, and without punctuation.
fn heading_id(rest: &[Event<'_>], seen: &mut HashMap<String, usize>) -> String {
    let mut id = String::new();
    for event in rest {
        match event {
            Event::Text(text) | Event::Code(text) => id.extend(text.chars().filter_map(|character| match character {
                ' ' => Some('-'),
                '-' | '_' => Some(character),
                _ if character.is_alphanumeric() => Some(character.to_ascii_lowercase()),
                _ => None,
            })),
            Event::End(TagEnd::Heading(_)) => break,
            _ => {}
        }
    }
    let times = seen.entry(id.clone()).or_insert(0);
    *times += 1;
    if *times > 1 { format!("{id}-{}", *times - 1) } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_ids_and_links_lead_somewhere() {
        let text =
            "# One\n## `NotAssigned`, or so\nSee [errors](errors.md#one), [there](../SECURITY.md), <b>x</b>.\n## One";
        let page = document(text);
        for expected in [
            "<title>One</title>",
            "<h2 id=\"notassigned-or-so\">",
            "<h2 id=\"one-1\">",
            "<a href=\"/docs/errors#one\">errors</a>, there, &lt;b&gt;x&lt;/b&gt;.",
        ] {
            assert!(page.contains(expected), "{expected} in {page}");
        }
    }

    #[test]
    fn every_picture_of_the_pages_is_there() {
        let pages = PAGES.iter().map(|(_, markdown)| document(markdown)).collect::<String>();
        let mut named = Vec::new();
        for rest in pages.split("<img src=\"").skip(1) {
            let name = rest.split('"').next().unwrap().strip_prefix("images/").unwrap();
            assert!(PICTURES.iter().any(|(known, _)| *known == name), "{name}");
            named.push(name);
        }
        assert!(named.contains(&"doctor-fails.png"), "{named:?}");
    }

    #[test]
    fn every_refusal_of_the_page_has_an_entry_in_the_docs() {
        let (_, refusals) = super::super::FILES
            .iter()
            .find_map(|(name, _, text)| (*name == "refusals.js").then_some((name, text)))
            .unwrap();
        let troubleshooting = PAGES.iter().find(|(name, _)| *name == "troubleshooting").unwrap().1;
        let page = document(troubleshooting);
        let codes: Vec<&str> = refusals
            .lines()
            .filter_map(|line| line.trim().strip_suffix(": refusal("))
            .collect();
        assert!(codes.len() > 30);
        for code in codes {
            // Entries stand under the code, or under a heading that begins with it.
            let id = code.to_lowercase();
            let found = page.contains(&format!("id=\"{id}\"")) || page.contains(&format!("id=\"{id}-"));
            assert!(found || code == "HeadersTooLarge", "{code}");
        }
    }
}
