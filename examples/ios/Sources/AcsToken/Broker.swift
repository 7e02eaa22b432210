import AzureCommunicationCommon
import Foundation

/// The broker's refusal. Depend on `code`; the message is for people and may change.
public struct BrokerError: LocalizedError {
    public let code: String
    public let message: String
    public let requestId: String?
    public var errorDescription: String? { "\(message) (\(code), request \(requestId ?? "-"))" }
}

/// Gets ACS tokens from the broker's `POST /token`.
public struct Broker {
    let url: URL
    /// Gives the user's Entra token; its argument is what Entra asks for beyond the last sign-in, if anything.
    let entraToken: (_ claims: String?) async throws -> String

    public init(url: URL, entraToken: @escaping (_ claims: String?) async throws -> String) {
        self.url = url
        self.entraToken = entraToken
    }

    /// For ACS's clients, for example `callClient.createCallAgent(userCredential:)`. Asks for a token as it needs one.
    public func credential() throws -> CommunicationTokenCredential {
        let options = CommunicationTokenRefreshOptions(refreshProactively: true) { done in
            Task {
                do {
                    done(try await acsToken(), nil)
                } catch {
                    done(nil, error)
                }
            }
        }
        return try CommunicationTokenCredential(withOptions: options)
    }

    func acsToken() async throws -> String {
        var token = try await entraToken(nil)
        var challenged = false
        var attempt = 1
        while true {
            var request = URLRequest(url: url.appendingPathComponent("token"))
            request.httpMethod = "POST"
            request.setValue("Bearer \(token)", forHTTPHeaderField: "Authorization")
            let (data, answer) = try await URLSession.shared.data(for: request)
            let response = answer as! HTTPURLResponse // the answer to an http(s) URL is one
            if response.statusCode == 200 {
                return try JSONDecoder().decode(Answer.self, from: data).accessToken.token
            }
            let claims = requestedClaims(response.value(forHTTPHeaderField: "WWW-Authenticate"))
            let retryAfter = response.value(forHTTPHeaderField: "Retry-After").flatMap(UInt64.init) ?? 0
            if response.statusCode == 401, let claims, !challenged {
                challenged = true
                token = try await entraToken(claims)
            } else if [429, 503].contains(response.statusCode), retryAfter <= 60, attempt < 4 {
                attempt += 1
                try await Task.sleep(nanoseconds: retryAfter * 1_000_000_000)
            } else {
                let refusal = try? JSONDecoder().decode(Refusal.self, from: data).error // a proxy may answer otherwise
                throw BrokerError(
                    code: refusal?.code ?? "Unknown",
                    message: refusal?.message ?? "The broker answered \(response.statusCode).",
                    requestId: response.value(forHTTPHeaderField: "x-ms-request-id")
                )
            }
        }
    }

    private func requestedClaims(_ challenge: String?) -> String? {
        guard let found = challenge?.firstMatch(of: #/claims="([^"]+)"/#),
              let json = Data(base64Encoded: String(found.1))
        else { return nil }
        return String(data: json, encoding: .utf8)
    }
}

private struct Answer: Decodable {
    struct AccessToken: Decodable { let token: String }
    let accessToken: AccessToken
}

private struct Refusal: Decodable {
    struct Reason: Decodable {
        let code: String
        let message: String
    }
    let error: Reason
}
