//! Which traces are recorded.

use opentelemetry::trace::{Link, SpanContext, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// The sampler that the variables name, except that a caller's sampled flag is not obeyed unless the operator says so:
/// children of this process's own spans follow them, everything else is the root sampler's decision.
///
/// The flag comes from anyone who can reach the listener. Obeying it would let a caller make the broker record
/// every one of their requests, or none (W3C Trace Context section 4.2 warns of both). A ratio still goes by the
/// trace id, which callers choose too: what they can gain by that is bounded by the exporter's queue, and services
/// that sample the same ratio keep whole traces.
#[derive(Debug, Clone)]
pub(super) struct RequestSampler {
    /// Asked where no parent has decided.
    pub(super) root: Sampler,
    /// Whether a caller's flag decides.
    pub(super) obeys_callers: bool,
}

impl RequestSampler {
    /// One that records nothing.
    pub(super) fn off() -> Self {
        Self {
            root: Sampler::AlwaysOff,
            obeys_callers: false,
        }
    }

    /// Whether a span of this trace under `parent`, which need not be valid, is recorded. The same at every time.
    pub(super) fn samples(&self, parent: &SpanContext, trace_id: TraceId) -> bool {
        if parent.is_valid() && (!parent.is_remote() || self.obeys_callers) {
            return parent.is_sampled();
        }
        let result = self.root.should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }
}

impl ShouldSample for RequestSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let none = SpanContext::NONE;
        let span = parent_context.map(TraceContextExt::span);
        let parent = span.as_ref().map_or(&none, |span| span.span_context());
        SamplingResult {
            decision: if self.samples(parent, trace_id) {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: if parent.is_valid() {
                parent.trace_state().clone()
            } else {
                TraceState::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanId, TraceFlags};

    use super::*;

    fn decide(sampler: &RequestSampler, flag: bool, remote: bool) -> bool {
        let flags = if flag {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        let state = TraceState::from_key_value([("a", "1")]).unwrap();
        let parent = SpanContext::new(TraceId::from(1), SpanId::from(2), flags, remote, state);
        let context = Context::new().with_remote_span_context(parent);
        let result = sampler.should_sample(Some(&context), TraceId::from(1), "request", &SpanKind::Server, &[], &[]);
        assert_eq!(result.trace_state.header(), "a=1");
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn local_parents_decide_and_remote_ones_only_if_they_are_trusted() {
        for (root, sampled, remote, decision, trusting) in [
            (Sampler::AlwaysOn, true, true, true, true),
            (Sampler::AlwaysOn, false, true, true, false),
            (Sampler::AlwaysOff, true, true, false, true),
            (Sampler::AlwaysOff, false, true, false, false),
            (Sampler::AlwaysOn, true, false, true, true),
            (Sampler::AlwaysOn, false, false, false, false),
            (Sampler::AlwaysOff, true, false, true, true),
            (Sampler::AlwaysOff, false, false, false, false),
        ] {
            for (obeys_callers, wanted) in [(false, decision), (true, trusting)] {
                let sampler = RequestSampler {
                    root: root.clone(),
                    obeys_callers,
                };
                assert_eq!(
                    decide(&sampler, sampled, remote),
                    wanted,
                    "{sampler:?} {sampled} {remote}"
                );
            }
        }
    }

    #[test]
    fn without_a_parent_the_root_sampler_decides() {
        for (sampler, wanted) in [
            (RequestSampler::off(), SamplingDecision::Drop),
            (
                RequestSampler {
                    root: Sampler::AlwaysOn,
                    obeys_callers: true,
                },
                SamplingDecision::RecordAndSample,
            ),
        ] {
            let result = sampler.should_sample(None, TraceId::from(1), "request", &SpanKind::Server, &[], &[]);
            assert_eq!(result.decision, wanted);
        }
    }
}
