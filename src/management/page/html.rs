//! Markup of the one page: text is escaped where it is added, and a policy lets nothing in but the page's own style.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

use base::untrusted::push_html;

const STYLE: &str = include_str!("style.css");

/// The page's own style is known by its hash (Content Security Policy Level 3, section 2.3.1).
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// What a browser may load for the page: nothing.
pub(super) fn policy() -> HeaderValue {
    // Letters, digits and punctuation alone; without it the page would still load nothing, since it names nothing.
    HeaderValue::from_str(&POLICY).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

/// A page that is being written.
pub(super) struct Html(String);

impl Html {
    /// Begins a page, which is loaded again every 10 seconds.
    pub(super) fn page(title: &str) -> Self {
        let mut page = Self(String::with_capacity(4096));
        page.raw("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>");
        page.text(title);
        page.raw("</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        page.raw("<meta http-equiv=\"refresh\" content=\"10\">\n<style>");
        page.raw(STYLE);
        page.raw("</style>\n</head>\n<body>\n<main>\n");
        page
    }

    /// The whole page.
    pub(super) fn into_text(mut self) -> String {
        self.raw("</main>\n</body>\n</html>\n");
        self.0
    }

    pub(super) fn heading(&mut self, level: &'static str, text: &str) {
        self.element(level, text);
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.element("p", text);
    }

    pub(super) fn list(&mut self, items: &[String]) {
        self.raw("<ul>\n");
        for item in items {
            self.element("li", item);
        }
        self.raw("</ul>\n");
    }

    /// A table of at most `most` rows, and how many are left out.
    pub(super) fn table<const N: usize>(&mut self, columns: &[&str; N], rows: &[[String; N]], most: usize) {
        if rows.is_empty() {
            self.paragraph("None.");
            return;
        }
        self.raw("<table>\n<thead><tr>");
        for column in columns {
            self.raw("<th scope=\"col\">");
            self.text(column);
            self.raw("</th>");
        }
        self.raw("</tr></thead>\n<tbody>\n");
        for row in rows.iter().take(most) {
            self.raw("<tr>");
            for cell in row {
                self.raw("<td>");
                self.text(cell);
                self.raw("</td>");
            }
            self.raw("</tr>\n");
        }
        self.raw("</tbody>\n</table>\n");
        if let Some(more) = rows.len().checked_sub(most).filter(|more| *more > 0) {
            self.paragraph(&format!("and {more} more"));
        }
    }

    fn element(&mut self, name: &'static str, text: &str) {
        self.raw("<");
        self.raw(name);
        self.raw(">");
        self.text(text);
        self.raw("</");
        self.raw(name);
        self.raw(">\n");
    }

    fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    fn text(&mut self, text: &str) {
        push_html(&mut self.0, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_tables_are_cut() {
        let mut page = Html::page("<a>");
        page.paragraph("<script>alert('&\"')</script>");
        let rows: Vec<[String; 1]> = (0..5).map(|n| [format!("<{n}>")]).collect();
        page.table(&["N"], &rows, 2);
        let text = page.into_text();
        assert!(text.contains("<title>&lt;a&gt;</title>"), "{text}");
        assert!(
            text.contains("<p>&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;</p>"),
            "{text}"
        );
        assert!(
            text.contains("<td>&lt;1&gt;</td>") && !text.contains("&lt;2&gt;"),
            "{text}"
        );
        assert!(text.contains("<p>and 3 more</p>"), "{text}");
    }

    #[test]
    fn the_policy_lets_in_the_style_alone() {
        let policy = policy();
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    }
}
