//! Stage four: from a permitted caller's Entra token to an ACS token, in one of four modes.
//!
//! The modes differ in what is sent to ACS: the caller's own token (passthrough), one that Entra gives the broker on the
//! caller's behalf (`on_behalf_of`), a request in the broker's own name (`identity`), or such a request with a Teams
//! user's token in it (`teams_user`). What ACS's answers mean, the retry and the pause are the same.

mod answer;
mod error;
mod identity;
mod in_own_name;
mod key;
mod on_behalf_of;
mod teams_user;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

pub use self::error::ExchangeError;
use self::in_own_name::Means;
pub use self::key::{ExchangeKey, ExchangePlan};
pub use self::on_behalf_of::OnBehalfOf;
use crate::authenticate::Addressee;
use crate::authorize::Permit;
use crate::authorize::assignment::AllowedScopes;
use crate::cache;
use azure::Response;
pub use azure::acs::Operation;
use azure::acs::{AcsExchange, Granted};
use azure::acs_identities::{self, AcsIdentities, IdentityRequest};
use azure::acs_teams_users::{AcsTeamsUsers, TeamsUserToken, is_denied};
use azure::budget::Place;
use azure::endpoint::Endpoint;
pub use azure::entra::{EntraError, EntraErrorResponse, Refusal};
use azure::retry;
use base::clock::SharedClock;
use base::ids::Scopes;
use base::secret::{BearerToken, TokenDigest};
use config::{IdentityScope, TeamsCloud};
use telemetry::trace::SpanReference;

/// An ACS access token: what is cached, and what callers get.
#[derive(Debug)]
pub struct IssuedToken {
    /// What ACS granted: the token, its identity and its expiry.
    pub grant: Granted,
    /// Its scopes: those of the Entra token it was exchanged for, unless the exchange names others.
    pub scopes: Scopes,
    /// The span of the exchange that brought it, if it was recorded: few are.
    pub span: Option<Box<SpanReference>>,
}

impl cache::Token for IssuedToken {
    fn expires_on(&self) -> Timestamp {
        self.grant.expires_on
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.grant.identity_id.len()
            + self.grant.token.expose().len()
            + self.grant.expires_on_text.len()
            + self.scopes.bytes()
    }
}

/// How tokens come about at a resource.
#[derive(strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Mode {
    /// The caller's token goes to ACS as it is.
    Passthrough(AcsExchange),
    /// Entra issues one for ACS on the caller's behalf.
    OnBehalfOf(AcsExchange, Box<OnBehalfOf>),
    /// ACS issues one for an identity that stands for the caller.
    Identity {
        /// The operation.
        identities: AcsIdentities,
        /// The most that anyone may get.
        scopes: Vec<IdentityScope>,
        /// How long tokens live, in minutes.
        lifetime: u16,
    },
    /// ACS issues one for the Teams user whose token it is shown.
    TeamsUser {
        /// The operation.
        teams_users: AcsTeamsUsers,
        /// How such users are named at ACS.
        cloud: TeamsCloud,
    },
}

/// Makes ACS tokens at one resource.
pub struct Exchanger {
    mode: Mode,
    resource: Arc<str>,
    timeout: Duration,
    endpoint: Arc<Endpoint>,
    strict_audience: bool,
    clock: SharedClock,
}

impl Exchanger {
    /// An exchanger in `mode`. `resource` identifies the resource; one exchange in all takes at most
    /// `timeout`; `endpoint` guards the resource's endpoint.
    #[must_use]
    pub fn new(mode: Mode, resource: &str, timeout: Duration, endpoint: Arc<Endpoint>, clock: SharedClock) -> Self {
        Self {
            mode,
            resource: resource.into(),
            timeout,
            endpoint,
            strict_audience: false,
            clock,
        }
    }

    /// The same where other resources take tokens for other APIs: here only those count that are for this mode. A
    /// token for ACS proves no consent to the broker's API, and one for the broker's API is not ACS's to see.
    #[must_use]
    pub fn with_strict_audience(self) -> Self {
        Self {
            strict_audience: true,
            ..self
        }
    }

