//! Every AADSTS code that a token request of the broker's can bring: what it means and who must do what.
//!
//! The one table of codes. Left out, since no request of ours can bring them: SAML and WS-Federation (75xxx, 76xxx,
//! 90020, 90081 to 90087), device codes (70016 to 70019, 90119, 90120), redirect addresses and PKCE (50011, 50147,
//! 5014xx, 70004), sign-out (50061 to 50071), password entry and change (50064, 50126, 120xxx), agents of on-premises
//! directories and seamless sign-on (80xxx, 81xxx). Also left out are codes that mean different things with different
//! `error` names (50027, 900384): there `error` decides.

use self::Source::{List, Page, Seen};

/// What a code, a `suberror` or an `error` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// The user can cure it in another, interactive sign-in.
    SignIn,
    /// The app was not let into the user's tenant, or not let do this.
    Consent,
    /// The user is refused until somebody with the right to do so changes something.
    Forbidden(Refusal),
    /// The presented token; a new one will do.
    Rejected,
    /// The broker's credential, registration, settings or network.
    Broker,
    /// Too many requests.
    Limited,
    /// Entra cannot answer now.
    Unavailable,
}

/// Why Entra refuses a user for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Conditional access: location, risk, sign-in flow, or a block without a closer reason.
    Policy,
    /// Conditional access wants a device of another state.
    Device,
    /// Conditional access wants an approved or a protected app.
    App,
    /// The account is disabled, locked, deleted or at risk.
    Account,
    /// The account is not one of the tenant that is asked, or may not come from its own.
    Guest,
    /// The user is not assigned to the app.
    Assignment,
    /// The app, or what it calls, is disabled in the tenant.
    AppDisabled,
}

/// Where a row was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// "Microsoft Entra authentication and authorization error codes",
    /// <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.
    List,
    /// Another page of Microsoft's, by what it is about.
    Page(&'static str),
    /// Answers of Entra that people published, by what they said.
    Seen(&'static str),
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The number after `AADSTS`.
    pub(super) code: u32,
    /// Microsoft's name for it where there is one.
    pub(super) name: &'static str,
    /// Whose move it is.
    pub(super) class: ErrorClass,
    /// What to do, for the log.
    pub(super) to_do: &'static str,
    /// A code that Entra puts around finer ones: `suberror` and any other code count before it.
    pub(super) coarse: bool,
    /// Where it was read.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for readers, and the test that each row has one")
    )]
    pub(super) source: Source,
}

/// The row of `code`, if it is listed.
pub(super) fn row(code: u32) -> Option<&'static Row> {
    let place = ROWS.binary_search_by_key(&code, |row| row.code).ok()?;
    ROWS.get(place)
}

/// What an unlisted code of conditional access means: 53xxx and 5300xx are its numbers, and new ones come every year.
pub(super) fn is_conditional_access(code: u32) -> bool {
    (53_000..=53_099).contains(&code) || (530_000..=530_999).contains(&code)
}

/// What to do where no row says it.
pub(super) fn to_do(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::SignIn => SIGN_IN,
        ErrorClass::Consent => CONSENT,
        ErrorClass::Forbidden(Refusal::App) => APP,
        ErrorClass::Forbidden(_) => POLICY,
        ErrorClass::Rejected => NEW_TOKEN,
        ErrorClass::Broker => "look at the broker's credential, its registration and its settings",
        ErrorClass::Limited => SLOWER,
        ErrorClass::Unavailable => WAIT,
    }
}

const POLICY: &str = "an administrator of the user's tenant finds the policy in the sign-in log of Entra \
                                 (Conditional Access) and changes it, or what it looks at";
const SIGN_IN: &str = "the user signs in again and does what Entra asks";
const NEW_TOKEN: &str = "the user signs in again; the front end sends the new token";
const CONSENT: &str = "an administrator of the user's tenant consents to the broker's app";
const INSTALL: &str = "an administrator of the user's tenant adds the broker's app and consents to it; if all tenants \
                       are refused, is client_id right?";
