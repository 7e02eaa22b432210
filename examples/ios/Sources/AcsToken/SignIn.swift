import MSAL
import UIKit

/// Entra wants to see the user: only `SignIn.interactively` helps, with these claims.
public struct SignInNeeded: LocalizedError {
    public let claims: String?
    public var errorDescription: String? { "Your organization asks you to sign in again." }
}

/// The user's sign-in with MSAL.
public final class SignIn {
    private let app: MSALPublicClientApplication
    private let scopes: [String]

    public init(clientId: String, scope: String, authority: String = "https://login.microsoftonline.com/organizations") throws {
        let authority = try MSALAADAuthority(url: URL(string: authority)!)
        let config = MSALPublicClientApplicationConfig(clientId: clientId, redirectUri: nil, authority: authority)
        app = try MSALPublicClientApplication(configuration: config)
        scopes = [scope]
    }

    /// Opens the sign-in page.
    @MainActor
    public func interactively(from controller: UIViewController, claims: String? = nil) async throws {
        let parameters = MSALInteractiveTokenParameters(
            scopes: scopes,
            webviewParameters: MSALWebviewParameters(authPresentationViewController: controller)
        )
        parameters.claimsRequest = try claims.map(claimsRequest)
        _ = try await app.acquireToken(with: parameters)
    }

    /// From MSAL's cache, or renewed.
    public func entraToken(claims: String? = nil) async throws -> String {
        guard let account = try app.allAccounts().first else { throw SignInNeeded(claims: claims) }
        let parameters = MSALSilentTokenParameters(scopes: scopes, account: account)
        parameters.claimsRequest = try claims.map(claimsRequest)
        do {
            return try await app.acquireTokenSilent(with: parameters).accessToken
        } catch let error as NSError
            where error.domain == MSALErrorDomain && error.code == MSALError.interactionRequired.rawValue {
            throw SignInNeeded(claims: claims)
        }
    }

    private func claimsRequest(_ json: String) throws -> MSALClaimsRequest {
        var error: NSError?
        let request = MSALClaimsRequest(jsonString: json, error: &error)
        if let error { throw error }
        return request
    }
}
