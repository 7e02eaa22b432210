//! A CA and a server certificate for `dev --tls`, thrown away afterwards or kept in a folder.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ::serve::ReloadingCertificate;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// The longest life that Apple's platforms accept is 398 days (<https://support.apple.com/en-us/102028>).
const LIFE: Duration = Duration::days(397);

/// Files of a certificate for localhost, and of the CA that signed it.
pub(super) struct DevCertificate {
    /// What clients are to trust; of a certificate of the user's own they know it already.
    pub(super) ca: Option<PathBuf>,
    /// The server's certificate.
    pub(super) certificate: PathBuf,
    /// Its key.
    pub(super) private_key: PathBuf,
}

impl DevCertificate {
    /// Those in `folder`, made there if there are none that can be used now. `now` is in seconds since 1970.
    pub(super) fn keep(folder: &Path, now: i64) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let files = Self::within(folder);
        let has_ca = files.ca.as_ref().is_some_and(|ca| ca.is_file());
        if let (true, Ok(loaded)) = (
            has_ca,
            ReloadingCertificate::load(&files.certificate, &files.private_key),
        ) && loaded.validity().is_some_and(|validity| validity.oddity(now).is_none())
        {
            return Ok(files);
        }
        Self::make(folder, now)
    }

    /// Makes all three in `folder`. The CA's own key is dropped: nothing else can ever be signed with it.
    pub(super) fn make(folder: &Path, now: i64) -> anyhow::Result<Self> {
        // A client's clock may be behind.
        let begin = OffsetDateTime::from_unix_timestamp(now)? - Duration::hours(1);
        let mut authority = CertificateParams::default();
        (authority.not_before, authority.not_after) = (begin, begin + LIFE);
        authority.distinguished_name = name("acs-token-broker dev CA");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_key = KeyPair::generate()?;
        let ca_certificate = authority.self_signed(&ca_key)?;

        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut leaf = CertificateParams::new(names)?;
        (leaf.not_before, leaf.not_after) = (begin, begin + LIFE);
        leaf.distinguished_name = name("localhost");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf_key = KeyPair::generate()?;
        let leaf_certificate = leaf.signed_by(&leaf_key, &Issuer::new(authority, ca_key))?;

        let files = Self::within(folder);
        if let Some(ca) = &files.ca {
            fs::write(ca, ca_certificate.pem())?;
        }
        fs::write(&files.certificate, leaf_certificate.pem())?;
        // A file from before keeps its mode otherwise.
        if let Err(error) = fs::remove_file(&files.private_key)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error.into());
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&files.private_key)?
            .write_all(leaf_key.serialize_pem().as_bytes())?;
        Ok(files)
    }

    fn within(folder: &Path) -> Self {
        Self {
            ca: Some(folder.join("ca.pem")),
            certificate: folder.join("server.pem"),
            private_key: folder.join("server-key.pem"),
        }
    }
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}
