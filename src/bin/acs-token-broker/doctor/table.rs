//! Results for people: groups, ticks and colours on a terminal; words in a pipe, which can be searched.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use acs_token_broker::doctor::check::{Check, Report, Status};
use anstyle::{AnsiColor, Style};
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

use crate::say_in_colours;

/// What is to be seen first.
pub(crate) const BOLD: Style = Style::new().bold();
/// What names the rest.
pub(crate) const FAINT: Style = Style::new().dimmed();

pub(super) fn print(report: &Report) {
    let stdout = std::io::stdout();
    // What is read by a program, or searched, has a line for each thing.
    let columns = rustix::termios::tcgetwinsize(&stdout).ok();
    let columns = columns
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0);
    say_in_colours(&text(report, stdout.is_terminal(), columns));
}

/// With styles, which are taken out where they are not wanted. Lines break at words before `columns`, if there is an end to them.
fn text(report: &Report, ticks: bool, columns: Option<usize>) -> String {
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
        line(&mut text, check, width, ticks, columns);
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

fn line(text: &mut String, check: &Check, width: usize, ticks: bool, columns: Option<usize>) {
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
    let indent = mark.chars().count() + width + 3;
    let begun = format!(
        "{style}{mark}{style:#} {:<width$}  {FAINT}{subject}{FAINT:#}",
        check.id.name()
    );
    let _ = writeln!(
        text,
        "{}",
        wrapped(&format!("{begun}{}", check.summary), indent, columns)
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
            let whole = format!("    {FAINT}{name:<8}{FAINT:#}{value}");
            // A command is there to be copied.
            let columns = columns.filter(|_| name != "command");
            let _ = writeln!(text, "{}", wrapped(&whole, 12, columns));
        }
    }
}

/// A line that ends before `columns`; what goes on is indented. Words are not broken: a URL stays one.
fn wrapped(line: &str, indent: usize, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return line.to_owned();
    };
    // Beside a narrow terminal's long names there would be no room.
    let indent = " ".repeat(if indent * 2 > columns { 4 } else { indent });
    let options = Options::new(columns)
        .subsequent_indent(&indent)
        .break_words(false)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::fill(line, options)
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
        let plain = anstream::adapter::strip_str(&text(&report, false, None)).to_string();
        assert_eq!(
            plain,
            "configuration\npass config.valid   good\n\nadministrators' steps (Microsoft Graph)\nfail graph.consent  t: none\n    \
             who     the administrator of the users' tenant\n    fix     open it\n    docs    docs/doctor.md#graph.consent\n\n\
             1 passed, 0 warnings, 1 failed, 0 skipped"
        );
        assert!(text(&report, true, None).contains('✗'));
    }

    #[test]
    fn on_a_terminal_lines_break_at_words() {
        let url =
            "https://login.microsoftonline.com/8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11/adminconsent?client_id=22222222";
        let command = "acs-token-broker assignments set 8f1c3f2e-6d1b-4f7a-9c55-0d5b7e2a4c11 --principal-type group --client-id x";
        let fix = format!("open {url} as an administrator of the tenant, and then ask again whether it has been done");
        let summary = "nobody has consented to the well-known application that the assignments of this tenant name";
        let check = Check::fail(CheckId::GraphConsent, Who::UserTenantAdmin, summary, fix).about("8f1c3f2e");
        let report = Report::new(vec![check.with_command(command)]);
        let plain = |columns| anstream::adapter::strip_str(&text(&report, true, columns)).to_string();
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        for columns in [60, 80, 100, 172] {
            let shown = plain(Some(columns));
            assert_eq!(words(&shown), words(&plain(None)), "no word is broken or lost");
            for line in shown.lines().filter(|line| !line.contains(command)) {
                // A word alone may be longer.
                let fits = line.chars().count() <= columns || line.trim_start() == url;
                assert!(fits, "{columns}: {line:?}");
            }
            assert!(shown.contains(command));
        }
        let shown = plain(Some(80));
        assert!(
            shown.contains("\n                 "),
            "what goes on is indented: {shown}"
        );
    }
}
