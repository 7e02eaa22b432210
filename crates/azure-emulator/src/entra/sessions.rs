//! What Entra remembers of sign-ins: authorization codes, refresh tokens, device codes. Each kind is bounded; where there
//! are too many, the oldest are forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use uuid::Uuid;

use crate::lock::lock;

/// Authorization codes are short-lived: Entra's live "about 10 minutes".
/// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>
const CODE_LIFETIME: Duration = Duration::from_secs(600);
/// Refresh tokens of pages end 24 hours after the sign-in, all others 90 days after their issue.
/// <https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-lifetime>
const PAGE_REFRESH_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const REFRESH_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code>
pub(super) const DEVICE_CODE_SECONDS: u64 = 900;
/// What a user types has letters and digits that are not taken for each other.
const USER_CODE_LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ23456789";
const USER_CODE_LENGTH: usize = 9;

const MAX_CODES: usize = 1_000;
const MAX_REFRESH_TOKENS: usize = 10_000;
const MAX_DEVICE_CODES: usize = 1_000;

/// A user who has signed in to a client app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SignIn {
    pub(super) tenant: Uuid,
    pub(super) object_id: Uuid,
    pub(super) client: Uuid,
    /// The `scope` parameter of the request.
    pub(super) scope: String,
    /// The authentication contexts that the sign-in satisfied.
    pub(super) acrs: Vec<String>,
}

/// An authorization code.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) sign_in: SignIn,
    pub(super) redirect_uri: String,
    /// By S256.
    pub(super) challenge: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) ends: Timestamp,
    pub(super) redeemed: bool,
}

/// A refresh token.
#[derive(Debug, Clone)]
pub(super) struct Refresh {
    pub(super) sign_in: SignIn,
    pub(super) ends: Timestamp,
    /// A page redeemed the code: its end is that of the first one.
    pub(super) of_page: bool,
}

/// A sign-in on another device.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) client: Uuid,
    pub(super) scope: String,
    /// The authentication contexts that the client asked for.
    pub(super) acrs: Vec<String>,
    /// What the user types.
    pub(super) user_code: String,
    /// The tenant whose endpoint was asked; any for `common`.
    pub(super) tenant: Option<Uuid>,
    pub(super) ends: Timestamp,
    pub(super) state: DeviceState,
}

/// How far a sign-in on another device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeviceState {
    Pending,
    Declined,
    SignedIn(SignIn),
}

/// Entries by a text that cannot be guessed, the oldest first to go.
#[derive(Debug)]
struct Bounded<T> {
    entries: BTreeMap<String, T>,
    order: VecDeque<String>,
    most: usize,
}

impl<T> Bounded<T> {
    fn new(most: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            most,
        }
    }

    fn add(&mut self, entry: T) -> String {
        if self.order.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        let name = unguessable();
        self.order.push_back(name.clone());
        self.entries.insert(name.clone(), entry);
        name
    }
}

/// All sign-ins.
#[derive(Debug)]
pub(crate) struct Sessions {
    codes: Mutex<Bounded<Code>>,
    refresh_tokens: Mutex<Bounded<Refresh>>,
    devices: Mutex<Bounded<Device>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            codes: Mutex::new(Bounded::new(MAX_CODES)),
            refresh_tokens: Mutex::new(Bounded::new(MAX_REFRESH_TOKENS)),
            devices: Mutex::new(Bounded::new(MAX_DEVICE_CODES)),
        }
    }
}

impl Sessions {
    /// A new authorization code, bound to the client, the redirect URI and the challenge.
    pub(super) fn add_code(
        &self,
        sign_in: SignIn,
        redirect_uri: String,
        challenge: Option<String>,
        nonce: Option<String>,
        now: Timestamp,
    ) -> String {
        lock(&self.codes).add(Code {
            sign_in,
            redirect_uri,
            challenge,
            nonce,
            ends: after(now, CODE_LIFETIME),
            redeemed: false,
        })
    }

    /// The code of this name.
    pub(super) fn code(&self, name: &str) -> Option<Code> {
        lock(&self.codes).entries.get(name).cloned()
    }

    /// Uses a code up; whether it had not been before.
    pub(super) fn redeem(&self, name: &str) -> bool {
        let mut codes = lock(&self.codes);
        let code = codes.entries.get_mut(name);
        code.is_some_and(|code| !std::mem::replace(&mut code.redeemed, true))
    }

    /// A new refresh token with its end. One that replaces another of a page ends with it.
    pub(super) fn add_refresh(
        &self,
        sign_in: SignIn,
        of_page: bool,
        replaces: Option<&Refresh>,
        now: Timestamp,
    ) -> (String, Timestamp) {
        let of_page = replaces.map_or(of_page, |old| old.of_page);
        let ends = match replaces {
            Some(old) if old.of_page => old.ends,
            _ if of_page => after(now, PAGE_REFRESH_LIFETIME),
            _ => after(now, REFRESH_LIFETIME),
        };
        let refresh = Refresh { sign_in, ends, of_page };
        (lock(&self.refresh_tokens).add(refresh), ends)
    }

    /// The refresh token of this name.
    pub(super) fn refresh(&self, name: &str) -> Option<Refresh> {
        lock(&self.refresh_tokens).entries.get(name).cloned()
    }

