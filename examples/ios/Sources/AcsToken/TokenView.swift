import AzureCommunicationCommon
import SwiftUI

/// A button that signs in and gets an ACS token.
public struct TokenView: View {
    let signIn: SignIn
    let credential: CommunicationTokenCredential
    @State private var status = ""

    public init(signIn: SignIn, broker: URL) throws {
        self.signIn = signIn
        credential = try Broker(url: broker, entraToken: signIn.entraToken).credential()
    }

    public var body: some View {
        VStack {
            Button("Get token") { Task { await getToken() } }
            Text(status)
        }
    }

    @MainActor
    private func getToken() async {
        do {
            status = "ACS token until \(try await acsTokenEnd())"
        } catch let needed as SignInNeeded {
            guard let controller = UIApplication.shared.connectedScenes
                .compactMap({ ($0 as? UIWindowScene)?.keyWindow?.rootViewController }).first
            else { return }
            do {
                try await signIn.interactively(from: controller, claims: needed.claims)
                status = "ACS token until \(try await acsTokenEnd())"
            } catch {
                status = error.localizedDescription
            }
        } catch {
            status = error.localizedDescription
        }
    }

    private func acsTokenEnd() async throws -> Date {
        try await withCheckedThrowingContinuation { waiting in
            credential.token { token, error in
                if let token { waiting.resume(returning: token.expiresOn) } else { waiting.resume(throwing: error!) }
            }
        }
    }
}
