//! The calls seen, for tests and for finding out what a program sent.
//!
//! No token and no `Authorization` header ever gets in here: only the fields of [`CallRecord`], each cut short.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;
use serde::Serialize;

use super::endpoint::Endpoint;
use super::lock::lock;
use super::request::query_parameter;

/// Older calls fall out; the counts go on.
const MAX_CALLS: usize = 1000;
/// Longer texts are cut.
const MAX_CHARACTERS: usize = 256;

/// One call that the emulator saw.
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// A number that grows by one with each call.
    pub number: u64,
    /// When the call came in.
    pub time: String,
    /// What it was for; `None` for an address that the emulator does not serve.
    pub endpoint: Option<Endpoint>,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The status answered; `None` while the call is in progress, when the caller left first, or when the
    /// connection was dropped on purpose.
    pub status: Option<u16>,
    /// The `api-version` parameter.
    pub api_version: Option<String>,
    /// The `traceparent` header.
    pub traceparent: Option<String>,
    /// The `x-ms-client-request-id` header, or Entra's `client-request-id`.
    #[serde(rename = "x-ms-client-request-id")]
    pub client_request_id: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
}

/// The journal. Controls are not in it.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    calls: VecDeque<CallRecord>,
    counts: BTreeMap<Endpoint, usize>,
}

impl Journal {
    /// Notes a call as it comes in, so that one that is never answered counts too. Gives its number.
    /// A grant of the token endpoint counts for both, and is listed under its own name.
    pub(crate) fn begin(
        &self,
        endpoint: Option<Endpoint>,
        grant: Option<Endpoint>,
        request: &Parts,
        now: Timestamp,
    ) -> u64 {
        let mut state = lock(&self.state);
        state.last_number += 1;
        let number = state.last_number;
        for endpoint in [endpoint, grant].into_iter().flatten() {
            *state.counts.entry(endpoint).or_default() += 1;
        }
        if state.calls.len() == MAX_CALLS {
            state.calls.pop_front();
        }
        state.calls.push_back(CallRecord {
            number,
            time: now.to_string(),
            endpoint: grant.or(endpoint),
            method: short(request.method.as_str()),
            path: short(request.uri.path()),
            status: None,
            api_version: query_parameter(request.uri.query(), "api-version").map(|text| short(&text)),
            traceparent: header(&request.headers, "traceparent"),
            client_request_id: header(&request.headers, "x-ms-client-request-id")
                .or_else(|| header(&request.headers, "client-request-id")),
            user_agent: header(&request.headers, "user-agent"),
        });
        number
    }

    /// Notes what a call was answered.
    pub(crate) fn answered(&self, number: u64, status: Option<u16>) {
        let mut state = lock(&self.state);
        if let Some(call) = state.calls.iter_mut().rev().find(|call| call.number == number) {
            call.status = status;
        }
    }

    /// The calls, oldest first.
    pub(crate) fn calls(&self) -> Vec<CallRecord> {
        lock(&self.state).calls.iter().cloned().collect()
    }

    /// How many calls an endpoint has seen since the last clearing.
    pub(crate) fn count(&self, endpoint: Endpoint) -> usize {
        lock(&self.state).counts.get(&endpoint).copied().unwrap_or(0)
    }

    /// Forgets calls and counts.
    pub(crate) fn clear(&self) {
        let mut state = lock(&self.state);
        state.calls.clear();
        state.counts.clear();
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(short)
}

fn short(text: &str) -> String {
    text.chars().take(MAX_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_bounded_and_cleared() {
        let journal = Journal::default();
        let (parts, ()) = http::Request::get("http://h/identities?api-version=1&token=secret")
            .header("authorization", "Bearer secret")
            .header("traceparent", "00-aa-bb-01")
            .body(())
            .unwrap()
            .into_parts();
        for _ in 0..MAX_CALLS + 5 {
            journal.begin(Some(Endpoint::Identities), None, &parts, Timestamp::UNIX_EPOCH);
        }
        let number = journal.begin(None, None, &parts, Timestamp::UNIX_EPOCH);
        journal.answered(number, Some(404));
        assert_eq!(journal.calls().len(), MAX_CALLS);
        assert_eq!(journal.count(Endpoint::Identities), MAX_CALLS + 5);
        let last = journal.calls().pop().unwrap();
        assert_eq!((last.status, last.api_version.as_deref()), (Some(404), Some("1")));
        assert!(!serde_json::to_string(&journal.calls()).unwrap().contains("secret"));
        journal.begin(
            Some(Endpoint::Token),
            Some(Endpoint::OnBehalfOf),
            &parts,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(journal.calls().pop().unwrap().endpoint, Some(Endpoint::OnBehalfOf));
        for endpoint in [Endpoint::Token, Endpoint::OnBehalfOf] {
            assert_eq!(journal.count(endpoint), 1);
        }
        journal.clear();
        assert_eq!((journal.calls().len(), journal.count(Endpoint::Identities)), (0, 0));
    }
}