const SUBSCRIBE: &str = "an administrator of the user's tenant adds the service principal of the API that is called \
                         (Azure Communication Services Clients)";
const DEVICE: &str = "the user takes a device that the policy accepts, or their administrator enrols it";
const APP: &str = "the user takes an app that the policy accepts; the front end's makers add what it demands (Intune)";
const ACCOUNT: &str = "an administrator of the user's tenant enables, unlocks or restores the account";
const RISK: &str = "an administrator of the user's home tenant looks at the user's risk in Entra ID Protection";
const INVITE: &str =
    "an administrator of the tenant invites the account as a guest, or the user takes the right account";
const CROSS: &str = "administrators of both tenants look at their cross-tenant access settings";
const ASSIGN: &str = "an administrator assigns the user to the broker's enterprise application, or lifts \"assignment \
                      required\"";
const ENABLE: &str = "an administrator of the user's tenant enables the enterprise application that the text names";
const SECRET: &str = "write a valid client secret: its value, not its id";
const CERTIFICATE: &str = "register the certificate at the broker's app, and look at its dates";
const FEDERATION: &str = "compare issuer, subject and audience of the federated credential with the token's";
const REGISTRATION: &str = "correct the registration of the broker's app";
const SCOPE: &str = "look at exchange.on_behalf_of.scope, and at the API permissions of the broker's app";
const AUTHORITY: &str = "look at entra.cloud, entra.authority, the tenant's authority and its id";
const EGRESS: &str = "the proxy on the broker's way out restricts tenants: let this one through";
const BUG: &str = "the request itself was refused: report it";
const SLOWER: &str = "wait; ask why so many requests are the same";
const WAIT: &str = "wait; Entra's status page";

macro_rules! is_there {
    () => {
        false
    };
    (coarse) => {
        true
    };
}

macro_rules! rows {
    ($($code:literal $name:literal $class:ident$(($refusal:ident))? $to_do:ident $($coarse:ident)? = $source:expr;)*) => {
        &[$(Row {
            code: $code,
            name: $name,
            class: ErrorClass::$class$((Refusal::$refusal))?,
            to_do: $to_do,
            coarse: is_there!($($coarse)?),
            source: $source,
        }),*]
    };
}

const FIC: Source = Seen("federated credentials that do not fit");
const DEVICES: Source = Page("Power Automate: connections blocked by conditional access");

