//! `dev`: the broker with an embedded emulator of Entra and ACS, on loopback, ready to try.

mod certificate;
mod configuration;
mod environment;
mod guide;
mod modes;
mod stack;

use std::net::SocketAddr;
use std::path::PathBuf;

use azure_emulator::Step;
use base::clock::SystemClock;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use config::load::Environment;

use self::stack::{Prepared, Stack};
use crate::{Exit, complain};

#[derive(Args)]
pub(crate) struct DevArguments {
    /// Address of the broker; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the management listener.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    management_listen: SocketAddr,
    /// Address of the emulator; loopback only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    emulator_listen: SocketAddr,
    /// How the broker gets ACS tokens. For `on_behalf_of` and `identity` front ends ask Entra for a token for the broker's own
    /// API.
    #[arg(long, value_enum, default_value_t = Mode::Passthrough)]
    mode: Mode,
    /// Begin without these steps of the administrators, to see what a missing one looks like.
    #[arg(long, value_name = "STEP,…", value_delimiter = ',', value_parser = step())]
    undo: Vec<Step>,
    /// Open the playground in a browser.
    #[arg(long)]
    open: bool,
    /// An origin beside those of this machine whose pages may call the emulator and the broker, such as
    /// `https://app.contoso.com`. May be given several times.
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// Serve https, as the JavaScript SDK wants it: with a throw-away certificate, if no other is given.
    #[arg(long)]
    tls: bool,
    /// Keep the certificate and its CA (`ca.pem`) in this folder and use them again, so that a browser has to trust the CA
    /// only once.
    #[arg(long, value_name = "DIR", requires = "tls", conflicts_with = "tls_certificate")]
    ca_dir: Option<PathBuf>,
    /// A certificate of your own for https, such as one of mkcert: a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls", requires = "tls_private_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "FILE", requires = "tls", requires = "tls_certificate")]
    tls_private_key: Option<PathBuf>,
}

/// A step by its name, of which the usage knows all.
fn step() -> impl TypedValueParser<Value = Step> {
    let names = PossibleValuesParser::new(Step::ALL.iter().map(|step| step.name()));
    names.try_map(|name| name.parse::<Step>())
}

/// `exchange.mode`, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Mode {
    /// The user's token, for ACS, goes to ACS as it is.
    Passthrough,
    /// Entra trades it for one for ACS.
    OnBehalfOf,
    /// The broker's access key gets a token for an identity that stands for the user; Chat too.
    Identity,
    /// The token of a Teams user becomes an ACS token for that user.
    TeamsUser,
}

impl Mode {
    fn name(self) -> String {
        // Every mode has a name: none is hidden from the command line.
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

pub(crate) fn run(arguments: &DevArguments, environment: &Environment) -> Exit {
    for (name, address) in [
        ("--listen", arguments.listen),
        ("--management-listen", arguments.management_listen),
        ("--emulator-listen", arguments.emulator_listen),
    ] {
        if !address.ip().is_loopback() {
            complain(&format_args!(
                "{name} must be a loopback address: the emulator hands tokens to anyone"
            ));
            return Exit::Configuration;
        }
    }
    match Stack::prepare(arguments, environment, SystemClock::shared()) {
        Ok(Prepared::Ready(stack)) => stack.run(environment),
        Ok(Prepared::Problems(problems)) => {
            complain(&format_args!("the environment has problems\n{problems}"));
            Exit::Configuration
        }
        Ok(Prepared::Usage(problem)) => {
            complain(&problem);
            Exit::Configuration
        }
        Err(error) => {
            complain(&format_args!("{error:#}"));
            Exit::Failure
        }
    }
}
