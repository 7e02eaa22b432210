//! What the fuzz targets reach of the public listener (`fuzz/`). cargo-fuzz alone compiles it.

use axum::body::Body;
use http::HeaderMap;
use tokio::time::Instant;

use super::content::{Content, Read};
use super::error::ApiError;
use super::{Target, bearer, token_exchange};
use crate::pipeline::Requested;
use base::secret::BearerToken;

/// The token in the Authorization header.
pub fn bearer(headers: &HeaderMap) -> Result<BearerToken, ApiError> {
    bearer::from_headers(headers)
}

/// The token of a form (RFC 8693), and what is asked for.
pub fn form(content: &[u8], targets: &[Target], prefixes: &[String]) -> Result<(BearerToken, Requested), ApiError> {
    token_exchange::read_form(content, targets, prefixes)
}

/// Reads the content of a request whose token is in its head. Whether all of it was read.
pub async fn content(headers: &HeaderMap, body: Body, deadline: Instant) -> Result<bool, ApiError> {
    let form = ApiError::UnsupportedMediaType;
    let read = Content::from_head(headers, form)?.read(body, false, deadline).await?;
    Ok(read == Read::Whole)
}
