//! Reading claims by type. Which of them must be there, and what they must say, is the rules' business.

use std::str::FromStr;

use jiff::Timestamp;
use serde::de::MapAccess;

use crate::authenticate::json::{self, Parts, Seen, Value, Whole};
use crate::authenticate::rejection::{JsonFault, Malformed};
use base::ids::{ClientAppId, ObjectId};

/// The claims this broker reads, each of the type that its definition says.
#[derive(Debug, Default)]
pub(in crate::authenticate) struct SignedClaims {
    pub(in crate::authenticate) tid: Option<String>,
    pub(super) iss: Option<String>,
    pub(super) aud: Option<Vec<String>>,
    pub(super) exp: Option<Timestamp>,
    pub(super) nbf: Option<Timestamp>,
    pub(super) iat: Option<Timestamp>,
    pub(super) oid: Option<ObjectId>,
    pub(super) client_app: Option<ClientAppId>,
    pub(super) scp: Option<String>,
    pub(super) idtyp: Option<String>,
    pub(super) groups: Option<Vec<ObjectId>>,
    pub(super) groups_overage: bool,
    pub(super) groups_by_name: bool,
    pub(super) bound: bool,
}

impl SignedClaims {
    /// Bytes held, roughly.
    pub(in crate::authenticate) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let audiences: usize = self.aud.iter().flatten().map(String::len).sum();
        let groups = self.groups.as_ref().map_or(0, |groups| size_of_val(groups.as_slice()));
        size_of::<Self>()
            + audiences
            + groups
            + [&self.tid, &self.iss, &self.scp, &self.idtyp]
                .map(text)
                .iter()
                .sum::<usize>()
    }

    /// Reads a payload in one pass.
    pub(in crate::authenticate) fn read(payload: &[u8]) -> Result<Unchecked, JsonFault> {
        let mut claims = Unchecked::default();
        json::read(payload, &mut claims)?;
        Ok(claims)
    }
}

/// Claims of a payload that is JSON as it should be.
#[derive(Default)]
pub(in crate::authenticate) struct Unchecked {
    claims: SignedClaims,
    azp: Option<ClientAppId>,
    appid: Option<ClientAppId>,
    // The first claim of another type than its definition says.
    mistyped: Option<&'static str>,
}

/// A claim that is looked into.
#[derive(Clone, Copy)]
pub(in crate::authenticate) enum Claim {
    Tid,
    Iss,
    Aud,
    Exp,
    Nbf,
    Iat,
    Oid,
    Azp,
    Appid,
    Scp,
    Idtyp,
    Ver,
    Groups,
    Roles,
    NamesOfClaims,
    HasGroups,
    Cnf,
}

impl Unchecked {
    /// The claims, if each is of its type and they name one client app.
    pub(in crate::authenticate) fn checked(self) -> Result<SignedClaims, Malformed> {
        if let Some(name) = self.mistyped {
            return Err(Malformed::Mistyped(name));
        }
        if let (Some(azp), Some(appid)) = (self.azp, self.appid)
            && azp != appid
        {
            return Err(Malformed::AmbiguousClient);
        }
        Ok(SignedClaims {
            client_app: self.azp.or(self.appid),
            ..self.claims
        })
    }

    fn mistyped<T>(&mut self, name: &'static str) -> Option<T> {
        self.mistyped.get_or_insert(name);
        None
    }

    fn text<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        value: Value<'_, 'de, A>,
    ) -> Result<Option<String>, A::Error> {
        Ok(match value.look(&mut Whole::<true>)? {
            Seen::Text(text) => Some(text.into_owned()),
            _ => self.mistyped(name),
        })
    }

    fn guid<'de, T: FromStr, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        value: Value<'_, 'de, A>,
    ) -> Result<Option<T>, A::Error> {
        let seen = value.look(&mut Whole::<true>)?;
        let id = match &seen {
            Seen::Text(text) => text.parse().ok(),
            _ => None,
        };
        Ok(id.or_else(|| self.mistyped(name)))
    }

    /// `NumericDate` (RFC 7519 section 2): seconds since 1970, fractions allowed.
    fn instant<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        value: Value<'_, 'de, A>,
    ) -> Result<Option<Timestamp>, A::Error> {
        let seconds = match value.look(&mut Whole::<false>)? {
            Seen::Integer(seconds) => Some(seconds),
            Seen::Float(seconds) => whole_seconds(seconds),
            _ => None,
        };
        let instant = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        Ok(instant.or_else(|| self.mistyped(name)))
    }

    /// RFC 7519 section 4.1.3: one string, or several in an array.
    fn audiences<'de, A: MapAccess<'de>>(&mut self, value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        let mut audiences = Vec::new();
        let mut texts = Texts::new(|text| audiences.push(text.to_owned()));
        let seen = value.look(&mut texts)?;
        let all_texts = texts.all_texts;
        self.claims.aud = match seen {
            Seen::Text(audience) => Some(vec![audience.into_owned()]),
            Seen::List if all_texts => Some(audiences),
            _ => self.mistyped("aud"),
        };
        Ok(())
    }

    /// Entra can be made to emit group names instead of ids; such entries match no assignment.
    fn groups<'de, A: MapAccess<'de>>(&mut self, value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        let mut ids = Vec::new();
        let mut by_name = false;
        let mut texts = Texts::new(|text| match text.parse() {
            Ok(id) => ids.push(id),
            Err(_) => by_name = true,
        });
        let seen = value.look(&mut texts)?;
        let all_texts = texts.all_texts;
        self.claims.groups_by_name = by_name;
        self.claims.groups = match seen {
            Seen::List if all_texts => Some(ids),
            _ => self.mistyped("groups"),
        };
        Ok(())
    }

    fn roles<'de, A: MapAccess<'de>>(&mut self, value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        let mut texts = Texts::new(|_| {});
        let seen = value.look(&mut texts)?;
        if seen != Seen::List || !texts.all_texts {
            self.mistyped::<()>("roles");
        }
        Ok(())
    }

    /// Entra's marker that the token does not list all groups, by what `_claim_names` names.
    fn claim_names<'de, A: MapAccess<'de>>(&mut self, value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        let mut names = ClaimNames { groups: false };
        if value.look(&mut names)? != Seen::Object {
            self.mistyped::<()>("_claim_names");
        }
        self.claims.groups_overage |= names.groups;
        Ok(())
    }

    /// The same marker of the implicit flow.
    fn has_groups<'de, A: MapAccess<'de>>(&mut self, value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        match value.look(&mut Whole::<false>)? {
            Seen::Bool(flag) => self.claims.groups_overage |= flag,
            _ => {
                self.mistyped::<()>("hasgroups");
            }
        }
        Ok(())
    }
}