    /// Begins a sign-in on another device; gives the device code and the user code.
    pub(super) fn add_device(
        &self,
        client: Uuid,
        scope: String,
        acrs: Vec<String>,
        tenant: Option<Uuid>,
        now: Timestamp,
    ) -> (String, String) {
        let user_code: String = uuid_bytes()
            .chain(uuid_bytes())
            .map(|byte| usize::from(byte) % USER_CODE_LETTERS.len())
            .filter_map(|index| USER_CODE_LETTERS.get(index))
            .map(|letter| char::from(*letter))
            .take(USER_CODE_LENGTH)
            .collect();
        let device_code = lock(&self.devices).add(Device {
            client,
            scope,
            acrs,
            user_code: user_code.clone(),
            tenant,
            ends: after(now, Duration::from_secs(DEVICE_CODE_SECONDS)),
            state: DeviceState::Pending,
        });
        (device_code, user_code)
    }

    /// The device of this device code.
    pub(super) fn device(&self, device_code: &str) -> Option<Device> {
        lock(&self.devices).entries.get(device_code).cloned()
    }

    /// The device that shows this code and still waits.
    pub(super) fn waiting_device(&self, user_code: &str, now: Timestamp) -> Option<Device> {
        let devices = lock(&self.devices);
        let mut all = devices.entries.values();
        all.find(|device| waits(device, user_code, now)).cloned()
    }

    /// Hands the outcome of the sign-in to the device that waits; `false`: there is none.
    pub(super) fn answer_device(&self, user_code: &str, state: DeviceState, now: Timestamp) -> bool {
        let mut devices = lock(&self.devices);
        let device = devices
            .entries
            .values_mut()
            .find(|device| waits(device, user_code, now));
        device.map(|device| device.state = state).is_some()
    }

    /// Takes a device away that has its tokens; whether it was there.
    pub(super) fn remove_device(&self, device_code: &str) -> bool {
        // Its place in the order is taken by nothing until it is its turn.
        lock(&self.devices).entries.remove(device_code).is_some()
    }
}

fn waits(device: &Device, user_code: &str, now: Timestamp) -> bool {
    device.state == DeviceState::Pending && now < device.ends && device.user_code.eq_ignore_ascii_case(user_code)
}

fn after(now: Timestamp, lifetime: Duration) -> Timestamp {
    now.checked_add(lifetime).unwrap_or(now)
}

/// Random bytes of the operating system's generator.
fn uuid_bytes() -> impl Iterator<Item = u8> {
    // Six of a version 4 id's 128 bits are fixed, all in two bytes.
    let bytes = Uuid::new_v4().into_bytes().into_iter().enumerate();
    bytes.filter(|(index, _)| !matches!(index, 6 | 8)).map(|(_, byte)| byte)
}

/// A text that cannot be guessed, in the form of Entra's codes.
fn unguessable() -> String {
    let bytes: Vec<u8> = uuid_bytes().chain(uuid_bytes()).chain(uuid_bytes()).collect();
    format!("1.{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in() -> SignIn {
        SignIn {
            tenant: Uuid::nil(),
            object_id: Uuid::nil(),
            client: Uuid::nil(),
            scope: String::new(),
            acrs: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let add = || sessions.add_code(sign_in(), String::new(), None, None, now);
        let first = add();
        let second = add();
        for _ in 0..MAX_CODES - 1 {
            add();
        }
        assert!(sessions.code(&first).is_none() && sessions.code(&second).is_some());
        assert_eq!(lock(&sessions.codes).entries.len(), MAX_CODES);
        let devices: Vec<_> = (0..MAX_DEVICE_CODES + 5)
            .map(|_| sessions.add_device(Uuid::nil(), String::new(), Vec::new(), None, now))
            .collect();
        assert!(sessions.device(&devices[0].0).is_none());
        assert_eq!(lock(&sessions.devices).order.len(), MAX_DEVICE_CODES);
        assert_eq!(devices[7].1.len(), USER_CODE_LENGTH);
    }

    #[test]
    fn a_code_is_redeemed_once() {
        let sessions = Sessions::default();
        let code = sessions.add_code(sign_in(), String::new(), None, None, Timestamp::UNIX_EPOCH);
        assert!(sessions.redeem(&code) && !sessions.redeem(&code) && !sessions.redeem("other"));
    }

    #[test]
    fn a_pages_refresh_tokens_all_end_with_the_first() {
        let (sessions, start) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        let later = after(start, Duration::from_secs(3600));
        let (first, ends) = sessions.add_refresh(sign_in(), true, None, start);
        assert_eq!(ends, after(start, PAGE_REFRESH_LIFETIME));
        let old = sessions.refresh(&first).unwrap();
        assert_eq!(sessions.add_refresh(sign_in(), false, Some(&old), later).1, ends);
        let (first, _) = sessions.add_refresh(sign_in(), false, None, start);
        let old = sessions.refresh(&first).unwrap();
        let next = sessions.add_refresh(sign_in(), true, Some(&old), later).1;
        assert_eq!(next, after(later, REFRESH_LIFETIME));
    }
}
