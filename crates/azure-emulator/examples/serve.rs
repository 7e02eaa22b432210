//! The emulator alone, over http and https, with a CA of its own: what the scripts under `tests/sdk` sign in to.
//!
//! `cargo run -p acs-token-broker-azure-emulator --example serve -- FOLDER [ADDRESS]` writes `FOLDER/ca.pem` and says the
//! two origins.

#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use acs_token_broker_azure_emulator::{Emulator, EmulatorOptions, Scenario};
use base::clock::SystemClock;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("give a folder for ca.pem")?);
    let listen: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:8090").parse()?;
    let tls = certificate(&folder)?;
    let mut options = EmulatorOptions::new(listen, SystemClock::shared());
    options.tls = Some(Arc::new(tls));
    let emulator = Emulator::start_with(Scenario::demo(), options).await?;
    println!("http   {}", emulator.origin());
    println!("https  {}", emulator.tls_origin().unwrap_or_default());
    std::future::pending::<()>().await;
    Ok(())
}

/// A server certificate for localhost, of a CA whose key is dropped.
fn certificate(folder: &std::path::Path) -> Result<rustls::ServerConfig, Box<dyn Error>> {
    let (ca_key, key) = (rcgen::KeyPair::generate()?, rcgen::KeyPair::generate()?);
    let mut ca = rcgen::CertificateParams::new(Vec::new())?;
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "The emulator's CA");
    ca.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key)?.pem())?;
    let mut server = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let signed = server.signed_by(&key, &rcgen::Issuer::new(ca, ca_key))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![signed.der().clone()], key)?)
}
