//! One ACS resource.

use std::sync::Arc;

use azure::UpstreamFailure;
use azure::acs_assignments::{AcsAssignments, AssignmentsError};
use azure::acs_signing::SignedAcs;
use config::{ExchangeMode, ResourceConfig};
use http::{Method, StatusCode};
use jiff::SignedDuration;
use telemetry::metrics::labels::Peer;
use tokio::time::Instant;

use super::{CALL_LIMIT, Looker, read_file};
use crate::broker::StartError;
use crate::doctor::rules::acs::ResourceLook;

impl<'c> Looker<'c> {
    /// Looks at what answers at the endpoint, at ACS's assignments and at the broker's file.
    pub(super) async fn resource(&self, config: &'c ResourceConfig) -> (ResourceLook<'c>, Option<SignedDuration>) {
        let list = async {
            match self.assignments(config) {
                Ok(Some(client)) => Some(
                    tokio::time::timeout(CALL_LIMIT * 3, client.list())
                        .await
                        .unwrap_or(Err(AssignmentsError::Upstream(UpstreamFailure::Timeout))),
                ),
                // One that cannot be made is found by `config.valid`.
                Ok(None) | Err(_) => None,
            }
        };
        let (answered, listed) = tokio::join!(self.ask_unsigned(config), list);
        let (answered, difference) = match answered {
            Ok((status, difference)) => (Ok(status), difference),
            Err(error) => (Err(error), None),
        };
        let file = config.assignments.file.as_ref().map(|file| read_file(&file.path));
        let look = ResourceLook {
            config,
            answered,
            listed,
            file,
        };
        (look, difference)
    }

    /// ACS's assignments of a resource, if the broker has something to sign with.
    pub fn assignments(&self, config: &ResourceConfig) -> Result<Option<AcsAssignments>, StartError> {
        let auth = match (&config.assignments.acs_auth, &config.exchange.mode) {
            (Some(auth), _) => self.services.acs_auth(auth, "assignments.acs")?,
            (None, ExchangeMode::TeamsUser(settings)) => {
                self.services.acs_auth(&settings.auth, "exchange.teams_user")?
            }
            (None, ExchangeMode::Identity(settings)) => self.services.acs_auth(&settings.auth, "exchange.identity")?,
            (None, ExchangeMode::Passthrough | ExchangeMode::OnBehalfOf(_)) => return Ok(None),
        };
        let signed = SignedAcs::new(self.upstream.clone(), auth, Arc::clone(&self.clock));
        let exchange = &config.exchange;
        Ok(Some(AcsAssignments::new(
            signed,
            &exchange.endpoint,
            &exchange.api_version,
            CALL_LIMIT,
        )))
    }

    /// A request that ACS refuses, since nothing signs it: that it does shows that it is there, and costs no exchange.
    async fn ask_unsigned(
        &self,
        config: &ResourceConfig,
    ) -> Result<(StatusCode, Option<SignedDuration>), azure::SendError> {
        let mut url = config.exchange.endpoint.clone();
        url.set_path("/access/entra/assignments");
        url.query_pairs_mut()
            .append_pair("api-version", &config.exchange.api_version);
        let asked_at = self.clock.now();
        let request = self.upstream.request(Method::GET, url);
        let deadline = Instant::now() + CALL_LIMIT;
        let response = self.upstream.send(Peer::Acs, request, deadline).await?;
        Ok((response.status, self.difference(asked_at, &response)))
    }
}
