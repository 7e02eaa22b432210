//! One fetch of everything that a tenant publishes: both discovery documents and the key set.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::keys::{Discovery, KeysError, TenantKeys};
use crate::ids::TenantId;
use crate::upstream::{SendError, Upstream};

/// The longest that one fetch, three requests, may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks Entra for the keys of listed tenants.
#[derive(Clone)]
pub(super) struct KeyFetcher {
    pub(super) upstream: Upstream,
    pub(super) authority: Url,
}

/// A fetch that brought no usable keys. What was there before stays.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{url}: {source}")]
    Send { url: Url, source: SendError },
    #[error("{url}: status {status}")]
    Status { url: Url, status: StatusCode },
    #[error("{url}: {source}")]
    Keys { url: Url, source: KeysError },
    #[error("{0}: names no jwks_uri")]
    NoKeySet(Url),
}

impl KeyFetcher {
    /// Fetches the keys of `tenant`.
    pub(super) async fn fetch(&self, tenant: TenantId) -> Result<TenantKeys, FetchError> {
        let deadline = Instant::now() + FETCH_TIMEOUT;
        let (v1, v2) = tokio::try_join!(
            self.discovery(tenant, ".well-known/openid-configuration", deadline),
            self.discovery(tenant, "v2.0/.well-known/openid-configuration", deadline),
        )?;
        let (v2_url, v2) = v2;
        let url = v2.jwks_uri.ok_or(FetchError::NoKeySet(v2_url))?;
        let body = self.get(&url, deadline).await?;
        TenantKeys::read(&body, tenant, [v1.1.issuer, v2.issuer]).map_err(|source| FetchError::Keys { url, source })
    }

    async fn discovery(&self, tenant: TenantId, path: &str, deadline: Instant) -> Result<(Url, Discovery), FetchError> {
        let mut url = self.authority.clone();
        url.set_path(&format!("/{tenant}/{path}"));
        let body = self.get(&url, deadline).await?;
        match Discovery::read(&body, tenant, &self.authority) {
            Ok(discovery) => Ok((url, discovery)),
            Err(source) => Err(FetchError::Keys { url, source }),
        }
    }

    async fn get(&self, url: &Url, deadline: Instant) -> Result<bytes::Bytes, FetchError> {
        let request = self
            .upstream
            .request(Method::GET, url.clone())
            .header(http::header::ACCEPT, "application/json");
        let response = self
            .upstream
            .send(request, deadline)
            .await
            .map_err(|source| FetchError::Send {
                url: url.clone(),
                source,
            })?;
        if response.status == StatusCode::OK {
            Ok(response.body)
        } else {
            Err(FetchError::Status {
                url: url.clone(),
                status: response.status,
            })
        }
    }
}
