//! What the fuzz targets reach of this stage (`fuzz/`). cargo-fuzz alone compiles it.

use jiff::Timestamp;
use jsonwebtoken::DecodingKey;

use super::claims::{self, SignedClaims};
use super::token::UnverifiedToken;
use super::{Caller, Policy, Rejection, TokenContext};
use base::ids::TenantId;
use base::secret::BearerToken;

/// A well-formed token whose signature has not been checked.
pub struct Unverified<'t>(UnverifiedToken<'t>);

/// What a token claims, whoever signed it.
pub struct Claims(SignedClaims);

impl<'t> Unverified<'t> {
    /// Reads a token as [`Authenticator::verify`](super::Authenticator::verify) does.
    pub fn parse(token: &'t BearerToken) -> Result<Self, Rejection> {
        UnverifiedToken::parse(token).map(Self)
    }

    /// `alg`
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.algorithm()
    }

    /// `kid`
    #[must_use]
    pub fn kid(&self) -> &str {
        self.0.kid()
    }

    /// `tid`
    #[must_use]
    pub fn tid(&self) -> &str {
        self.0.tid()
    }

    /// The claims, if the signature verifies under the RSA key of this modulus and exponent, as a key set has them.
    #[must_use]
    pub fn verify(self, modulus: &str, exponent: &str) -> Option<Claims> {
        let key = DecodingKey::from_rsa_components(modulus, exponent).ok()?;
        self.0.verify(&key).map(Claims)
    }

    /// The claims, as if the signature had verified.
    #[must_use]
    pub fn trusted(self) -> Claims {
        Claims(self.0.trusted())
    }
}

impl Claims {
    /// The caller that the claims make, where every addressee is taken.
    pub fn check(
        &self,
        tenant: TenantId,
        issuers: &[Box<str>],
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Caller, Rejection> {
        claims::check(&self.0, tenant, issuers, policy, &|_: TokenContext| true, now)
    }
}
