//! The wire contract of the one Microsoft Graph operation that is used: `checkMemberGroups`.
//!
//! "directoryObject: checkMemberGroups" (v1.0): which of at most twenty groups a user is a member of, directly or
//! through other groups.

use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::azure_error::{AzureError, appended, read_error};
use super::breaker::{Breaker, CircuitState};
use super::pause::{Pause, Pauses};
use super::retry::{self, CallError, Guards, Withheld};
use super::{Response, Upstream, UpstreamFailure};
use base::clock::SharedClock;
use base::ids::{ObjectId, TenantId};
use base::secret::BearerToken;
use config::BreakerConfig;
use telemetry::metrics::labels::Peer;

/// As many groups can be asked for in one call.
pub const MOST_GROUPS: usize = 20;

/// Microsoft Graph, as far as group membership goes.
pub struct GraphClient {
    upstream: Upstream,
    endpoint: Url,
    pauses: Pauses<TenantId>,
    breaker: Breaker,
    clock: SharedClock,
}

/// Why Graph did not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// 401: the app's token is not accepted.
    #[error("Graph rejected the broker's token{}", appended(.0.as_ref()))]
    Unauthorized(Option<AzureError>),
    /// 403: the app may not read memberships in this tenant.
    #[error("Graph refused the broker{}", appended(.0.as_ref()))]
    Forbidden(Option<AzureError>),
    /// 404: the tenant has no such user.
    #[error("Graph knows no such user")]
    NoSuchUser,
    /// The call failed in a way that is not Graph's own.
    #[error("{}", .0.describe("Graph", "this tenant"))]
    Upstream(UpstreamFailure),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckMemberGroups {
    group_ids: Vec<String>,
}

impl GraphClient {
    /// Graph at `endpoint`, an origin, with a circuit breaker if `breaker` says how.
    #[must_use]
    pub fn new(upstream: Upstream, endpoint: Url, breaker: Option<BreakerConfig>, clock: SharedClock) -> Self {
        let (peer, subject) = (Peer::Graph.into_str(), String::new());
        Self {
            upstream,
            endpoint,
            pauses: Pauses::new(SharedClock::clone(&clock)),
            breaker: Breaker::new(breaker, peer, subject, SharedClock::clone(&clock)),
            clock,
        }
    }

    /// Why `tenant` is not asked about now, if it is not.
    #[must_use]
    pub fn withholds(&self, tenant: TenantId) -> Option<Withheld> {
        self.guards(&self.pauses.get(tenant)).withhold()
    }

    fn guards<'g>(&'g self, pause: &'g Pause) -> Guards<'g> {
        Guards {
            pause,
            breaker: Some(&self.breaker),
            budget: None,
        }
    }

    /// The state of Graph's circuit.
    #[must_use]
    pub fn circuit(&self) -> CircuitState {
        self.breaker.state()
    }

    /// Which of `groups`, at most [`MOST_GROUPS`], the user is a member of. `token` is an app's for Graph in that
    /// tenant.
    pub async fn check_member_groups(
        &self,
        tenant: TenantId,
        token: &BearerToken,
        user: ObjectId,
        groups: &[ObjectId],
        deadline: Instant,
    ) -> Result<Vec<ObjectId>, GraphError> {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("/v1.0/users/{user}/checkMemberGroups"));
        let body = CheckMemberGroups {
            group_ids: groups.iter().map(ToString::to_string).collect(),
        };
        let attempt = || {
            let request = self
                .upstream
                .request(http::Method::POST, url.clone())
                .bearer_auth(token.expose())
                .header(http::header::ACCEPT, "application/json")
                .json(&body);
            self.upstream.send(Peer::Graph, request, deadline)
        };
        let pause = self.pauses.get(tenant);
        let called = retry::call(self.guards(&pause), None, &*self.clock, deadline, attempt).await;
        classify(called, groups, self.clock.now())
    }
}

