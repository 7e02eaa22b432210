//! `OTEL_TRACES_SAMPLER`

use opentelemetry_sdk::trace::Sampler;

use super::reader::Reader;
use crate::sampler::RequestSampler;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// What is sampled.
#[derive(Debug)]
pub(crate) struct SamplerSettings {
    pub(super) root: Sampler,
    parent_based: bool,
}

impl SamplerSettings {
    /// The sampler; a caller is obeyed only if they are trusted and the variable asks for parents.
    pub(crate) fn sampler(self, trust_callers: bool) -> RequestSampler {
        RequestSampler {
            root: self.root,
            obeys_callers: self.parent_based && trust_callers,
        }
    }

    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let name = reader.get(SAMPLER).map(|name| name.to_ascii_lowercase());
        let name = name.as_deref().unwrap_or("parentbased_always_on");
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let root = match root {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            // The specification's default for the argument.
            "traceidratio" => {
                Sampler::TraceIdRatioBased(reader.first(&[SAMPLER_ARG], ratio).map_or(1.0, |(_, ratio)| ratio))
            }
            "jaeger_remote" => {
                reader.warn(
                    SAMPLER,
                    "no sampler asks a server here; traceidratio counts, by initialSamplingRate or else 1",
                );
                let rate = reader.get(SAMPLER_ARG).and_then(|argument| initial_rate(&argument));
                Sampler::TraceIdRatioBased(rate.unwrap_or(1.0))
            }
            _ => {
                reader.warn(
                    SAMPLER,
                    "none of always_on, always_off, traceidratio, alone or after parentbased_; \
                     parentbased_always_on counts",
                );
                return Self {
                    root: Sampler::AlwaysOn,
                    parent_based: true,
                };
            }
        };
        Self { root, parent_based }
    }
}

fn ratio(text: &str) -> Result<f64, &'static str> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or("not a number from 0 to 1; 1 counts")
}

/// Of `endpoint=http://…,pollingIntervalMs=5000,initialSamplingRate=0.25`.
fn initial_rate(argument: &str) -> Option<f64> {
    let mut pairs = argument.split(',').filter_map(|pair| pair.split_once('='));
    let (_, rate) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("initialSamplingRate"))?;
    ratio(rate.trim()).ok()
}
