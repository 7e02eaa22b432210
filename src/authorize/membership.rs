//! Which of the assigned groups a user is a member of, where the token does not say: Microsoft Graph is asked, and
//! what it said is remembered for a while, "not a member" too.
//!
//! Only assigned groups are ever asked for, and only Graph: the address in a token's `_claim_sources` is never read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::limits::{CallerLimits, Exceeded};
use azure::UpstreamFailure;
use azure::breaker::CircuitState;
use azure::credential::AppError;
use azure::credential::app_tokens::{AppToken, AppTokens};
use azure::graph::{GraphClient, GraphError, MOST_GROUPS};
use base::clock::SharedClock;
use base::flight::{Flights, Lost};
use base::ids::{ObjectId, TenantId};
use telemetry::metrics::Metrics;
use telemetry::trace::{self, SpanReference, Trace};

/// Answers that are remembered, over all users.
const MOST_ANSWERS: u64 = 1_000_000;
/// Calls at once about one user.
const CALLS_AT_ONCE: usize = 4;
/// How long it counts that a tenant has no such user: they may not have been replicated yet.
const NO_SUCH_USER: Duration = Duration::from_secs(30);

/// What is counted where all was remembered.
const CACHED: &str = "cached";
/// What is counted where Graph was asked.
const ASKED: &str = "asked";

/// It is not known whether a user is a member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(test, derive(strum::EnumCount))]
pub enum MembershipError {
    /// Graph or Entra refused the app that asks, or it cannot show who it is.
    #[error("memberships cannot be asked for: {0}")]
    BrokerRejected(String),
    /// Graph or Entra failed.
    #[error("{}", described(.0))]
    Upstream(UpstreamFailure),
    /// The user may start no more upstream work now.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// A bug of ours.
    #[error(transparent)]
    Lost(#[from] Lost),
}

fn described(failure: &UpstreamFailure) -> String {
    match failure {
        UpstreamFailure::Limited { retry_after } => {
            let seconds = retry_after.as_secs();
            format!("memberships cannot be asked for now: too many requests for {seconds}s")
        }
        UpstreamFailure::Unavailable { cause, .. } => format!("memberships cannot be asked for now: {cause}"),
        UpstreamFailure::Timeout => "no answer about memberships in time".to_owned(),
        UpstreamFailure::InvalidResponse(fault) => format!("memberships: {fault}"),
    }
}

impl MembershipError {
    /// What [`name`](Self::name) can give.
    const NAMES: [&'static str; 7] = [
        "graph_broker_rejected",
        "graph_limited",
        "graph_unavailable",
        "graph_timeout",
        "graph_invalid_response",
        "user_limited",
        "internal",
    ];

    /// Its name in spans: of low cardinality.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::BrokerRejected(_) => "graph_broker_rejected",
            Self::Upstream(UpstreamFailure::Limited { .. }) => "graph_limited",
            Self::Upstream(UpstreamFailure::Unavailable { .. }) => "graph_unavailable",
            Self::Upstream(UpstreamFailure::Timeout) => "graph_timeout",
            Self::Upstream(UpstreamFailure::InvalidResponse(_)) => "graph_invalid_response",
            Self::Exceeded(_) => "user_limited",
            Self::Lost(_) => "internal",
        }
    }
}

impl From<AppError> for MembershipError {
    fn from(error: AppError) -> Self {
        match error.upstream_failure() {
            Some(failure) => Self::Upstream(failure),
            None => Self::BrokerRejected(error.to_string()),
        }
    }
}

impl From<GraphError> for MembershipError {
    fn from(error: GraphError) -> Self {
        let text = error.to_string();
        match error {
            GraphError::Unauthorized(_) | GraphError::Forbidden(_) => Self::BrokerRejected(text),
            GraphError::Upstream(failure) => Self::Upstream(failure.explained(text)),
            GraphError::NoSuchUser => Self::Upstream(UpstreamFailure::InvalidResponse(text)),
        }
    }
}

