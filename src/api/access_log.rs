//! The access log: one line for each request, and a bound on the lines that strangers can cause.
//!
//! Anyone can cause a refusal, as often as the network allows. So requests of callers who were never verified have only
//! so many lines in a window for each code, and one that says how many more there were.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::context::RequestContext;
use super::head::Head;
use config::AccessLog;

/// The target of access lines. Operators search for it, so it does not follow the module's name.
const ACCESS_TARGET: &str = "acs_token_broker::api::layers";

/// How long lines are counted together.
pub const WINDOW: Duration = Duration::from_mins(1);
/// Lines of one kind in a window for requests without a verified caller.
const LINES: u64 = 60;

/// Why a request got no token, or no answer.
pub(super) struct Failure<'f> {
    pub(super) code: &'static str,
    pub(super) inner_code: Option<&'static str>,
    pub(super) cause: &'f dyn fmt::Display,
    pub(super) is_ours: bool,
}

/// How a request ended.
pub(super) struct Ended<'e> {
    pub(super) head: &'e Head,
    pub(super) context: &'e RequestContext,
    /// `None`: no answer.
    pub(super) status: Option<i64>,
    pub(super) duration: Duration,
    pub(super) failure: Option<&'e Failure<'e>>,
}

/// Which lines are counted together: the error's codes, and its level. All are constants, so there are few kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Kind {
    code: Option<&'static str>,
    inner_code: Option<&'static str>,
    is_ours: bool,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    // Monotonic time.
    began: Duration,
    requests: u64,
}

impl Window {
    fn has_ended(&self, now: Duration) -> bool {
        now >= self.began + WINDOW
    }

    /// Requests that had no line.
    fn more(&self) -> u64 {
        self.requests.saturating_sub(LINES)
    }
}

/// Writes access lines.
#[derive(Debug)]
pub struct AccessLines {
    which: AccessLog,
    windows: Mutex<HashMap<Kind, Window>>,
}

impl AccessLines {
    /// Lines of the requests that `which` says.
    #[must_use]
    pub fn new(which: AccessLog) -> Self {
        Self {
            which,
            windows: Mutex::default(),
        }
    }

    /// Writes a request's line, if it has one. `now` is monotonic.
    pub(super) fn write(&self, ended: &Ended<'_>, now: Duration) {
        let is_logged = match self.which {
            AccessLog::All => true,
            AccessLog::Errors => ended.failure.is_some(),
            AccessLog::None => false,
        };
        if !is_logged {
            return;
        }
        if !ended.context.caller_verified() {
            let kind = Kind {
                code: ended.failure.map(|failure| failure.code),
                inner_code: ended.failure.and_then(|failure| failure.inner_code),
                is_ours: ended.failure.is_some_and(|failure| failure.is_ours),
            };
            let (more, is_written) = self.count(kind, now);
            more_line(kind, more);
            if !is_written {
                return;
            }
        }
        line(ended);
    }

    /// Writes how many requests had no line in the windows that have ended; with `None`, in all.
    pub fn sum_up(&self, now: Option<Duration>) {
        for (kind, more) in self.take(now) {
            more_line(kind, more);
        }
    }

    /// How many had no line in a window that ended just now, and whether this one has a line.
    fn count(&self, kind: Kind, now: Duration) -> (u64, bool) {
        let mut windows = self.windows();
        let window = windows.entry(kind).or_insert(Window {
            began: now,
            requests: 0,
        });
        let mut more = 0;
        if window.has_ended(now) {
            more = window.more();
            *window = Window {
                began: now,
                requests: 0,
            };
        }
        window.requests += 1;
        (more, window.requests <= LINES)
    }

