//! The limit on requests from one address, and the count of what limits refused.

use std::net::{IpAddr, Ipv4Addr};

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};

use super::error::ApiError;
use super::{Api, layers};
use crate::limits::Limit;
use crate::limits::address::client_address;
use crate::pipeline::IssueError;
use ::serve::Connected;

/// Lets a request through if its address may send one more now. What one limit refuses, none counts.
pub(super) async fn count<R, F>(api: Api, request: Request, routed: R) -> Response
where
    R: FnOnce(Api, Request) -> F,
    F: Future<Output = Response>,
{
    let limits = &api.pipeline.limits;
    let address = limits.counts_addresses().then(|| address(&api, &request));
    if let Some(Err(exceeded)) = address.map(|address| limits.count_address(address)) {
        api.pipeline.metrics.limited(exceeded.limit);
        return ApiError::from(IssueError::from(exceeded)).into_response();
    }
    let response = layers::guarded(&api, request, routed).await;
    if let Some(limit) = refused_by(&response) {
        api.pipeline.metrics.limited(limit);
        if let Some(address) = address {
            limits.uncount_address(address);
        }
    }
    response
}

fn address(api: &Api, request: &Request) -> IpAddr {
    let peer = request
        .extensions()
        .get()
        .map(|connected: &Connected| connected.peer.ip());
    // Every request that came by a socket has one.
    let peer = peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    client_address(peer, request.headers(), &api.settings.trusted_proxies)
}

fn refused_by(response: &Response) -> Option<Limit> {
    match &*ApiError::cause_of(response)? {
        ApiError::Issue(error) => error.limit(),
        _ => None,
    }
}