/// How memberships are asked for: the settings of `[graph]`.
#[derive(Debug, Clone, Copy)]
pub struct MembershipSettings {
    /// Limit for one lookup, with all its calls.
    pub timeout: Duration,
    /// How long an answer counts.
    pub cache_ttl: Duration,
}

/// Memberships of users in groups.
pub struct Memberships {
    lookup: Arc<Lookup>,
    // By user; marked by the groups that are being asked for.
    flights: Flights<User, Arc<[ObjectId]>, LookupOutcome>,
    metrics: Metrics,
}

type User = (TenantId, ObjectId);
/// Whether the user is a member, by group.
type Answers = Arc<HashMap<ObjectId, bool>>;
/// What a lookup found, and its span, if that was recorded.
type LookupOutcome = (Result<Answers, MembershipError>, Option<SpanReference>);

struct Lookup {
    graph: GraphClient,
    tokens: AppTokens,
    settings: MembershipSettings,
    limits: Arc<CallerLimits>,
    known: moka::sync::Cache<User, Arc<HashMap<ObjectId, Known>>>,
    clock: SharedClock,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    member: bool,
    // Monotonic time.
    until: Duration,
}

impl Memberships {
    /// Memberships as `graph` reports them to the app of `tokens`, whose scope is Graph's. What users cause there counts
    /// in `limits`.
    #[must_use]
    pub fn new(
        graph: GraphClient,
        tokens: AppTokens,
        settings: MembershipSettings,
        limits: Arc<CallerLimits>,
        clock: SharedClock,
    ) -> Self {
        // Expiry is decided by our own clock; moka's only reclaims memory.
        let known = moka::sync::Cache::builder()
            .weigher(|_, answers: &Arc<HashMap<ObjectId, Known>>| u32::try_from(answers.len()).unwrap_or(u32::MAX))
            .max_capacity(MOST_ANSWERS)
            .time_to_live(settings.cache_ttl.max(Duration::from_secs(1)))
            .build();
        Self {
            lookup: Arc::new(Lookup {
                graph,
                tokens,
                settings,
                limits,
                known,
                clock,
            }),
            flights: Flights::default(),
            metrics: Metrics::noop(),
        }
    }

    /// The same, counted in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        metrics.memberships(&[CACHED, ASKED]);
        metrics.memberships(&MembershipError::NAMES);
        Self { metrics, ..self }
    }

    /// The state of Graph's circuit.
    #[must_use]
    pub fn circuit(&self) -> CircuitState {
        self.lookup.graph.circuit()
    }

    /// Those of `groups` that the user is a member of. Callers of one user at once share one lookup.
    pub async fn resolve(
        &self,
        tenant: TenantId,
        user: ObjectId,
        groups: &[ObjectId],
        deadline: Instant,
    ) -> Result<HashSet<ObjectId>, MembershipError> {
        let deadline = deadline.min(Instant::now() + self.lookup.settings.timeout);
        let mut outcome = CACHED;
        let answers = tokio::time::timeout_at(deadline, self.answers((tenant, user), groups, &mut outcome))
            .await
            .unwrap_or(Err(MembershipError::Upstream(UpstreamFailure::Timeout)));
        self.metrics
            .membership(answers.as_ref().err().map_or(outcome, MembershipError::name));
        answers
    }

    async fn answers(
        &self,
        user: User,
        groups: &[ObjectId],
        outcome: &mut &'static str,
    ) -> Result<HashSet<ObjectId>, MembershipError> {
        let mut known = self.lookup.remembered(user);
        loop {
            let unknown: Arc<[ObjectId]> = groups.iter().copied().filter(|id| !known.contains_key(id)).collect();
            if unknown.is_empty() {
                let members = groups.iter().copied().filter(|id| known.get(id) == Some(&true));
                return Ok(members.collect());
            }
            *outcome = ASKED;
            let lookup = Arc::clone(&self.lookup);
            let asked = Arc::clone(&unknown);
            // A lookup under way may be about other groups: what is still unknown is looked up after it.
            let seat = self.flights.join(user, unknown, || lookup.run(user, asked));
            let (answers, span) = seat.outcome().await?;
            if let Some(span) = span {
                span.link(&Span::current());
            }
            let answers = answers?;
            known.extend(answers.iter().map(|(group, member)| (*group, *member)));
        }
    }
}