    fn take(&self, now: Option<Duration>) -> Vec<(Kind, u64)> {
        let is_due = |window: &Window| now.is_none_or(|now| window.has_ended(now));
        let ended = self
            .windows()
            .extract_if(|_, window| is_due(window))
            .collect::<Vec<_>>();
        ended.into_iter().map(|(kind, window)| (kind, window.more())).collect()
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<Kind, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operator reads here exactly why a request failed.
fn line(ended: &Ended<'_>) {
    let Ended {
        head, context, failure, ..
    } = ended;
    let duration_ms = ended.duration.as_secs_f64() * 1e3;
    let cause = failure.map(|failure| tracing::field::display(failure.cause));
    let code = failure.map(|failure| failure.code);
    let inner_code = failure.and_then(|failure| failure.inner_code);
    // The level is part of a call site, so it takes one for each.
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: ACCESS_TARGET,
                {
                    http.request.method = head.method,
                    http.route = head.route,
                    http.response.status_code = ended.status,
                    duration_ms,
                    request_id = %context.request_id,
                    acs_broker.error.code = code,
                    acs_broker.error.inner_code = inner_code,
                    acs_broker.error.cause = cause
                },
                "request"
            )
        };
    }
    match failure {
        None => line!(info),
        Some(failure) if failure.is_ours => line!(error),
        Some(_) => line!(warn),
    }
}

/// At the level of the lines that it stands for.
fn more_line(kind: Kind, more: u64) {
    if more == 0 {
        return;
    }
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: ACCESS_TARGET,
                {
                    acs_broker.error.code = kind.code,
                    acs_broker.error.inner_code = kind.inner_code,
                    acs_broker.requests = more
                },
                "and {} more without a verified caller",
                Grouped(more)
            )
        };
    }
    match kind {
        Kind { code: None, .. } => line!(info),
        Kind { is_ours: true, .. } => line!(error),
        Kind { .. } => line!(warn),
    }
}

/// A number for people: `5,214`.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{},{:03}", Self(self.0 / 1000), self.0 % 1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRED: Kind = Kind {
        code: Some("InvalidToken"),
        inner_code: Some("Expired"),
        is_ours: false,
    };
    const NO_TOKEN: Kind = Kind {
        code: Some("AuthenticationRequired"),
        inner_code: None,
        is_ours: false,
    };

    fn written(lines: &AccessLines, kind: Kind, requests: u64, now: Duration) -> u64 {
        let written = (0..requests).filter(|_| lines.count(kind, now).1);
        written.count() as u64
    }

    #[test]
    fn each_kind_has_so_many_lines_in_a_window_and_the_rest_is_summed_up() {
        let lines = AccessLines::new(AccessLog::All);
        let start = Duration::from_secs(5);
        assert_eq!(written(&lines, NO_TOKEN, LINES + 5214, start), LINES);
        // Another kind has lines of its own.
        assert_eq!(written(&lines, EXPIRED, 3, start), 3);
        let late = start + WINDOW.saturating_sub(Duration::from_nanos(1));
        assert_eq!(written(&lines, NO_TOKEN, 1, late), 0);
        assert_eq!(lines.take(Some(late)), []);
        // The first request of the next window writes the summary of the last.
        assert_eq!(lines.count(NO_TOKEN, start + WINDOW), (5215, true));
        assert_eq!(written(&lines, NO_TOKEN, LINES, start + WINDOW), LINES - 1);
        // Written once, and also without a further request.
        let mut ended = lines.take(Some(start + 2 * WINDOW));
        ended.sort_by_key(|(_, more)| *more);
        assert_eq!(ended, [(EXPIRED, 0), (NO_TOKEN, 1)]);
        assert_eq!(lines.take(None), []);
        assert!(lines.windows().is_empty());
    }

    #[test]
    fn at_the_end_what_has_not_ended_is_told_too() {
        let lines = AccessLines::new(AccessLog::All);
        written(&lines, NO_TOKEN, LINES + 2, Duration::ZERO);
        assert_eq!(lines.take(None), [(NO_TOKEN, 2)]);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (5_214, "5,214"), (1_000_007, "1,000,007")] {
            assert_eq!(Grouped(number).to_string(), text);
        }
    }
}
