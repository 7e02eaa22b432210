//! What was built: the version and the commit, as `--version`, the start line, `build_info` and telemetry show them.
//!
//! An image's build passes both in the environment of the compiler: `ACS_TOKEN_BROKER_VERSION` and
//! `ACS_TOKEN_BROKER_COMMIT`. An empty variable is none, since a build argument that is not given is empty.

/// The product's name: the service's and the instrumentation scope's in telemetry.
pub const NAME: &str = "acs-token-broker";

/// The version: as the build says, or that of the package.
pub const VERSION: &str = given(option_env!("ACS_TOKEN_BROKER_VERSION"), env!("CARGO_PKG_VERSION"));

/// The commit that was built, or `unknown`.
pub const COMMIT: &str = given(option_env!("ACS_TOKEN_BROKER_COMMIT"), "unknown");

const fn given(passed: Option<&'static str>, otherwise: &'static str) -> &'static str {
    match passed {
        Some(passed) if !passed.is_empty() => passed,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::given;

    #[test]
    fn an_empty_argument_counts_as_not_given() {
        assert_eq!(given(Some("1.2.3"), "0.1.0"), "1.2.3");
        assert_eq!(given(Some(""), "0.1.0"), "0.1.0");
        assert_eq!(given(None, "0.1.0"), "0.1.0");
    }
}