/// Sorted by code.
#[rustfmt::skip]
#[expect(clippy::unreadable_literal, reason = "as Entra writes them, and as people search for them")]
pub(super) const ROWS: &[Row] = rows! {
    16000 "InteractionRequired" SignIn SIGN_IN = List;
    16001 "UserAccountSelectionInvalid" SignIn SIGN_IN = List;
    16002 "AppSessionSelectionInvalid" SignIn SIGN_IN = List;
    16003 "SsoUserAccountNotFoundInResourceTenant" Forbidden(Guest) INVITE = List;
    28002 "scope is not valid" Broker SCOPE = List;
    28003 "scope is empty" Broker SCOPE = List;
    50000 "TokenIssuanceError" Unavailable WAIT coarse = List;
    50001 "InvalidResource" Broker SCOPE = List;
    50002 "NotAllowedTenant" Broker EGRESS = List;
    50003 "MissingSigningKey" Broker REGISTRATION = List;
    50005 "DevicePolicyError" Forbidden(Device) DEVICE = List;
    50010 "AudienceUriValidationFailed" Broker REGISTRATION = List;
    50012 "AuthenticationFailed" Broker CERTIFICATE = List;
    50013 "InvalidAssertion" Rejected NEW_TOKEN = List;
    50014 "GuestUserInPendingState" Forbidden(Guest) INVITE = List;
    50015 "ViralUserLegalAgeConsentRequiredState" SignIn SIGN_IN = List;
    50020 "UserUnauthorized" Forbidden(Guest) INVITE = List;
    50033 "RetryableError" Unavailable WAIT = List;
    50034 "UserAccountNotFound" Forbidden(Guest) INVITE = List;
    50048 "SubjectMismatchesIssuer" Broker REGISTRATION = List;
    50049 "NoSuchInstanceForDiscovery" Broker AUTHORITY = List;
    50053 "IdsLocked" Forbidden(Account) ACCOUNT = List;
    50055 "InvalidPasswordExpiredPassword" SignIn SIGN_IN = List;
    50056 "the account has no password" SignIn SIGN_IN = List;
    50057 "UserDisabled" Forbidden(Account) ACCOUNT = List;
    50058 "UserInformationNotProvided" SignIn SIGN_IN = List;
    50059 "MissingTenantRealmAndNoUserInformationProvided" Broker AUTHORITY = List;
    50072 "UserStrongAuthEnrollmentRequiredInterrupt" SignIn SIGN_IN = List;
    50074 "UserStrongAuthClientAuthNRequiredInterrupt" SignIn SIGN_IN = List;
    50076 "UserStrongAuthClientAuthNRequired" SignIn SIGN_IN = List;
    50078 "UserStrongAuthExpired" SignIn SIGN_IN = List;
    50079 "UserStrongAuthEnrollmentRequired" SignIn SIGN_IN = List;
    50085 "the social identity provider must be asked again" SignIn SIGN_IN = List;
    50089 "the session has expired" Rejected NEW_TOKEN = List;
    50097 "DeviceAuthenticationRequired" SignIn SIGN_IN = List;
    50105 "EntitlementGrantsNotFound" Forbidden(Assignment) ASSIGN = List;
    50125 "PasswordResetRegistrationRequiredInterrupt" SignIn SIGN_IN = List;
    50127 "BrokerAppNotInstalled" SignIn SIGN_IN = List;
    50128 "no tenant in the request" Broker AUTHORITY = List;
    50129 "DeviceIsNotWorkplaceJoined" SignIn SIGN_IN = List;
    50131 "ConditionalAccessFailed" Forbidden(Policy) POLICY = List;
    50132 "SsoArtifactInvalidOrExpired" Rejected NEW_TOKEN = List;
    50133 "SsoArtifactRevoked" Rejected NEW_TOKEN = List;
    50135 "PasswordChangeCompromisedPassword" SignIn SIGN_IN = List;
    50139 "SessionMissingMsaOAuth2RefreshToken" Rejected NEW_TOKEN = List;
    50140 "KmsiInterrupt" SignIn SIGN_IN = List;
    50142 "a password change is required" SignIn SIGN_IN = Seen("MSAL.js, native authentication: password reset required");
    50143 "Session mismatch" Rejected NEW_TOKEN = List;
    50144 "InvalidPasswordExpiredOnPremPassword" SignIn SIGN_IN = List;
    50146 "MissingCustomSigningKey" Broker REGISTRATION = List;
    50155 "DeviceAuthenticationFailed" SignIn SIGN_IN = List;
    50158 "ExternalSecurityChallenge" SignIn SIGN_IN = List;
    50161 "InvalidExternalSecurityChallengeConfiguration" Forbidden(Policy) POLICY = List;
    50166 "ExternalClaimsProviderThrottled" Unavailable WAIT = List;
    50168 "ChromeBrowserSsoInterruptRequired" SignIn SIGN_IN = List;
    50170 "MissingExternalClaimsProviderMapping" Forbidden(Policy) POLICY = List;
    50173 "FreshTokenNeeded" Rejected NEW_TOKEN = List;
    50177 "ExternalChallengeNotSupportedForPassthroughUsers" Forbidden(Guest) CROSS = List;
    50178 "SessionControlNotSupportedForPassthroughUsers" Forbidden(Guest) CROSS = List;
    50187 "DeviceInformationNotProvided" SignIn SIGN_IN = List;
    50194 "the app is not multi-tenant" Broker REGISTRATION = List;
    50196 "LoopDetected" Limited SLOWER = List;
    50197 "ConflictingIdentities" SignIn SIGN_IN = List;
    50199 "CmsiInterrupt" SignIn SIGN_IN = List;
    51004 "UserAccountNotInDirectory" Forbidden(Guest) INVITE = List;
    51006 "ForceReauthDueToInsufficientAuth" SignIn SIGN_IN = List;
    53000 "DeviceNotCompliant" Forbidden(Device) DEVICE = List;
    53001 "DeviceNotDomainJoined" Forbidden(Device) DEVICE = List;
    53002 "ApplicationUsedIsNotAnApprovedApp" Forbidden(App) APP = List;
    53003 "BlockedByConditionalAccess" Forbidden(Policy) POLICY = List;
    53004 "ProofUpBlockedDueToRisk" SignIn SIGN_IN = List;
    53005 "the app must enforce Intune protection policies" Forbidden(App) APP = Seen("error unauthorized_client, suberror protection_policy_required");
    53009 "the app must enforce Intune protection policies" Forbidden(App) APP = DEVICES;
    53010 "ProofUpBlockedDueToSecurityInfoAcr" SignIn SIGN_IN = List;
    53011 "user blocked due to risk on home tenant" Forbidden(Account) RISK = List;
    54000 "MinorUserBlockedLegalAgeGroupRule" Forbidden(Account) ACCOUNT = List;
    65001 "DelegationDoesNotExist" Consent CONSENT = List;
    65002 "consent must be configured via preauthorization" Broker REGISTRATION = List;
    65004 "UserDeclinedConsent" Consent CONSENT = List;
    65005 "MisconfiguredApplication" Broker SCOPE = List;
    70000 "InvalidGrant" Rejected NEW_TOKEN coarse = List;
    70001 "UnauthorizedClient" Broker REGISTRATION coarse = List;
    70002 "InvalidClient" Broker SECRET coarse = List;
    70003 "UnsupportedGrantType" Broker BUG = List;
    70008 "ExpiredOrRevokedGrant" Rejected NEW_TOKEN = List;
    70011 "InvalidScope" Broker SCOPE = List;
    70012 "MsaServerError" Unavailable WAIT = List;
    70021 "no matching federated identity record" Broker FEDERATION = FIC;
    70025 "the app has no federated identity credentials" Broker FEDERATION = FIC;
    70043 "BadTokenDueToSignInFrequency" Rejected NEW_TOKEN = List;
    70044 "the session has expired by sign-in frequency" Rejected NEW_TOKEN = Seen("session expired or invalid due to sign-in frequency checks");
    90002 "InvalidTenantName" Broker AUTHORITY = List;
    90004 "InvalidRequestFormat" Broker BUG = List;
    90006 "ExternalServerRetryableError" Unavailable WAIT = List;
    90008 "TokenForItselfRequiresGraphPermission" Consent CONSENT = List;
    90009 "TokenForItselfMissingIdenticalAppIdentifier" Broker SCOPE = List;
    90012 "RequestTimeout" Unavailable WAIT = List;
    90014 "MissingRequiredField" Broker BUG = List;
    90016 "MissingRequiredClaim" Rejected NEW_TOKEN = List;
    90019 "MissingTenantRealm" Broker AUTHORITY = List;
    90023 "InvalidRequest" Broker BUG = List;
    90024 "RequestBudgetExceededError" Unavailable WAIT = List;
    90033 "MsodsServiceUnavailable" Unavailable WAIT = List;
    90036 "MsodsServiceUnretryableFailure" Unavailable WAIT = List;
    90038 "NationalCloudTenantRedirection" Broker AUTHORITY = List;
    90051 "InvalidNationalCloudId" Broker AUTHORITY = List;
    90055 "TenantThrottlingError" Limited SLOWER = List;
    90072 "PassThroughUserMfaError" Forbidden(Guest) INVITE = List;
    90090 "GraphRetryableError" Unavailable WAIT = List;
    90091 "GraphServiceUnreachable" Unavailable WAIT = List;
    90092 "GraphNonRetryableError" Unavailable WAIT = List;
    90093 "GraphUserUnauthorized" Consent CONSENT = List;
    90094 "AdminConsentRequired" Consent CONSENT = List;
    90095 "AdminConsentRequiredRequestAccess" Consent CONSENT = List;
    90099 "the app has not been authorized in the tenant" Consent INSTALL = List;
    90112 "the application identifier is no GUID" Broker REGISTRATION = Seen("application identifier is expected to be a GUID");
    90123 "IdentityProviderAccessDenied" Forbidden(Policy) POLICY = List;
    100007 "the regional endpoint does not serve this app" Broker AUTHORITY = List;
    130007 "NgcDeviceIsDisabled" Forbidden(Device) DEVICE = List;
    135011 "the device is disabled" Forbidden(Device) DEVICE = List;
    160021 "AppSessionSelectionInvalidSessionNotExist" SignIn SIGN_IN = List;
    240002 "RequiredClaimIsMissing" Rejected NEW_TOKEN = List;
    500011 "InvalidResourceServicePrincipalNotFound" Consent SUBSCRIBE = List;
    500014 "the resource's service principal is disabled" Forbidden(AppDisabled) ENABLE = Seen("the service principal for the resource is disabled");
    500021 "tenant restrictions" Broker EGRESS = List;
    500022 "tenant restrictions" Broker EGRESS = List;
    500131 "the assertion is for another app" Rejected NEW_TOKEN = Seen("assertion audience does not match the client app");
    500133 "the assertion is not within its valid time range" Rejected NEW_TOKEN = List;
    500208 "the account is of another type than the tenant takes" Forbidden(Guest) INVITE = List;
    500212 "NotAllowedByOutboundPolicyTenant" Forbidden(Guest) CROSS = List;
    500213 "NotAllowedByInboundPolicyTenant" Forbidden(Guest) CROSS = List;
    500341 "the account has been deleted" Forbidden(Account) ACCOUNT = Seen("user account has been deleted from the directory");
    500571 "the guest account is disabled" Forbidden(Account) ACCOUNT = Page("Error AADSTS500571");
    501461 "AcceptMappedClaims is not supported" Broker REGISTRATION = List;
    501621 "ClaimsTransformationTimeoutRegularExpressionTimeout" Unavailable WAIT = List;
    530002 "the device must be compliant" Forbidden(Device) DEVICE = DEVICES;
    530003 "the device must be managed" Forbidden(Device) DEVICE = DEVICES;
    530004 "AcceptCompliantDevice is not configured" Forbidden(Guest) CROSS = Page("Error AADSTS530004");
    530021 "the app is not an approved client app" Forbidden(App) APP = Seen("approved-client-app policies block the sign-in");
    530031 "the access policy does not allow token issuance" Forbidden(Policy) POLICY = Seen("access policy does not allow token issuance");
    530032 "BlockedByConditionalAccessOnSecurityPolicy" Forbidden(Policy) POLICY = List;
    530033 "remote device flow blocked by a device policy" Forbidden(Device) DEVICE = Seen("device code flow under device policies");
    530034 "DelegatedAdminBlockedDueToSuspiciousActivity" Forbidden(Account) RISK = List;
    530035 "BlockedBySecurityDefaults" Forbidden(Policy) POLICY = List;
    530036 "the session began in a flow that is blocked" Rejected NEW_TOKEN = Page("Authentication flows as a condition in Conditional Access policy");
    530084 "blocked by the token protection policy" Forbidden(Policy) POLICY = Seen("conditional access token protection policy");
    650051 "the app's service principal is being made, or not complete" Consent INSTALL = Seen("service principal name is already present for the tenant");
    650052 "the organization has not subscribed to the service" Consent SUBSCRIBE = List;
    650054 "the resource has been removed" Broker SCOPE = List;
    650056 "misconfigured, or without consent" Consent CONSENT = List;
    650057 "the resource is not in the app's registration" Broker SCOPE = List;
    700003 "the device is not known in the tenant" Forbidden(Device) DEVICE = Seen("device object was not found in the tenant");
    700011 "UnauthorizedClientAppNotFoundInOrgIdTenant" Consent INSTALL = List;
    700016 "UnauthorizedClient_DoesNotMatchRequest" Consent INSTALL = List;
    700020 "InteractionRequired" SignIn SIGN_IN = List;
    700021 "the client assertion is another app's" Broker FEDERATION = FIC;
    700022 "InvalidMultipleResourcesScope" Broker SCOPE = List;
    700023 "InvalidResourcelessScope" Broker SCOPE = List;
    700024 "the client assertion is not within its valid time" Broker CERTIFICATE = Seen("client assertion is not within its valid time range");
    700025 "InvalidClientPublicClientWithCredential" Broker REGISTRATION = List;
    700027 "the client assertion's signature" Broker CERTIFICATE = List;
    700030 "the certificate's subject is not authorized" Broker CERTIFICATE = List;
    700082 "ExpiredOrRevokedGrantInactiveToken" Rejected NEW_TOKEN = List;
    700084 "the refresh token of a page has expired" Rejected NEW_TOKEN = List;
    700211 "no federated credential for the issuer" Broker FEDERATION = FIC;
    700212 "no federated credential for the audience" Broker FEDERATION = FIC;
    700213 "no federated credential for the subject" Broker FEDERATION = FIC;
    700222 "tokens of Entra may not be federated" Broker FEDERATION = FIC;
    700223 "the tenant does not allow federated credentials" Broker FEDERATION = FIC;
    700224 "the federated token does not fit" Broker FEDERATION = FIC;
    700226 "only managed identities may be federated" Broker FEDERATION = FIC;
    700229 "ForbiddenTokenType" Broker FEDERATION = List;
    700231 "a federated token may not be federated again" Broker FEDERATION = FIC;
    700236 "tokens of another tenant may not be federated" Broker FEDERATION = FIC;
    700238 "the tenant does not allow this issuer" Broker FEDERATION = FIC;
    900023 "the tenant identifier is not valid" Broker AUTHORITY = Seen("neither a valid DNS name nor a valid external domain");
    900144 "a parameter is missing" Broker BUG = List;
    900382 "confidential clients are not supported across clouds" Broker AUTHORITY = List;
    900432 "confidential clients are not supported across clouds" Broker AUTHORITY = List;
    901002 "the parameter resource is not supported" Broker BUG = List;
    1000000 "UserNotBoundError" SignIn SIGN_IN = List;
    1000031 "the app cannot be accessed now" Forbidden(AppDisabled) ENABLE = List;
    1000104 "XCB2BResourceCloudNotAllowedOnIdentityTenant" Forbidden(Guest) CROSS = List;
    7000112 "UnauthorizedClientApplicationDisabled" Forbidden(AppDisabled) ENABLE = List;
    7000113 "on behalf of programs nothing is issued" Broker REGISTRATION = Seen("on-behalf-of is not supported for app-only tokens");
    7000114 "the app may not make on-behalf-of calls" Broker REGISTRATION = List;
    7000215 "the client secret is wrong" Broker SECRET = List;
    7000216 "client_assertion, client_secret or a certificate is required" Broker SECRET = Seen("with client credentials that lack one");
    7000218 "client_assertion or client_secret is missing" Broker REGISTRATION = List;
    7000222 "InvalidClientSecretExpiredKeysProvided" Broker SECRET = List;
    7000229 "the app has no service principal in the tenant" Consent INSTALL = Seen("missing service principal in the tenant");
    7002381 "the tenant does not allow this issuer's tokens" Broker FEDERATION = Seen("credentials must contain an enterprise claim");
    9001023 "the grant is not supported at this endpoint" Broker AUTHORITY = List;
    9002313 "InvalidRequest" Broker BUG = List;
    9002332 "the app is for Entra users only" Broker AUTHORITY = List;
    9002341 "the user must permit single sign-on" SignIn SIGN_IN = List;
};

#[cfg(test)]
mod tests;
