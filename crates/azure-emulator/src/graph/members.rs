//! Whether a user is in certain groups.
//!
//! <https://learn.microsoft.com/graph/api/directoryobject-checkmembergroups>

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::authorize::{CHECK_MEMBERSHIP, authenticate};
use super::error::{GraphError, not_found};
use super::json_body;
use super::organization::person;
use super::state::Graph;
use crate::request::bearer_token;

/// No call may ask for more groups.
const MAX_GROUPS: usize = 20;
/// `POST /v1.0/users/{id}/checkMemberGroups`.
pub(super) async fn check_member_groups(
    State(graph): State<Arc<Graph>>,
    Path(user): Path<String>,
    request: Request,
) -> Response {
    match answer(&graph, &user, request).await {
        Ok(groups) => Json(json!({
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(Edm.String)",
            "value": groups.iter().map(Uuid::to_string).collect::<Vec<_>>(),
        }))
        .into_response(),
        Err(error) => error.into_response(graph.site.now()),
    }
}

async fn answer(graph: &Graph, user: &str, request: Request) -> Result<Vec<Uuid>, GraphError> {
    let (parts, body) = request.into_parts();
    let caller = authenticate(graph, bearer_token(&parts.headers))?;
    caller.may(graph, CHECK_MEMBERSHIP)?;
    let tenant = caller.tenant;
    let body = json_body(&parts.headers, body).await?;
    let requested = group_ids(&body)?;
    let found = person(graph, tenant, user).ok_or_else(|| not_found(user))?;
    let groups = graph.scenario.groups_of(found);
    Ok(requested.into_iter().filter(|id| groups.contains(id)).collect())
}

fn group_ids(body: &[u8]) -> Result<Vec<Uuid>, GraphError> {
    let value: Value = serde_json::from_slice(body).map_err(|_| {
        GraphError::new(
            StatusCode::BAD_REQUEST,
            "BadRequest",
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON \
             format.",
        )
    })?;
    let ids = value
        .get("groupIds")
        .and_then(Value::as_array)
        .filter(|ids| !ids.is_empty())
        .ok_or_else(|| GraphError::bad_request("The parameter 'groupIds' must be a collection that is not empty."))?;
    if ids.len() > MAX_GROUPS {
        let message = format!(
            "The number of values in 'groupIds' ({}) exceeds the maximum of {MAX_GROUPS}.",
            ids.len()
        );
        return Err(GraphError::bad_request(message));
    }
    ids.iter()
        .map(|id| {
            let text = id.as_str().unwrap_or_default();
            Uuid::try_parse(text).map_err(|_| {
                let shown: String = text.chars().take(100).collect();
                GraphError::bad_request(format!("Invalid object identifier '{shown}'."))
            })
        })
        .collect()
}
