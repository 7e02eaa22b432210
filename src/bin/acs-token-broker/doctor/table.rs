//! Results for people: groups, ticks and colours on a terminal; words in a pipe, which can be searched.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use acs_token_broker::doctor::check::{Check, Report, Status};
use anstyle::{AnsiColor, Style};

use crate::say_in_colours;

/// What is to be seen first.
pub(crate) const BOLD: Style = Style::new().bold();
/// What names the rest.
pub(crate) const FAINT: Style = Style::new().dimmed();

pub(super) fn print(report: &Report) {
    say_in_colours(&text(report, std::io::stdout().is_terminal()));
}

/// With styles, which are taken out where they are not wanted.
fn text(report: &Report, ticks: bool) -> String {
    let mut text = String::new();
    let mut group = "";
    let width = report
        .checks
        .iter()
        .map(|check| check.id.name().len())
        .max()
        .unwrap_or_default();
    for check in &report.checks {
        if check.id.group() != group {
            if !group.is_empty() {
                text.push('\n');
            }
            group = check.id.group();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{BOLD}{group}{BOLD:#}");
        }
        line(&mut text, check, width, ticks);
    }
    let _ = write!(
        text,
        "\n{} passed, {} warning{}, {} failed, {} skipped",
        report.passed,
        report.warnings,
        if report.warnings == 1 { "" } else { "s" },
        report.failed,
        report.skipped
    );
    text
}

fn line(text: &mut String, check: &Check, width: usize, ticks: bool) {
    let (tick, word, colour) = match check.status {
        Status::Pass => ("✓", "pass", AnsiColor::Green),
        Status::Warn => ("!", "warn", AnsiColor::Yellow),
        Status::Fail => ("✗", "fail", AnsiColor::Red),
        Status::Skip => ("-", "skip", AnsiColor::BrightBlack),
    };
    let mark = if ticks { tick } else { word };
    let style = colour.on_default();
    let subject = check
        .subject
        .as_deref()
        .map(|subject| format!("{subject}: "))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "{style}{mark}{style:#} {:<width$}  {FAINT}{subject}{FAINT:#}{}",
        check.id.name(),
        check.summary
    );
    if !matches!(check.status, Status::Warn | Status::Fail) {
        return;
    }
    let who = check.who.map(acs_token_broker::doctor::check::Who::words);
    for (name, value) in [
        ("who", who),
        ("fix", check.fix.as_deref()),
        ("command", check.command.as_deref()),
        ("docs", check.docs.as_deref()),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "    {FAINT}{name:<8}{FAINT:#}{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use acs_token_broker::doctor::check::{CheckId, Who};

    #[test]
    fn a_failure_says_who_must_do_what() {
        let report = Report::new(vec![
            Check::fail(CheckId::GraphConsent, Who::UserTenantAdmin, "none", "open it").about("t"),
            Check::pass(CheckId::ConfigValid, "good"),
        ]);
        let plain = anstream::adapter::strip_str(&text(&report, false)).to_string();
        assert_eq!(
            plain,
            "configuration\npass config.valid   good\n\nadministrators' steps (Microsoft Graph)\nfail graph.consent  t: none\n    \
             who     the administrator of the users' tenant\n    fix     open it\n    docs    docs/doctor.md#graph.consent\n\n\
             1 passed, 0 warnings, 1 failed, 0 skipped"
        );
        assert!(text(&report, true).contains('✗'));
    }
}
