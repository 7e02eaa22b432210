//! `OTEL_TRACES_SAMPLER`

use super::*;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

#[test]
fn samplers_by_name() {
    let sampler = |settings: Settings| {
        (
            format!("{:?}", settings.sampler.root),
            settings.sampler.sampler(true).obeys_callers,
        )
    };
    for (name, argument, root, parent_based) in [
        ("", "", "AlwaysOn", true),
        ("always_off", "", "AlwaysOff", false),
        ("ALWAYS_ON", "nonsense", "AlwaysOn", false),
        ("traceidratio", "0.25", "TraceIdRatioBased(0.25)", false),
        ("parentbased_traceidratio", "", "TraceIdRatioBased(1.0)", true),
    ] {
        let settings = served(&[(SAMPLER, name), (SAMPLER_ARG, argument)]);
        assert_eq!(sampler(settings), (root.to_owned(), parent_based), "{name}");
        let trusting = served(&[(SAMPLER, name), (SAMPLER_ARG, argument)])
            .sampler
            .sampler(false);
        assert!(!trusting.obeys_callers, "{name}");
    }
    let remote = "endpoint=http://localhost:14250,pollingIntervalMs=5000,initialSamplingRate=0.25";
    for (name, argument, root, parent_based) in [
        ("jaeger_remote", remote, "TraceIdRatioBased(0.25)", false),
        ("parentbased_jaeger_remote", remote, "TraceIdRatioBased(0.25)", true),
        ("jaeger_remote", "endpoint=http://j", "TraceIdRatioBased(1.0)", false),
        ("xray", "", "AlwaysOn", true),
        ("parentbased_", "", "AlwaysOn", true),
        ("often", "0.1", "AlwaysOn", true),
    ] {
        let settings = warned(&[(SAMPLER, name), (SAMPLER_ARG, argument)], SAMPLER);
        assert_eq!(sampler(settings), (root.to_owned(), parent_based), "{name}");
    }
    for bad in ["1.5", "NaN", "-1", "a quarter"] {
        let settings = warned(&[(SAMPLER, "traceidratio"), (SAMPLER_ARG, bad)], SAMPLER_ARG);
        assert_eq!(sampler(settings).0, "TraceIdRatioBased(1.0)", "{bad}");
    }
}
