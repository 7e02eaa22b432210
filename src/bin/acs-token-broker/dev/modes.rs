//! The brokers of the other modes, for the playground: each is started when its mode is first chosen.

use std::collections::BTreeMap;

use ::serve::ShutdownSignals;
use acs_token_broker::broker::Broker;
use azure_emulator::StartBroker;
use base::clock::SharedClock;
use config::Config;
use telemetry::metrics::Metrics;
use tokio::sync::mpsc;

/// More would be a waste of open files: one page calls them.
const MOST_CONNECTIONS: usize = 64;

/// What a broker of another mode is made from.
pub(super) struct OtherModes {
    /// The configurations by mode.
    pub(super) configs: BTreeMap<String, Config>,
    pub(super) clock: SharedClock,
    pub(super) origins: Vec<String>,
    pub(super) signals: ShutdownSignals,
}

impl OtherModes {
    /// Starts what is asked for, until there is nobody to ask.
    pub(super) async fn serve(self, mut requests: mpsc::Receiver<StartBroker>) {
        let mut running = BTreeMap::new();
        while let Some(request) = requests.recv().await {
            if !running.contains_key(&request.mode)
                && let Some(origin) = self.start(&request.mode).await
            {
                running.insert(request.mode.clone(), origin);
            }
            // The page that asked may have gone.
            let _ = request.origin.send(running.get(&request.mode).cloned());
        }
    }

    async fn start(&self, mode: &str) -> Option<String> {
        let mut config = self.configs.get(mode)?.clone();
        let is_https = config.server.tls.is_some();
        let base_path = config.server.base_path.clone();
        config.server.max_connections = config.server.max_connections.min(MOST_CONNECTIONS);
        let loopback = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        (config.server.listen, config.management.listen) = (loopback, loopback);
        // Its counts are not the broker's that was asked for.
        let built = Broker::build(config, self.clock.clone(), Metrics::local()).await;
        let broker = match built {
            Ok(broker) => broker.for_development(self.origins.clone()),
            Err(error) => {
                tracing::error!(%error, mode, "the broker of this mode cannot be started");
                return None;
            }
        };
        let address = broker.public_address();
        tokio::spawn(broker.run(self.signals.clone()));
        Some(if is_https {
            format!("https://localhost:{}{base_path}", address.port())
        } else {
            format!("http://{address}{base_path}")
        })
    }
}
