//! `healthcheck`: asks /readyz, for containers without a shell.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use azure::Upstream;
use clap::Args;
use config::load::{Environment, load_management};
use config::{NoProxy, UpstreamConfig};
use telemetry::metrics::labels::Peer;
use tokio::time::Instant;
use url::Url;

use crate::{ConfigArgument, Exit, complain, say};

/// A probe that takes longer is a failed one.
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_RESPONSE_BYTES: u64 = 64 * 1024;

#[derive(Args)]
pub(crate) struct HealthcheckArguments {
    /// What to ask; by default /readyz at management.listen.
    #[arg(long)]
    url: Option<Url>,
    /// The configuration file that says where management.listen is.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(arguments: &HealthcheckArguments, environment: &Environment) -> Exit {
    match arguments
        .url
        .clone()
        .map_or_else(|| configured(arguments, environment), Ok)
        .and_then(|url| ask(&url))
    {
        Ok(()) => {
            say(&"ready");
            Exit::Done
        }
        Err(error) => {
            complain(&format_args!("{error:#}"));
            Exit::Failure
        }
    }
}

fn configured(arguments: &HealthcheckArguments, environment: &Environment) -> anyhow::Result<Url> {
    let argument = ConfigArgument {
        config: arguments.config.clone(),
    };
    let management = load_management(argument.file(environment).as_deref(), environment)?;
    let address = reachable(management.listen);
    Ok(Url::parse(&format!("http://{address}/readyz"))?)
}

/// A listener on every address is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Through no proxy: a replica is asked where it is.
fn direct() -> UpstreamConfig {
    UpstreamConfig {
        ca_file: None,
        proxy: None,
        environment_proxy: None,
        no_proxy: NoProxy::default(),
        max_response_bytes: MAX_RESPONSE_BYTES,
        breaker: None,
    }
}

fn ask(url: &Url) -> anyhow::Result<()> {
    let runtime = crate::runtime()?;
    let response = runtime.block_on(async {
        let upstream = match url.scheme() {
            "http" => Upstream::plain(TIMEOUT, MAX_RESPONSE_BYTES)?,
            _ => Upstream::new(&direct(), TIMEOUT)?,
        };
        let request = upstream.request(http::Method::GET, url.clone());
        anyhow::Ok(
            upstream
                .send(Peer::Healthcheck, request, Instant::now() + TIMEOUT)
                .await?,
        )
    })?;
    anyhow::ensure!(
        response.status == http::StatusCode::OK,
        "{url} answered {}: {}",
        response.status.as_u16(),
        String::from_utf8_lossy(&response.body)
    );
    Ok(())
}