    /// The mode's name, as in `exchange.mode`.
    #[must_use]
    pub fn mode_name(&self) -> &'static str {
        (&self.mode).into()
    }

    /// What guards the resource's endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whether a token for `addressee` may come by ACS's path for `requested`, or by a path of the broker's own. Where the
    /// token itself goes to ACS, that path's API is the only one whose tokens ACS takes there; one for the other path's
    /// could only be refused.
    #[must_use]
    pub fn accepts(&self, requested: Option<Operation>, addressee: Addressee) -> bool {
        match (&self.mode, requested) {
            (Mode::TeamsUser { .. }, _) => self.takes(addressee),
            (Mode::Passthrough(_), Some(Operation::Entra)) => addressee != Addressee::AcsTeams,
            (Mode::Passthrough(_), Some(Operation::TeamsExtension)) => addressee != Addressee::AcsClients,
            (Mode::Passthrough(_), None) | (Mode::OnBehalfOf(..) | Mode::Identity { .. }, _) => true,
        }
    }

    /// Whether tokens for `addressee` count here at all.
    #[must_use]
    pub fn takes(&self, addressee: Addressee) -> bool {
        match &self.mode {
            Mode::TeamsUser { .. } => matches!(addressee, Addressee::AcsTeams | Addressee::AcsBoth),
            Mode::Passthrough(_) => !self.strict_audience || addressee.is_acs(),
            Mode::OnBehalfOf(..) | Mode::Identity { .. } => !self.strict_audience || !addressee.is_acs(),
        }
    }

    /// Whether a scope of that name is good for what is done here with a token for `addressee`. ACS's API for Teams has
    /// scopes of two operations, and each of them refuses tokens that have the other's alone.
    #[must_use]
    pub fn counts(&self, requested: Option<Operation>, addressee: Addressee, scope: &str) -> bool {
        let family = match &self.mode {
            Mode::TeamsUser { .. } => "Teams.",
            Mode::Passthrough(_)
                if requested.unwrap_or_else(|| default_operation(addressee)) == Operation::TeamsExtension =>
            {
                "TeamsExtension."
            }
            Mode::Passthrough(_) | Mode::OnBehalfOf(..) | Mode::Identity { .. } => return true,
        };
        scope.starts_with(family)
    }

    /// Whether a caller whose assignments allow `allowed` gets any scope. Where ACS chooses the scopes, that is its business.
    #[must_use]
    pub fn grants(&self, allowed: Option<AllowedScopes>) -> bool {
        match &self.mode {
            Mode::Passthrough(_) | Mode::OnBehalfOf(..) | Mode::TeamsUser { .. } => true,
            Mode::Identity { scopes, .. } => !identity::granted(scopes, allowed).is_empty(),
        }
    }

    /// What an exchange for `permit` would be. `requested` is the operation that the caller chose, if any.
    pub fn plan(
        &self,
        permit: Permit,
        presented: TokenDigest,
        requested: Option<Operation>,
    ) -> Result<ExchangePlan, ExchangeError> {
        let addressee = permit.caller().addressee();
        if !self.takes(addressee) {
            return Err(ExchangeError::WrongAudience);
        }
        match &self.mode {
            Mode::Passthrough(_) => {
                let operation = requested.unwrap_or_else(|| default_operation(addressee));
                Ok(ExchangePlan::passthrough(permit, operation, &self.resource))
            }
            // The operation follows from what the broker asks Entra for.
            Mode::OnBehalfOf(_, on_behalf_of) => {
                let operation = on_behalf_of.operation();
                if requested.is_some_and(|requested| requested != operation) {
                    return Err(ExchangeError::WrongPath);
                }
                Ok(ExchangePlan::on_behalf_of(permit, operation, presented, &self.resource))
            }
            Mode::Identity { .. } if requested == Some(Operation::TeamsExtension) => Err(ExchangeError::WrongPath),
            Mode::Identity { scopes, .. } => {
                let granted = identity::granted(scopes, permit.allowed_scopes());
                if granted.is_empty() {
                    return Err(ExchangeError::NoScope);
                }
                Ok(ExchangePlan::identity(permit, &granted, &self.resource))
            }
            // ACS's own paths promise what this is not.
            Mode::TeamsUser { .. } if requested.is_some() => Err(ExchangeError::WrongPath),
            Mode::TeamsUser { .. } => Ok(ExchangePlan::teams_user(permit, &self.resource)),
        }
    }

    /// Carries out `plan`, which this exchanger made, for the caller who presented `token`. `place` is the one in the
    /// endpoint's budget, if it has one; `deadline` is that of the request that waits, if one does.
    pub async fn exchange(
        &self,
        plan: &ExchangePlan,
        token: &BearerToken,
        place: Option<Place>,
        deadline: Option<Instant>,
    ) -> Result<IssuedToken, ExchangeError> {
        let limit = Instant::now() + self.timeout;
        let deadline = deadline.map_or(limit, |deadline| deadline.min(limit));
        // Before Entra is asked for what ACS would not take.
        if let Some(withheld) = self.endpoint.guards().withhold() {
            return Err(withheld.into());
        }
        let user = plan.permit().caller();
        let operation = || plan.operation().unwrap_or_else(|| default_operation(user.addressee()));
        let (grant, scopes) = match &self.mode {
            Mode::Passthrough(acs) => (self.at_acs(acs, operation(), token, place, deadline).await?, None),
            Mode::OnBehalfOf(acs, on_behalf_of) => {
                let (token, scopes) = on_behalf_of.token(user.tenant(), token, deadline).await?;
                let grant = self
                    .at_acs(acs, on_behalf_of.operation(), &token, place, deadline)
                    .await?;
                (grant, scopes)
            }
            Mode::Identity {
                identities,
                scopes,
                lifetime,
            } => {
                let scopes = identity::granted(scopes, plan.permit().allowed_scopes());
                let custom_id = identity::custom_id(user.tenant(), user.object_id());
                let request = IdentityRequest {
                    custom_id: &custom_id,
                    scopes: &scopes,
                    expires_in_minutes: *lifetime,
                };
                let is_refused = |response: &Response| identities.can_renew() && acs_identities::is_refused(response);
                let attempt = |refused| identities.send(request, refused, deadline);
                let called = in_own_name::call(self.means(place, deadline), is_refused, attempt).await;
                let grant = answer::from_identity_request(called, self.clock.now())?;
                (grant, Some(scopes.iter().map(|scope| scope.name()).collect()))
            }
            Mode::TeamsUser { teams_users, cloud } => {
                let shown = TeamsUserToken {
                    token,
                    app: user.client_app(),
                    user: user.object_id(),
                };
                let identity = teams_user::identifier(*cloud, user.object_id());
                let is_refused = |response: &Response| teams_users.can_renew() && is_denied(response);
                let attempt = |refused| teams_users.send(shown, refused, deadline);
                let called = in_own_name::call(self.means(place, deadline), is_refused, attempt).await;
                (
                    answer::from_teams_user_exchange(called, &identity, self.clock.now())?,
                    None,
                )
            }
        };
        let now = self.clock.now();
        if grant.expires_on > now {
            Ok(IssuedToken {
                grant,
                scopes: scopes.unwrap_or_else(|| user.scopes().clone()),
                span: SpanReference::from_span(&tracing::Span::current()).map(Box::new),
            })
        } else if plan.bounded_by().is_some_and(|end| end <= now) {
            Err(ExchangeError::TokenExpired)
        } else {
            Err(ExchangeError::InvalidResponse(
                "ACS's token has ended already".to_owned(),
            ))
        }
    }

    fn means(&self, place: Option<Place>, deadline: Instant) -> Means<'_> {
        Means {
            guards: self.endpoint.guards(),
            place,
            clock: &*self.clock,
            deadline,
        }
    }

    async fn at_acs(
        &self,
        acs: &AcsExchange,
        operation: Operation,
        token: &BearerToken,
        place: Option<Place>,
        deadline: Instant,
    ) -> Result<Granted, ExchangeError> {
        let attempt = || acs.send(operation, token, deadline);
        let called = retry::call(self.endpoint.guards(), place, &*self.clock, deadline, attempt).await;
        answer::from_exchange(called, self.clock.now())
    }
}

/// The operation for a token whose caller did not choose one.
fn default_operation(addressee: Addressee) -> Operation {
    match addressee {
        Addressee::AcsTeams | Addressee::AcsBoth => Operation::TeamsExtension,
        Addressee::AcsClients | Addressee::OwnApi => Operation::Entra,
    }
}