impl Lookup {
    fn remembered(&self, user: User) -> HashMap<ObjectId, bool> {
        let now = self.clock.monotonic();
        let known = self.known.get(&user).unwrap_or_default();
        let young = known.iter().filter(|(_, known)| known.until > now);
        young.map(|(group, known)| (*group, known.member)).collect()
    }

    /// Asks Graph, and remembers the answer. In the caller's trace, but not holding its spans open: the caller may leave.
    fn run(
        self: Arc<Self>,
        user: User,
        groups: Arc<[ObjectId]>,
    ) -> impl Future<Output = LookupOutcome> + Send + 'static {
        let trace = Trace::current();
        let span = trace.follow(|| {
            tracing::info_span!(parent: None, "membership", acs_broker.graph.groups = i64::try_from(groups.len()).unwrap_or(i64::MAX),
                error.type = Empty, otel.status_code = Empty)
        });
        let asking = span.clone();
        let work = async move {
            let deadline = Instant::now() + self.settings.timeout;
            let outcome = tokio::time::timeout_at(deadline, self.members(user, &groups, deadline))
                .await
                .unwrap_or(Err(MembershipError::Upstream(UpstreamFailure::Timeout)));
            if let Err(error) = &outcome {
                // Graph may name the user. The span above has Graph's words, with the user as telemetry may name them.
                trace::record_error_kind(&span, error.name());
            }
            let answers = outcome.map(|(members, ttl)| {
                let answers = groups.iter().map(|group| (*group, members.contains(group))).collect();
                let answers = Arc::new(answers);
                self.remember(user, &answers, ttl);
                answers
            });
            (answers, SpanReference::from_span(&span))
        }
        .instrument(asking);
        trace.carry(work)
    }

    fn remember(&self, user: User, answers: &HashMap<ObjectId, bool>, ttl: Duration) {
        let now = self.clock.monotonic();
        let mut known: HashMap<_, _> = self
            .known
            .get(&user)
            .iter()
            .flat_map(|known| known.iter().map(|(group, known)| (*group, *known)))
            .filter(|(_, known)| known.until > now)
            .collect();
        let until = now + ttl;
        known.extend(answers.iter().map(|(&group, &member)| (group, Known { member, until })));
        self.known.insert(user, Arc::new(known));
    }

    /// The groups of which the user is a member, and how long that counts.
    async fn members(
        &self,
        user: User,
        groups: &[ObjectId],
        deadline: Instant,
    ) -> Result<(HashSet<ObjectId>, Duration), MembershipError> {
        let (tenant, _) = user;
        let token = self.tokens.token(tenant, deadline).await?;
        self.limits.count_upstream(user)?;
        let mut members = self.check(user, &token, groups, deadline).await;
        if let Err(GraphError::Unauthorized(_)) = members {
            // A secret was changed, or the app's rights were: the calls are made once more with a new token.
            self.tokens.discard(tenant, &token);
            let token = self.tokens.token(tenant, deadline).await?;
            members = self.check(user, &token, groups, deadline).await;
        }
        match members {
            Ok(members) => Ok((members, self.settings.cache_ttl)),
            Err(GraphError::NoSuchUser) => Ok((HashSet::new(), self.settings.cache_ttl.min(NO_SUCH_USER))),
            Err(error) => Err(error.into()),
        }
    }

    async fn check(
        &self,
        (tenant, user): User,
        token: &AppToken,
        groups: &[ObjectId],
        deadline: Instant,
    ) -> Result<HashSet<ObjectId>, GraphError> {
        let calls = groups.chunks(MOST_GROUPS).map(|groups| {
            self.graph
                .check_member_groups(tenant, token.token(), user, groups, deadline)
        });
        let members: Vec<Vec<ObjectId>> = stream::iter(calls.collect::<Vec<_>>())
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(members.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests;
