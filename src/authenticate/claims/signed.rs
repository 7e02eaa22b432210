//! Reading claims by type. Which of them must be there, and what they must say, is the rules' business.

use std::borrow::Cow;
use std::str::FromStr;

use crate::authenticate::caller::Caller;
use crate::authenticate::rejection::Malformed;
use base::document::{Members, Node};
use base::ids::{ClientAppId, ObjectId};
use jiff::Timestamp;

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

    /// Those that are looked at again once `caller` was made of all, and that it does not have.
    pub(in crate::authenticate) fn checked_again(self, caller: &Caller) -> CheckedAgain {
        let aud = self.aud.filter(|aud| *aud != [&**caller.audience()]);
        CheckedAgain {
            aud: aud.map(Vec::into_boxed_slice),
            nbf: self.nbf,
            iat: self.iat,
        }
    }

    /// Reads a payload.
    pub(in crate::authenticate) fn from_members(members: Members<'_>) -> Unchecked {
        let mut claims = Unchecked::default();
        for (name, value) in members {
            claims.claim(&name, value);
        }
        claims
    }
}

/// Claims that are looked at again at each request with the same token.
#[derive(Debug)]
pub(in crate::authenticate) struct CheckedAgain {
    // Unless it is just the audience that the caller has.
    aud: Option<Box<[String]>>,
    pub(super) nbf: Option<Timestamp>,
    pub(super) iat: Option<Timestamp>,
}

impl CheckedAgain {
    /// Bytes held, roughly.
    pub(in crate::authenticate) fn bytes(&self) -> usize {
        let audiences = self.aud.iter().flatten();
        size_of::<Self>()
            + audiences
                .map(|audience| size_of::<String>() + audience.len())
                .sum::<usize>()
    }

    /// `aud` as the token has it.
    pub(super) fn audiences(&self, caller: &Caller) -> String {
        let own = self.aud.as_deref();
        own.map_or_else(|| caller.audience().to_string(), |audiences| audiences.join(" "))
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

    fn claim(&mut self, name: &str, value: Node<'_>) {
        match name {
            "tid" => self.claims.tid = self.text("tid", value),
            "iss" => self.claims.iss = self.text("iss", value),
            "aud" => self.claims.aud = self.audiences(value),
            "exp" => self.claims.exp = self.instant("exp", &value),
            "nbf" => self.claims.nbf = self.instant("nbf", &value),
            "iat" => self.claims.iat = self.instant("iat", &value),
            "oid" => self.claims.oid = self.guid("oid", &value),
            "azp" => self.azp = self.guid("azp", &value),
            "appid" => self.appid = self.guid("appid", &value),
            "scp" => self.claims.scp = self.text("scp", value),
            "idtyp" => self.claims.idtyp = self.text("idtyp", value),
            // Checked though unused: a token with a mistyped claim was not made by Entra.
            "ver" => drop(self.text("ver", value)),
            "roles" => drop(self.texts("roles", value)),
            "groups" => self.groups(value),
            // Entra's marker that the token does not list all groups.
            "_claim_names" => {
                let overage = match value {
                    Node::Object(names) => Some(names.iter().any(|(name, _)| name == "groups")),
                    _ => self.mistyped("_claim_names"),
                };
                self.claims.groups_overage |= overage.unwrap_or_default();
            }
            // The same marker of the implicit flow.
            "hasgroups" => {
                let overage = match value {
                    Node::Bool(overage) => Some(overage),
                    _ => self.mistyped("hasgroups"),
                };
                self.claims.groups_overage |= overage.unwrap_or_default();
            }
            "cnf" => self.claims.bound = true,
            _ => {}
        }
    }

    fn text(&mut self, name: &'static str, value: Node<'_>) -> Option<String> {
        match value {
            Node::Text(text) => Some(text.into_owned()),
            _ => self.mistyped(name),
        }
    }

    fn texts<'t>(&mut self, name: &'static str, value: Node<'t>) -> Option<Vec<Cow<'t, str>>> {
        let texts = match value {
            Node::List(items) => items
                .into_iter()
                .map(|item| match item {
                    Node::Text(text) => Some(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        texts.or_else(|| self.mistyped(name))
    }

    fn guid<T: FromStr>(&mut self, name: &'static str, value: &Node<'_>) -> Option<T> {
        let id = match value {
            Node::Text(text) => text.parse().ok(),
            _ => None,
        };
        id.or_else(|| self.mistyped(name))
    }

    /// `NumericDate` (RFC 7519 section 2): seconds since 1970, fractions allowed.
    fn instant(&mut self, name: &'static str, value: &Node<'_>) -> Option<Timestamp> {
        let seconds = match value {
            Node::Integer(seconds) => Some(*seconds),
            Node::Float(seconds) => whole_seconds(*seconds),
            _ => None,
        };
        let instant = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        instant.or_else(|| self.mistyped(name))
    }

    /// RFC 7519 section 4.1.3: one string, or several in an array.
    fn audiences(&mut self, value: Node<'_>) -> Option<Vec<String>> {
        if let Node::Text(audience) = value {
            return Some(vec![audience.into_owned()]);
        }
        let audiences = self.texts("aud", value)?;
        Some(audiences.into_iter().map(Cow::into_owned).collect())
    }

    /// Entra can be made to emit group names instead of ids; such entries match no assignment.
    fn groups(&mut self, value: Node<'_>) {
        let Some(texts) = self.texts("groups", value) else {
            return;
        };
        let ids: Vec<ObjectId> = texts.iter().filter_map(|text| text.parse().ok()).collect();
        self.claims.groups_by_name = ids.len() < texts.len();
        self.claims.groups = Some(ids);
    }
}

fn whole_seconds(seconds: f64) -> Option<i64> {
    // Far beyond any date, and far below where f64 loses whole seconds.
    const LIMIT: f64 = 1e15;
    #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
    (seconds.abs() < LIMIT).then(|| seconds.floor() as i64)
}
