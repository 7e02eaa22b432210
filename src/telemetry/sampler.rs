//! Which traces are recorded.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// `parentbased_*`, except that a caller's sampled flag is not obeyed: children of this process's own spans
/// follow them, everything else is the root sampler's decision.
///
/// The flag comes from anyone who can reach the listener. Obeying it would let a caller make the broker record
/// every one of his requests, or none (W3C Trace Context section 4.2 warns of both). A ratio still goes by the
/// trace id, which callers choose too: what they can gain by that is bounded by the exporter's queue, and services
/// that sample the same ratio keep whole traces.
#[derive(Debug, Clone)]
pub(super) struct LocalParentBased {
    /// Asked where no parent of this process has decided.
    pub(super) root: Sampler,
}

impl ShouldSample for LocalParentBased {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if let Some(context) = parent_context {
            let span = context.span();
            let parent = span.span_context();
            if parent.is_valid() && !parent.is_remote() {
                return SamplingResult {
                    decision: if parent.is_sampled() {
                        SamplingDecision::RecordAndSample
                    } else {
                        SamplingDecision::Drop
                    },
                    attributes: Vec::new(),
                    trace_state: parent.trace_state().clone(),
                };
            }
        }
        self.root
            .should_sample(parent_context, trace_id, name, span_kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    use super::*;

    fn decide(root: Sampler, sampled: bool, remote: bool) -> SamplingDecision {
        let flags = if sampled {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        let state = TraceState::from_key_value([("a", "1")]).unwrap();
        let parent = SpanContext::new(TraceId::from(1), SpanId::from(2), flags, remote, state);
        let context = Context::new().with_remote_span_context(parent);
        let result = LocalParentBased { root }.should_sample(
            Some(&context),
            TraceId::from(1),
            "request",
            &SpanKind::Server,
            &[],
            &[],
        );
        assert_eq!(result.trace_state.header(), "a=1");
        result.decision
    }

    #[test]
    fn local_parents_decide_and_remote_ones_do_not() {
        use SamplingDecision::{Drop, RecordAndSample};
        let cases = [
            // (root, sampled, remote, decision)
            (Sampler::AlwaysOn, true, true, RecordAndSample),
            (Sampler::AlwaysOn, false, true, RecordAndSample),
            (Sampler::AlwaysOff, true, true, Drop),
            (Sampler::AlwaysOff, false, true, Drop),
            (Sampler::AlwaysOn, true, false, RecordAndSample),
            (Sampler::AlwaysOn, false, false, Drop),
            (Sampler::AlwaysOff, true, false, RecordAndSample),
            (Sampler::AlwaysOff, false, false, Drop),
        ];
        for (root, sampled, remote, decision) in cases {
            let case = format!("{root:?} {sampled} {remote}");
            assert_eq!(decide(root, sampled, remote), decision, "{case}");
        }
    }

    #[test]
    fn without_a_parent_the_root_sampler_decides() {
        let sampler = LocalParentBased {
            root: Sampler::AlwaysOff,
        };
        let result = sampler.should_sample(None, TraceId::from(1), "request", &SpanKind::Server, &[], &[]);
        assert_eq!(result.decision, SamplingDecision::Drop);
    }
}