/// What Graph's answer means.
fn classify(
    called: Result<Response, CallError>,
    asked: &[ObjectId],
    now: Timestamp,
) -> Result<Vec<ObjectId>, GraphError> {
    let response = called.map_err(|error| GraphError::Upstream(error.into()))?;
    let error = || read_error(&response);
    Err(match response.status {
        StatusCode::OK => return read_members(&response, asked).map_err(GraphError::Upstream),
        StatusCode::UNAUTHORIZED => GraphError::Unauthorized(error()),
        StatusCode::FORBIDDEN => GraphError::Forbidden(error()),
        StatusCode::NOT_FOUND => GraphError::NoSuchUser,
        status => GraphError::Upstream(match UpstreamFailure::from_response(&response, now) {
            Some(failure) => failure,
            None if status.is_server_error() => UpstreamFailure::unavailable(&response, now),
            None => {
                let said = appended(error().as_ref());
                UpstreamFailure::invalid(format!("status {}{said}", status.as_u16()))
            }
        }),
    })
}

/// What an answer means, for the fuzz targets.
#[cfg(fuzzing)]
pub fn read_answer(response: Response, asked: &[ObjectId], now: Timestamp) -> Result<Vec<ObjectId>, GraphError> {
    classify(Ok(response), asked, now)
}

/// Groups that were not asked for do not count.
fn read_members(response: &Response, asked: &[ObjectId]) -> Result<Vec<ObjectId>, UpstreamFailure> {
    #[derive(Deserialize)]
    struct Body {
        value: Vec<String>,
    }
    let body: Body = response.json()?;
    let members: Vec<ObjectId> = body
        .value
        .iter()
        .map(|id| id.parse().map_err(|_| UpstreamFailure::invalid("an id is no GUID")))
        .collect::<Result<_, _>>()?;
    Ok(members.into_iter().filter(|id| asked.contains(id)).collect())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;

    fn id(number: u32) -> ObjectId {
        format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
    }

    fn outcome(status: u16, content_type: &str, body: &str) -> Result<Vec<ObjectId>, GraphError> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", content_type.parse().unwrap());
        let response = Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.to_owned().into(),
        };
        classify(Ok(response), &[id(1), id(2), id(3)], Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn members_are_those_asked_for_and_nothing_else() {
        let odata = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false";
        let read =
            |value: serde_json::Value| outcome(200, odata, &json!({"@odata.context": "x", "value": value}).to_string());
        assert_eq!(read(json!([])), Ok(vec![]));
        let (one, three) = (id(1).to_string().to_uppercase(), id(3).to_string());
        assert_eq!(read(json!([one, id(9).to_string(), three])), Ok(vec![id(1), id(3)]));
        for bad in [
            json!(null),
            json!({}),
            json!("x"),
            json!([1]),
            json!([null]),
            json!(["x"]),
        ] {
            assert!(
                matches!(
                    read(bad.clone()),
                    Err(GraphError::Upstream(UpstreamFailure::InvalidResponse(_)))
                ),
                "{bad}"
            );
        }
        for (content_type, body) in [
            ("application/json", "{}"),
            ("application/json", ""),
            ("text/html", "{\"value\":[]}"),
        ] {
            assert!(matches!(
                outcome(200, content_type, body),
                Err(GraphError::Upstream(UpstreamFailure::InvalidResponse(_)))
            ));
        }
    }

    #[test]
    fn each_answer_has_one_meaning() {
        let body = json!({"error": {"code": "C", "message": "M"}}).to_string();
        for status in [201, 204, 301, 307, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504] {
            let meaning = match outcome(status, "application/json", &body).unwrap_err() {
                GraphError::Unauthorized(Some(_)) => 401,
                GraphError::Forbidden(Some(_)) => 403,
                GraphError::NoSuchUser => 404,
                GraphError::Upstream(UpstreamFailure::Limited { .. }) => 429,
                GraphError::Upstream(UpstreamFailure::Unavailable { .. }) => 500,
                GraphError::Upstream(UpstreamFailure::Timeout) => 504,
                GraphError::Upstream(UpstreamFailure::InvalidResponse(_)) => 0,
                error => panic!("{error}"),
            };
            let expected = match status {
                401 | 403 | 404 | 429 | 504 => status,
                500..=503 => 500,
                _ => 0,
            };
            assert_eq!(meaning, expected, "{status}");
        }
    }
}
