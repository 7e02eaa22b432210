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
use azure::credential::app_tokens::AppTokens;
use azure::graph::{GraphClient, GraphError, MOST_GROUPS};
use base::clock::SharedClock;
use base::flight::{Flights, Lost};
use base::ids::{ObjectId, TenantId};
use base::secret::BearerToken;
use telemetry::metrics::Metrics;
use telemetry::trace::{self, SpanReference, Trace};

/// Answers that are remembered, over all users.
const MOST_ANSWERS: u64 = 1_000_000;
/// Calls at once about one user.
const CALLS_AT_ONCE: usize = 4;
/// Calls of one lookup, hence what one request causes at Graph. More groups take another request.
const MOST_CALLS: usize = 40;
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
    /// More groups are assigned than one request has looked up.
    #[error("memberships: more groups are assigned than one request looks up; the next goes on from there")]
    Unfinished,
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
    const NAMES: [&'static str; 8] = [
        "graph_broker_rejected",
        "graph_limited",
        "graph_unavailable",
        "graph_timeout",
        "graph_invalid_response",
        "graph_unfinished",
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
            Self::Unfinished => "graph_unfinished",
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
    /// How long a caller waits for a lookup, and the limit for each of its calls.
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

    /// Those of `groups` that the user is a member of. Callers of one user at once share one lookup, and each starts one at
    /// most. It goes on when its callers have stopped waiting.
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
        let mut has_looked_up = false;
        loop {
            let unknown: Arc<[ObjectId]> = groups.iter().copied().filter(|id| !known.contains_key(id)).collect();
            if unknown.is_empty() {
                let members = groups.iter().copied().filter(|id| known.get(id) == Some(&true));
                return Ok(members.collect());
            }
            if has_looked_up {
                return Err(MembershipError::Unfinished);
            }
            *outcome = ASKED;
            let lookup = Arc::clone(&self.lookup);
            let asked = Arc::clone(&unknown);
            // A lookup under way may be about other groups: what is still unknown is looked up after it.
            let seat = self.flights.join(user, unknown, || lookup.run(user, asked));
            has_looked_up = seat.is_leader;
            let (answers, span) = seat.outcome().await?;
            if let Some(span) = span {
                span.link(&Span::current());
            }
            let answers = match answers {
                // It began earlier than this caller: they have time for a lookup of their own.
                Err(MembershipError::Upstream(UpstreamFailure::Timeout)) if !has_looked_up => continue,
                answers => answers?,
            };
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
            let mut answers = HashMap::new();
            let outcome = self.look_up(user, &groups, &mut answers).await;
            if let Err(error) = &outcome {
                // Graph may name the user. The span above has Graph's words, with the user as telemetry may name them.
                trace::record_error_kind(&span, error.name());
            }
            (outcome.map(|()| Arc::new(answers)), SpanReference::from_span(&span))
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

    /// Asks about as many of `groups` as one lookup may. `answers` and the memory get each answer as it comes, whatever
    /// becomes of the others: the next lookup goes on from there.
    async fn look_up(
        &self,
        user: User,
        groups: &[ObjectId],
        answers: &mut HashMap<ObjectId, bool>,
    ) -> Result<(), MembershipError> {
        let (tenant, _) = user;
        let mut token = self.tokens.token(tenant, self.call_deadline()).await?.access_token;
        // What is not sent does not count.
        if let Some(withheld) = self.graph.withholds(tenant) {
            return Err(MembershipError::Upstream(withheld.into()));
        }
        self.limits.count_upstream(user)?;
        let asked = &groups[..groups.len().min(MOST_CALLS * MOST_GROUPS)];
        let mut outcome = self.ask(user, &token, asked, answers).await;
        if let Err(GraphError::Unauthorized(_)) = outcome {
            // A secret was changed, or the app's rights were: what is left is asked once more with a new token.
            self.tokens.discard(tenant, &token);
            token = self.tokens.token(tenant, self.call_deadline()).await?.access_token;
            outcome = self.ask(user, &token, asked, answers).await;
        }
        match outcome {
            Err(GraphError::NoSuchUser) => {
                let none = groups.iter().map(|group| (*group, false)).collect();
                self.remember(user, &none, self.settings.cache_ttl.min(NO_SUCH_USER));
                answers.extend(none);
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }

    /// Asks about those of `groups` that `answers` lacks.
    async fn ask(
        &self,
        user: User,
        token: &BearerToken,
        groups: &[ObjectId],
        answers: &mut HashMap<ObjectId, bool>,
    ) -> Result<(), GraphError> {
        let (tenant, id) = user;
        let unknown = groups.iter().copied().filter(|group| !answers.contains_key(group));
        let unknown: Vec<ObjectId> = unknown.collect();
        let calls = unknown.chunks(MOST_GROUPS).map(|groups| async move {
            let members = self
                .graph
                .check_member_groups(tenant, token, id, groups, self.call_deadline())
                .await?;
            let answer = groups.iter().map(|group| (*group, members.contains(group)));
            Ok(answer.collect::<HashMap<_, _>>())
        });
        let mut calls = stream::iter(calls.collect::<Vec<_>>()).buffer_unordered(CALLS_AT_ONCE);
        while let Some(answer) = calls.try_next().await? {
            self.remember(user, &answer, self.settings.cache_ttl);
            answers.extend(answer);
        }
        Ok(())
    }

    /// The calls of a lookup are few, and one that fails is the last. So a limit for each bounds them all.
    fn call_deadline(&self) -> Instant {
        Instant::now() + self.settings.timeout
    }
}

#[cfg(test)]
mod tests;