impl Parts for Unchecked {
    type Member = Claim;
    const TEXTS: bool = false;

    fn name(&mut self, name: &str) -> Option<Claim> {
        Some(match name {
            "tid" => Claim::Tid,
            "iss" => Claim::Iss,
            "aud" => Claim::Aud,
            "exp" => Claim::Exp,
            "nbf" => Claim::Nbf,
            "iat" => Claim::Iat,
            "oid" => Claim::Oid,
            "azp" => Claim::Azp,
            "appid" => Claim::Appid,
            "scp" => Claim::Scp,
            "idtyp" => Claim::Idtyp,
            "ver" => Claim::Ver,
            "groups" => Claim::Groups,
            "roles" => Claim::Roles,
            "_claim_names" => Claim::NamesOfClaims,
            "hasgroups" => Claim::HasGroups,
            "cnf" => Claim::Cnf,
            _ => return None,
        })
    }

    fn member<'de, A: MapAccess<'de>>(&mut self, claim: Claim, value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        match claim {
            Claim::Tid => self.claims.tid = self.text("tid", value)?,
            Claim::Iss => self.claims.iss = self.text("iss", value)?,
            Claim::Aud => self.audiences(value)?,
            Claim::Exp => self.claims.exp = self.instant("exp", value)?,
            Claim::Nbf => self.claims.nbf = self.instant("nbf", value)?,
            Claim::Iat => self.claims.iat = self.instant("iat", value)?,
            Claim::Oid => self.claims.oid = self.guid("oid", value)?,
            Claim::Azp => self.azp = self.guid("azp", value)?,
            Claim::Appid => self.appid = self.guid("appid", value)?,
            Claim::Scp => self.claims.scp = self.text("scp", value)?,
            Claim::Idtyp => self.claims.idtyp = self.text("idtyp", value)?,
            // Checked though unused: a token with a mistyped claim was not made by Entra.
            Claim::Ver => drop(self.text("ver", value)?),
            Claim::Roles => self.roles(value)?,
            Claim::Groups => self.groups(value)?,
            Claim::NamesOfClaims => self.claim_names(value)?,
            Claim::HasGroups => self.has_groups(value)?,
            Claim::Cnf => {
                self.claims.bound = true;
                value.look(&mut Whole::<false>)?;
            }
        }
        Ok(())
    }
}

/// Takes the texts of a list, and says whether it holds anything else.
struct Texts<F> {
    each: F,
    all_texts: bool,
}

impl<F: FnMut(&str)> Texts<F> {
    fn new(each: F) -> Self {
        Self { each, all_texts: true }
    }
}

impl<F: FnMut(&str)> Parts for Texts<F> {
    type Member = ();
    const TEXTS: bool = true;

    fn element(&mut self, element: &Seen<'_>) {
        match element {
            Seen::Text(text) => (self.each)(text),
            _ => self.all_texts = false,
        }
    }

    fn name(&mut self, _: &str) -> Option<()> {
        None
    }

    fn member<'de, A: MapAccess<'de>>(&mut self, (): (), value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        value.look(&mut Whole::<false>).map(drop)
    }
}

/// Takes from an object whether it names groups.
struct ClaimNames {
    groups: bool,
}

impl Parts for ClaimNames {
    type Member = ();
    const TEXTS: bool = false;

    fn name(&mut self, name: &str) -> Option<()> {
        self.groups |= name == "groups";
        None
    }

    fn member<'de, A: MapAccess<'de>>(&mut self, (): (), value: Value<'_, 'de, A>) -> Result<(), A::Error> {
        value.look(&mut Whole::<false>).map(drop)
    }
}

fn whole_seconds(seconds: f64) -> Option<i64> {
    // Far beyond any date, and far below where f64 loses whole seconds.
    const LIMIT: f64 = 1e15;
    #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
    (seconds.abs() < LIMIT).then(|| seconds.floor() as i64)
}
