//! Sending over OTLP: one request to one collector, and what its answer means for what was sent.
//!
//! <https://opentelemetry.io/docs/specs/otlp/>. Messages and their encoding are opentelemetry-proto's, the transports
//! tonic and reqwest. opentelemetry-otlp, which puts the three together, gives a batch up within the limit of one
//! export, says only in words whether a failure may pass, and gives no way to replace a connection.

mod answer;
mod backoff;
mod grpc;
mod http;
mod message;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;

use super::TelemetryError;
use super::environment::{ExporterSettings, Protocol};
use base::clock::SharedClock;

pub(super) use self::answer::Outcome;
pub(super) use self::backoff::Backoff;
pub(super) use self::message::{Export, Item};
pub(super) use self::tls::Tls;

/// How a signal reaches its collector. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Client {
    Grpc(Arc<grpc::Client>),
    Http(http::Client),
}

impl Client {
    /// Does not connect yet.
    pub(super) fn new(settings: &ExporterSettings, clock: SharedClock) -> Result<Self, TelemetryError> {
        Ok(match settings.protocol {
            Protocol::Grpc => Self::Grpc(Arc::new(grpc::Client::new(settings, grpc::KEEP_ALIVE)?)),
            Protocol::HttpProtobuf => Self::Http(http::Client::new(settings, clock)?),
        })
    }

    /// Sends once, within the limit of one export. Needs a tokio runtime around it.
    pub(super) async fn send<M: Export>(&self, message: M) -> Outcome {
        match self {
            Self::Grpc(client) => client.send(message).await,
            Self::Http(client) => client.send(&message).await,
        }
    }
}
