//! One ACS resource.

use azure::UpstreamFailure;
use azure::acs_assignments::{AcsAssignments, AssignmentsError};
use config::{AcsAuthConfig, ResourceConfig};
use futures_util::future::join_all;
use http::StatusCode;
use jiff::SignedDuration;
use telemetry::metrics::labels::Peer;

use super::{CALL_LIMIT, Looker, read_file};
use crate::broker::StartError;
use crate::doctor::rules::acs::{ListLook, ResourceLook};

/// The credentials with which the broker shows a resource who it is, each once.
fn credentials(config: &ResourceConfig) -> Vec<(&'static str, &AcsAuthConfig)> {
    let mut credentials: Vec<_> = config.acs_auths().collect();
    credentials.dedup_by(|(_, one), (_, other)| one == other);
    credentials
}

impl<'c> Looker<'c> {
    /// Looks at what answers at the endpoint, at ACS's assignments and at the broker's file.
    pub(super) async fn resource(&self, config: &'c ResourceConfig) -> (ResourceLook<'c>, Option<SignedDuration>) {
        let lists = credentials(config).into_iter().map(async |(section, auth)| {
            // One that cannot be made is found by `config.valid`.
            let client = self.client(config, section, auth).ok()?;
            let listed = tokio::time::timeout(CALL_LIMIT * 3, client.list()).await;
            let listed = listed.unwrap_or(Err(AssignmentsError::Upstream(UpstreamFailure::Timeout)));
            Some(ListLook { section, listed })
        });
        let (answered, lists) = tokio::join!(self.ask_unsigned(config), join_all(lists));
        let (answered, difference) = match answered {
            Ok((status, difference)) => (Ok(status), difference),
            Err(error) => (Err(error), None),
        };
        let file = config.assignments.file.as_ref().map(|file| read_file(&file.path));
        let look = ResourceLook {
            config,
            answered,
            lists: lists.into_iter().flatten().collect(),
            file,
        };
        (look, difference)
    }

    /// ACS's assignments of a resource, if the broker has something to sign with.
    pub fn assignments(&self, config: &ResourceConfig) -> Result<Option<AcsAssignments>, StartError> {
        let first = credentials(config).into_iter().next();
        first
            .map(|(section, auth)| self.client(config, section, auth))
            .transpose()
    }

    fn client(
        &self,
        config: &ResourceConfig,
        section: &str,
        auth: &AcsAuthConfig,
    ) -> Result<AcsAssignments, StartError> {
        let signed = self.services.signed_acs(self.upstream.clone(), auth, section)?;
        let exchange = &config.exchange;
        Ok(AcsAssignments::new(
            signed,
            &exchange.endpoint,
            &exchange.api_version,
            CALL_LIMIT,
        ))
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
        self.ask(Peer::Acs, url).await
    }
}
