//! OTLP over gRPC.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::answer::{Outcome, is_transport};
use super::message::Export;
use crate::TelemetryError;
use crate::environment::ExporterSettings;

/// Pings of HTTP/2, in use and idle: how often, and how long their answer may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeepAlive {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

/// Not more often: gRPC's servers close a connection after three pings without a call between them, by default.
pub(super) const KEEP_ALIVE: KeepAlive = KeepAlive {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(10),
};

/// A connection to a collector, replaced where it does not answer.
#[derive(Debug)]
pub(crate) struct Client {
    endpoint: Endpoint,
    // Made at the first use, within a runtime. `None` again once it failed.
    channel: Mutex<Option<Channel>>,
    metadata: MetadataMap,
    gzip: bool,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(settings: &ExporterSettings, keep_alive: KeepAlive) -> Result<Self, TelemetryError> {
        let endpoint = Endpoint::from_shared(settings.endpoint.clone())
            .and_then(|endpoint| endpoint.user_agent(super::http::USER_AGENT))
            .map_err(TelemetryError::Channel)?
            .connect_timeout(settings.timeout)
            .http2_keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout)
            .keep_alive_while_idle(true);
        let endpoint = if settings.endpoint.starts_with("https://") {
            endpoint
                .tls_config(settings.tls.for_grpc())
                .map_err(TelemetryError::Channel)?
        } else {
            endpoint
        };
        Ok(Self {
            endpoint,
            channel: Mutex::new(None),
            metadata: MetadataMap::from_headers(settings.headers.clone()),
            gzip: settings.gzip,
            timeout: settings.timeout,
        })
    }

    pub(super) async fn send<M: Export>(&self, message: M) -> Outcome {
        let Ok(answer) = tokio::time::timeout(self.timeout, self.call(message)).await else {
            // Whatever swallowed this would swallow the next one too.
            self.retire();
            return Outcome::unanswered("no answer in time");
        };
        match answer {
            Ok(answer) => Outcome::Taken {
                rejected: M::rejected(&answer),
            },
            Err(status) => {
                if is_transport(&status) {
                    self.retire();
                }
                Outcome::from_grpc_status(&status)
            }
        }
    }

    async fn call<M: Export>(&self, message: M) -> Result<M::Answer, Status> {
        let mut client = tonic::client::Grpc::new(self.channel());
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client
            .ready()
            .await
            .map_err(|error| Status::from_error(Box::new(error)))?;
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        let method = PathAndQuery::from_static(M::METHOD);
        let answer = client.unary(request, method, ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }

    fn channel(&self) -> Channel {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        channel.get_or_insert_with(|| self.endpoint.connect_lazy()).clone()
    }

    fn retire(&self) {
        *self.channel.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
