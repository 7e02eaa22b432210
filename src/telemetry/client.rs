//! The client that exporters push with over http.

use std::io;
use std::thread;

use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use url::Url;

use super::TelemetryError;
use super::environment::ExporterSettings;
use crate::config::units::is_loopback;

/// opentelemetry-otlp's own would follow a redirect with the headers of `OTEL_EXPORTER_OTLP_HEADERS`, which hold keys,
/// to whatever host it names; and it would go to a proxy with what is for this machine.
pub(super) fn http(settings: &ExporterSettings) -> Result<Client, TelemetryError> {
    let near = Url::parse(&settings.endpoint).is_ok_and(|url| is_loopback(&url));
    let make = || {
        let builder = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .timeout(settings.timeout);
        // Without this the standard variables count.
        let builder = if near { builder.no_proxy() } else { builder };
        builder.build().map_err(TelemetryError::Client)
    };
    // reqwest panics where a blocking client is made within a tokio runtime.
    thread::scope(|scope| {
        let making = thread::Builder::new()
            .name("otlp-client".to_owned())
            .spawn_scoped(scope, make)
            .map_err(TelemetryError::Runtime)?;
        making
            .join()
            .map_err(|_| TelemetryError::Runtime(io::Error::other("no client")))?
    })
}
